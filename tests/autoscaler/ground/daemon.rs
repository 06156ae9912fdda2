//! The daemon as a process, behind a proxy of its own.

use super::{
    Ground,
    objects::{POOL, PRICES, WORKLOAD},
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

impl Daemon {
    /// With these flags and variables besides those that every test needs.
    pub(crate) async fn start(
        ground: &Ground,
        name: &str,
        flags: &[&str],
        env: &[(&'static str, String)],
    ) -> Self {
        let proxy = Proxy::start(ground.cluster.plane()).await;
        let namespace = &ground.namespace;
        let kubeconfig = ground.folder.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, proxy.kubeconfig(namespace).to_string()).unwrap();
        let prices = ground.folder.path().join("prices.csv");
        std::fs::write(&prices, PRICES).unwrap();
        let args: Vec<String> = [
            "autoscaler".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            "--machine=g4dn.xlarge=400/1".to_owned(),
            "--tick=200ms".to_owned(),
            format!("--market=file:{}", prices.display()),
            format!("--node-selector={POOL}={namespace}"),
            format!("--workload-selector={WORKLOAD}={namespace}"),
        ]
        .into_iter()
        .chain(flags.iter().map(|flag| (*flag).to_owned()))
        .collect();
        let mut env = env.to_vec();
        env.push(("KUBECONFIG", kubeconfig.display().to_string()));
        let name = format!("{namespace}-{name}");
        let process = Process::start(ground.cluster.plane().group(), &name, &args, &env).await;
        Self { name, args, env, proxy, process }
    }

    /// After it was killed, it is started as it was.
    pub(crate) async fn restart(&mut self, ground: &Ground) {
        self.process.ended().await;
        let group = ground.cluster.plane().group();
        self.process = Process::start(group, &self.name, &self.args, &self.env).await;
    }
}
