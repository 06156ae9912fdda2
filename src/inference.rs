//! `spotscale inference`: the model server as a process.

use spotscale_inference::{Config, run};

use crate::{calibrate, role};

/// The role's own settings, and how this process ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    calibrate: calibrate::Args,
    /// Drain and end when standard input ends, so that a child cannot outlive its parent.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn main(
    Args { config, mut calibrate, exit_with_stdin }: Args,
) -> anyhow::Result<()> {
    if let Some(table) = calibrate.calibrate.take() {
        return calibrate::main(config, calibrate, table).await;
    }
    config.validate()?;
    let listeners = config.bind().await?;
    role::announce("inference", &listeners.addresses()?)?;
    let shutdown = role::shutdown_on_signals()?;
    if exit_with_stdin {
        role::shutdown_with_stdin(shutdown.clone());
    }
    tracing::info!(config = %serde_json::to_string(&config)?, "inference starts");
    Ok(run(config, listeners, shutdown).await?)
}
