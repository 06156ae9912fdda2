//! What the daemon keeps over restarts, as bytes: gzip-compressed JSON that tells its own format. State that cannot be
//! read, or that a newer daemon wrote, is refused: what it says is never guessed.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use spotscale_decide::{
    ledger::{FormerLedger, Ledger},
    planner::Memory,
    prices::PriceBook,
};

/// Counted up with every change that an older daemon could not read.
const FORMAT: u32 = 2;
/// The last format whose ledger knew no days.
const WITHOUT_DAYS: u32 = 1;
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

/// The state as it was before the ledger knew days.
#[derive(Deserialize)]
struct Former {
    ledger: FormerLedger,
    memory: Memory,
    prices: PriceBook,
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
        if format <= WITHOUT_DAYS {
            let whole: Whole<Former> = serde_json::from_slice(&json).map_err(damaged)?;
            return Ok(whole.state.into());
        }
        let whole: Whole<Self> = serde_json::from_slice(&json).map_err(damaged)?;
        Ok(whole.state)
    }
}

impl From<Former> for Saved {
    fn from(Former { ledger, memory, prices }: Former) -> Self {
        Self { ledger: ledger.into(), memory, prices }
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
    use jiff::{SignedDuration, Timestamp};
    use spotscale_decide::{
        cluster::{CapacityType, EndedBy, Node, NodePhase, Observation, Offering, Pod, PodPhase},
        prices::PriceChange,
        units::Millis,
    };

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
    fn state_of_the_format_before_is_read() {
        let json = r#"{"format":1,"state":{
            "ledger":{
                "opened_at":"2027-01-10T00:00:00Z","observed_at":null,"month":null,"serving_max":3,"lives":[],
                "settled":[[
                    {"pool":null,"offering":{"instance_type":"a","zone":"z","capacity_type":"spot"}},
                    {"spend":[[null,7200000]],"refund":[]}
                ]]
            },
            "memory":MEMORY,"prices":[]
        }}"#;
        let memory = Memory { launches: 7, ..Memory::default() };
        let json = json.replace("MEMORY", &serde_json::to_string(&memory).unwrap());
        let saved = Saved::from_bytes(&pack(&json)).unwrap();
        assert_eq!(saved.memory, memory);
        let now = "2027-01-11T00:00:00Z".parse().unwrap();
        let rows = saved.ledger.rows(&saved.prices, now);
        assert_eq!((rows.len(), rows[0].billed.0), (1, 2));
        assert_eq!(Saved::from_bytes(&saved.to_bytes().unwrap()), Ok(saved), "and written anew");
    }

    fn node() -> Node {
        Node {
            name: "n".parse().unwrap(),
            instance: None,
            offering: Offering {
                instance_type: "g4dn.xlarge".parse().unwrap(),
                zone: "us-east-1a".parse().unwrap(),
                capacity_type: CapacityType::Spot,
            },
            phase: NodePhase::Ready,
            cordoned: None,
            protected: false,
            pool: Some("gpu-spot".parse().unwrap()),
            launched_at: Timestamp::UNIX_EPOCH,
            pods_max: 1,
        }
    }

    /// Two months in which each day 300 workloads were served, for times that have nothing in common.
    fn long_ledger() -> Ledger {
        let node = node();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |secs: i64| start + SignedDuration::from_secs(secs);
        let change = PriceChange { at: start, price: "0.212345".parse().unwrap() };
        let prices: PriceBook = [(node.offering.clone(), change)].into_iter().collect();
        let mut ledger = Ledger::default();
        for day in 0..62 {
            let named = |n: i64| Node {
                name: format!("n-{day}-{n}").parse().unwrap(),
                launched_at: at(day * 86_400 + n),
                ..node.clone()
            };
            let nodes: Vec<_> = (0..300).map(named).collect();
            let pod = |(n, node): (usize, &Node)| Pod {
                name: format!("p-{n}").parse().unwrap(),
                workload: Some(format!("namespace-{}/workload-{n}", n % 7).parse().unwrap()),
                node: Some(node.name.clone()),
                phase: PodPhase::Ready,
                surged: false,
                grace_ms: Millis::ZERO,
                critical: false,
            };
            let pods = nodes.iter().enumerate().map(pod).collect();
            let mut seen = Observation {
                at: at(day * 86_400 + 400),
                workloads: vec![],
                nodes,
                pods,
                notices: vec![],
                provisioner: None,
            };
            ledger.observe(&seen, &prices);
            for (n, node) in seen.nodes.iter_mut().enumerate() {
                let lived = 500 + (n as i64 * 7919 + day * 104_729) % 40_000;
                node.phase = NodePhase::Ended { at: at(day * 86_400 + lived), by: EndedBy::Us };
            }
            seen.at = at(day * 86_400 + 43_200);
            ledger.observe(&seen, &prices);
        }
        ledger
    }

    #[test]
    fn the_longest_ledger_fits_where_it_is_kept() {
        let saved = Saved { ledger: long_ledger(), ..Saved::default() };
        let bytes = saved.to_bytes().unwrap().len();
        // A ConfigMap takes 750 KiB of ours, and lives and prices are to have room beside the sums.
        assert!((50 << 10..350 << 10).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_words() {
        let refusal = |bytes: &[u8]| Saved::from_bytes(bytes).unwrap_err();
        let newer = refusal(&pack(r#"{"format":99,"unheard":"of"}"#));
        assert_eq!(newer.to_string(), "it has format 99, and this daemon reads formats up to 2");
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
