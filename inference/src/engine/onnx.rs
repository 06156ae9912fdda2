//! An ONNX file in an ONNX Runtime session: opened on the first device that takes it, checked, and
//! run.

use std::path::{Path, PathBuf};

use ort::{
    environment::Environment,
    session::Session,
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};

use super::{
    Classifier, Contract, Device, EngineError, LibraryError, Provider,
    contract::{ContractError, Port, SIDE},
    library,
};
use crate::config::ModelSpec;

/// How to open a file.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    /// What may run it.
    pub(crate) device: Device,
    /// CPU threads of the session.
    pub(crate) threads: usize,
    /// The ONNX Runtime library.
    pub(crate) library: Option<PathBuf>,
}

/// An opened model and what its file says of itself.
pub(crate) struct Loaded {
    /// Runs it.
    pub(crate) classifier: Box<dyn Classifier>,
    /// Its input and output.
    pub(crate) contract: Contract,
    /// What it runs on.
    pub(crate) provider: Provider,
    /// Where the weights come from: `seeded` when the file says so, else `pretrained`.
    pub(crate) weights: String,
    /// One for each class; empty when nobody gives any.
    pub(crate) labels: Vec<String>,
}

/// Why a model is not served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No ONNX Runtime.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// `--device` asks for what the library was not built with.
    #[error("--device {0}: this ONNX Runtime library was built without it")]
    NotBuiltIn(&'static str),
    /// ONNX Runtime does not take the file, or not on this device.
    #[error("model {name}: {path} on {device}: {reason}", path = .path.display())]
    Session {
        /// The model.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The device.
        device: &'static str,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// It is not an image classifier.
    #[error("model {name}: {reason}")]
    Contract {
        /// The model.
        name: String,
        /// What is wrong.
        reason: ContractError,
    },
    /// The labels do not fit the model.
    #[error("model {name}: {reason}")]
    Labels {
        /// The model.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl LoadError {
    /// A word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Library(_) => "library",
            Self::NotBuiltIn(_) => "device",
            Self::Session { .. } => "session",
            Self::Contract { .. } => "contract",
            Self::Labels { .. } => "labels",
        }
    }
}

/// Opens `spec`'s file and checks it. Blocks for as long as reading and optimising takes.
pub(crate) fn load(spec: &ModelSpec, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let environment = library::environment(options.library.as_deref())?;
    let (session, provider) = open_on_first(&environment, spec, options)?;
    let contract = Contract::of(&ports(session.inputs()), &ports(session.outputs()))
        .map_err(|reason| LoadError::Contract { name: spec.name.clone(), reason })?;
    let property = |key| session.metadata().ok().and_then(|metadata| metadata.custom(key));
    let weights = property("weights").unwrap_or_else(|| "pretrained".to_owned());
    let labels = labels(&spec.path, property("labels"), contract.classes)
        .map_err(|reason| LoadError::Labels { name: spec.name.clone(), reason })?;
    Ok(Loaded { classifier: Box::new(Onnx { session }), contract, provider, weights, labels })
}

struct Onnx {
    session: Session,
}

impl Classifier for Onnx {
    fn run(&mut self, input: &[f32], rows: usize) -> Result<Vec<f32>, EngineError> {
        let failed = |error: ort::Error| EngineError::from_message(error.to_string(), rows);
        let tensor = TensorRef::from_array_view(([rows, 3, SIDE, SIDE], input)).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![tensor]).map_err(failed)?;
        let (_, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        Ok(values.to_vec())
    }
}

/// Opens it on the first preferred device that takes it, else on the last; says which were passed
/// over.
fn open_on_first(
    environment: &Environment,
    spec: &ModelSpec,
    options: &LoadOptions,
) -> Result<(Session, Provider), LoadError> {
    for &provider in options.device.preferred() {
        match open(environment, spec, provider, options.threads) {
            Ok(session) => return Ok((session, provider)),
            Err(why @ LoadError::NotBuiltIn(_)) => tracing::info!(%why, "falling back"),
            Err(why) => tracing::warn!(%why, "falling back"),
        }
    }
    let provider = options.device.last();
    Ok((open(environment, spec, provider, options.threads)?, provider))
}

fn open(
    environment: &Environment,
    spec: &ModelSpec,
    provider: Provider,
    threads: usize,
) -> Result<Session, LoadError> {
    if !provider.is_built_in() {
        return Err(LoadError::NotBuiltIn(provider.name()));
    }
    session(environment, &spec.path, provider, threads).map_err(|error| LoadError::Session {
        name: spec.name.clone(),
        path: spec.path.clone(),
        device: provider.name(),
        // ONNX Runtime's messages may have several lines.
        reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

fn session(
    environment: &Environment,
    path: &Path,
    provider: Provider,
    threads: usize,
) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(threads)?
        // Spinning threads would take the cores from decoding and from other replicas on the
        // machine.
        .with_intra_op_spinning(false)?
        .with_execution_providers(provider.registrations())?
        .commit_from_file(path)
}

fn ports(outlets: &[Outlet]) -> Vec<Port> {
    let port = |outlet: &Outlet| Port {
        name: outlet.name().to_owned(),
        float_shape: match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => Some(shape.to_vec()),
            _ => None,
        },
        described: outlet.dtype().to_string(),
    };
    outlets.iter().map(port).collect()
}

/// From the file itself, or from a text file beside it (`resnet50.onnx`, `resnet50.labels.txt`):
/// one a line, in order.
fn labels(path: &Path, inside: Option<String>, classes: usize) -> Result<Vec<String>, String> {
    let beside = path.with_extension("labels.txt");
    let (text, origin) = match inside {
        Some(text) => (text, "the model's metadata".to_owned()),
        None if !beside.exists() => return Ok(Vec::new()),
        None => {
            let text = std::fs::read_to_string(&beside)
                .map_err(|error| format!("{}: {error}", beside.display()))?;
            (text, beside.display().to_string())
        }
    };
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if labels.len() == classes {
        Ok(labels)
    } else {
        Err(format!("{origin} has {} labels for {classes} classes", labels.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::labels;

    #[test]
    fn labels_come_from_the_file_or_beside_it_and_fit() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.onnx");
        assert_eq!(labels(&model, None, 2), Ok(Vec::new()));
        assert_eq!(labels(&model, Some("cat\ndog\n".into()), 2).unwrap(), ["cat", "dog"]);
        std::fs::write(folder.path().join("m.labels.txt"), "ant\r\nbee\n").unwrap();
        assert_eq!(labels(&model, None, 2).unwrap(), ["ant", "bee"]);
        assert!(labels(&model, None, 3).unwrap_err().contains("2 labels for 3 classes"));
    }
}
