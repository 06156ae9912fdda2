//! KEDA's operator and metrics adapter, under KEDA's own RBAC.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Mutex},
};

use base64::Engine as _;
use k8s_openapi::{
    api::core::v1::Namespace, kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use crate::{
    apply::{apply, define, documents},
    control_plane::{ControlPlane, until},
    exclusive::ports,
    group::Group,
    pki::Authority,
    programs::{manifest, program},
};

const NAMESPACE: &str = "keda";
/// The API that the HPA asks KEDA by.
pub(crate) const EXTERNAL_METRICS: &str = "v1beta1.external.metrics.k8s.io";
const USER: &str = "system:serviceaccount:keda:keda-operator";

/// The running KEDA.
#[derive(Debug)]
pub struct Keda {
    settings: Settings,
    operator: Mutex<Child>,
}

/// What both programs are told.
#[derive(Debug)]
struct Settings {
    group: Arc<Group>,
    kubeconfig: PathBuf,
    certificates: PathBuf,
    /// Where the operator answers the adapter.
    metrics_service: String,
    /// The operator's own `/etc/hosts`.
    hosts: PathBuf,
}

impl Keda {
    /// Installs KEDA's objects, starts both programs, and waits until the HPA can reach them.
    pub async fn start(plane: &ControlPlane, cluster: &Authority) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        install_objects(&client).await?;
        let folder = plane.group().folder();
        let pki = folder.join("pki");
        let certificates = pki.join("keda-service");
        let own = Authority::new(&certificates, "keda")?;
        let hosts =
            ["keda-metrics-apiserver.keda.svc", "keda-operator.keda.svc", "localhost", "127.0.0.1"];
        own.issue(&certificates, "tls", ("keda-operator", None), &hosts)?;
        let [adapter_port, metrics_service_port] = ports()?;
        let settings = Settings {
            group: Arc::clone(plane.group()),
            kubeconfig: plane.identity("keda", &cluster.issue(&pki, "keda", (USER, None), &[])?)?,
            certificates,
            metrics_service: format!("127.0.0.1:{metrics_service_port}"),
            hosts: folder.join("keda-hosts"),
        };
        fs::copy("/etc/hosts", &settings.hosts)?;
        let operator = Mutex::new(settings.start_operator()?);
        settings.start_adapter(adapter_port)?;
        register(&client, &own, adapter_port).await?;
        Ok(Self { settings, operator })
    }

    /// Gives a name these addresses, for the operator alone, in place of those that it had.
    pub fn set_host(&self, name: &str, addresses: &[IpAddr]) -> anyhow::Result<()> {
        // Tests that run side by side each have names of their own in it.
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap();
        let before = fs::read_to_string(&self.settings.hosts)?;
        let others = before.lines().filter(|line| line.split(' ').nth(1) != Some(name));
        let lines = others.map(|line| format!("{line}\n"));
        let new = addresses.iter().map(|one| format!("{one} {name}\n"));
        // Written in place: the operator has this very file mounted.
        Ok(fs::write(&self.settings.hosts, lines.chain(new).collect::<String>())?)
    }

    /// Kills the operator, as a crash would.
    pub fn kill_operator(&self) -> anyhow::Result<()> {
        let mut child = self.operator.lock().unwrap();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts the operator again after [`Self::kill_operator`].
    pub fn restart_operator(&self) -> anyhow::Result<()> {
        *self.operator.lock().unwrap() = self.settings.start_operator()?;
        Ok(())
    }
}

impl Settings {
    fn start_operator(&self) -> anyhow::Result<Child> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
        command.arg(&self.hosts).arg(program("keda-operator")?);
        self.environment(&mut command);
        command.arg(format!("--cert-dir={}", self.certificates.display())).args([
            format!("--metrics-service-bind-address={}", self.metrics_service).as_str(),
            "--metrics-bind-address=0",
            "--health-probe-bind-address=0",
            "--leader-elect=false",
            "--enable-cert-rotation=false",
            "--zap-encoder=console",
            // Every poll of an active ScaledObject patches its status; the default of 20/s is for quieter clusters.
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ]);
        Ok(self.group.spawn("keda-operator", &mut command)?)
    }

    fn start_adapter(&self, port: u16) -> anyhow::Result<Child> {
        let [metrics_port] = ports()?;
        let mut command = Command::new(program("keda-adapter")?);
        self.environment(&mut command);
        for flag in ["lister-kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", self.kubeconfig.display()));
        }
        let file =
            |flag: &str, name: &str| format!("--{flag}={}", self.certificates.join(name).display());
        command.args([
            file("cert-dir", ""),
            file("tls-cert-file", "tls.crt"),
            file("tls-private-key-file", "tls.key"),
            format!("--secure-port={port}"),
            format!("--port={metrics_port}"),
            format!("--metrics-service-address={}", self.metrics_service),
            "--bind-address=127.0.0.1".to_owned(),
        ]);
        Ok(self.group.spawn("keda-adapter", &mut command)?)
    }

    fn environment(&self, command: &mut Command) {
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("WATCH_NAMESPACE", "")
            .env("POD_NAMESPACE", NAMESPACE)
            .env("KEDA_CLUSTER_OBJECT_NAMESPACE", NAMESPACE);
    }
}

async fn install_objects(client: &Client) -> anyhow::Result<()> {
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    let definitions = documents(&manifest("keda/crd.yaml")?)?;
    define(client, &definitions).await?;
    apply(client, NAMESPACE, &documents(&manifest("keda/rbac.yaml")?)?).await
}

/// Tells the aggregator where the adapter is. `ExternalName` is what works for loopback, which Endpoints refuse.
async fn register(client: &Client, own: &Authority, port: u16) -> anyhow::Result<()> {
    let service = "keda-metrics-apiserver";
    let name = EXTERNAL_METRICS;
    let bundle = base64::engine::general_purpose::STANDARD.encode(own.pem());
    let objects = json!([
        {
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": service, "namespace": NAMESPACE },
            "spec": { "type": "ExternalName", "externalName": "localhost" },
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": { "name": name },
            "spec": {
                "service": { "name": service, "namespace": NAMESPACE, "port": port },
                "group": "external.metrics.k8s.io", "version": "v1beta1", "caBundle": bundle,
                "groupPriorityMinimum": 100, "versionPriority": 100,
            },
        },
    ]);
    apply(client, NAMESPACE, &serde_json::from_value::<Vec<_>>(objects)?).await?;
    let services: Api<APIService> = Api::all(client.clone());
    until(name, || async {
        let conditions =
            services.get(name).await?.status.unwrap_or_default().conditions.unwrap_or_default();
        Ok(conditions.iter().any(|c| c.type_ == "Available" && c.status == "True"))
    })
    .await
}
