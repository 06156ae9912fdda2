//! The processes of one cluster: all in one process group, each with a log, none of them outliving this process.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

/// A process group with a folder of its own.
///
/// Its first member holds a pipe to this process, and kills the group and removes the folder when the pipe ends:
/// also when this process is killed, and where nothing is dropped because it sits in a `static`.
#[derive(Debug)]
pub struct Group {
    reaper: Child,
    folder: PathBuf,
    logs: PathBuf,
}

impl Group {
    /// A new group. What it writes lies under `/dev/shm` where that is, because etcd syncs; its logs in `logs`.
    pub fn new(logs: &Path) -> anyhow::Result<Self> {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("spotscale-test-").tempdir_in(base)?.keep();
        std::fs::create_dir_all(logs).with_context(|| format!("{}", logs.display()))?;
        let reaper = Command::new("sh")
            .args(["-c", "trap '' HUP INT TERM; cat; rm -rf \"$0\"; kill -KILL 0"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("sh")?;
        Ok(Self { reaper, folder, logs: logs.to_owned() })
    }

    /// Where the members keep what goes when they go.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where `name` logs to.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Starts a member; what it prints is appended to its log.
    pub fn spawn(&self, name: &str, command: &mut Command) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log(name))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(self.reaper.id() as i32)
            .spawn()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
    }
}

/// The name of this test program.
pub fn test_program() -> String {
    let program = std::env::args().next().unwrap_or_default();
    let stem = Path::new(&program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // Cargo appends a hash to the name of a test program.
    stem.rsplit_once('-').map_or(stem.clone(), |(name, _)| name.to_owned())
}

/// Where the processes of `name` log to: `target/test-cluster/NAME`.
pub fn logs(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    target.join("test-cluster").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_dies_with_its_owner_and_leaves_its_logs() {
        let logs = tempfile::tempdir().unwrap();
        let group = Group::new(logs.path()).unwrap();
        let mut member =
            group.spawn("sleeper", Command::new("sh").args(["-c", "echo up; sleep 600"])).unwrap();
        let folder = group.folder().to_owned();
        while std::fs::read_to_string(group.log("sleeper")).unwrap().is_empty() {
            std::thread::yield_now();
        }
        drop(group);
        assert!(!member.wait().unwrap().success(), "it was left running");
        assert!(!folder.exists());
        assert!(logs.path().join("sleeper.log").exists());
    }
}
