//! One process of a container: in a mount namespace of its own, so that it sees its volumes where its spec says, its
//! own `/etc/hosts` and nobody else's files; in this machine's network, which has every pod's address.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{sync::watch, time::sleep};

use super::env::Env;
use crate::group::Group;

const SANDBOX: &str = include_str!("sandbox.sh");
/// A variable that a process of [`SANDBOX`] has until it becomes the program.
const OUTSIDE: &str = "SPOTSCALE_SANDBOX";
/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// A volume in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) place: String,
    pub(super) read_only: bool,
}

/// What to run.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    pub(super) env: Env,
    pub(super) mounts: Vec<Mount>,
    pub(super) workdir: String,
    /// The file that is its `/etc/hosts`.
    pub(super) hosts: PathBuf,
}

impl Invocation {
    /// Whether a volume at `place` would hide the image's own files: those of this machine that its words name. It is
    /// left out then, and the container has changes of its own there all the same.
    fn would_lose(&self, place: impl AsRef<Path>) -> bool {
        let mut words = self.command.iter().chain(self.env.values()).map(Path::new);
        words.any(|word| word.starts_with(&place) && word.exists())
    }
}

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    /// It stays this process's, also when the number is given to another.
    handle: OwnedFd,
    code: watch::Receiver<Option<i32>>,
}

impl Process {
    /// Starts it. `folder` becomes its own and must be new; what it prints is appended to the log `name`.
    pub(super) fn start(
        group: &Group,
        name: &str,
        folder: &Path,
        what: &Invocation,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let script = folder.join("sandbox.sh");
        fs::write(&script, SANDBOX)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "/bin/sh"])
            .arg(script)
            .arg(folder)
            .arg(&what.hosts)
            .arg(&what.workdir);
        for mount in what.mounts.iter().filter(|mount| !what.would_lose(&mount.place)) {
            command.arg(&mount.source).arg(&mount.place);
            command.arg(if mount.read_only { "ro" } else { "rw" });
        }
        command.arg("--").args(&what.command).env_clear().envs(&what.env).env(OUTSIDE, "outside");
        let child = group.spawn(name, &mut command)?;
        let pid = child.id();
        let handle = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::NotFound)?;
        let handle = pidfd_open(handle, PidfdFlags::empty())?;
        let (sender, code) = watch::channel(None);
        // Not one of the runtime's threads: that would wait for the process when it ends.
        std::thread::spawn(move || sender.send(Some(wait(child))));
        Ok(Self { pid, handle, code })
    }

    /// Resolves when the program runs, or is over already. A probe before that would ask this machine.
    pub(super) async fn entered(&self) {
        while self.is_outside() {
            sleep(LOOK).await;
        }
    }

    fn is_outside(&self) -> bool {
        let variables = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let mut names = variables.split(|byte| *byte == 0);
        // Between two programs of one process there are none at all; a container always has some.
        let is_between = variables.is_empty() && self.code.borrow().is_none();
        is_between || names.any(|variable| variable.starts_with(OUTSIDE.as_bytes()))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// One that is over already needs no signal.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Resolves when it is over, with the code that a container runtime would give.
    pub(super) async fn ended(&self) -> i32 {
        let mut code = self.code.clone();
        let code = code.wait_for(Option::is_some).await.map(|code| *code);
        code.ok().flatten().unwrap_or(255)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs a command in the namespace of `pid`: what `exec` probes and hooks do.
pub(super) async fn exec(pid: u32, command: &[String], env: &Env) -> io::Result<bool> {
    let status = tokio::process::Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--mount", "--root", "--wd", "--"])
        .args(command)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    Ok(status.success())
}

fn wait(mut child: Child) -> i32 {
    child.wait().map_or(255, exit_code)
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_by_the_code() {
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
    }
}
