//! What instance types are, and in which zones they are sold.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{
    Client,
    types::{
        Filter, GpuDeviceInfo, GpuDeviceMemoryInfo, GpuInfo, InstanceTypeInfo, LocationType,
        MemoryInfo, VCpuInfo,
    },
};
use spotscale_decide::{
    offers::Shape,
    units::{InstanceType, ZoneId},
};

use crate::call::CallError;

/// EC2 takes so many values in one filter.
pub(crate) const FILTER_VALUES_MAX: usize = 200;

/// What an instance type is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceInfo {
    /// Its name.
    pub instance_type: InstanceType,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Its GPUs by model; none on most types.
    pub gpus: Vec<Gpu>,
}

/// GPUs of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// The model, such as `T4`.
    pub name: String,
    /// Its maker, such as `NVIDIA`.
    pub manufacturer: String,
    /// How many of them.
    pub count: u32,
    /// Memory of each in MiB.
    pub memory_mib: u64,
}

/// Asks what these types are. Those that EC2 does not know, or not in this region, are absent.
pub(crate) async fn describe(
    client: &Client,
    types: &[InstanceType],
) -> Result<BTreeMap<InstanceType, InstanceInfo>, CallError> {
    let mut known = BTreeMap::new();
    for filter in filters(types) {
        let call = client.describe_instance_types().filters(filter).into_paginator().items().send();
        let entries = call.try_collect().await;
        let entries = entries.map_err(|error| CallError::new("DescribeInstanceTypes", &error))?;
        let infos = entries.iter().filter_map(InstanceInfo::read);
        known.extend(infos.map(|info| (info.instance_type.clone(), info)));
    }
    Ok(known)
}

/// Asks where these types are sold: a type that is sold nowhere is absent.
pub(crate) async fn zones(
    client: &Client,
    types: &[InstanceType],
) -> Result<BTreeMap<InstanceType, BTreeSet<ZoneId>>, CallError> {
    let mut zones: BTreeMap<InstanceType, BTreeSet<ZoneId>> = BTreeMap::new();
    for filter in filters(types) {
        let call = client.describe_instance_type_offerings().filters(filter);
        let call = call.location_type(LocationType::AvailabilityZone).into_paginator().items();
        let offered = call.send().try_collect().await;
        let offered =
            offered.map_err(|error| CallError::new("DescribeInstanceTypeOfferings", &error))?;
        for offer in offered {
            let instance_type = offer.instance_type().and_then(|known| known.as_str().parse().ok());
            let zone = offer.location().and_then(|location| location.parse().ok());
            if let (Some(instance_type), Some(zone)) = (instance_type, zone) {
                zones.entry(instance_type).or_default().insert(zone);
            }
        }
    }
    Ok(zones)
}

/// A filter, unlike a list of types, does not fail the whole question over one unknown type.
pub(crate) fn filters(types: &[InstanceType]) -> impl Iterator<Item = Filter> {
    types.chunks(FILTER_VALUES_MAX).map(|types| {
        let values = types.iter().map(ToString::to_string).collect();
        Filter::builder().name("instance-type").set_values(Some(values)).build()
    })
}

// === impl InstanceInfo ===

impl InstanceInfo {
    /// What of it decides how many pods fit.
    pub(crate) fn shape(&self) -> Shape {
        Shape { vcpus: self.vcpus, gpus: self.gpus.iter().map(|gpu| gpu.count).sum() }
    }

    fn read(entry: &InstanceTypeInfo) -> Option<Self> {
        let vcpus = entry.v_cpu_info().and_then(VCpuInfo::default_v_cpus);
        let memory = entry.memory_info().and_then(MemoryInfo::size_in_mib);
        let gpus = entry.gpu_info().map(GpuInfo::gpus).unwrap_or_default();
        Some(Self {
            instance_type: entry.instance_type()?.as_str().parse().ok()?,
            vcpus: count(vcpus),
            memory_mib: mib(memory),
            gpus: gpus.iter().map(Gpu::read).collect(),
        })
    }
}

// === impl Gpu ===

impl Gpu {
    fn read(entry: &GpuDeviceInfo) -> Self {
        let memory = entry.memory_info().and_then(GpuDeviceMemoryInfo::size_in_mib);
        Self {
            name: entry.name().unwrap_or_default().to_owned(),
            manufacturer: entry.manufacturer().unwrap_or_default().to_owned(),
            count: count(entry.count()),
            memory_mib: mib(memory.map(i64::from)),
        }
    }
}

fn count(told: Option<i32>) -> u32 {
    told.and_then(|told| told.try_into().ok()).unwrap_or(0)
}

fn mib(told: Option<i64>) -> u64 {
    told.and_then(|told| told.try_into().ok()).unwrap_or(0)
}
