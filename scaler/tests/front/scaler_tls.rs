//! Demand over TLS: who is told, who is not, and what changed files do.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::{
    authority::Authority,
    demand::Running,
    support::{Front, PATIENCE, config},
};

const STREAMS: &str = "spotscale_front_demand_streams";

/// Shows a certificate of `own` and lets in whom `of_clients` knows.
fn mutual(own: &Authority, of_clients: &Authority) -> ServerTlsConfig {
    let (cert, key) = own.issue();
    ServerTlsConfig::new()
        .identity(Identity::from_pem(cert, key))
        .client_ca_root(Certificate::from_pem(of_clients.pem()))
}

fn write(folder: &Path, ca: &Authority, (cert, key): &(String, String)) {
    for (name, text) in [("ca.crt", &ca.pem()), ("tls.crt", cert), ("tls.key", key)] {
        fs::write(folder.join(name), text).unwrap();
    }
}

fn flags(folder: &Path, scaler: &Running) -> [String; 4] {
    let file = |flag: &str, name: &str| format!("--scaler-{flag}={}", folder.join(name).display());
    let scaler = format!("--scaler=https://localhost:{}", scaler.address.port());
    [scaler, file("ca", "ca.crt"), file("cert", "tls.crt"), file("key", "tls.key")]
}

async fn front(flags: &[String]) -> Front {
    Front::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn a_scaler_that_wants_to_know_who_reports_is_told() {
    let (folder, scalers, fronts) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    write(folder.path(), &scalers, &fronts.issue());
    let mut scaler = Running::with_tls("127.0.0.1:0", mutual(&scalers, &fronts)).await;
    let front = front(&flags(folder.path(), &scaler)).await;
    scaler.until(|report| report.services[0].held == 0).await;
    assert!((front.metric(STREAMS).await - 1.0).abs() < f64::EPSILON);
    front.stop().await;
}

#[tokio::test]
async fn a_scaler_that_nobody_vouches_for_is_told_nothing_until_the_files_say_otherwise() {
    let (folder, scalers, fronts) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    write(folder.path(), &Authority::new(), &fronts.issue());
    let mut scaler = Running::with_tls("127.0.0.1:0", mutual(&scalers, &fronts)).await;
    let front = front(&flags(folder.path(), &scaler)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(scaler.reports.try_recv().is_err(), "a stranger was told");
    assert!(front.metric(STREAMS).await < f64::EPSILON);
    write(folder.path(), &scalers, &fronts.issue());
    scaler.until(|_| true).await;
    front.stop().await;
}

#[tokio::test]
async fn files_that_do_not_hold_together_leave_the_last_ones_in_use() {
    let (folder, scalers, fronts) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    write(folder.path(), &scalers, &fronts.issue());
    let tls = mutual(&scalers, &fronts);
    let mut scaler = Running::with_tls("127.0.0.1:0", tls.clone()).await;
    let (address, flags) = (scaler.address.to_string(), flags(folder.path(), &scaler));
    let front = front(&flags).await;
    scaler.until(|_| true).await;
    for (name, text) in [("tls.key", fronts.issue().1), ("ca.crt", String::new())] {
        fs::write(folder.path().join(name), text).unwrap();
        scaler.dead.cancel();
        scaler = Running::with_tls(&address, tls.clone()).await;
        scaler.until(|_| true).await;
    }
    front.stop().await;
}

#[tokio::test]
async fn a_scaler_that_never_shakes_hands_is_tried_again_and_holds_up_no_end() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &Authority::new(), &Authority::new().issue());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let ca = folder.path().join("ca.crt").display().to_string();
    let scaler = format!("--scaler=https://127.0.0.1:{port}");
    let front = Front::start(&[&scaler, "--scaler-ca", &ca]).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let accepted = tokio::time::timeout(PATIENCE, silent.accept()).await;
        kept.push(accepted.expect("it still waits for the first").unwrap());
    }
    front.stop().await;
}

#[test]
fn files_that_cannot_be_used_are_refused_before_anything_is_bound() {
    let (folder, scalers) = (TempDir::new().unwrap(), Authority::new());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let of = |cert: &str| {
        let (ca, cert, key) = (path("ca.crt"), path(cert), path("tls.key"));
        let flags = [
            "--scaler=https://s:1",
            "--scaler-ca",
            &ca,
            "--scaler-cert",
            &cert,
            "--scaler-key",
            &key,
        ];
        config(&flags).validate().map_err(|error| error.to_string())
    };
    write(folder.path(), &scalers, &scalers.issue());
    assert_eq!(of("tls.crt"), Ok(()));
    let missing = of("none.crt").unwrap_err();
    assert!(missing.contains("--scaler-cert") && missing.contains("none.crt"), "{missing}");
    fs::write(folder.path().join("tls.key"), scalers.issue().1).unwrap();
    let foreign = of("tls.crt").unwrap_err();
    assert!(foreign.contains("--scaler-key"), "{foreign}");
    fs::write(folder.path().join("ca.crt"), "").unwrap();
    let empty = of("tls.crt").unwrap_err();
    assert!(empty.contains("--scaler-ca") && !empty.contains('\n'), "{empty}");
}
