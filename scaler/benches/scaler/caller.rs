//! KEDA's part: unary calls at a steady pace, and push streams whose messages are timed.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use spotscale_proto::externalscaler::{
    GetMetricsRequest, ScaledObjectRef, external_scaler_client::ExternalScalerClient,
};
use spotscale_scaler::keda::METRIC_NAME;
use tokio::{sync::oneshot, task::JoinSet, time::MissedTickBehavior};
use tonic::{Status, transport::Channel};

use crate::{OBJECTS, fronts::Woken, name, soon};

type Keda = ExternalScalerClient<Channel>;

/// When the first message came on each stream, in the order of the objects.
pub(crate) struct Streams(Vec<oneshot::Receiver<Instant>>);

/// Opens a push stream for each of `count` objects.
pub(crate) async fn open_streams(mut keda: Keda, count: usize) -> anyhow::Result<Streams> {
    let mut arrivals = Vec::with_capacity(count);
    for index in 0..count {
        let mut stream = keda.stream_is_active(reference(index)).await?.into_inner();
        let (arrived, arrival) = oneshot::channel();
        arrivals.push(arrival);
        tokio::spawn(async move {
            if let Ok(Some(_)) = stream.message().await {
                let _ = arrived.send(Instant::now());
            }
            // Open until the end of the program, as KEDA's are.
            while let Ok(Some(_)) = stream.message().await {}
        });
    }
    Ok(Streams(arrivals))
}

impl Streams {
    /// From each waking to its message, sorted.
    pub(crate) async fn delays(self, woken: &Woken) -> anyhow::Result<Vec<Duration>> {
        let mut delays = Vec::with_capacity(woken.len());
        for (arrival, woken) in self.0.into_iter().zip(woken) {
            let arrived = soon("a push message", arrival).await?.context("a stream failed")?;
            delays.push(arrived.duration_since(*woken));
        }
        delays.sort_unstable();
        Ok(delays)
    }
}

/// Calls at a steady pace, as every poll of KEDA does: spec, value, activity. No call waits for another, so one slow
/// answer does not hide what came behind it. The delays, sorted.
pub(crate) async fn call(
    keda: Keda,
    per_second: u32,
    lasts: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let pace = Duration::from_secs(1) / per_second;
    let mut ticks = tokio::time::interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    let mut delays = Vec::new();
    let count = (lasts.as_secs_f64() * f64::from(per_second)) as usize;
    for turn in 0..count {
        ticks.tick().await;
        let sent = Instant::now();
        let keda = keda.clone();
        calls.spawn(async move {
            one(keda, turn).await?;
            Ok::<_, Status>(sent.elapsed())
        });
        while let Some(done) = calls.try_join_next() {
            delays.push(done??);
        }
    }
    while let Some(done) = soon("the last calls", calls.join_next()).await? {
        delays.push(done??);
    }
    delays.sort_unstable();
    Ok(delays)
}

async fn one(mut keda: Keda, turn: usize) -> Result<(), Status> {
    let reference = reference(turn / 3 % OBJECTS);
    match turn % 3 {
        0 => keda.get_metric_spec(reference).await.map(drop),
        1 => {
            let metric_name = METRIC_NAME.to_owned();
            let request = GetMetricsRequest { scaled_object_ref: Some(reference), metric_name };
            keda.get_metrics(request).await.map(drop)
        }
        _ => keda.is_active(reference).await.map(drop),
    }
}

fn reference(index: usize) -> ScaledObjectRef {
    let metadata = [("scalerAddress", "spotscale-scaler:6000"), ("sloMs", "500")];
    ScaledObjectRef {
        name: name(index),
        namespace: "bench".to_owned(),
        scaler_metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}
