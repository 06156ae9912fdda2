//! One replica as a child process: started on ports of its own choice, ended by SIGTERM and, where that does not help,
//! by SIGKILL. It cannot outlive us: its standard input is a pipe of ours, and it ends when that closes.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader, copy, sink},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::loopback;

const READY_EVERY: Duration = Duration::from_millis(25);

/// What a replica runs.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The program.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The folder that gets one log file per replica.
    pub logs: PathBuf,
    /// From the start to the first ready answer, at most.
    pub startup_max: Duration,
}

/// Why a replica did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// The log file or the process could not be made.
    #[error("cannot start {what}: {why}")]
    Start {
        /// What could not be made.
        what: String,
        /// Why.
        why: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("{last_words}")]
    Ended {
        /// The last line of its log.
        last_words: String,
    },
    /// It was not ready in time.
    #[error("not ready within {0:?}")]
    TooSlow(Duration),
}

/// The line that the inference server prints once its ports are bound.
#[derive(Debug, Deserialize)]
struct Announced {
    listening: Listening,
}

#[derive(Debug, Deserialize)]
struct Listening {
    http: SocketAddr,
}

/// A running replica. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Open as long as the replica is to live: waiting for a child closes what it still holds of it.
    _stdin: Option<ChildStdin>,
    log: PathBuf,
    /// Where it serves HTTP.
    pub address: SocketAddr,
}

impl Process {
    /// Starts a replica and waits until it is ready.
    pub(crate) async fn start(program: &Program, name: &str) -> Result<Self, ProcessError> {
        let log = program.logs.join(format!("{name}.log"));
        let mut child = spawn(program, &log)?;
        let stdin = child.stdin.take();
        let late = || ProcessError::TooSlow(program.startup_max);
        let ready = async {
            match announced(child.stdout.take()).await {
                Some(address) => until_ready(&mut child, address).await.map(|()| address),
                None => child.wait().await.ok().and(None),
            }
        };
        let ready = timeout(program.startup_max, ready).await.map_err(|_| late())?;
        let ended = || ProcessError::Ended { last_words: last_words(&log) };
        Ok(Self { address: ready.ok_or_else(ended)?, child, _stdin: stdin, log })
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// The last line of its log.
    pub(crate) fn last_words(&self) -> String {
        last_words(&self.log)
    }

    /// Memory that it holds; `None` where the system does not say it in Linux's way.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        kibibytes(&status, "VmRSS:")
    }

    /// SIGTERM: it finishes what it has.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        // It may have ended by itself just now; then there is nothing to signal.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
    }

    /// SIGKILL: it is gone this instant. The caller still waits for [`Self::ended`].
    pub(crate) fn kill(&mut self) {
        let _ = self.child.start_kill();
    }

    /// SIGTERM, and SIGKILL after `grace`. Returns when it is gone; whether it went in time.
    pub(crate) async fn stop(&mut self, grace: Duration) -> bool {
        self.terminate();
        let in_time = timeout(grace, self.child.wait()).await.is_ok();
        if !in_time {
            let _ = self.child.kill().await;
        }
        in_time
    }
}

fn spawn(program: &Program, log: &Path) -> Result<Child, ProcessError> {
    let failed = |what: &Path, why| ProcessError::Start { what: what.display().to_string(), why };
    // A replica that starts anew goes on in the same file.
    let file = File::options().create(true).append(true).open(log);
    Command::new(&program.executable)
        .args(&program.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(file.map_err(|why| failed(log, why))?)
        // Ctrl-C on a terminal goes to the whole group: we are the one to tell our children, and in good order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| failed(&program.executable, why))
}

/// The HTTP address from the first line; `None` when the process ends without it.
async fn announced(stdout: Option<ChildStdout>) -> Option<SocketAddr> {
    let mut lines = BufReader::new(stdout?).lines();
    let first = lines.next_line().await.ok()??;
    // Whatever else it prints must not fill the pipe.
    tokio::spawn(async move { copy(&mut lines.into_inner(), &mut sink()).await });
    serde_json::from_str::<Announced>(&first).ok().map(|line| line.listening.http)
}

/// `None` when the process ends first.
async fn until_ready(child: &mut Child, address: SocketAddr) -> Option<()> {
    loop {
        if matches!(loopback::get(address, "/readyz").await, Ok((status, _)) if status.is_success())
        {
            return Some(());
        }
        tokio::select! {
            _ = child.wait() => return None,
            () = sleep(READY_EVERY) => {}
        }
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it ended without a word").to_owned()
}

/// A line such as `VmRSS:  1234 kB` of one of Linux's /proc files, in bytes.
pub(crate) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}
