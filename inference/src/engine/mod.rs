//! What runs a model: one loaded ONNX classifier, called from one thread. Knows tensors, not
//! pictures or requests.

mod contract;
mod device;
pub(crate) mod library;
mod onnx;

pub use contract::ContractError;
pub use device::Device;
pub use library::LibraryError;
pub use onnx::LoadError;

pub(crate) use contract::{Contract, PICTURE_LEN, SIDE};
pub(crate) use device::Provider;
pub(crate) use onnx::{LoadOptions, Loaded, load};

/// A loaded image classifier. Synchronous, because an inference owns its thread while it runs.
pub(crate) trait Classifier: Send {
    /// Runs `rows` pictures, each 3 x 224 x 224, one after the other in `input`.
    /// The answer holds `rows` times as many values as the model has classes.
    fn run(&mut self, input: &[f32], rows: usize) -> Result<Vec<f32>, EngineError>;
}

/// Why an inference gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The device has no memory for a batch of this size; a smaller one may still do.
    #[error("out of memory with {rows} pictures: {message}")]
    OutOfMemory {
        /// The size of the batch.
        rows: usize,
        /// The engine's own words.
        message: String,
    },
    /// Anything else.
    #[error("inference failed: {0}")]
    Failed(String),
}

impl EngineError {
    /// Sorts an engine's message; ONNX Runtime has no error code for memory.
    pub(crate) fn from_message(message: String, rows: usize) -> Self {
        const SIGNS: [&str; 5] =
            ["out of memory", "failed to allocate", "alloc_failed", "bad_alloc", "bad allocation"];
        let lower = message.to_lowercase();
        if SIGNS.iter().any(|sign| lower.contains(sign)) {
            Self::OutOfMemory { rows, message }
        } else {
            Self::Failed(message)
        }
    }

    /// A word for errors and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::Failed(_) => "inference_failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EngineError;

    #[test]
    fn memory_is_told_from_other_failures_by_the_message() {
        let memory = [
            "Failed to allocate memory for requested buffer of size 411041792",
            "CUDA failure 2: out of memory ; GPU=0",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
            "std::bad_alloc",
        ];
        for message in memory {
            assert_eq!(EngineError::from_message(message.into(), 4).kind(), "out_of_memory");
        }
        let other = EngineError::from_message("Got invalid dimensions for input: data".into(), 4);
        assert_eq!(other.kind(), "inference_failed");
    }
}
