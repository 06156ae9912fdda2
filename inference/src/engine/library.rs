//! Loads the ONNX Runtime library and keeps its environment.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{environment::Environment, logging::LogLevel};

/// ONNX Runtime allows one environment in the life of a process, so this is the process's.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Why the library is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It is missing, not a library, or too old.
    #[error("cannot load the ONNX Runtime library {path}: {reason} (set ORT_DYLIB_PATH)", path = .path.display())]
    Load {
        /// The file, or the name given to the system's loader.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// It loaded but does not start.
    #[error("ONNX Runtime does not start: {0}")]
    Start(String),
}

/// The process's environment; loads the library at the first call, and `path` is looked at only
/// then.
pub(crate) fn environment(path: Option<&Path>) -> Result<Environment, LibraryError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*slot {
        return Ok(environment.clone());
    }
    let environment = start(&resolve(path))?;
    *slot = Some(environment.clone());
    Ok(environment)
}

/// A bare name is for the system's loader to find; `ort` would look for a relative path beside the
/// executable.
fn resolve(path: Option<&Path>) -> PathBuf {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let path = path.unwrap_or(Path::new("libonnxruntime.so"));
    if path.components().count() > 1 {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    } else {
        path.to_owned()
    }
}

fn start(path: &Path) -> Result<Environment, LibraryError> {
    let builder = ort::init_from(path).map_err(|error| {
        use ort::LoadDynamicError as E;
        let reason = match &error {
            E::Dlopen { error, .. } => loader_words(error, path),
            E::BadVersion { version_str, .. } => {
                format!("it is version {version_str}, older than 1.{}", ort::MINOR_VERSION)
            }
            other => other.to_string(),
        };
        LibraryError::Load { path: path.to_owned(), reason }
    })?;
    let failed = |error: ort::Error| LibraryError::Start(error.to_string());
    let environment = builder
        .with_name("spotscale")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(failed)?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

/// What `dlopen` said, without the path that it begins with: the caller names it anyway.
fn loader_words(error: &dyn std::error::Error, path: &Path) -> String {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned()
}

/// What the library reports as an error also comes back as one; its log is only background.
fn log(level: LogLevel, _category: &str, _id: &str, _location: &str, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(target: "onnxruntime", "{message}"),
        _ => tracing::debug!(target: "onnxruntime", "{message}"),
    }
}
