//! How many pods a machine takes: as somebody has said, else as its type has it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Machine, Throughput};
use crate::units::{InstanceType, MilliCpus};

/// A machine type that may be bought, as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The type.
    pub instance_type: InstanceType,
    /// What it was measured to answer, with as many pods as it takes.
    pub throughput: Throughput,
    /// Pods that fit on it, if that was said.
    pub pods_max: Option<NonZeroU32>,
}

/// What a machine type is, as its provider describes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Virtual processors.
    pub vcpus: u32,
    /// GPUs, or whatever a pod asks for one of instead.
    pub gpus: u32,
}

impl Measured {
    /// The machine that is reckoned with. Where nobody has said how many pods it takes it is one for each GPU; without
    /// GPUs, as many as its processors have room for, where it is known what a pod asks for; else one. What the system
    /// itself takes of the processors is not known here: where that costs a pod, say so.
    pub fn machine(&self, shape: Option<Shape>, pod_cpus: Option<MilliCpus>) -> Machine {
        let by_type = || {
            let Shape { vcpus, gpus } = shape?;
            let pods = match pod_cpus {
                _ if gpus > 0 => gpus,
                Some(asked) => vcpus.saturating_mul(1000) / asked.0.max(1),
                None => 1,
            };
            NonZeroU32::new(pods)
        };
        let pods_max = self.pods_max.or_else(by_type).map_or(1, NonZeroU32::get);
        let Self { instance_type, throughput, .. } = self.clone();
        Machine { instance_type, throughput, pods_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(said: Option<u32>, shape: Option<(u32, u32)>, pod_cpus: Option<u32>) -> u32 {
        let measured = Measured {
            instance_type: "g4dn.12xlarge".parse().unwrap(),
            throughput: Throughput::try_from(400.0).unwrap(),
            pods_max: said.map(|said| said.try_into().unwrap()),
        };
        let shape = shape.map(|(vcpus, gpus)| Shape { vcpus, gpus });
        measured.machine(shape, pod_cpus.map(MilliCpus)).pods_max
    }

    #[test]
    fn what_was_said_counts_then_the_gpus_then_the_processors_then_one() {
        assert_eq!(pods(Some(2), Some((48, 4)), Some(500)), 2);
        assert_eq!(pods(None, Some((48, 4)), Some(500)), 4);
        assert_eq!(pods(None, Some((48, 4)), None), 4);
        assert_eq!(pods(None, Some((4, 0)), Some(1500)), 2);
        assert_eq!(pods(None, Some((4, 0)), None), 1, "what a pod asks for is not known");
        assert_eq!(pods(None, None, Some(500)), 1, "what the type is is not known");
        assert_eq!(
            pods(None, Some((2, 0)), Some(3000)),
            1,
            "it was measured with one, so one fits"
        );
        assert_eq!(
            pods(None, Some((2, 0)), Some(0)),
            2000,
            "nothing asked for is the least that can be"
        );
    }
}
