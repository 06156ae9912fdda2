//! Which execution providers may run a model, in which order.

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use serde::Serialize;

/// What `--device` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The first of the others that works.
    Auto,
    /// NVIDIA TensorRT, or nothing.
    #[value(name = "tensorrt")]
    TensorRt,
    /// NVIDIA CUDA, or nothing.
    Cuda,
    /// The CPU.
    Cpu,
}

/// What a model really runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    /// NVIDIA TensorRT; what it cannot run goes to CUDA.
    TensorRt,
    /// NVIDIA CUDA.
    Cuda,
    /// The CPU.
    Cpu,
}

impl Device {
    /// What to try first, in this order; none of it need be there.
    pub(crate) fn preferred(self) -> &'static [Provider] {
        match self {
            Self::Auto => &[Provider::TensorRt, Provider::Cuda],
            Self::TensorRt | Self::Cuda | Self::Cpu => &[],
        }
    }

    /// What must be there when nothing preferred is.
    pub(crate) fn last(self) -> Provider {
        match self {
            Self::TensorRt => Provider::TensorRt,
            Self::Cuda => Provider::Cuda,
            Self::Auto | Self::Cpu => Provider::Cpu,
        }
    }
}

impl Provider {
    /// Its name in flags, logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }

    /// Whether the loaded library was built with it. It may still fail, for want of a driver or a
    /// device.
    pub(super) fn is_built_in(self) -> bool {
        let available = match self {
            Self::TensorRt => ep::TensorRT::is_available(),
            Self::Cuda => ep::CUDA::is_available(),
            Self::Cpu => Ok(true),
        };
        available.unwrap_or(false)
    }

    /// What ONNX Runtime is to register; the CPU is always there, last.
    pub(super) fn registrations(self) -> Vec<ExecutionProviderDispatch> {
        match self {
            Self::TensorRt => vec![ep::TensorRT::default().build().error_on_failure(), cuda()],
            Self::Cuda => vec![cuda()],
            Self::Cpu => Vec::new(),
        }
    }
}

/// Exhaustive search would time every algorithm again for each new batch size, in the middle of
/// serving.
fn cuda() -> ExecutionProviderDispatch {
    ep::CUDA::default()
        .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
        .build()
        .error_on_failure()
}

#[cfg(test)]
mod tests {
    use super::{Device, Provider};

    #[test]
    fn only_auto_falls_back() {
        assert_eq!(Device::Auto.preferred(), [Provider::TensorRt, Provider::Cuda]);
        assert_eq!(Device::Auto.last(), Provider::Cpu);
        for (device, provider) in [
            (Device::TensorRt, Provider::TensorRt),
            (Device::Cuda, Provider::Cuda),
            (Device::Cpu, Provider::Cpu),
        ] {
            assert!(device.preferred().is_empty());
            assert_eq!(device.last(), provider);
        }
    }
}
