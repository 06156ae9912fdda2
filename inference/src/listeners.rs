//! Binds the two ports, before anything is loaded or served.

use std::net::SocketAddr;

use serde::Serialize;
use tokio::net::TcpListener;

use crate::Config;

/// The bound ports.
#[derive(Debug)]
pub struct Listeners {
    /// Classification, open inference protocol v2, probes and metrics.
    pub http: TcpListener,
    /// Open inference protocol v2 over gRPC.
    pub grpc: TcpListener,
}

/// Where the ports really are, for port 0.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Addresses {
    /// The HTTP port.
    pub http: SocketAddr,
    /// The gRPC port.
    pub grpc: SocketAddr,
}

/// An address that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("--{flag} {address}: {reason}")]
pub struct BindError {
    /// The flag, without dashes.
    pub flag: &'static str,
    /// What it says.
    pub address: SocketAddr,
    /// Why it cannot be had.
    pub reason: std::io::Error,
}

impl Config {
    /// Binds both ports.
    pub async fn bind(&self) -> Result<Listeners, BindError> {
        Ok(Listeners {
            http: bind("listen", self.listen).await?,
            grpc: bind("grpc-listen", self.grpc_listen).await?,
        })
    }
}

impl Listeners {
    /// Where the ports really are.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses { http: self.http.local_addr()?, grpc: self.grpc.local_addr()? })
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|reason| BindError { flag, address, reason })
}
