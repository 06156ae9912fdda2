//! What this machine can do, measured with one replica before anything is served: a missing library or model shows here.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Deserialize;

use super::{
    Config,
    cluster::{Process, ProcessError, Program},
    faults::Capacity,
    http::{self, HttpError},
    view::Weights,
};

const WARM_UPS: usize = 2;
const TIMED: usize = 7;
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
    /// It does not answer.
    #[error("the first replica did not answer")]
    Http(#[from] HttpError),
    /// It answers, but no classification.
    #[error("the first replica answered {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// A picture cannot be read.
    #[error("cannot read {path}: {why}", path = .path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
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
    let picture = config.pictures.as_deref().map(first_picture).transpose()?.flatten();
    let picture = picture.unwrap_or_else(grey_picture);
    let mut replica = Process::start(program, "calibration").await?;
    let mut millis = Vec::with_capacity(TIMED);
    let mut weights = Weights::Seeded;
    for round in 0..WARM_UPS + TIMED {
        let start = Instant::now();
        weights = classify(&replica, picture.clone()).await?;
        if round >= WARM_UPS {
            millis.push(start.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let room = config.max_replicas.unwrap_or_else(|| room(replica.resident_bytes()));
    replica.stop(Duration::from_secs(5)).await;
    millis.sort_by(f64::total_cmp);
    let image_ms = millis[TIMED / 2];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busy = (cores as f64 * SHARE_OF_REPLICAS).min(f64::from(room));
    let images_per_second = busy * 1000.0 / image_ms;
    Ok(Machine { capacity: Capacity { images_per_second, image_ms, max_replicas: room }, weights })
}

#[derive(Deserialize)]
struct Answer {
    weights: Weights,
}

async fn classify(replica: &Process, picture: Bytes) -> Result<Weights, CalibrateError> {
    let (status, body) = http::post(replica.address, "/v1/classify", picture).await?;
    match serde_json::from_slice::<Answer>(&body) {
        Ok(answer) if status.is_success() => Ok(answer.weights),
        _ => Err(CalibrateError::Refused {
            status: status.as_u16(),
            body: String::from_utf8_lossy(&body).into_owned(),
        }),
    }
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

/// The first picture by name.
fn first_picture(folder: &Path) -> Result<Option<Bytes>, CalibrateError> {
    let failed = |path: &Path, why| CalibrateError::Picture { path: path.to_owned(), why };
    let entries = std::fs::read_dir(folder).map_err(|why| failed(folder, why))?;
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        ["jpg", "jpeg", "png"].contains(&extension.to_ascii_lowercase().as_str())
    };
    let first = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_picture).min();
    let Some(path) = first else { return Ok(None) };
    let bytes = std::fs::read(&path).map_err(|why| failed(&path, why))?;
    Ok(Some(bytes.into()))
}

/// A grey picture of 256 x 256 as a BMP of 24 bits: a header of 54 bytes, then the pixels.
fn grey_picture() -> Bytes {
    const SIDE: u32 = 256;
    const PIXELS: u32 = SIDE * SIDE * 3;
    let mut bmp = b"BM".to_vec();
    for field in [54 + PIXELS, 0, 54, 40, SIDE, SIDE, 1 | 24 << 16, 0, PIXELS, 0, 0, 0, 0] {
        bmp.extend(field.to_le_bytes());
    }
    bmp.resize(bmp.len() + PIXELS as usize, 128);
    bmp.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_picture_says_its_own_size() {
        let bmp = grey_picture();
        assert_eq!(bmp.len(), 54 + 256 * 256 * 3);
        assert_eq!(u32::from_le_bytes(bmp[2..6].try_into().unwrap()) as usize, bmp.len());
        assert_eq!(bmp[28], 24, "bits per pixel");
    }

    #[test]
    fn replicas_fit_the_memory() {
        assert_eq!(room(Some(u64::MAX)), 1);
        assert!((5..=20).contains(&room(None)));
    }
}
