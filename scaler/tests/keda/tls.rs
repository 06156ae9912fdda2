//! Plain, server TLS and mutual TLS, with certificates that change while the scaler runs.

use std::{fs, os::unix::fs::symlink, path::Path};

use spotscale_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use spotscale_scaler::keda::Config;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{authority::Authority, harness::*};

/// Mounted the way Kubernetes mounts a Secret: files are links through `..data`, which is swapped by a rename.
fn mount(folder: &Path, generation: &str, (cert, key): &(String, String), ca: &str) {
    let data = folder.join(generation);
    fs::create_dir(&data).unwrap();
    for (name, content) in [("tls.crt", cert.as_str()), ("tls.key", key), ("ca.crt", ca)] {
        fs::write(data.join(name), content).unwrap();
        let link = folder.join(name);
        if !link.exists() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    symlink(generation, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

fn config_in(folder: &Path, mutual: bool) -> Config {
    let mut config = config();
    config.tls.cert = Some(folder.join("tls.crt"));
    config.tls.key = Some(folder.join("tls.key"));
    config.tls.client_ca = mutual.then(|| folder.join("ca.crt"));
    config.tls.reload_interval = "20ms".parse().unwrap();
    config
}

/// A call over a new connection that trusts `ca`.
async fn call(
    server: &Server,
    ca: &Authority,
    identity: Option<&(String, String)>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.pem()))
        .domain_name("localhost");
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Channel::from_shared(format!("https://{}", server.addresses.grpc))?;
    let channel = endpoint.tls_config(tls)?.connect().await?;
    ExternalScalerClient::new(channel).get_metric_spec(trigger("resnet", &[])).await?;
    Ok(())
}

async fn until_trusted(server: &Server, ca: &Authority) {
    let trusted = tokio::time::timeout(PATIENCE, async {
        while call(server, ca, None).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    trusted.await.expect("the new certificate was never shown");
}

#[tokio::test]
async fn checklist_13_server_tls_and_a_plaintext_health_port() {
    let (folder, ca) = (TempDir::new().unwrap(), Authority::new());
    mount(folder.path(), "one", &ca.issue(), &ca.pem());
    let server = Server::start_with(config_in(folder.path(), false)).await;
    call(&server, &ca, None).await.unwrap();
    call(&server, &Authority::new(), None).await.unwrap_err();
    let health = format!("http://{}", server.addresses.health);
    let health = Channel::from_shared(health).unwrap().connect().await.unwrap();
    HealthClient::new(health).check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn checklist_13_mutual_tls_lets_in_only_whom_the_authority_knows() {
    let (folder, ca, stranger) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    mount(folder.path(), "one", &ca.issue(), &ca.pem());
    let server = Server::start_with(config_in(folder.path(), true)).await;
    call(&server, &ca, Some(&ca.issue())).await.unwrap();
    call(&server, &ca, Some(&stranger.issue())).await.unwrap_err();
    call(&server, &ca, None).await.unwrap_err();
}

#[tokio::test]
async fn checklist_13_a_swapped_secret_is_taken_and_open_connections_stay() {
    let (folder, old, new) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    mount(folder.path(), "one", &old.issue(), &old.pem());
    let server = Server::start_with(config_in(folder.path(), false)).await;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(old.pem()))
        .domain_name("localhost");
    let endpoint = Channel::from_shared(format!("https://{}", server.addresses.grpc)).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    let mut keda = ExternalScalerClient::new(channel);

    mount(folder.path(), "two", &new.issue(), &new.pem());
    until_trusted(&server, &new).await;
    call(&server, &old, None).await.unwrap_err();
    keda.get_metric_spec(trigger("resnet", &[])).await.unwrap();
}

#[tokio::test]
async fn checklist_13_bad_new_files_leave_the_old_ones_in_use_and_are_told() {
    let (folder, ca) = (TempDir::new().unwrap(), Authority::new());
    mount(folder.path(), "one", &ca.issue(), &ca.pem());
    let server = Server::start_with(config_in(folder.path(), false)).await;
    call(&server, &ca, None).await.unwrap();
    let (cert, _) = ca.issue();
    let (_, foreign_key) = ca.issue();
    mount(folder.path(), "two", &(cert, foreign_key), &ca.pem());
    until_metric(&server, r#"spotscale_scaler_tls_reloads_total{outcome="refused"}"#).await;
    call(&server, &ca, None).await.unwrap();
    mount(folder.path(), "three", &(String::new(), String::new()), &ca.pem());
    call(&server, &ca, None).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_ends_the_scaler_before_it_serves() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start_with(config_in(folder.path(), false)).await;
    let ended = tokio::time::timeout(PATIENCE, &mut server.task).await.unwrap().unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("tls.crt") && !error.contains('\n'), "{error}");
}
