//! `spotscale up`: every role on one machine, with child processes for pods and virtual nodes for machines.
//!
//! The roles are the real ones and talk to each other as they do in a cluster. Ours is what is around them: the local
//! cluster (`cluster`), the caller of the scaler (`keda`), prices (`market`), and what shows it all (`observe`, `console`).

mod calibrate;
mod cluster;
mod config;
mod console;
mod faults;
mod keda;
mod local;
mod market;
mod metrics;
mod observe;
mod report;
mod roles;
mod scenario;
mod view;

use std::io::Write as _;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub(crate) use self::config::Config;
use self::{
    faults::Stage,
    local::{Local, Plan},
    report::Report,
    scenario::Scenario,
};
use crate::role;

/// Runs local mode until a signal, or to the end of its scenario.
pub(crate) async fn main(config: Config) -> anyhow::Result<()> {
    run(config, role::shutdown_on_signals()?).await
}

/// Runs local mode until `shutdown`, or to the end of its scenario. Fails before anything is served when a flag, a port,
/// the library or the model is not right; fails after a scenario that did not hold what it promises.
async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.validate()?;
    let scenario = config.scenario.as_deref().map(Scenario::load).transpose()?;
    let (market, types) = market::open(&config).await.context("--prices")?;
    let listeners = config.bind().await?;
    let addresses = listeners.addresses()?;
    std::fs::create_dir_all(&config.logs)
        .with_context(|| format!("--logs {}", config.logs.display()))?;
    let program = roles::replica(&config)?;
    let calibrated = shutdown.run_until_cancelled(calibrate::calibrate(&program, &config)).await;
    let Some(machine) = calibrated.transpose()? else { return Ok(()) };
    info!(?machine, logs = %config.logs.display(), "measured this machine");

    let plan = Plan { config: config.clone(), addresses, machine, program, market, types };
    let (mut local, stage) = Local::start(plan, listeners)?;
    role::announce("up", &addresses)?;
    let result = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        failure = local.failure() => Err(failure),
        played = play(scenario, &stage, &config, &shutdown) => played,
    };
    local.stop().await;
    result
}

/// Plays the scenario and reports on it; without one, waits for ever.
async fn play(
    scenario: Option<Scenario>,
    stage: &Stage,
    config: &Config,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(scenario) = scenario else { return std::future::pending().await };
    let recording = scenario::play(&scenario, stage, shutdown).await?;
    let report = Report::of(&recording);
    writeln!(std::io::stdout(), "{}", report.to_text())?;
    report
        .write(&config.report)
        .with_context(|| format!("--report {}", config.report.display()))?;
    if !report.passed() {
        bail!("the run did not hold what it promises: {}", report.failures.join("; "));
    }
    Ok(())
}
