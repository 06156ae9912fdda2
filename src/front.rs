//! `spotscale front`: the request-holding front as a process.

use spotscale_scaler::front::{Config, Source, run};

use crate::role;

pub(crate) async fn main(config: Config) -> anyhow::Result<()> {
    config.validate()?;
    let source = Source::of(&config).await?;
    let listeners = config.bind().await?;
    role::announce("front", &listeners.addresses()?)?;
    let shutdown = role::shutdown_on_signals()?;
    tracing::info!(config = %serde_json::to_string(&config)?, "front starts");
    Ok(run(config, source, listeners, shutdown).await?)
}
