//! The ports of the front, bound before it runs.

use std::net::SocketAddr;

use serde::Serialize;
use tokio::net::TcpListener;

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {address}: {source}")]
pub struct BindError {
    flag: &'static str,
    address: SocketAddr,
    source: std::io::Error,
}

/// The bound ports.
#[derive(Debug)]
pub struct Listeners {
    /// Clients call this one.
    pub service: TcpListener,
    /// Operators call this one.
    pub admin: TcpListener,
}

/// Where the front listens.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Addresses {
    /// For clients.
    pub service: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
}

impl Listeners {
    pub(super) async fn bind(service: SocketAddr, admin: SocketAddr) -> Result<Self, BindError> {
        Ok(Self {
            service: bind("--listen", service).await?,
            admin: bind("--admin-listen", admin).await?,
        })
    }

    /// Where they listen, with the real port for a port 0.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses { service: self.service.local_addr()?, admin: self.admin.local_addr()? })
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { flag, address, source })
}
