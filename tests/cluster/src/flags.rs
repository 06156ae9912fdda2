//! What the programs of the control plane are told.

use std::{path::Path, process::Command};

use crate::{
    control_plane::{Certificates, Options},
    programs::program,
};

/// etcd, which keeps nothing for longer than the test.
pub(crate) fn etcd(data: &Path, port: u16, peer_port: u16) -> anyhow::Result<Command> {
    let mut command = Command::new(program("etcd")?);
    command.arg("--data-dir").arg(data).arg("--unsafe-no-fsync").arg("--log-level=warn").args([
        format!("--listen-client-urls=http://127.0.0.1:{port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{port}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer_port}"),
    ]);
    Ok(command)
}

/// The API server's arguments.
pub(crate) fn api_server(certificates: &Certificates, etcd_port: u16, port: u16) -> Vec<String> {
    let Certificates { cluster, front_proxy, server, front_proxy_client, token } = certificates;
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--secure-port={port}"),
        file("tls-cert-file", &server.cert),
        file("tls-private-key-file", &server.key),
        file("client-ca-file", &cluster.file),
        file("service-account-key-file", &token.cert),
        file("service-account-signing-key-file", &token.key),
        file("requestheader-client-ca-file", &front_proxy.file),
        file("proxy-client-cert-file", &front_proxy_client.cert),
        file("proxy-client-key-file", &front_proxy_client.key),
    ];
    args.extend(
        [
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            // A loopback address is refused in Endpoints.
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            // By its annotations a namespace says on which nodes its Pods run, whoever wrote their spec.
            "--enable-admission-plugins=PodNodeSelector,PodTolerationRestriction",
            "--profiling=false",
            "--service-account-issuer=https://kubernetes.default.svc",
            // The aggregator shows who asked by these headers; KEDA's adapter needs them.
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        ]
        .map(str::to_owned),
    );
    args
}

/// The controllers; the HPA as quick as the test wants it.
pub(crate) fn controller_manager(
    kubeconfig: &Path,
    authority: &Path,
    token_key: &Path,
    options: &Options,
) -> anyhow::Result<Command> {
    let mut command = Command::new(program("kube-controller-manager")?);
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{flag}={}", kubeconfig.display()));
    }
    command.args([
        format!("--service-account-private-key-file={}", token_key.display()),
        format!("--root-ca-file={}", authority.display()),
        format!("--horizontal-pod-autoscaler-sync-period={}ms", options.hpa_sync.as_millis()),
        format!("--node-monitor-grace-period={}ms", options.node_grace.as_millis()),
        format!("--controllers={}", options.controllers),
    ]);
    command.args([
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials=true",
        // With the default limits the first minute is spent on waiting for oneself.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--horizontal-pod-autoscaler-downscale-stabilization=0s",
        "--node-monitor-period=500ms",
    ]);
    Ok(command)
}

/// The scheduler.
pub(crate) fn scheduler(kubeconfig: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program("kube-scheduler")?);
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{flag}={}", kubeconfig.display()));
    }
    command.args(["--leader-elect=false", "--secure-port=0"]);
    Ok(command)
}
