//! The gRPC port's certificate: plain, TLS or mutual TLS, and followed when its files change.
//!
//! Kubernetes swaps a mounted Secret by renaming a symlink, and writers replace the certificate and the key one after
//! the other. So the content is compared at an interval, and a pair that does not hold together yet changes nothing.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::Serialize;
use spotscale_decide::units::Span;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// Flags of the gRPC port's TLS.
#[derive(clap::Args, Debug, Clone, Serialize)]
pub struct TlsConfig {
    /// PEM file with the server's certificate chain; turns TLS on
    #[arg(long = "tls-cert", env = "SPOTSCALE_TLS_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file with the server's private key
    #[arg(long = "tls-key", env = "SPOTSCALE_TLS_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// PEM file with the authorities whose clients are let in; turns mutual TLS on
    #[arg(long = "tls-client-ca", env = "SPOTSCALE_TLS_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// How often the files are looked at; a change is taken without a restart
    #[arg(
        long = "tls-reload-interval",
        env = "SPOTSCALE_TLS_RELOAD_INTERVAL",
        default_value = "10s"
    )]
    pub reload_interval: Span,
}

/// Why there is no usable TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the pair is missing.
    #[error("--tls-cert and --tls-key must be given together")]
    HalfAPair,
    /// Clients cannot be checked without a certificate of our own.
    #[error("--tls-client-ca needs --tls-cert and --tls-key")]
    ClientCaAlone,
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds no PEM of the wanted kind.
    #[error("{flag} holds no usable PEM: {why}")]
    Pem {
        /// The flag that named it.
        flag: &'static str,
        /// What the parser said.
        why: String,
    },
    /// The parts do not fit together (a foreign key, an empty list of authorities).
    #[error("certificate, key and client authorities do not fit: {0}")]
    Unfit(String),
}

/// The files' content at one moment.
#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// A source of the present TLS settings.
pub(crate) type Current = watch::Receiver<Arc<ServerConfig>>;

/// Keeps the settings equal to the files.
pub(crate) struct Reloader {
    config: TlsConfig,
    seen: Files,
    current: watch::Sender<Arc<ServerConfig>>,
}

impl TlsConfig {
    /// Checks that the files named make a whole.
    pub(super) fn validate(&self) -> Result<(), TlsError> {
        match (&self.cert, &self.key, &self.client_ca) {
            (None, None, Some(_)) => Err(TlsError::ClientCaAlone),
            (Some(_), None, _) | (None, Some(_), _) => Err(TlsError::HalfAPair),
            _ => Ok(()),
        }
    }

    /// Reads the files once; `None` when TLS is off.
    pub(crate) fn load(&self) -> Result<Option<Reloader>, TlsError> {
        let Some(seen) = self.read()? else { return Ok(None) };
        let current = watch::Sender::new(Arc::new(seen.server_config()?));
        Ok(Some(Reloader { config: self.clone(), seen, current }))
    }

    fn read(&self) -> Result<Option<Files>, TlsError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })
        };
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let client_ca = self.client_ca.as_ref().map(read).transpose()?;
        Ok(Some(Files { cert: read(cert)?, key: read(key)?, client_ca }))
    }
}

impl Files {
    fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let unfit = |error: &dyn std::fmt::Display| TlsError::Unfit(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("--tls-client-ca", pem)? {
                    roots.add(authority).map_err(|error| unfit(&error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unfit(&error))?)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| TlsError::Pem { flag: "--tls-key", why: error.to_string() })?;
        let chain = certificates("--tls-cert", &self.cert)?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unfit(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Reloader {
    /// The settings now and from now on.
    pub(crate) fn current(&self) -> Current {
        self.current.subscribe()
    }

    /// Looks at the files until `shutdown`.
    pub(crate) async fn run(mut self, metrics: Arc<Metrics>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.reload_interval.0);
        ticks.tick().await;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.refresh() {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!("took the new TLS files");
                    metrics.tls_reload("taken");
                }
                Err(error) => {
                    tracing::error!(%error, "new TLS files are unusable: keeping the old ones");
                    metrics.tls_reload("refused");
                }
            }
        }
    }

    /// Takes changed files; says whether there were any. On an error the old settings stay.
    fn refresh(&mut self) -> Result<bool, TlsError> {
        let Some(files) = self.config.read()? else { return Ok(false) };
        if files == self.seen {
            return Ok(false);
        }
        let config = files.server_config()?;
        self.seen = files;
        self.current.send_replace(Arc::new(config));
        Ok(true)
    }
}

fn certificates(flag: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(list) if list.is_empty() => {
            Err(TlsError::Pem { flag, why: "there is no certificate in it".to_owned() })
        }
        Ok(list) => Ok(list),
        Err(error) => Err(TlsError::Pem { flag, why: error.to_string() }),
    }
}
