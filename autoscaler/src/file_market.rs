//! A market from a file: a recorded price series, played from a given moment on, at its own speed or faster.
//!
//! The file is CSV with the header `timestamp,instance_type,zone,capacity_type,usd_per_hour`; see [`crate::sheet`].

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use jiff::Timestamp;
use spotscale_decide::{
    cluster::Offering,
    prices::{PriceBook, PriceChange},
    units::{Millis, UsdPerHour},
};

use crate::{
    market::{Market, MarketError, TypesSince},
    sheet::{Cells, WrongLine, rows, wrong},
};

const HEADER: &str = "timestamp,instance_type,zone,capacity_type,usd_per_hour";

/// A recorded series as a market.
#[derive(Debug, Clone)]
pub struct FileMarket {
    /// In the order of time.
    changes: Vec<(Offering, PriceChange)>,
}

/// When and how fast a series is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Playback {
    /// The series' first moment is played now.
    pub starts_at: Timestamp,
    /// Seconds of the series that pass in one second; 0 counts as 1.
    pub speed: u32,
}

/// Why a series cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error(transparent)]
    Line(#[from] WrongLine),
    /// There is no price in it.
    #[error("there is no price in it")]
    Empty,
}

// === impl FileMarket ===

impl FileMarket {
    /// Reads a file.
    pub fn open(path: &Path, playback: Playback) -> Result<Self, SeriesError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SeriesError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, playback)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, playback: Playback) -> Result<Self, SeriesError> {
        let mut changes = series(text)?;
        changes.sort_by_key(|(_, change)| change.at);
        let first = changes.first().ok_or(SeriesError::Empty)?.1.at;
        for (_, change) in &mut changes {
            let recorded = Millis::between(first, change.at).0;
            let played = Millis(recorded / u64::from(playback.speed.max(1)));
            change.at = played.after(playback.starts_at);
        }
        Ok(Self { changes })
    }
}

#[async_trait]
impl Market for FileMarket {
    /// All that the series has, whoever needs it.
    async fn prices(&self, now: Timestamp, _: &TypesSince) -> Result<PriceBook, MarketError> {
        let known = self.changes.iter().take_while(|(_, change)| change.at <= now);
        Ok(known.cloned().collect())
    }
}

fn series(text: &str) -> Result<Vec<(Offering, PriceChange)>, SeriesError> {
    let mut seen = BTreeSet::new();
    let entries = rows(text, HEADER, entry)?;
    let once = entries.into_iter().map(|(number, (offering, change))| {
        if seen.insert((offering.clone(), change.at)) {
            return Ok((offering, change));
        }
        let what = format!("a second price of {offering} at {}", change.at);
        Err(WrongLine { number, what }.into())
    });
    once.collect()
}

fn entry(cells: &Cells<'_>) -> Result<(Offering, PriceChange), String> {
    let offering = Offering {
        instance_type: cells.get("instance_type")?,
        zone: cells.get("zone")?,
        capacity_type: cells.get("capacity_type")?,
    };
    let price: UsdPerHour = cells.get("usd_per_hour")?;
    // Price lists hold zeroes for what is not sold; as prices they would win every comparison.
    if price == UsdPerHour::ZERO {
        return Err(wrong("usd_per_hour", "nothing is sold for nothing"));
    }
    Ok((offering, PriceChange { at: cells.get("timestamp")?, price }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: &str = "\
# illustrative
timestamp,instance_type,zone,capacity_type,usd_per_hour
2024-01-01T00:00:00Z,g4dn.xlarge,use1-az4,spot,0.20

2024-01-01T10:00:00Z,g4dn.xlarge,use1-az4,spot,0.25
2024-01-01T00:00:00Z,g4dn.xlarge,use1-az4,on-demand,0.526
";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_series_is_played_from_now_on_and_faster() {
        let playback = Playback { starts_at: at("2026-05-05T12:00:00Z"), speed: 3600 };
        let market = FileMarket::parse(SERIES, playback).unwrap();
        let changes = async |now: &str| {
            let book = market.prices(at(now), &TypesSince::new()).await.unwrap();
            let spot = book.offerings().find(|known| known.capacity_type.to_string() == "spot");
            spot.map_or(vec![], |spot| book.changes(spot).to_vec())
        };
        let first = PriceChange { at: playback.starts_at, price: UsdPerHour(200_000) };
        let second = PriceChange { at: at("2026-05-05T12:00:10Z"), price: UsdPerHour(250_000) };
        assert_eq!(changes("2026-05-05T11:59:59Z").await, []);
        assert_eq!(changes("2026-05-05T12:00:09Z").await, [first], "the future is not told");
        assert_eq!(changes("2026-05-05T12:00:10Z").await, [first, second]);
    }

    #[test]
    fn an_error_names_its_line_and_its_field() {
        let error = |line: &str| {
            let text = format!("{SERIES}{line}\n");
            let playback = Playback { starts_at: Timestamp::UNIX_EPOCH, speed: 1 };
            FileMarket::parse(&text, playback).unwrap_err().to_string()
        };
        let good = "2024-01-02T00:00:00Z,g4dn.xlarge,use1-az4,spot,0.20";
        let wrong = |from: &str, to: &str| error(&good.replace(from, to));
        assert!(wrong("2024-01-02T", "02.01.2024 ").starts_with("line 7: timestamp: "));
        assert!(wrong("g4dn.xlarge", "").starts_with("line 7: instance_type: "));
        assert!(wrong("use1-az4", "use1 az4").starts_with("line 7: zone: "));
        assert!(
            wrong("spot", "Spot").starts_with("line 7: capacity_type: \"Spot\" is not spot or")
        );
        assert!(wrong("0.20", "-0.20").starts_with("line 7: usd_per_hour: "));
        assert!(wrong("0.20", "0.000").starts_with("line 7: usd_per_hour: "));
        assert_eq!(wrong(",0.20", ""), "line 7: 4 fields where 5 are wanted");
        assert!(error("2024-01-01T10:00:00Z,g4dn.xlarge,use1-az4,spot,0.3").contains("a second"));
    }

    #[test]
    fn a_file_without_header_or_prices_is_refused() {
        let error = |text: &str| {
            let playback = Playback { starts_at: Timestamp::UNIX_EPOCH, speed: 1 };
            FileMarket::parse(text, playback).unwrap_err().to_string()
        };
        assert_eq!(error(""), "there is no price in it");
        assert_eq!(error(HEADER), "there is no price in it");
        assert!(error("2024-01-01T00:00:00Z,a,b,spot,1").starts_with("line 1: wanted the header"));
        let playback = Playback { starts_at: Timestamp::UNIX_EPOCH, speed: 1 };
        let missing = FileMarket::open(Path::new("no/such.csv"), playback).unwrap_err();
        assert!(missing.to_string().starts_with("no/such.csv: "));
    }
}
