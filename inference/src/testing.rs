//! For tests: a model whose every inference waits for the test's word, and the service around it.

use std::{sync::Arc, time::Duration};

use clap::Parser;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    Config,
    engine::{Classifier, Contract, EngineError, Loaded, PICTURE_LEN, Provider},
    metrics::Metrics,
    model::Registry,
    service::{Service, State},
    start::{End, Opened},
};

/// Longer than anything takes on a busy machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
const CLASSES: usize = 3;

/// Reports each inference and waits for its outcome. The scores of a picture are its first values.
struct Puppet {
    calls: mpsc::UnboundedSender<usize>,
    outcomes: mpsc::UnboundedReceiver<Result<(), EngineError>>,
}

/// The test's side of a [`Puppet`].
pub(crate) struct Strings {
    calls: mpsc::UnboundedReceiver<usize>,
    outcomes: mpsc::UnboundedSender<Result<(), EngineError>>,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A configuration of `flags` with one model, `puppet`.
pub(crate) fn config(flags: &[&str]) -> Config {
    let fixed =
        ["test", "--model=puppet=none.onnx", "--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0"];
    Flags::try_parse_from(fixed.iter().chain(flags)).unwrap().config
}

/// The model `puppet`, opened. Its warm-up is answered already.
pub(crate) fn puppet(config: &Config) -> (Opened, Strings) {
    let (calls, on_calls) = mpsc::unbounded_channel();
    let (outcomes, on_outcomes) = mpsc::unbounded_channel();
    outcomes.send(Ok(())).unwrap();
    let (input, output) = ("data".to_owned(), "scores".to_owned());
    let loaded = Loaded {
        classifier: Box::new(Puppet { calls, outcomes: on_outcomes }),
        contract: Contract { input, output, classes: CLASSES, single: false },
        provider: Provider::Cpu,
        weights: "none".to_owned(),
        labels: Vec::new(),
    };
    let opened = Opened::fake(config.models[0].clone(), loaded);
    (opened, Strings { calls: on_calls, outcomes })
}

/// One picture for `puppet` as a raw tensor: the length of the JSON, and the body.
pub(crate) fn infer_body() -> (usize, Vec<u8>) {
    let bytes = PICTURE_LEN * size_of::<f32>();
    let parameters = serde_json::json!({"binary_data_size": bytes});
    let shape = [1, 3, 224, 224];
    let input = serde_json::json!({
        "name": "data", "datatype": "FP32", "shape": shape, "parameters": parameters
    });
    let mut body = serde_json::json!({"inputs": [input]}).to_string().into_bytes();
    let json_length = body.len();
    body.resize(json_length + bytes, 0);
    (json_length, body)
}

impl Classifier for Puppet {
    fn run(&mut self, input: &[f32], rows: usize) -> Result<Vec<f32>, EngineError> {
        let gone = || EngineError::Failed("the test is over".to_owned());
        self.calls.send(rows).map_err(|_| gone())?;
        self.outcomes.blocking_recv().ok_or_else(gone)??;
        Ok(input.chunks(PICTURE_LEN).flat_map(|picture| picture[..CLASSES].to_vec()).collect())
    }
}

impl Strings {
    /// Waits for the next inference to start and gives its size.
    pub(crate) async fn started(&mut self) -> usize {
        timeout(PATIENCE, self.calls.recv()).await.expect("no inference").expect("no model")
    }

    /// Ends the running inference, or the next one.
    pub(crate) fn end(&self, outcome: Result<(), EngineError>) {
        self.outcomes.send(outcome).unwrap();
    }

    /// Whether no inference has started since the last that was asked about.
    pub(crate) fn is_still(&self) -> bool {
        self.calls.is_empty()
    }
}

/// A service with one model that a test plays.
pub(crate) struct Stage {
    pub(crate) service: Arc<Service>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) strings: Strings,
    pub(crate) end: End,
}

impl Stage {
    /// Ready, its warm-up over.
    pub(crate) async fn set(flags: &[&str]) -> Self {
        let (config, metrics) = (config(flags), Arc::new(Metrics::new()));
        let (opened, mut strings) = puppet(&config);
        let (started, config, metrics) = tokio::task::spawn_blocking(move || {
            (opened.start(&config, &metrics).unwrap(), config, metrics)
        })
        .await
        .unwrap();
        let (model, end) = started;
        assert_eq!(strings.started().await, 1, "one picture to warm up");
        let ready = State::Ready(Arc::new(Registry::new(vec![model])));
        let (state, watched) = watch::channel(ready);
        let service = Arc::new(Service::new(&config, watched, metrics));
        Self { service, state, strings, end }
    }

    /// Waits until so many pictures are in the queue.
    pub(crate) async fn queued(&self, pictures: usize) {
        let models = self.service.models().unwrap();
        let model = models.get(None, None).unwrap();
        let wait = async {
            while model.queue.depth() != pictures {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the queue never had that length");
    }
}
