//! How fast and how small is the KEDA scaler? 1,000 ScaledObjects, 800 calls a second and 1,000 open push streams on one
//! connection, while fronts report and wake one service after the other. The scaler is a process of its own, so that
//! its memory is its own; caller and scaler share the machine. Ends with 1 when a target is missed.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

mod caller;
mod fronts;
mod server;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use spotscale_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tonic::transport::Channel;

/// ScaledObjects, each with a push stream and a service of its own.
const OBJECTS: usize = 1_000;
const CALLS_PER_SECOND: u32 = 800;
const LASTS: Duration = Duration::from_secs(20);
const MIB: f64 = 1_048_576.0;

/// One line of the result.
struct Line {
    what: &'static str,
    measured: f64,
    target: Option<f64>,
    unit: &'static str,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    if std::env::args().any(|arg| arg == server::ARGUMENT) {
        server::serve().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines = measure().await?;
    println!("{:<32} {:>13}  target", "", "measured");
    let mut missed = false;
    for Line { what, measured, target, unit } in lines {
        let target = target.map_or(String::new(), |target| {
            let verdict = if measured <= target { "" } else { "  MISSED" };
            missed |= measured > target;
            format!("{target:.0} {unit}{verdict}")
        });
        println!("{what:<32} {measured:>8.2} {unit:<4} {target}");
    }
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn measure() -> anyhow::Result<Vec<Line>> {
    let server = server::Process::start().await?;
    let url = format!("http://{}", server.grpc);
    let connect = || Channel::from_shared(url.clone()).map(|endpoint| endpoint.connect_lazy());
    let keda = ExternalScalerClient::new(connect()?);

    let fronts = fronts::Fronts::start(OBJECTS, connect()?).await?;
    let streams = caller::open_streams(keda.clone(), OBJECTS).await?;
    println!(
        "{OBJECTS} ScaledObjects, {OBJECTS} push streams and {CALLS_PER_SECOND} calls/s on one \
         connection for {LASTS:?}; scaler in its own process, caller on the same {} cores",
        std::thread::available_parallelism()?,
    );
    let began = Instant::now();
    let waking = tokio::spawn(fronts.wake_each(LASTS));
    let calls = caller::call(keda, CALLS_PER_SECOND, LASTS).await?;
    let woken = waking.await??;
    let pushes = streams.delays(&woken).await?;
    let memory = server.resident_bytes()?;
    println!("{} calls and {} pushes in {:.1?}", calls.len(), pushes.len(), began.elapsed());

    let ms = |delay: Duration| delay.as_secs_f64() * 1e3;
    let line = |what, measured, target, unit| Line { what, measured, target, unit };
    Ok(vec![
        line("unary call, p50", ms(share(&calls, 0.5)), None, "ms"),
        line("unary call, p99", ms(share(&calls, 0.99)), Some(5.0), "ms"),
        line("first held request to push, p50", ms(share(&pushes, 0.5)), None, "ms"),
        line("first held request to push, p99", ms(share(&pushes, 0.99)), Some(100.0), "ms"),
        line("resident memory of the scaler", memory as f64 / MIB, Some(64.0), "MiB"),
    ])
}

/// The delay that this share of all stays within.
fn share(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(Duration::MAX)
}

/// The name of the `index`th ScaledObject; its service is `bench/` and this.
fn name(index: usize) -> String {
    format!("service-{index}")
}

/// What is awaited may fail, but must not hang.
async fn soon<T>(what: &'static str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(30), future).await.context(what)
}
