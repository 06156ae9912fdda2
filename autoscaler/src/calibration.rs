//! The table of what machines were measured to do, as `spotscale inference --calibrate` writes it and the daemon reads it.

use std::{
    fmt, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;
use spotscale_decide::{
    offers::{Measured, Throughput},
    units::InstanceType,
};

use crate::sheet::{Cells, WrongLine, rows, wrong};

/// One measurement. Printed, it is a line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The machine's type.
    pub instance_type: InstanceType,
    /// Pods on the machine.
    pub pods_max: NonZeroU32,
    /// Requests per second of all its pods together, with 95 % of the answers within `slo_ms`.
    pub requests_per_second: Throughput,
    /// In milliseconds.
    pub slo_ms: u64,
    /// What ran the model.
    pub device: String,
    /// `NAME@VERSION`.
    pub model: String,
    /// When.
    pub measured_at: Timestamp,
}

/// A table, with one line for each machine type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationTable {
    /// The file.
    pub path: PathBuf,
    /// In the order of the file; never empty.
    pub rows: Vec<Calibration>,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{path}: {line}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, and what is wrong with it.
        line: WrongLine,
    },
    /// There is no machine in it.
    #[error("{path}: there is no machine in it", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

// === impl Calibration ===

impl Calibration {
    /// The first line of a table.
    pub const HEADER: &'static str =
        "instance_type,pods_max,requests_per_second,slo_ms,device,model,measured_at";

    fn read(cells: &Cells<'_>) -> Result<Self, String> {
        let rate: f64 = cells.get("requests_per_second")?;
        Ok(Self {
            instance_type: cells.get("instance_type")?,
            pods_max: cells.get("pods_max")?,
            requests_per_second: Throughput::try_from(rate)
                .map_err(|error| wrong("requests_per_second", error))?,
            slo_ms: cells.get("slo_ms")?,
            device: cells.text("device").to_owned(),
            model: cells.text("model").to_owned(),
            measured_at: cells.get("measured_at")?,
        })
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance_type, pods_max, requests_per_second, slo_ms, device, model, .. } = self;
        let rate = requests_per_second.get();
        let measured_at = self.measured_at.round(jiff::Unit::Second).unwrap_or(self.measured_at);
        write!(f, "{instance_type},{pods_max},{rate:.1},{slo_ms},{device},{model},{measured_at}")
    }
}

impl From<&Calibration> for Measured {
    fn from(row: &Calibration) -> Self {
        Self {
            instance_type: row.instance_type.clone(),
            throughput: row.requests_per_second,
            pods_max: Some(row.pods_max),
        }
    }
}

// === impl CalibrationTable ===

impl CalibrationTable {
    /// Reads a file. A type may have one line only: what a machine can do depends on the model that it serves.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CalibrationError> {
        let path = path.as_ref().to_owned();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(CalibrationError::Read { path, source }),
        };
        match parse(&text) {
            Ok(rows) if rows.is_empty() => Err(CalibrationError::Empty { path }),
            Ok(rows) => Ok(Self { path, rows }),
            Err(line) => Err(CalibrationError::Line { path, line }),
        }
    }
}

fn parse(text: &str) -> Result<Vec<Calibration>, WrongLine> {
    let mut known: Vec<Calibration> = vec![];
    for (number, row) in rows(text, Calibration::HEADER, Calibration::read)? {
        if known.iter().any(|earlier| earlier.instance_type == row.instance_type) {
            let twice = format!(
                "a second line for {}; leave it the one of the model that is served",
                row.instance_type
            );
            return Err(WrongLine { number, what: wrong("instance_type", twice) });
        }
        known.push(row);
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
instance_type,pods_max,requests_per_second,slo_ms,device,model,measured_at
g4dn.xlarge,1,400.0,500,cuda,resnet50@1,2026-11-20T00:00:00Z
c7i.large,2,40.5,500,cpu,resnet50@1,2026-11-20T00:00:00Z
";

    fn open(text: &str) -> Result<CalibrationTable, CalibrationError> {
        let file = tempfile::NamedTempFile::with_suffix("machines.csv").unwrap();
        std::fs::write(&file, text).unwrap();
        CalibrationTable::open(&file)
    }

    #[test]
    fn what_was_written_is_read() {
        let table = open(TABLE).unwrap();
        let written: Vec<String> = table.rows.iter().map(ToString::to_string).collect();
        assert_eq!(written, TABLE.lines().skip(1).collect::<Vec<_>>());
        assert_eq!(TABLE.lines().next(), Some(Calibration::HEADER));
        let measured: Vec<Measured> = table.rows.iter().map(Measured::from).collect();
        assert_eq!(measured[1].pods_max.unwrap().get(), 2);
        assert!((measured[1].throughput.get() - 40.5).abs() < 1e-9);
        // As a spreadsheet on another system leaves it.
        assert_eq!(open(&TABLE.replace('\n', "\r\n")).unwrap().rows, table.rows);
    }

    #[test]
    fn an_error_names_its_file_its_line_and_its_column() {
        let wrong =
            |from: &str, to: &str| open(&TABLE.replacen(from, to, 1)).unwrap_err().to_string();
        for (from, to, wanted) in [
            ("c7i.large", "", "machines.csv: line 3: instance_type: \"\" is not a name"),
            ("c7i.large,2", "c7i.large,0", "line 3: pods_max: "),
            ("40.5", "many", "line 3: requests_per_second: "),
            ("40.5", "0", "line 3: requests_per_second: \"0\" is not a number of requests"),
            ("500,cpu", "0.5s,cpu", "line 3: slo_ms: "),
            ("2026-11-20T00:00:00Z\nc7i", "20.11.2026\nc7i", "line 2: measured_at: "),
            ("c7i.large", "g4dn.xlarge", "line 3: instance_type: a second line for g4dn.xlarge"),
            (",cpu", "", "line 3: 6 fields where 7 are wanted"),
            ("slo_ms", "slo", "line 1: wanted the header instance_type,"),
        ] {
            let error = wrong(from, to);
            assert!(error.contains(wanted), "{error}");
            assert!(error.contains("machines.csv: line"), "{error}");
        }
    }

    #[test]
    fn a_file_without_machines_or_none_at_all_is_refused() {
        for text in ["", "\n", Calibration::HEADER] {
            let error = open(text).unwrap_err().to_string();
            assert!(error.ends_with("machines.csv: there is no machine in it"), "{error}");
        }
        let error = CalibrationTable::open("no/such.csv").unwrap_err().to_string();
        assert!(error.starts_with("no/such.csv: "), "{error}");
    }
}
