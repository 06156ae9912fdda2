//! Files of EC2's spot instance data feed ("Track your Spot Instance costs using the Spot Instance data feed"): lines of
//! nine fields with tabs between, packed by gzip, comments first.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use spotscale_autoscaler::{FeedRow, Reconciliation};
use spotscale_decide::units::{MicroUsd, UsdPerHour};

use super::cost::usd;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// EC2 begins a new file at 50 MB; more than so much of all files is no feed of a fleet that fits into memory.
const BYTES_MAX: u64 = 1 << 30;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// It cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line is none of the feed's.
    #[error("{path}, line {line}: {what}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Every row of all files.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<FeedRow>, FeedError> {
    let mut rows = vec![];
    for path in paths {
        let failed = |source| FeedError::File { path: path.clone(), source };
        let mut packed = BufReader::new(File::open(path).map_err(failed)?);
        let is_packed = packed.fill_buf().map_err(failed)?.starts_with(&GZIP);
        if is_packed {
            parse(path, MultiGzDecoder::new(packed), &mut rows)?;
        } else {
            parse(path, packed, &mut rows)?;
        }
    }
    Ok(rows)
}

fn parse(path: &Path, text: impl Read, rows: &mut Vec<FeedRow>) -> Result<(), FeedError> {
    for (number, line) in BufReader::new(text.take(BYTES_MAX)).lines().enumerate() {
        let line = line.map_err(|source| FeedError::File { path: path.to_owned(), source })?;
        let line = line.trim_end();
        if !line.is_empty() && !line.starts_with('#') {
            let wrong = |what| FeedError::Line { path: path.to_owned(), line: number + 1, what };
            rows.push(row(line).map_err(wrong)?);
        }
    }
    Ok(())
}

fn row(line: &str) -> Result<FeedRow, &'static str> {
    let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
    let [at, _usage, _operation, instance, _request, _most, price, charge, _version] = fields[..]
    else {
        return Err("it has not nine fields with tabs between");
    };
    let usd = |text: &str| text.strip_suffix("USD").and_then(|usd| usd.trim().parse().ok());
    let charge: UsdPerHour = usd(charge).ok_or("its charge is not spelled as 0.004 USD")?;
    Ok(FeedRow {
        instance: instance.parse().map_err(|_| "its instance has no name")?,
        at: moment(at).ok_or("its time is not spelled as 2026-01-02 03:04:05 UTC")?,
        price: usd(price).ok_or("its price is not spelled as 0.004 USD")?,
        charge: MicroUsd(i64::try_from(charge.0).map_err(|_| "its charge is beyond all measure")?),
    })
}

fn moment(text: &str) -> Option<Timestamp> {
    let at = DateTime::strptime("%Y-%m-%d %H:%M:%S", text.strip_suffix(" UTC")?).ok()?;
    TimeZone::UTC.to_timestamp(at).ok()
}

pub(super) fn text(rows: usize, found: &Reconciliation) -> String {
    let Reconciliation { ledger, feed, settled, differences } = found;
    let (ledger, feed) = (usd(*ledger), usd(*feed));
    let mut lines = vec![
        format!("{rows} rows of the feed, held against the lives that are still told one by one."),
        format!(
            "Of the machines and hours that both know the ledger has {ledger}, the feed {feed}."
        ),
    ];
    if *settled > MicroUsd::ZERO {
        lines.push(format!(
            "Left out: {} of the feed for hours that are more than a day ago, and settled.",
            usd(*settled)
        ));
    }
    if differences.is_empty() {
        lines.push("They agree, but for rounding.".to_owned());
    }
    lines.extend(differences.iter().map(|difference| format!("  {difference}")));
    lines.join("\n")
}
