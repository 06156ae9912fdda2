//! The flags of the inference service, each also an environment variable. Parsing and cross-field
//! checks only; `listeners` binds and `run` serves.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use serde::Serialize;
use spotscale_decide::units::Span;

use crate::{
    engine::{Device, LibraryError, PICTURE_LEN, library},
    image::BYTES_PER_PIXEL,
};

/// A tensor of one picture, in 32-bit floats.
const PICTURE_BYTES: usize = PICTURE_LEN * size_of::<f32>();

/// Each model is a thread and a session of its own.
const MODELS_MAX: usize = 64;
const BATCH_MAX: usize = 1024;
const DECODE_MEMORY_MAX: usize = 1 << 40;
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);

/// How the inference service runs.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct Config {
    /// Address of the HTTP port: classification, open inference protocol v2, probes, metrics
    #[arg(long, env = "SPOTSCALE_INFERENCE_LISTEN", default_value = "0.0.0.0:8000")]
    pub listen: SocketAddr,

    /// Address of the gRPC port: open inference protocol v2
    #[arg(long, env = "SPOTSCALE_INFERENCE_GRPC_LISTEN", default_value = "0.0.0.0:8001")]
    pub grpc_listen: SocketAddr,

    /// ONNX image classifier to serve, as NAME=PATH or NAME=PATH@VERSION (version 1 when not
    /// given); repeatable, the first is the default model, and the first version of a name is that
    /// name's default
    #[arg(
        long = "model",
        env = "SPOTSCALE_INFERENCE_MODELS",
        value_delimiter = ',',
        required = true
    )]
    pub models: Vec<ModelSpec>,

    /// What runs the model; auto takes the first of tensorrt, cuda and cpu that works
    #[arg(long, env = "SPOTSCALE_INFERENCE_DEVICE", value_enum, default_value_t = Device::Auto)]
    pub device: Device,

    /// CPU threads for each model, and pictures decoded at one time; 0 is one for each core
    #[arg(long, env = "SPOTSCALE_INFERENCE_THREADS", default_value_t = 0)]
    pub threads: usize,

    /// Most pictures in one inference
    #[arg(long, env = "SPOTSCALE_INFERENCE_MAX_BATCH", default_value_t = 8)]
    pub max_batch: usize,

    /// Longest that a picture waits for others to join its batch
    #[arg(long, env = "SPOTSCALE_INFERENCE_MAX_WAIT", default_value = "2ms")]
    pub max_wait: Span,

    /// Most pictures that wait for one model; more are refused with 429
    #[arg(long, env = "SPOTSCALE_INFERENCE_QUEUE", default_value_t = 64)]
    pub queue: usize,

    /// Largest request body, in bytes
    #[arg(long, env = "SPOTSCALE_INFERENCE_MAX_BODY", default_value_t = 16 << 20)]
    pub max_body: usize,

    /// Most pixels (width times height) of a picture, as it declares itself
    #[arg(long, env = "SPOTSCALE_INFERENCE_MAX_PIXELS", default_value_t = 7680 * 4320)]
    pub max_pixels: u64,

    /// Most memory for pictures that are being decoded, in bytes, reckoned as 12 bytes a pixel; more of them wait. Has to
    /// do for one picture of --max-pixels
    #[arg(long, env = "SPOTSCALE_INFERENCE_MAX_DECODE_MEMORY", default_value_t = 512 << 20)]
    pub max_decode_memory: usize,

    /// Most requests at one time on both ports; with --max-body it bounds the memory for bodies
    #[arg(long, env = "SPOTSCALE_INFERENCE_MAX_REQUESTS", default_value_t = 128)]
    pub max_requests: usize,

    /// Most open connections to each of the two ports
    #[arg(long, env = "SPOTSCALE_INFERENCE_MAX_CONNECTIONS", default_value_t = 1024)]
    pub max_connections: usize,

    /// Longest that a request may take; the header x-request-timeout-ms can only shorten it
    #[arg(long, env = "SPOTSCALE_INFERENCE_REQUEST_TIMEOUT", default_value = "30s")]
    pub request_timeout: Span,

    /// Longest that running and queued requests may take to finish after SIGTERM
    #[arg(long, env = "SPOTSCALE_INFERENCE_DRAIN_TIMEOUT", default_value = "25s")]
    pub drain_timeout: Span,

    /// The ONNX Runtime library; found by the system's loader when not given
    #[arg(long, env = "ORT_DYLIB_PATH")]
    pub ort_dylib_path: Option<PathBuf>,
}

/// One model to serve: `NAME=PATH[@VERSION]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelSpec {
    /// What clients call it.
    pub name: String,
    /// What clients call this file of it.
    pub version: String,
    /// The ONNX file.
    pub path: PathBuf,
}

/// Why a configuration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number or duration that makes no sense.
    #[error("--{flag} must be {least} to {most}")]
    OutOfRange {
        /// The flag, without dashes.
        flag: &'static str,
        /// The least that it may be, with its unit.
        least: String,
        /// The most that it may be, with its unit.
        most: String,
    },
    /// Two `--model` with one name and version.
    #[error("--model {name}@{version} is given twice")]
    Duplicate {
        /// The model.
        name: String,
        /// Its version.
        version: String,
    },
    /// A model file that cannot be read.
    #[error("--model {name}: cannot read {path}: {reason}", path = .path.display())]
    ModelFile {
        /// The model.
        name: String,
        /// Its file.
        path: PathBuf,
        /// Why not.
        reason: std::io::Error,
    },
    /// The ONNX Runtime library is missing or of no use.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl ConfigError {
    /// A word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "out_of_range",
            Self::Duplicate { .. } => "duplicate_model",
            Self::ModelFile { .. } => "model_file",
            Self::Library(_) => "library",
        }
    }
}

impl Config {
    /// Checks what the flags say together, that each model file can be read, and that the ONNX
    /// Runtime library loads.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_numbers()?;
        for (index, spec) in self.models.iter().enumerate() {
            let same = |other: &ModelSpec| other.name == spec.name && other.version == spec.version;
            if self.models[..index].iter().any(same) {
                let (name, version) = (spec.name.clone(), spec.version.clone());
                return Err(ConfigError::Duplicate { name, version });
            }
            spec.check_file()?;
        }
        library::environment(self.ort_dylib_path.as_deref())?;
        Ok(())
    }

    /// CPU threads after "one for each core" is resolved.
    pub(crate) fn cpu_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let pixels = usize::try_from(self.max_pixels).unwrap_or(usize::MAX);
        within("model", self.models.len(), 1..=MODELS_MAX)?;
        within("threads", self.threads, 0..=1024)?;
        within("max-batch", self.max_batch, 1..=BATCH_MAX)?;
        within("queue", self.queue, self.max_batch..=1_000_000)?;
        within("max-body", self.max_body, PICTURE_BYTES..=1 << 30)?;
        within("max-pixels", pixels, 1..=1_000_000_000)?;
        let largest = pixels * BYTES_PER_PIXEL as usize;
        within("max-decode-memory", self.max_decode_memory, largest..=DECODE_MEMORY_MAX)?;
        within("max-requests", self.max_requests, 1..=1_000_000)?;
        within("max-connections", self.max_connections, 1..=1_000_000)?;
        lasting("request-timeout", self.request_timeout.0, MILLISECOND..=HOUR)?;
        lasting("max-wait", self.max_wait.0, Duration::ZERO..=self.request_timeout.0)?;
        lasting("drain-timeout", self.drain_timeout.0, MILLISECOND..=HOUR)
    }
}

fn within(
    flag: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    let (least, most) = (range.start().to_string(), range.end().to_string());
    if range.contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { flag, least, most }) }
}

fn lasting(
    flag: &'static str,
    value: Duration,
    range: RangeInclusive<Duration>,
) -> Result<(), ConfigError> {
    let (least, most) = (format!("{:?}", range.start()), format!("{:?}", range.end()));
    if range.contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { flag, least, most }) }
}

impl ModelSpec {
    fn check_file(&self) -> Result<(), ConfigError> {
        let opened = std::fs::File::open(&self.path).and_then(|file| file.metadata());
        let reason = match opened {
            Ok(metadata) if metadata.is_file() => return Ok(()),
            Ok(_) => std::io::Error::other("not a file"),
            Err(reason) => reason,
        };
        Err(ConfigError::ModelFile { name: self.name.clone(), path: self.path.clone(), reason })
    }
}

impl FromStr for ModelSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not NAME=PATH or NAME=PATH@VERSION");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        // An @ inside a folder's name is part of the path.
        let (path, version) = match rest.rsplit_once('@') {
            Some((path, version)) if !version.contains('/') => (path, version),
            _ => (rest, "1"),
        };
        if path.is_empty() || !is_word(name) || !is_word(version) {
            return Err(format!("{}; names are letters, digits, - _ and .", wrong()));
        }
        Ok(Self { name: name.to_owned(), version: version.to_owned(), path: path.into() })
    }
}

/// Names stand in URLs and metric labels, so they are kept plain.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> (String, String, String) {
        let spec: ModelSpec = text.parse().unwrap();
        (spec.name, spec.path.display().to_string(), spec.version)
    }

    #[test]
    fn a_model_is_name_path_and_perhaps_version() {
        let of = |name: &str, path: &str, version: &str| {
            (name.to_owned(), path.to_owned(), version.to_owned())
        };
        assert_eq!(spec("resnet50=/m/r.onnx"), of("resnet50", "/m/r.onnx", "1"));
        assert_eq!(spec("r=m.onnx@v2.1"), of("r", "m.onnx", "v2.1"));
        assert_eq!(spec("r=/a@b/m.onnx"), of("r", "/a@b/m.onnx", "1"));
        assert_eq!(spec("r=/x=y/m.onnx"), of("r", "/x=y/m.onnx", "1"));
    }

    #[test]
    fn half_a_model_is_refused() {
        for text in ["", "resnet50", "=m.onnx", "r=", "r=@2", "r=m.onnx@", "a b=m.onnx"] {
            assert!(text.parse::<ModelSpec>().is_err(), "{text:?} was taken");
        }
    }
}
