//! The scaler as a process of its own: this program again, with one argument.

use std::{fs, net::SocketAddr, process::Stdio};

use anyhow::Context as _;
use spotscale_scaler::keda::{Config, run};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

/// Says: be the scaler.
pub(crate) const ARGUMENT: &str = "serve";

/// The scaler's process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) grpc: SocketAddr,
}

/// Serves on ports that the system chooses, tells the gRPC one, and ends with its standard input.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let any: SocketAddr = "127.0.0.1:0".parse()?;
    let config = Config { listen: any, health_listen: any, admin_listen: any, ..Config::default() };
    config.validate()?;
    let listeners = config.bind().await?;
    println!("{}", listeners.addresses()?.grpc);
    let shutdown = CancellationToken::new();
    let scaler = tokio::spawn(run(config, listeners, shutdown.clone()));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    shutdown.cancel();
    Ok(scaler.await??)
}

impl Process {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("the scaler has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = crate::soon("the scaler's start", lines.next_line()).await??;
        let line = first.context("the scaler ended at once")?;
        Ok(Self { child, grpc: line.parse()? })
    }

    /// Resident memory now (`VmRSS` of proc(5)).
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let id = self.child.id().context("the scaler has ended")?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }
}
