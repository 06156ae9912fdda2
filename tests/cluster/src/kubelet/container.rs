//! One container of a pod: started, probed, restarted and ended as its spec says.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{
    board::{Ended, Slot, State, Which},
    env::{Env, expand, own_address, resolve},
    pod::Sandbox,
    probe::Target,
    process::{Invocation, Mount, Process, exec},
};

/// Before a container is started again: doubled each time. A real kubelet waits from 10 s to 5 min.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A run that long makes the next wait the first one again. A real kubelet asks for 10 min.
const LONG_RUN: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
/// Between two tries to find what the spec refers to.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A container that is run.
pub(super) struct Runner<'a> {
    pub(super) pod: &'a Sandbox,
    pub(super) spec: &'a Container,
    pub(super) which: Which,
}

impl Runner<'_> {
    /// Runs it until it is over for good: it has ended and its pod does not restart it, or its pod ends.
    pub(super) async fn run(&self) -> i32 {
        let mut backoff = BACKOFF.0;
        loop {
            let ended = self.once().await;
            if self.pod.is_ending() || !self.is_restarted(ended.code) {
                let code = ended.code;
                self.set(|slot| {
                    slot.state = State::Terminated(ended);
                    (slot.ready, slot.started) = (false, false);
                });
                return code;
            }
            if ended.finished.duration_since(ended.started) >= LONG_RUN {
                backoff = BACKOFF.0;
            }
            self.set(|slot| {
                slot.last = Some(ended);
                slot.restarts += 1;
                (slot.ready, slot.started) = (false, false);
            });
            self.waits("CrashLoopBackOff", format!("back-off {backoff:?}"));
            let _ = timeout(backoff, self.pod.ending()).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    async fn once(&self) -> Ended {
        let started = Timestamp::now();
        let ended = |code, reason| Ended { code, reason, started, finished: Timestamp::now() };
        let Some(invocation) = self.invocation().await else {
            return ended(137, "ContainerStatusUnknown");
        };
        let folder = self.pod.run_folder(&self.spec.name);
        let log = self.pod.log_name(&self.spec.name);
        match Process::start(&self.pod.shared.group, &log, &folder, &invocation) {
            Ok(process) => {
                process.entered().await;
                let (since, pid) = (started, process.pid());
                self.set(|slot| slot.state = State::Running { since, pid });
                let code = self.watch(&process, invocation.env).await;
                ended(code, if code == 0 { "Completed" } else { "Error" })
            }
            Err(error) => {
                tracing::error!(%error, container = self.spec.name, "it cannot be started");
                ended(128, "StartError")
            }
        }
    }

    /// Follows a run to its end, which it brings about when the pod ends or a probe asks for it.
    async fn watch(&self, process: &Process, env: Env) -> i32 {
        let target = Target {
            container: self.spec.clone(),
            ip: self.pod.identity.ip,
            pid: process.pid(),
            env,
        };
        let ending = async {
            tokio::select! {
                code = process.ended() => return code,
                () = self.pod.ending() => {}
                () = self.lives(&target) => {}
            }
            self.end(process, &target).await
        };
        tokio::select! {
            code = ending => code,
            () = self.readiness(&target) => unreachable!("readiness is probed for ever"),
        }
    }

    /// Resolves when the startup or the liveness probe asks for a new start.
    async fn lives(&self, target: &Target) {
        let mut started = self.spec.startup_probe.is_none();
        if let Some(probe) = &self.spec.startup_probe {
            // It has failed at its threshold, and started at its first success; before that it has done neither.
            target
                .follow(probe, None, |passes| {
                    started = passes;
                    false
                })
                .await;
        }
        if !started {
            return;
        }
        self.set(|slot| slot.started = true);
        match &self.spec.liveness_probe {
            Some(probe) => target.follow(probe, Some(true), |_| false).await,
            None => std::future::pending().await,
        }
    }

    async fn readiness(&self, target: &Target) {
        self.pod.when(self.which, |slot| slot.started).await;
        match &self.spec.readiness_probe {
            Some(probe) => {
                let changed = |passes| {
                    self.set(|slot| slot.ready = passes);
                    true
                };
                target.follow(probe, Some(false), changed).await;
            }
            None => self.set(|slot| slot.ready = true),
        }
        std::future::pending::<()>().await;
    }

    /// The hook, the polite signal, the other one; all within the grace period, or at once if the machine is gone.
    async fn end(&self, process: &Process, target: &Target) -> i32 {
        let deadline = Instant::now() + self.pod.grace();
        let politely = async {
            if let Some(hook) = self.spec.lifecycle.as_ref().and_then(|all| all.pre_stop.as_ref()) {
                let _ = timeout_at(deadline, run_hook(hook, target)).await;
            }
            process.signal(Signal::TERM);
            sleep_until(deadline).await;
        };
        tokio::select! {
            code = process.ended() => return code,
            () = self.pod.killed() => {}
            () = politely => {}
        }
        process.signal(Signal::KILL);
        process.ended().await
    }

    /// What to run, when everything that it refers to is there; `None` if the pod ends before.
    async fn invocation(&self) -> Option<Invocation> {
        loop {
            match self.try_invocation().await {
                Ok(invocation) => return Some(invocation),
                Err(error) => self.waits("CreateContainerConfigError", format!("{error:#}")),
            }
            tokio::select! {
                () = self.pod.ending() => return None,
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn try_invocation(&self) -> anyhow::Result<Invocation> {
        let (shared, identity) = (&self.pod.shared, &self.pod.identity);
        let name = self.spec.image.as_deref().unwrap_or_default();
        let image =
            shared.images.get(repository(name)).with_context(|| format!("no image {name}"))?;
        let base = self.pod.base_env(image);
        let env = resolve(&shared.client, identity, self.spec, base).await?;
        let given = |list: &Option<Vec<String>>| -> Vec<String> {
            let words = list.iter().flatten();
            words.map(|word| own_address(&expand(word, &env), identity.ip)).collect()
        };
        let mut command = image.command(given(&self.spec.command));
        command.extend(given(&self.spec.args));
        Ok(Invocation {
            command,
            mounts: self.mounts()?,
            workdir: self.spec.working_dir.clone().unwrap_or_else(|| "/".to_owned()),
            hosts: shared.hosts.file(identity.namespace())?,
            env,
        })
    }

    fn mounts(&self) -> anyhow::Result<Vec<Mount>> {
        let spec = self.pod.identity.pod.spec.as_ref();
        let volumes = spec.and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        let mounts = self.spec.volume_mounts.iter().flatten();
        mounts
            .map(|mount| {
                let volume = volumes.iter().find(|volume| volume.name == mount.name);
                let volume = volume.with_context(|| format!("no volume {}", mount.name))?;
                let mut source = self.pod.volumes.path(volume);
                if let Some(path) = &mount.sub_path {
                    source.push(path);
                }
                if !source.exists() {
                    std::fs::create_dir_all(&source)?;
                }
                let (place, read_only) = (mount.mount_path.clone(), mount.read_only == Some(true));
                Ok(Mount { source, place, read_only })
            })
            .collect()
    }

    fn is_restarted(&self, code: i32) -> bool {
        match (self.pod.restart_policy(), self.which) {
            ("Never", _) => false,
            ("Always", Which::Main(_)) => true,
            _ => code != 0,
        }
    }

    fn waits(&self, reason: &'static str, message: String) {
        self.set(|slot| slot.state = State::Waiting { reason, message });
    }

    fn set(&self, change: impl FnOnce(&mut Slot)) {
        self.pod.board.send_modify(|board| change(board.slot(self.which)));
    }
}

async fn run_hook(hook: &LifecycleHandler, target: &Target) -> anyhow::Result<()> {
    if let Some(pause) = &hook.sleep {
        sleep(Duration::from_secs(pause.seconds.max(0) as u64)).await;
    } else if let Some(get) = &hook.http_get {
        target.get(get).await?;
    } else if let Some(command) = &hook.exec {
        exec(target.pid, command.command.as_deref().unwrap_or_default(), &target.env).await?;
    }
    Ok(())
}

/// The name of an image without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn an_image_is_known_by_its_repository() {
        for (image, expected) in [
            ("spotscale", "spotscale"),
            ("ghcr.io/a/spotscale:0.1.0", "ghcr.io/a/spotscale"),
            ("ghcr.io/a/spotscale:0.1.0@sha256:00", "ghcr.io/a/spotscale"),
            ("localhost:5000/a/b", "localhost:5000/a/b"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b"),
        ] {
            assert_eq!(repository(image), expected);
        }
    }
}
