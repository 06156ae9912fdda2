//! What every role does at its edges: logging, the announcement of its addresses, signals, the runtime.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::{io::AsyncReadExt as _, signal::unix};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How and what to log; to standard error.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// What to log: a level, or directives such as `info,spotscale_scaler=debug`.
    // kube logs each failed call, and returns it too: the roles say once what it means.
    #[arg(
        long,
        global = true,
        env = "SPOTSCALE_LOG",
        default_value = "info,kube_client=off,kube_runtime=off"
    )]
    log: String,
    /// How to write a log line; without it: text on a terminal, JSON elsewhere.
    #[arg(long, global = true, env = "SPOTSCALE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogArgs {
    /// Starts logging; directives that do not parse fall back to `info` and say so.
    pub(crate) fn init(&self) {
        let (filter, wrong) = match EnvFilter::try_new(&self.log) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new("info"), Some(error)),
        };
        let terminal = std::io::stderr().is_terminal();
        let default = if terminal { LogFormat::Text } else { LogFormat::Json };
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format.unwrap_or(default) {
            LogFormat::Text => logs.with_ansi(terminal).init(),
            LogFormat::Json => logs.json().init(),
        }
        if let Some(error) = wrong {
            tracing::warn!(%error, given = self.log, "unreadable log directives: logging at info");
        }
    }
}

/// Runs one role on a runtime of its own.
pub(crate) fn block_on(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let outcome = runtime.block_on(role);
    // Blocking work that outlived its drain time must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Says once, as one JSON line on standard output, where a role listens: with port 0 nobody else knows.
pub(crate) fn announce(role: &str, addresses: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::json!({ "role": role, "listening": addresses });
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

/// Cancelled at the first SIGTERM or SIGINT; a second one ends the process at once.
pub(crate) fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        let mut signals = 0;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            signals += 1;
            if signals > 1 {
                tracing::warn!(signal = name, "second signal: ending at once");
                std::process::exit(1);
            }
            tracing::info!(signal = name, "draining");
            cancelled.cancel();
        }
    });
    Ok(token)
}

/// Cancels `token` when standard input ends: a child so started cannot outlive its parent, however that one dies.
pub(crate) fn shutdown_with_stdin(token: CancellationToken) {
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut sink = [0; 64];
        while matches!(stdin.read(&mut sink).await, Ok(1..)) {}
        token.cancel();
    });
}
