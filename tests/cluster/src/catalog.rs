//! What a cloud has to offer: types of machines, what they hold, where they are and for how much.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Labels that say what a Node is.
pub(crate) const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
pub(crate) const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// How a machine is rented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CapacityType {
    /// Cheap, and taken away at need.
    Spot,
    /// Kept until it is given back.
    OnDemand,
}

impl fmt::Display for CapacityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        })
    }
}

/// A kind of machine in one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offering {
    /// For example `g4dn.xlarge`.
    pub instance_type: String,
    /// For example `us-east-1a`.
    pub zone: String,
    /// How it is rented.
    pub capacity_type: CapacityType,
}

impl Offering {
    /// This type in this zone.
    pub fn new(instance_type: &str, zone: &str, capacity_type: CapacityType) -> Self {
        Self { instance_type: instance_type.to_owned(), zone: zone.to_owned(), capacity_type }
    }

    /// What a Node of it is labelled with.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = [
            (INSTANCE_TYPE, self.instance_type.clone()),
            (ZONE, self.zone.clone()),
            (CAPACITY_TYPE, self.capacity_type.to_string()),
        ];
        labels.map(|(key, value)| (key.to_owned(), value)).into()
    }
}

/// Everything on offer.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub(crate) types: BTreeMap<String, BTreeMap<String, Quantity>>,
    /// In $/h.
    pub(crate) prices: BTreeMap<Offering, f64>,
}

impl Catalog {
    /// A type of machine has these resources, for example `("nvidia.com/gpu", "1")`, and room for 110 pods.
    pub fn instance_type(mut self, name: &str, resources: &[(&str, &str)]) -> Self {
        let all = [("pods", "110")].iter().chain(resources);
        let all = all.map(|(name, text)| ((*name).to_owned(), Quantity((*text).to_owned())));
        self.types.insert(name.to_owned(), all.collect());
        self
    }

    /// An offering costs so much, in $/h.
    pub fn offer(mut self, offering: Offering, usd_per_hour: f64) -> Self {
        self.prices.insert(offering, usd_per_hour);
        self
    }

    pub(crate) fn resources(&self, offering: &Offering) -> BTreeMap<String, Quantity> {
        self.types.get(&offering.instance_type).cloned().unwrap_or_default()
    }
}
