//! The daemon as a process, behind a proxy of its own.

use std::{path::Path, process::Command};

use serde_json::Value;
use spotscale_autoscaler::Books;
use spotscale_test_cluster::{control_plane::ControlPlane, until};

use super::{
    Ground,
    objects::{POOL, WORKLOAD},
    prices,
    process::Process,
    proxy::Proxy,
};

/// A daemon that can be killed and started again. Its proxy stays, so that all it ever wrote is known.
pub(crate) struct Daemon {
    name: String,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    pub(crate) proxy: Proxy,
    pub(crate) process: Process,
}

/// Where a daemon works.
pub(crate) struct Place<'a> {
    pub(crate) plane: &'a ControlPlane,
    pub(crate) namespace: &'a str,
    /// What its nodes and Deployments are labelled with.
    pub(crate) label: String,
    pub(crate) folder: &'a Path,
    /// As the file market reads them.
    pub(crate) prices: String,
}

impl Daemon {
    /// For a scope, with these flags and variables besides those that every test needs.
    pub(crate) async fn start(
        ground: &Ground,
        (scope, name): (&str, &str),
        flags: &[&str],
        env: &[(&'static str, String)],
    ) -> Self {
        let place = Place {
            plane: ground.cluster.plane(),
            namespace: &ground.namespace,
            label: ground.label(scope),
            folder: ground.folder.path(),
            prices: prices(),
        };
        Self::at(&place, (scope, name), flags, env).await
    }

    /// The same anywhere; `scope` is its Lease.
    pub(crate) async fn at(
        place: &Place<'_>,
        (scope, name): (&str, &str),
        flags: &[&str],
        env: &[(&'static str, String)],
    ) -> Self {
        let Place { plane, namespace, label, folder, prices } = place;
        let proxy = Proxy::start(plane).await;
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, proxy.kubeconfig(namespace).to_string()).unwrap();
        let file = folder.join(format!("{name}.csv"));
        std::fs::write(&file, prices).unwrap();
        let mut args: Vec<String> = [
            "autoscaler".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
            format!("--namespace={namespace}"),
            "--machine=g4dn.xlarge=400/1".to_owned(),
            "--tick=200ms".to_owned(),
            format!("--lease={scope}"),
            format!("--node-selector={POOL}={label}"),
            format!("--workload-selector={WORKLOAD}={label}"),
        ]
        .into_iter()
        .chain(flags.iter().map(|flag| (*flag).to_owned()))
        .collect();
        if !flags.iter().any(|flag| flag.starts_with("--market=")) {
            args.push(format!("--market=file:{}", file.display()));
        }
        let mut env = env.to_vec();
        env.push(("KUBECONFIG", kubeconfig.display().to_string()));
        let name = format!("{namespace}-{name}");
        let process = Process::start(plane.group(), &name, &args, &env).await;
        Self { name, args, env, proxy, process }
    }

    /// After it was killed, it is started as it was.
    pub(crate) async fn restart(&mut self, ground: &Ground) {
        self.process.ended().await;
        let group = ground.cluster.plane().group();
        self.process = Process::start(group, &self.name, &self.args, &self.env).await;
    }

    /// What it shows of itself; nothing before its first look.
    pub(crate) async fn state(&self) -> Value {
        self.process.page("/debug/plan").await
    }

    /// The money, as it tells all of it.
    pub(crate) async fn books(&self) -> anyhow::Result<Books> {
        Ok(serde_json::from_str(&self.process.text("/debug/ledger").await)?)
    }

    /// What the real command tells of it.
    pub(crate) fn explained(&self, what: &[&str]) -> String {
        let url = format!("--url={}", self.process.url("admin"));
        let command = Command::new(env!("CARGO_BIN_EXE_spotscale")).args(what).arg(url).output();
        let output = command.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until it leads.
    pub(crate) async fn leads(&self) {
        let leads = || async { Ok(self.state().await["role"] == "leader") };
        until(&format!("{} to lead", self.name), leads).await.unwrap();
    }
}
