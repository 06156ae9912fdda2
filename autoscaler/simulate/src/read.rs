//! Readers of recordings, in our own plain forms and in those that public recordings come in. They take any reader: whose
//! file it is, and how it is packed, is the caller's to know.
//!
//! | what | form | origin |
//! |---|---|---|
//! | prices | CSV `observed_at_utc,instance_type,region,az_id,ondemand_usd_h,spot_usd_h`, changes only | prices observed in skypilot-org/skypilot-catalog |
//! | capacity | JSON `{"metadata": {"gap_seconds": N}, "data": [...]}`, machines at each tick | skypilot-org/spot-traces |
//! | capacity | CSV without a header: milliseconds, `add` or `remove`, node | uclasystem/bamboo |
//! | capacity | CSV `seconds,machines` | ours |
//! | requests | CSV with a column `gmt_create` | alibaba/clusterdata, `cluster-trace-v2026-GenAI` |
//! | requests | CSV with a column `TIMESTAMP` | Azure/AzurePublicDataset, `AzureLLMInferenceTrace` |
//! | requests | CSV with columns `end_timestamp,duration`, in seconds | Azure/AzurePublicDataset, functions of 2021 |
//! | requests | CSV `HashOwner,HashApp,HashFunction,Trigger,1,2,...`, counts a minute, summed up | the same, functions of 2019 |
//! | requests | CSV with a column `seconds` | ours |

mod capacity;
mod prices;
mod requests;

use std::io;

pub use self::{
    capacity::{Recorded, capacity},
    prices::{PRICES_HEADER, Wanted, prices},
    requests::requests,
};

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read at all.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is wrong.
    #[error("line {number}: {what}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// It is not the JSON that it should be.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It begins like nothing that is known.
    #[error("no known form begins with {0:?}")]
    Unknown(String),
    /// There is nothing in it, or nothing that is wanted.
    #[error("there is nothing in it that is wanted")]
    Empty,
}

impl ReadError {
    /// A label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Line { .. } => "line",
            Self::Json(_) => "json",
            Self::Unknown(_) => "unknown",
            Self::Empty => "empty",
        }
    }

    fn line(number: usize, what: impl std::fmt::Display) -> Self {
        Self::Line { number, what: what.to_string() }
    }

    /// What begins a file that is not known, cut to what fits into a message.
    fn unknown(first: &str) -> Self {
        Self::Unknown(first.chars().take(60).collect())
    }
}

/// The columns of a CSV without quotes, by name.
struct Table<'a> {
    names: Vec<&'a str>,
}

impl<'a> Table<'a> {
    fn new(header: &'a str) -> Self {
        Self { names: header.trim().split(',').collect() }
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.trim() == name)
    }
}

/// A number in a column of a line.
fn number(line: &str, column: usize, at: usize) -> Result<f64, ReadError> {
    let field = line.split(',').nth(column).unwrap_or_default().trim();
    let value: f64 =
        field.parse().map_err(|_| ReadError::line(at, format!("{field:?} is no number")))?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(ReadError::line(at, format!("{field:?} is no number")))
    }
}
