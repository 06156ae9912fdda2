//! Where the scalers are, and connections to them: plain, TLS or mutual TLS.
//!
//! The files of TLS are read for each connection, so a certificate that has been replaced is used from the next one on.
//! Writers replace a certificate and its key one after the other: a pair that does not hold together is passed over
//! for the last one that did.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use http::Uri;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Serialize, Serializer};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::upstream::innermost;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A scaler, or several behind one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalerAddress {
    /// Spelled `https://`.
    pub is_tls: bool,
    /// A name or an address, without the brackets of an IPv6 one.
    pub host: String,
    /// The scaler's gRPC port.
    pub port: u16,
}

/// Flags of TLS to the scalers.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct ScalerTls {
    /// PEM file with the authorities that vouch for https:// scalers. This file and the next two are read again for
    /// each connection.
    #[arg(long, env = "SPOTSCALE_FRONT_SCALER_CA", value_name = "FILE")]
    pub scaler_ca: Option<PathBuf>,

    /// PEM file with this front's certificate chain, for scalers that want to know who reports.
    #[arg(long, env = "SPOTSCALE_FRONT_SCALER_CERT", value_name = "FILE")]
    pub scaler_cert: Option<PathBuf>,

    /// PEM file with this front's private key.
    #[arg(long, env = "SPOTSCALE_FRONT_SCALER_KEY", value_name = "FILE")]
    pub scaler_key: Option<PathBuf>,
}

/// Why there is no usable TLS to the scalers.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the pair is missing.
    #[error("--scaler-cert and --scaler-key must be given together")]
    HalfAPair,
    /// Nobody vouches for an https:// scaler.
    #[error("--scaler-ca: needed for an https:// scaler")]
    NoAuthority,
    /// Files for a TLS that is not asked for: most likely a scaler was meant to be https://.
    #[error("--scaler-ca, --scaler-cert and --scaler-key: no --scaler is https://")]
    NotUsed,
    /// A file cannot be read.
    #[error("{flag} {path}: {source}")]
    Read {
        /// The flag that named it.
        flag: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The files hold no PEM of the wanted kind, or do not fit together.
    #[error("--scaler-ca, --scaler-cert and --scaler-key: {0}")]
    Unfit(String),
}

/// Why there is no connection to a scaler.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// It was refused or broken off, by the network or by TLS.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    /// Somebody listens there and says nothing.
    #[error("no connection within {CONNECT_TIMEOUT:?}")]
    Silent,
}

/// Makes connections to scalers.
pub(super) struct Dialer {
    files: ScalerTls,
    /// The last settings that held together; none where no scaler is https://.
    last: Option<Mutex<ClientTlsConfig>>,
}

impl ScalerTls {
    /// Checks that the files make a whole, and that they are wanted.
    pub(super) fn validate(&self, scalers: &[ScalerAddress]) -> Result<(), TlsError> {
        let Self { scaler_ca, scaler_cert, scaler_key } = self;
        if scaler_cert.is_some() != scaler_key.is_some() {
            return Err(TlsError::HalfAPair);
        }
        match (
            scalers.iter().any(|scaler| scaler.is_tls),
            scaler_ca.is_some() || scaler_cert.is_some(),
        ) {
            (false, true) => Err(TlsError::NotUsed),
            (false, false) => Ok(()),
            (true, _) => self.read().map(drop),
        }
    }

    fn read(&self) -> Result<ClientTlsConfig, TlsError> {
        let authorities = self.scaler_ca.as_deref().ok_or(TlsError::NoAuthority)?;
        let authorities = read("--scaler-ca", authorities)?;
        // Of an empty list nothing would complain but every handshake.
        let first = CertificateDer::pem_slice_iter(&authorities).next();
        if !matches!(first, Some(Ok(_))) {
            return Err(TlsError::Unfit("no authority is in the first".to_owned()));
        }
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
        if let (Some(cert), Some(key)) = (&self.scaler_cert, &self.scaler_key) {
            let identity =
                Identity::from_pem(read("--scaler-cert", cert)?, read("--scaler-key", key)?);
            tls = tls.identity(identity);
        }
        // Only a connector tells whether they can be used.
        let trial = Endpoint::from_static("https://scaler").tls_config(tls.clone());
        trial.map(|_| tls).map_err(|error| TlsError::Unfit(innermost(&error)))
    }
}

impl Dialer {
    pub(super) fn new(files: &ScalerTls, scalers: &[ScalerAddress]) -> Result<Self, TlsError> {
        let is_tls = scalers.iter().any(|scaler| scaler.is_tls);
        let last = is_tls.then(|| files.read()).transpose()?.map(Mutex::new);
        Ok(Self { files: files.clone(), last })
    }

    /// A connection to one of the addresses that the scaler's name stands for.
    pub(super) async fn connect(
        &self,
        scaler: &ScalerAddress,
        address: SocketAddr,
    ) -> Result<Channel, DialError> {
        let scheme = if scaler.is_tls { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .keep_alive_while_idle(true);
        if let Some(tls) = self.tls().filter(|_| scaler.is_tls) {
            endpoint = endpoint.tls_config(tls.domain_name(&scaler.host))?;
        }
        // The endpoint's own timeout would cover TCP alone, not the handshake of TLS.
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect());
        Ok(connecting.await.map_err(|_| DialError::Silent)??)
    }

    fn tls(&self) -> Option<ClientTlsConfig> {
        let mut last = self.last.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        match self.files.read() {
            Ok(tls) => *last = tls,
            Err(error) => tracing::warn!(%error, "keeping the last files that could be used"),
        }
        Some(last.clone())
    }
}

impl FromStr for ScalerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("{text:?} is no scaler; wanted http://HOST:PORT or https://HOST:PORT");
        let uri: Uri = text.parse().map_err(|_| refuse())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse()),
        };
        match (uri.host(), uri.port_u16()) {
            (Some(host), Some(port)) if matches!(uri.path(), "" | "/") => {
                let host = host.trim_matches(['[', ']']).to_owned();
                Ok(Self { is_tls, host, port })
            }
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for ScalerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

impl Serialize for ScalerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| {
        let path = path.display().to_string();
        TlsError::Read { flag, path, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaler_is_a_scheme_a_host_and_a_port() {
        for text in ["http://scaler:6000", "https://scaler.ns.svc:6000", "http://[::1]:6000"] {
            let scaler: ScalerAddress = text.parse().unwrap();
            assert_eq!(scaler.to_string(), text);
            assert_eq!(scaler.is_tls, text.starts_with("https"));
        }
        assert_eq!("http://[::1]:6000/".parse::<ScalerAddress>().unwrap().host, "::1");
        for wrong in ["scaler:6000", "http://scaler", "grpc://scaler:6000", "http://a:1/x", ""] {
            let error = wrong.parse::<ScalerAddress>().unwrap_err();
            assert!(error.contains("http://HOST:PORT"), "{error}");
        }
    }
}
