//! The machine types that may be bought: the table of what they were measured to do, and what flags say beside it.

use std::num::NonZeroU32;

use clap::Args;
use serde::Serialize;
use spotscale_decide::{
    offers::{Measured, Throughput},
    units::MilliCpus,
};

use super::ConfigError;
use crate::calibration::CalibrationTable;

/// What may be bought, and what it can do.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Machines {
    /// The table of the machine types that may be bought, as `spotscale inference --calibrate` writes it.
    #[arg(
        long = "machines-file",
        env = "SPOTSCALE_AUTOSCALER_MACHINES_FILE",
        value_name = "PATH",
        value_parser = |path: &str| CalibrationTable::open(path)
    )]
    pub table: Option<CalibrationTable>,

    /// A machine type that may be bought, with the requests per second that it was measured to answer within the SLO
    /// and the pods that fit on it: TYPE=RATE or TYPE=RATE/PODS. Without PODS it is one for each GPU, else what
    /// --pod-cpus allows, else 1. Takes the place of the type's line in --machines-file, or is added to them. May be
    /// repeated.
    #[arg(
        long = "machine",
        env = "SPOTSCALE_AUTOSCALER_MACHINES",
        value_delimiter = ',',
        value_parser = machine
    )]
    pub machine: Vec<Measured>,

    /// The processors that a pod asks for, as Kubernetes spells them (500m): how many fit on a machine without GPUs,
    /// where --machine does not say.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_POD_CPUS")]
    pub pod_cpus: Option<MilliCpus>,
}

// === impl Machines ===

impl Machines {
    /// Each type once: the lines of the table in their order, then what flags add.
    pub(super) fn all(&self) -> Vec<Measured> {
        let table = self.table.iter().flat_map(|table| &table.rows).map(Measured::from);
        let mut all: Vec<Measured> = table.collect();
        for flag in &self.machine {
            let same = |known: &&mut Measured| known.instance_type == flag.instance_type;
            match all.iter_mut().find(same) {
                Some(line) => *line = flag.clone(),
                None => all.push(flag.clone()),
            }
        }
        all
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (index, Measured { instance_type, .. }) in self.machine.iter().enumerate() {
            let mut earlier = self.machine[..index].iter();
            if earlier.any(|earlier| &earlier.instance_type == instance_type) {
                return Err(ConfigError::MachineTwice(instance_type.clone()));
            }
        }
        if self.all().is_empty() { Err(ConfigError::NoMachine) } else { Ok(()) }
    }
}

fn machine(text: &str) -> Result<Measured, String> {
    let wrong = || format!("{text:?} is not TYPE=RATE or TYPE=RATE/PODS");
    let (instance_type, size) = text.split_once('=').ok_or_else(wrong)?;
    let (rate, pods) = match size.split_once('/') {
        Some((rate, pods)) => (rate, Some(pods)),
        None => (size, None),
    };
    let rate: f64 = rate.parse().map_err(|_| wrong())?;
    Ok(Measured {
        instance_type: instance_type.parse().map_err(|_| wrong())?,
        throughput: Throughput::try_from(rate).map_err(|error| error.to_string())?,
        pods_max: pods.map(str::parse::<NonZeroU32>).transpose().map_err(|_| wrong())?,
    })
}
