//! The daemon as a process on a large cluster: what its ticks took, by its own log, and what memory it has, by `/proc`.

use std::{
    fmt, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;
use spotscale_test_cluster::until;

use super::{crowd::Crowd, objects, pods};
use crate::ground::process::Process;

const NAME: &str = "autoscaler";
/// From one tick to the next, when the machine has much else to do.
const TICK_MAX: Duration = Duration::from_secs(10);

/// A running daemon.
pub(super) struct Watched {
    pub(super) process: Process,
    pub(super) first_plan: Duration,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// What the parts of a tick took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[expect(clippy::struct_field_names, reason = "as the log has them")]
pub(super) struct Tick {
    look_ms: f64,
    plan_ms: f64,
    act_ms: f64,
    show_ms: f64,
}

/// Resident memory in KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) now: u64,
    pub(super) peak: u64,
}

/// What many ticks took, sorted.
pub(super) struct Ticks {
    all: Vec<f64>,
    /// Without the time in which the cluster does what it is asked.
    own: Vec<f64>,
}

impl Watched {
    /// Starts it, and returns when it leads and has made its first plan.
    pub(super) async fn start(crowd: &Crowd) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prices = folder.path().join("prices.csv");
        fs::write(&prices, objects::prices()).unwrap();
        let mut args = vec![
            "autoscaler".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
            "--nodes-max=10000".to_owned(),
            format!("--on-demand-floor={}", objects::on_demand_floor(crowd.size)),
            format!("--market=file:{}", prices.display()),
        ];
        let fits = pods::PODS_PER_NODE - 1;
        args.extend(objects::TYPES.map(|name| format!("--machine={name}=400/{fits}")));
        let env = [
            ("KUBECONFIG", crowd.kubeconfig().display().to_string()),
            (
                "SPOTSCALE_LOG",
                "info,kube_client=off,kube_runtime=off,spotscale_autoscaler=debug".to_owned(),
            ),
        ];
        let (start, group) = (Instant::now(), crowd.plane.group());
        let process = Process::start(group, NAME, &args, &env).await;
        let log = group.log(NAME);
        let started = Self { process, first_plan: Duration::ZERO, log, _folder: folder };
        until("the first plan", || async { Ok(!started.ticks().is_empty()) }).await.unwrap();
        let started = Self { first_plan: start.elapsed(), ..started };
        let leads =
            || async { Ok(started.process.metric("spotscale_autoscaler_leads").await? > 0.0) };
        until("it to lead", leads).await.unwrap();
        started
    }

    pub(super) async fn state(&self) -> Value {
        self.process.page("/debug/plan").await
    }

    /// Every tick so far.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        #[derive(Deserialize)]
        struct Line {
            fields: Value,
        }
        let log = fs::read_to_string(&self.log).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines.filter_map(|line| serde_json::from_value(line.fields).ok()).collect()
    }

    /// The next so many ticks, once they are over.
    pub(super) async fn next_ticks(&self, count: usize) -> Ticks {
        let (start, before) = (Instant::now(), self.ticks().len());
        while self.ticks().len() < before + count {
            assert!(start.elapsed() < TICK_MAX * count as u32, "it ticks no more");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ticks::of(&self.ticks()[before..])
    }

    pub(super) fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib = |name: &str| line(name).trim().trim_end_matches(" kB").parse().unwrap();
        Memory { now: kib("VmRSS:"), peak: kib("VmHWM:") }
    }
}

impl Ticks {
    fn of(ticks: &[Tick]) -> Self {
        let sorted = |span: &dyn Fn(&Tick) -> f64| {
            let mut spans: Vec<f64> = ticks.iter().map(span).collect();
            spans.sort_by(f64::total_cmp);
            spans
        };
        let own = |tick: &Tick| tick.look_ms + tick.plan_ms + tick.show_ms;
        Self { all: sorted(&|tick| own(tick) + tick.act_ms), own: sorted(&own) }
    }

    /// The longest own work.
    pub(super) fn own_max_ms(&self) -> f64 {
        self.own.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile = |spans: &[f64], share: f64| {
            let last = spans.len().saturating_sub(1);
            spans.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
        };
        let told = |spans: &[f64]| {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(spans, share));
            format!("p50 {p50:.1}, p99 {p99:.1}, max {max:.1} ms")
        };
        write!(
            f,
            "{} ticks: own work {}; with calls {}",
            self.all.len(),
            told(&self.own),
            told(&self.all)
        )
    }
}
