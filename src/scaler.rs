//! `spotscale scaler`: the KEDA external scaler as a process.

use spotscale_scaler::keda::{Config, run};

use crate::role;

pub(crate) async fn main(config: Config) -> anyhow::Result<()> {
    config.validate()?;
    let listeners = config.bind().await?;
    role::announce("scaler", &listeners.addresses()?)?;
    let shutdown = role::shutdown_on_signals()?;
    tracing::info!(config = %serde_json::to_string(&config)?, "scaler starts");
    Ok(run(config, listeners, shutdown).await?)
}
