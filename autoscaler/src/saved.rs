//! What the daemon keeps over restarts, as bytes: gzip-compressed JSON that tells its own format. State that cannot be
//! read, or that a newer daemon wrote, is refused: what it says is never guessed.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use spotscale_decide::{ledger::Ledger, planner::Memory, prices::PriceBook};

/// Counted up with every change that an older daemon could not read.
const FORMAT: u32 = 1;
/// No state of ours unpacks to more: what does is not ours, or broken.
const BYTES_MAX: u64 = 256 << 20;

/// The state of a daemon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) ledger: Ledger,
    pub(crate) memory: Memory,
    /// The prices that the ledger still needs: a market does not tell the past for ever.
    pub(crate) prices: PriceBook,
}

/// Why saved state is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A newer daemon wrote it.
    #[error("it has format {found}, and this daemon reads formats up to {FORMAT}")]
    Newer {
        /// The format it has.
        found: u32,
    },
    /// It is not what was saved.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Whole<S> {
    format: u32,
    state: S,
}

// === impl Saved ===

impl Saved {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Refused> {
        let whole = Whole { format: FORMAT, state: self };
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        let json = serde_json::to_vec(&whole).map_err(damaged)?;
        packed.write_all(&json).map_err(damaged)?;
        packed.finish().map_err(damaged)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Refused> {
        let mut json = Vec::new();
        GzDecoder::new(bytes).take(BYTES_MAX).read_to_end(&mut json).map_err(damaged)?;
        let Format { format } = serde_json::from_slice(&json).map_err(damaged)?;
        if format > FORMAT {
            return Err(Refused::Newer { found: format });
        }
        let whole: Whole<Self> = serde_json::from_slice(&json).map_err(damaged)?;
        Ok(whole.state)
    }
}

// === impl Refused ===

impl Refused {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "newer",
            Self::Damaged(_) => "damaged",
        }
    }
}

fn damaged(error: impl std::fmt::Display) -> Refused {
    Refused::Damaged(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(json: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(json.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn state_comes_back_as_it_was() {
        let memory = Memory { launches: 7, ..Memory::default() };
        let saved = Saved { memory, ..Saved::default() };
        assert_eq!(Saved::from_bytes(&saved.to_bytes().unwrap()), Ok(saved));
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_words() {
        let refusal = |bytes: &[u8]| Saved::from_bytes(bytes).unwrap_err();
        let newer = refusal(&pack(r#"{"format":99,"unheard":"of"}"#));
        assert_eq!(newer.to_string(), "it has format 99, and this daemon reads formats up to 1");
        let whole = Saved::default().to_bytes().unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x40;
        let json = pack("{}");
        for bytes in [&b""[..], b"not gzip", &whole[..whole.len() - 9], &flipped, &json] {
            assert_eq!(refusal(bytes).kind(), "damaged", "{bytes:?}");
        }
    }
}
