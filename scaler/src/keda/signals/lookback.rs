//! Whether a Prometheus looks back only as far as it is asked to.
//!
//! Before version 2.44 it does not, and other servers of its API need not: a sample of up to the server's own lookback ago
//! (`--query.lookback-delta`, five minutes) passes for one of now. How old the samples behind an answer are cannot be
//! asked for any expression, since `timestamp()` only knows those of a selector, so the operator is told. What ends in
//! good order is safe even so: Prometheus marks the series of a target that is gone as stale.

use std::fmt;

use prometheus_http_query::{Client, Error as QueryError};
use serde::Serialize;

/// No duration. A server that knows the parameter refuses it, whatever its name and version are.
const NONSENSE: &str = "nonsense";

/// What becomes of the lookback that a query asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lookback {
    /// Prometheus looks no further back.
    Honoured,
    /// It looks as far back as it was started to.
    Ignored {
        /// What it says of itself.
        version: Option<String>,
    },
}

impl Lookback {
    /// Finds out; nothing where the server cannot be asked now.
    pub(super) async fn ask(client: &Client) -> Option<Self> {
        let request = client.query("1").query("lookback_delta", NONSENSE);
        match request.get().await {
            Err(QueryError::Prometheus(said)) if said.is_bad_data() => Some(Self::Honoured),
            Ok(_) => {
                let version = client.build_information().await.ok();
                let version = version.map(|about| about.version().to_owned());
                Some(Self::Ignored { version })
            }
            Err(_) => None,
        }
    }

    pub(crate) fn is_ignored(&self) -> bool {
        matches!(self, Self::Ignored { .. })
    }
}

impl fmt::Display for Lookback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ignored { version } = self else {
            return f.write_str("Prometheus looks back as far as it is asked to");
        };
        let version = version.as_deref().unwrap_or("of a version that it does not tell");
        write!(
            f,
            "Prometheus {version} ignores how far back a query asks it to look: samples of up to its own \
             --query.lookback-delta ago count as fresh; 2.44 and later do not"
        )
    }
}
