//! KEDA's client: a process that runs KEDA's code, told what to do line by line.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use spotscale_test_cluster::programs::program;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{Mutex as AsyncMutex, oneshot},
    time::{sleep, timeout},
};

/// For a busy machine. No test passes by waiting for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The metric as the HPA calls it, for the first trigger of a ScaledObject.
pub(crate) const METRIC: &str = "s0-spotscale-desired-replicas";

/// The running client.
pub(crate) struct Keda {
    input: AsyncMutex<ChildStdin>,
    next_id: AtomicU64,
    shared: Arc<Shared>,
    _process: Child,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    told: Mutex<Vec<Value>>,
}

/// One trigger of a ScaledObject, as KEDA's reconciler makes it.
#[derive(Clone, Copy)]
pub(crate) struct Trigger<'a> {
    /// `external` or `external-push`.
    pub(crate) kind: &'a str,
    /// The ScaledObject's, in the namespace `ns`.
    pub(crate) name: &'a str,
    /// Its place among the triggers.
    pub(crate) index: u32,
    /// `scalerAddress`.
    pub(crate) address: &'a str,
    /// The rest of the trigger's metadata.
    pub(crate) metadata: &'a [(&'a str, &'a str)],
    /// What its `TriggerAuthentication` gives.
    pub(crate) auth: &'a [(&'a str, &'a str)],
}

/// A metric of the HPA, and its target.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Spec {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) target: f64,
}

/// What a poll yields.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Answer {
    pub(crate) values: Vec<Measured>,
    pub(crate) active: bool,
}

/// A number that the HPA reads.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) value: f64,
}

impl<'a> Trigger<'a> {
    /// Of type `external`, without metadata of its own.
    pub(crate) fn poll(name: &'a str, address: &'a str) -> Self {
        Self { kind: "external", name, index: 0, address, metadata: &[], auth: &[] }
    }

    /// Of type `external-push`, without metadata of its own.
    pub(crate) fn push(name: &'a str, address: &'a str) -> Self {
        Self { kind: "external-push", ..Self::poll(name, address) }
    }
}

impl Keda {
    pub(crate) fn start() -> Self {
        let program = program("conformance").unwrap_or_else(|error| panic!("{error}"));
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = AsyncMutex::new(process.stdin.take().unwrap());
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let shared = Arc::<Shared>::default();
        let reader = shared.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                reader.take_in(serde_json::from_str(&line).unwrap());
            }
        });
        Self { input, next_id: AtomicU64::new(1), shared, _process: process }
    }

    /// Opens a scaler under the name of its ScaledObject and its place, which the other calls take.
    pub(crate) async fn open(&self, trigger: Trigger<'_>) -> Result<String, String> {
        let Trigger { kind, name, index, address, metadata, auth } = trigger;
        let mut metadata: HashMap<_, _> = metadata.iter().copied().collect();
        metadata.insert("scalerAddress", address);
        let auth: HashMap<_, _> = auth.iter().copied().collect();
        // One ScaledObject may be opened at several addresses.
        let handle = format!("{name}/{index}@{address}");
        let ask = json!({
            "do": "open", "trigger": handle, "type": kind, "namespace": "ns", "name": name,
            "index": index, "metadata": metadata, "auth": auth,
        });
        self.ask(ask).await.map(|_| handle)
    }

    /// The metrics that the HPA is built with; `None` where KEDA got none.
    pub(crate) async fn specs(&self, trigger: &str) -> Option<Vec<Spec>> {
        let answer = self.ask(json!({ "do": "specs", "trigger": trigger })).await.unwrap();
        serde_json::from_value(answer["specs"].clone()).unwrap()
    }

    /// Polls: the value and the activity, or KEDA's error.
    pub(crate) async fn poll(&self, trigger: &str, metric: &str) -> Result<Answer, String> {
        let ask = json!({ "do": "metrics", "trigger": trigger, "metric": metric });
        self.ask(ask).await.map(|answer| serde_json::from_value(answer).unwrap())
    }

    /// Starts the push loop.
    pub(crate) async fn run(&self, trigger: &str) {
        self.ask(json!({ "do": "run", "trigger": trigger })).await.unwrap();
    }

    /// Closes a scaler.
    pub(crate) async fn close(&self, trigger: &str) {
        self.ask(json!({ "do": "close", "trigger": trigger })).await.unwrap();
    }

    /// What this trigger's push loop has told so far: `active`, `specs`, `ended` or `specs_ended`.
    pub(crate) fn events(&self, event: &str, trigger: &str) -> Vec<Value> {
        let fits = |told: &&Value| told["event"] == event && told["trigger"] == trigger;
        self.shared.told.lock().unwrap().iter().filter(fits).cloned().collect()
    }

    /// Which triggers have been activated, each as often as it was.
    pub(crate) fn activated(&self) -> Vec<String> {
        let told = self.shared.told.lock().unwrap();
        let active = told.iter().filter(|told| told["event"] == "active" && told["active"] == true);
        active.map(|told| told["trigger"].as_str().unwrap().to_owned()).collect()
    }

    /// KEDA's log lines with this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        let told = self.shared.told.lock().unwrap();
        let lines = told.iter().map(|told| &told["log"]).filter(|line| line["msg"] == message);
        lines.cloned().collect()
    }

    async fn ask(&self, mut ask: Value) -> Result<Value, String> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        ask["id"] = id.into();
        let (sender, answer) = oneshot::channel();
        self.shared.waiting.lock().unwrap().insert(id, sender);
        let line = format!("{ask}\n");
        self.input.lock().await.write_all(line.as_bytes()).await.unwrap();
        let answer = timeout(PATIENCE, answer).await.expect("KEDA never answers").unwrap();
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }
}

impl Shared {
    fn take_in(&self, line: Value) {
        let asked = line["id"].as_u64().and_then(|id| self.waiting.lock().unwrap().remove(&id));
        match asked {
            Some(sender) => drop(sender.send(line)),
            None => self.told.lock().unwrap().push(line),
        }
    }
}

/// Waits until something is there, and returns it.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    looking.await.unwrap_or_else(|_| panic!("never: {what}"))
}
