//! The Spot Instance Advisor's public data: of each type and region, which share of spot instances was taken back last
//! month, in five bands. It is read from a file, since it is AWS' page and no interface.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use spotscale_decide::units::InstanceType;

/// The share of each band. The bands are below 5 %, 10 %, 15 % and 20 %, and above; each counts as its middle, and the
/// last, which has no end, as 25 %.
const SHARES: [f64; 5] = [0.025, 0.075, 0.125, 0.175, 0.25];
const HOURS_PER_MONTH: f64 = 730.0;

/// Interruptions per hour of each type of one region, for Linux.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advisor {
    per_hour: BTreeMap<InstanceType, f64>,
}

/// Why the data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdvisorError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not the advisor's data.
    #[error("it is not the Spot Instance Advisor's data: {0}")]
    Format(#[from] serde_json::Error),
    /// A band that is none of the five.
    #[error("{instance_type} is in band {band}, and only 0 to 4 are known")]
    Band {
        /// The type.
        instance_type: String,
        /// Its band.
        band: usize,
    },
    /// The data is of other regions.
    #[error("it says nothing of Linux in {0}")]
    Region(String),
}

#[derive(Deserialize)]
struct Data {
    /// By region, operating system and type.
    spot_advisor: BTreeMap<String, BTreeMap<String, BTreeMap<String, Entry>>>,
}

#[derive(Deserialize)]
struct Entry {
    /// The band.
    r: usize,
}

impl Advisor {
    /// Reads a file.
    pub fn open(path: &Path, region: &str) -> Result<Self, AdvisorError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| AdvisorError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, region)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, region: &str) -> Result<Self, AdvisorError> {
        let mut data: Data = serde_json::from_str(text)?;
        let linux = data.spot_advisor.get_mut(region).and_then(|systems| systems.remove("Linux"));
        let entries = linux.ok_or_else(|| AdvisorError::Region(region.to_owned()))?;
        let mut per_hour = BTreeMap::new();
        for (name, Entry { r: band }) in entries {
            let Some(share) = SHARES.get(band) else {
                return Err(AdvisorError::Band { instance_type: name, band });
            };
            if let Ok(instance_type) = name.parse() {
                per_hour.insert(instance_type, hourly(*share));
            }
        }
        Ok(Self { per_hour })
    }

    /// Interruptions per hour of a type, if the data has it.
    pub fn per_hour(&self, instance_type: &InstanceType) -> Option<f64> {
        self.per_hour.get(instance_type).copied()
    }
}

/// The rate at which, falling on each hour alike, interruptions reach this share within a month.
fn hourly(share: f64) -> f64 {
    -(1.0 - share).ln() / HOURS_PER_MONTH
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{
        "global_rate": "<10%",
        "instance_types": {"g4dn.xlarge": {"cores": 4, "emr": true, "ram_gb": 16.0}},
        "ranges": [{"index": 0, "label": "<5%", "dots": 0, "max": 5}],
        "spot_advisor": {
            "us-east-1": {
                "Linux": {"g4dn.xlarge": {"r": 3, "s": 70}, "g5.xlarge": {"r": 0, "s": 60}},
                "Windows": {"g4dn.xlarge": {"r": 1, "s": 40}}
            },
            "eu-west-1": {"Windows": {}}
        }
    }"#;

    #[test]
    fn a_band_becomes_a_rate() {
        let advisor = Advisor::parse(DATA, "us-east-1").unwrap();
        let per_hour = |name: &str| advisor.per_hour(&name.parse().unwrap());
        let survives_a_month = |rate: f64| (-rate * 730.0).exp();
        assert!((survives_a_month(per_hour("g4dn.xlarge").unwrap()) - 0.825).abs() < 1e-9);
        assert!((survives_a_month(per_hour("g5.xlarge").unwrap()) - 0.975).abs() < 1e-9);
        assert_eq!(per_hour("g6.xlarge"), None);
    }

    #[test]
    fn data_that_does_not_help_is_refused_in_words() {
        let error = |text: &str, region| Advisor::parse(text, region).unwrap_err().to_string();
        assert_eq!(error(DATA, "eu-west-1"), "it says nothing of Linux in eu-west-1");
        assert_eq!(error(DATA, "mars-1"), "it says nothing of Linux in mars-1");
        let band = error(&DATA.replace("\"r\": 3", "\"r\": 5"), "us-east-1");
        assert_eq!(band, "g4dn.xlarge is in band 5, and only 0 to 4 are known");
        assert!(error("{}", "us-east-1").contains("spot_advisor"));
        let missing = Advisor::open(Path::new("no/such.json"), "us-east-1").unwrap_err();
        assert!(missing.to_string().starts_with("no/such.json: "));
    }
}
