//! KEDA's five calls. Each is answered from memory: no call here waits for anything but the bytes of its caller.
//!
//! The one metric is the number of replicas that there should be, with target 1: the HPA then has no arithmetic left
//! to do, and several signals need no composite formula in the ScaledObject.

use std::{pin::Pin, sync::Arc, time::Instant};

use futures::{Stream, StreamExt, stream};
use spotscale_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef, external_scaler_server::ExternalScaler,
};
use tonic::{Code, Request, Response, Status, metadata::MetadataValue};

use super::{
    board::Board, metrics::Metrics, object::Object, push, snapshot::Snapshot, streams::Streams,
};

/// The metric's name. The HPA refuses a `/` in it, and KEDA puts `sN-` before it.
pub const METRIC_NAME: &str = "spotscale-desired-replicas";

/// Response metadata: which snapshot of the ScaledObject an answer was read from.
pub const SNAPSHOT_HEADER: &str = "spotscale-snapshot";

/// The HPA keeps three decimals: below this it would read 0.
const SMALLEST_VALUE: f64 = 0.001;

/// Far above any fleet, and far below where the HPA's fixed-point numbers overflow into 0.
const LARGEST_VALUE: f64 = 1e9;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service that KEDA calls.
#[derive(Clone)]
pub(crate) struct Scaler {
    pub(crate) board: Arc<Board>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    type StreamIsActiveStream = Streamed<IsActiveResponse>;
    type StreamMetricSpecStream = Streamed<GetMetricSpecResponse>;

    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        self.counted("IsActive", || {
            let snapshot = self.object(request.into_inner())?.snapshot();
            let result = snapshot.answer()?.active;
            Ok(stamped(IsActiveResponse { result }, &snapshot))
        })
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.counted("GetMetricSpec", || {
            self.object(request.into_inner())?;
            Ok(Response::new(metric_spec()))
        })
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        self.counted("GetMetrics", || {
            let GetMetricsRequest { scaled_object_ref, metric_name } = request.into_inner();
            let reference = scaled_object_ref
                .ok_or_else(|| Status::invalid_argument("scaledObjectRef is missing"))?;
            let object = self.object(reference)?;
            if metric_name != METRIC_NAME {
                let why = format!("metricName {metric_name:?} is unknown; it can be {METRIC_NAME}");
                return Err(Status::invalid_argument(why));
            }
            let snapshot = object.snapshot();
            let desired = snapshot.answer()?.desired;
            let reply = GetMetricsResponse { metric_values: vec![metric_value(desired.0.into())] };
            Ok(stamped(reply, &snapshot))
        })
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        self.counted("StreamIsActive", || {
            let object = self.object(request.into_inner())?;
            let lease = self.streams.lease("StreamIsActive")?;
            let pushes = push::stream(object.subscribe(), lease, self.metrics.clone());
            Ok(Response::new(Box::pin(pushes) as Self::StreamIsActiveStream))
        })
    }

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        self.counted("StreamMetricSpec", || {
            self.object(request.into_inner())?;
            let lease = self.streams.lease("StreamMetricSpec")?;
            // The spec never changes, so the stream only has to stay open. An empty list would freeze the HPA
            // (kedacore/keda#8115).
            let ended =
                stream::once(async move { lease.ended().await }).filter_map(async |()| None);
            let specs = stream::once(async { Ok(metric_spec()) }).chain(ended);
            Ok(Response::new(Box::pin(specs) as Self::StreamMetricSpecStream))
        })
    }
}

impl Scaler {
    fn object(&self, reference: ScaledObjectRef) -> Result<Arc<Object>, Status> {
        self.board.object(reference).map_err(Status::from)
    }

    fn counted<T>(
        &self,
        method: &'static str,
        answer: impl FnOnce() -> Result<Response<T>, Status>,
    ) -> Result<Response<T>, Status> {
        let started = Instant::now();
        let answer = answer();
        self.metrics.answered(method, started.elapsed());
        self.metrics.call(method, answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answer
    }
}

fn stamped<T>(message: T, snapshot: &Snapshot) -> Response<T> {
    let mut response = Response::new(message);
    response.metadata_mut().insert(SNAPSHOT_HEADER, MetadataValue::from(snapshot.id));
    response
}

fn metric_spec() -> GetMetricSpecResponse {
    let metric_name = METRIC_NAME.to_owned();
    let spec = MetricSpec { metric_name, target_size: 1, target_size_float: 1.0 };
    GetMetricSpecResponse { metric_specs: vec![spec] }
}

/// A value that KEDA and the HPA read as it is meant: see the constants above. The integer is for old versions of KEDA.
fn metric_value(value: f64) -> MetricValue {
    let value = if value > 0.0 { value.clamp(SMALLEST_VALUE, LARGEST_VALUE) } else { 0.0 };
    MetricValue {
        metric_name: METRIC_NAME.to_owned(),
        metric_value: value.ceil() as i64,
        metric_value_float: value,
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the values pass through unchanged")]
mod tests {
    use super::*;

    #[test]
    fn checklist_03_int_and_float_are_both_filled_and_the_int_is_rounded_up() {
        for (value, int) in [(0.0, 0), (0.4, 1), (1.0, 1), (2.5, 3), (20.0, 20)] {
            let sent = metric_value(value);
            assert_eq!((sent.metric_value, sent.metric_value_float), (int, value));
        }
    }

    #[test]
    fn checklist_04_a_value_is_finite_never_negative_and_zero_or_at_least_a_thousandth() {
        let sent = |value| metric_value(value).metric_value_float;
        assert_eq!(sent(f64::NAN), 0.0);
        assert_eq!(sent(-3.0), 0.0);
        assert_eq!(sent(1e-9), SMALLEST_VALUE);
        assert_eq!(sent(f64::INFINITY), LARGEST_VALUE);
        assert!(metric_spec().metric_specs.iter().all(|spec| spec.target_size_float > 0.0));
    }
}
