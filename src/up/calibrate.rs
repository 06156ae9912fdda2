//! What this machine can do, measured with one replica before anything is served: a missing library or model shows here.

use std::time::Duration;

use super::{
    Config,
    cluster::{Process, ProcessError, Program},
    faults::Capacity,
};
use crate::calibrate::{
    picture::{PictureError, Weights, classify, picture},
    sweep::{Length, round},
};

const WARM_UP: Length = Length { requests: 2, time: Duration::ZERO };
const TIMED: Length = Length { requests: 7, time: Duration::ZERO };
/// The share of this machine that replicas get; the rest is for the front, the scaler and whoever sends the load.
const SHARE_OF_REPLICAS: f64 = 0.75;
/// The share of the free memory that replicas may fill.
const SHARE_OF_MEMORY: f64 = 0.5;

/// Why the measurement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CalibrateError {
    /// No replica comes up.
    #[error("the first replica did not start")]
    Process(#[from] ProcessError),
    /// It classifies nothing, or there is no picture to classify.
    #[error("the first replica cannot be measured")]
    Picture(#[from] PictureError),
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// How much this machine can do.
    pub(crate) capacity: Capacity,
    /// Where the model's weights come from.
    pub(crate) weights: Weights,
}

/// Starts one replica, classifies one picture several times, and stops it.
pub(crate) async fn calibrate(
    program: &Program,
    config: &Config,
) -> Result<Machine, CalibrateError> {
    let picture = picture(config.pictures.as_deref())?;
    let mut replica = Process::start(program, "calibration").await?;
    let address = replica.address;
    let call = async || classify(address, picture.clone()).await.map(|(answer, _)| answer);
    round(1, WARM_UP, &call).await?;
    let timed = round(1, TIMED, &call).await?;
    if timed.refused > 0 {
        return Err(PictureError::Busy.into());
    }
    let weights = classify(address, picture.clone()).await?.1.unwrap_or(Weights::Seeded);
    let room = config.max_replicas.unwrap_or_else(|| room(replica.resident_bytes()));
    replica.stop(Duration::from_secs(5)).await;
    let image_ms = timed.median.as_secs_f64() * 1000.0;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busy = (cores as f64 * SHARE_OF_REPLICAS).min(f64::from(room));
    let images_per_second = busy * 1000.0 / image_ms;
    Ok(Machine { capacity: Capacity { images_per_second, image_ms, max_replicas: room }, weights })
}

/// Replicas that there is memory for: 5 to 20, so that there is something to scale, and fewer only where they do not fit.
fn room(replica_bytes: Option<u64>) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wish = u32::try_from(cores).unwrap_or(u32::MAX).clamp(5, 20);
    match (replica_bytes, free_bytes()) {
        (Some(replica), Some(free)) if replica > 0 => {
            let fit = free as f64 * SHARE_OF_MEMORY / replica as f64;
            wish.min(fit as u32).max(1)
        }
        _ => wish,
    }
}

/// Memory that can be had without swapping; `None` where the system does not say it in Linux's way.
fn free_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    super::cluster::kibibytes(&text, "MemAvailable:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_fit_the_memory() {
        assert_eq!(room(Some(u64::MAX)), 1);
        assert!((5..=20).contains(&room(None)));
    }
}
