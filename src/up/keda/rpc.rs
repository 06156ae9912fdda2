//! The calls themselves, in KEDA's order. A poll or an HPA sync is `GetMetricSpec`, then for each metric `GetMetrics`
//! and `IsActive`: one connection, one call at a time.

use spotscale_proto::externalscaler::{
    GetMetricsRequest, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
    external_scaler_client::ExternalScalerClient,
};
use tonic::{Status, Streaming, transport::Channel};

use super::{Metric, ScaledObject};

const NAMESPACE: &str = "local";

/// The scaler, as one `ScaledObject` sees it.
pub(super) struct Scaler {
    client: ExternalScalerClient<Channel>,
    object: ScaledObjectRef,
}

impl Scaler {
    pub(super) fn new(channel: Channel, object: &ScaledObject) -> Self {
        let object = ScaledObjectRef {
            name: object.name.clone(),
            namespace: NAMESPACE.to_owned(),
            scaler_metadata: object.metadata.iter().cloned().collect(),
        };
        Self { client: ExternalScalerClient::new(channel), object }
    }

    /// Whether any metric is active.
    pub(super) async fn poll(&self) -> Result<bool, Status> {
        Ok(self.gather().await?.iter().any(|gathered| gathered.active))
    }

    /// The metrics as an HPA gets them. The answers about activity are asked for, as KEDA's adapter does, and not used.
    pub(super) async fn metrics(&self) -> Result<Vec<Metric>, Status> {
        let metrics = self.gather().await?.into_iter().map(|gathered| {
            Metric::new(gathered.value, gathered.target)
                .ok_or_else(|| Status::out_of_range("a target must be positive"))
        });
        metrics.collect()
    }

    /// The push stream.
    pub(super) async fn stream_is_active(&self) -> Result<Streaming<IsActiveResponse>, Status> {
        Ok(self.client.clone().stream_is_active(self.object.clone()).await?.into_inner())
    }

    async fn gather(&self) -> Result<Vec<Gathered>, Status> {
        let mut client = self.client.clone();
        let specs = client.get_metric_spec(self.object.clone()).await?.into_inner().metric_specs;
        let mut gathered = Vec::with_capacity(specs.len());
        for spec in specs {
            let request = GetMetricsRequest {
                scaled_object_ref: Some(self.object.clone()),
                metric_name: spec.metric_name.clone(),
            };
            let values = client.get_metrics(request).await?.into_inner().metric_values;
            let active = client.is_active(self.object.clone()).await?.into_inner().result;
            // KEDA gives every value the name that was asked for, and the HPA adds them up.
            let value = values.iter().map(value).sum();
            gathered.push(Gathered { value, target: target(&spec), active });
        }
        Ok(gathered)
    }
}

struct Gathered {
    value: f64,
    target: f64,
    active: bool,
}

fn value(value: &MetricValue) -> f64 {
    float_if_positive(value.metric_value_float, value.metric_value)
}

fn target(spec: &MetricSpec) -> f64 {
    float_if_positive(spec.target_size_float, spec.target_size)
}

/// The float field is the newer one and wins where it is filled.
fn float_if_positive(float: f64, int: i64) -> f64 {
    if float > 0.0 { float } else { int as f64 }
}
