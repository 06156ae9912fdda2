//! The TLS settings of a trigger as KEDA reads them, and certificates that change under load.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use spotscale_test_cluster::pki::{Authority, Pair};
use tempfile::TempDir;

use crate::{
    calls::connections,
    keda::{Keda, METRIC, Trigger, until},
    scaler::Scaler,
};

/// Metadata and authentication parameters of a trigger.
type Settings<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

/// The files that a scaler's flags name.
struct Mounted(TempDir);

impl Mounted {
    fn new(server: &Pair, client_ca: &str) -> Self {
        let mounted = Self(tempfile::tempdir().unwrap());
        mounted.server(server);
        mounted.client_ca(client_ca);
        mounted
    }

    /// First the certificate and then the key: in between they do not fit together.
    fn server(&self, pair: &Pair) {
        self.replace("tls.crt", &text(&pair.cert));
        self.replace("tls.key", &text(&pair.key));
    }

    fn client_ca(&self, pem: &str) {
        self.replace("ca.crt", pem);
    }

    /// In one step: half a file would be a change of its own.
    fn replace(&self, name: &str, content: &str) {
        let whole = self.0.path().join("whole");
        fs::write(&whole, content).unwrap();
        fs::rename(whole, self.0.path().join(name)).unwrap();
    }

    /// The flags of TLS, and of mutual TLS.
    fn flags(&self, mutual: bool) -> Vec<String> {
        let file =
            |flag: &str, name: &str| format!("--{flag}={}", self.0.path().join(name).display());
        let mut flags = vec![file("tls-cert", "tls.crt"), file("tls-key", "tls.key")];
        flags.extend(mutual.then(|| file("tls-client-ca", "ca.crt")));
        flags
    }
}

/// An authority, a pair for a server at 127.0.0.1 and one for KEDA.
fn issued(folder: &Path, name: &str) -> (Authority, Pair, Pair) {
    let folder = folder.join(name);
    let authority = Authority::new(&folder, name).unwrap();
    let server = authority.issue(&folder, "server", ("spotscale", None), &["127.0.0.1"]).unwrap();
    let client = authority.issue(&folder, "client", ("keda", None), &[]).unwrap();
    (authority, server, client)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

async fn start(flags: &[String]) -> Scaler {
    Scaler::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Whether a trigger with these settings gets its specs.
async fn works(keda: &Keda, scaler: &Scaler, (metadata, auth): Settings<'_>) -> bool {
    let trigger = Trigger { metadata, auth, ..Trigger::poll("resnet", &scaler.grpc) };
    let trigger = keda.open(trigger).await.unwrap();
    let specs = keda.specs(&trigger).await;
    keda.close(&trigger).await;
    specs.is_some_and(|specs| specs[0].name == METRIC)
}

#[tokio::test]
async fn every_tls_setting_of_a_trigger_works_as_keda_means_it() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, server, client) = issued(folder.path(), "own");
    let (foreign, _, stranger) = issued(folder.path(), "foreign");
    let mounted = Mounted::new(&server, &authority.pem());
    let keda = Keda::start();
    let plain = Scaler::start(&[]).await;
    let tls = start(&mounted.flags(false)).await;
    let mutual = start(&mounted.flags(true)).await;

    let (ca, foreign_ca) = (authority.pem(), foreign.pem());
    let pems = [&client.cert, &client.key, &stranger.cert, &stranger.key].map(|path| text(path));
    let [cert, key, strange_cert, strange_key] = pems.each_ref().map(String::as_str);
    let (ca, foreign_ca) = (("caCert", ca.as_str()), ("caCert", foreign_ca.as_str()));
    let pair = [ca, ("tlsClientCert", cert), ("tlsClientKey", key)];
    let strange = [ca, ("tlsClientCert", strange_cert), ("tlsClientKey", strange_key)];
    let enabled = ("enableTLS", "true");
    let unsafe_ssl = ("unsafeSsl", "true");

    let cases: [(&Scaler, Settings, bool, &str); 13] = [
        (&plain, (&[], &[]), true, "plain"),
        (&plain, (&[enabled, unsafe_ssl], &[]), false, "TLS to a plaintext port"),
        (&tls, (&[], &[ca]), true, "a CA turns TLS on"),
        (&tls, (&[enabled], &[ca]), true, "both"),
        (&tls, (&[enabled, unsafe_ssl], &[]), true, "unverified"),
        (&tls, (&[enabled], &[]), false, "a private CA is not among the system's"),
        (&tls, (&[], &[foreign_ca]), false, "the wrong CA"),
        (&tls, (&[unsafe_ssl], &[]), false, "unsafeSsl alone stays plaintext"),
        (&tls, (&[], &[]), false, "plaintext to a TLS port"),
        (&mutual, (&[], &pair), true, "mutual"),
        (&mutual, (&[], &[ca]), false, "mutual without a certificate"),
        (&mutual, (&[], &strange), false, "mutual with a stranger's"),
        (&mutual, (&[enabled, unsafe_ssl], &pair[1..]), true, "mutual, the server unverified"),
    ];
    for (scaler, settings, wanted, what) in cases {
        assert_eq!(works(&keda, scaler, settings).await, wanted, "{what}");
    }
}

#[tokio::test]
async fn tls_settings_of_their_own_mean_a_connection_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, server, _) = issued(folder.path(), "own");
    let mounted = Mounted::new(&server, &authority.pem());
    let keda = Keda::start();
    let scaler = start(&mounted.flags(false)).await;
    let (ca, twice) = (authority.pem(), authority.pem().repeat(2));
    for (name, ca, wanted) in [("a", &ca, 1), ("b", &ca, 1), ("c", &twice, 2), ("d", &twice, 2)] {
        let auth = [("caCert", ca.as_str())];
        let trigger = Trigger { auth: &auth, ..Trigger::poll(name, &scaler.grpc) };
        let trigger = keda.open(trigger).await.unwrap();
        assert!(keda.specs(&trigger).await.is_some());
        assert_eq!(connections(&scaler.grpc).len(), wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x16_certificate_and_authority_change_under_load_without_one_failed_call() {
    let folder = tempfile::tempdir().unwrap();
    let (old, old_server, old_client) = issued(folder.path(), "old");
    let (new, new_server, new_client) = issued(folder.path(), "new");
    let both = old.pem() + &new.pem();
    let mounted = Mounted::new(&old_server, &old.pem());
    let keda = Arc::new(Keda::start());
    let mut flags = mounted.flags(true);
    // Connections are given up about every second, so that each step meets new ones in the middle of the load.
    flags.extend(["--stream-age-max=1s", "--tls-reload-interval=20ms"].map(str::to_owned));
    let scaler = start(&flags).await;
    let taken = async |times| {
        let line = format!("spotscale_scaler_tls_reloads_total{{outcome=\"taken\"}} {times}\n");
        scaler.until_metric(&line).await;
        renewed(&scaler).await;
    };

    let first = Load::start(&keda, &scaler, &both, &old_client).await;
    mounted.client_ca(&both);
    taken(1).await;
    mounted.server(&new_server);
    taken(2).await;
    let (now, before) = (new.pem(), old.pem());
    let trusting = |ca| [("caCert", ca), ("enableTLS", "true")];
    assert!(!works(&keda, &scaler, (&[], &trusting(&before))).await, "the old one is still shown");
    let second = Load::start(&keda, &scaler, &both, &new_client).await;
    let first = first.stop().await;
    mounted.client_ca(&now);
    taken(3).await;
    let second = second.stop().await;
    for (calls, failed) in [first, second] {
        assert_eq!(failed, 0, "of {calls}");
        assert!(calls > 100, "only {calls} calls");
    }
}

/// Calls in a loop, until stopped.
struct Load {
    stopped: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Four ScaledObjects on one connection.
    async fn start(keda: &Arc<Keda>, scaler: &Scaler, ca: &str, client: &Pair) -> Self {
        let (cert, key) = (text(&client.cert), text(&client.key));
        let auth = [("caCert", ca), ("tlsClientCert", &cert), ("tlsClientKey", &key)];
        let mut load = Self {
            stopped: Arc::default(),
            calls: Arc::default(),
            failed: Arc::default(),
            workers: Vec::new(),
        };
        for index in 0..4 {
            // KEDA keeps the scaler of the old generation until the new one is there.
            let name = format!("{}-{index}", client.cert.display());
            let trigger = Trigger { auth: &auth, ..Trigger::poll(&name, &scaler.grpc) };
            let trigger = keda.open(trigger).await.unwrap();
            load.workers.push(load.worker(keda.clone(), trigger));
        }
        load
    }

    fn worker(&self, keda: Arc<Keda>, trigger: String) -> tokio::task::JoinHandle<()> {
        let (stopped, calls, failed) =
            (self.stopped.clone(), self.calls.clone(), self.failed.clone());
        tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                // No front reports here, and to say so is an answer.
                let polled = keda.poll(&trigger, METRIC).await.err();
                let is_answered = polled.is_none_or(|error| error.contains("the demand signal"));
                if keda.specs(&trigger).await.is_none() || !is_answered {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                calls.fetch_add(1, Ordering::Relaxed);
            }
            keda.close(&trigger).await;
        })
    }

    /// How many calls there were, and how many of them failed.
    async fn stop(self) -> (usize, usize) {
        self.stopped.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        (self.calls.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// Waits until every connection has been replaced.
async fn renewed(scaler: &Scaler) {
    let before = connections(&scaler.grpc);
    until("new connections", async || {
        let now = connections(&scaler.grpc);
        (!now.is_empty() && now.iter().all(|one| !before.contains(one))).then_some(())
    })
    .await;
}
