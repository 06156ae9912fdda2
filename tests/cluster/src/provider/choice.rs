//! Which machine is launched for a pod, in the order that Karpenter has: the weightiest NodePool that allows any, and
//! in it the cheapest. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, Pod, Taint},
    apimachinery::pkg::api::resource::Quantity,
};
use serde::{Deserialize, Serialize};

use super::{
    fit::{Amounts, Labels, allows, amounts, holds, requests, take},
    offers::{Overlay, available},
};
use crate::catalog::{Catalog, Offering};

/// Says which NodePool a Node is of.
const POOL: &str = "karpenter.sh/nodepool";

/// The part of a NodePool that decides.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) spec: PoolSpec,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PoolSpec {
    #[serde(default)]
    weight: i32,
    #[serde(default)]
    limits: BTreeMap<String, Quantity>,
    pub(super) template: Template,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Template {
    #[serde(default)]
    metadata: Metadata,
    pub(super) spec: NodeSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Labels,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeSpec {
    pub(super) node_class_ref: NodeClass,
    #[serde(default)]
    requirements: Vec<NodeSelectorRequirement>,
    #[serde(default)]
    pub(super) taints: Vec<Taint>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct NodeClass {
    group: String,
    kind: String,
    name: String,
}

impl Pool {
    /// What every Node of it is labelled with.
    fn labels(&self) -> Labels {
        let mut labels = self.spec.template.metadata.labels.clone();
        let NodeClass { group, kind, name } = &self.spec.template.spec.node_class_ref;
        labels.insert(format!("{group}/{}", kind.to_lowercase()), name.clone());
        labels.insert(POOL.to_owned(), self.name.clone());
        labels
    }

    /// Whether one more machine stays within the limits.
    fn has_room(&self, used: &Amounts, machine: &Amounts) -> bool {
        amounts(&self.spec.limits).iter().all(|(name, limit)| {
            let of = |amounts: &Amounts| amounts.get(name).copied().unwrap_or_default();
            of(used) + of(machine) <= *limit
        })
    }
}

/// A machine to launch.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) pool: &'a Pool,
    pub(super) offering: Offering,
    /// All of the Node's, but its name.
    pub(super) labels: Labels,
}

/// What a choice is made from.
pub(super) struct Choices<'a> {
    pub(super) pools: &'a [Pool],
    pub(super) overlays: &'a [Overlay],
    pub(super) catalog: &'a Catalog,
    pub(super) sold_out: &'a BTreeSet<Offering>,
    /// What each NodePool has already, machines under `nodes`.
    pub(super) used: BTreeMap<String, Amounts>,
}

/// The machine for a pod that nothing there has room for; none where no NodePool allows any.
pub(super) fn choose<'a>(choices: &Choices<'a>, pod: &Pod) -> Option<Launch<'a>> {
    let Choices { pools, overlays, catalog, sold_out, used } = choices;
    let mut pools: Vec<&Pool> = pools.iter().collect();
    pools.sort_by(|a, b| b.spec.weight.cmp(&a.spec.weight).then_with(|| a.name.cmp(&b.name)));
    let nothing = Amounts::new();
    pools.into_iter().find_map(|pool| {
        let used = used.get(&pool.name).unwrap_or(&nothing);
        let template = &pool.spec.template.spec;
        let offers = available(catalog, sold_out, &pool.labels(), overlays);
        let fits = |(offering, labels): &(&Offering, Labels)| {
            let machine = machine(catalog, offering);
            template.requirements.iter().all(|one| holds(one, labels))
                && pool.has_room(used, &machine)
                && allows(pod, labels, &template.taints)
                && take(&mut machine.clone(), &requests(pod))
        };
        let (offering, labels) = offers.into_iter().find(fits)?;
        Some(Launch { pool, offering: offering.clone(), labels })
    })
}

/// The resources of one machine, and the machine itself.
pub(super) fn machine(catalog: &Catalog, offering: &Offering) -> Amounts {
    let mut amounts = amounts(&catalog.resources(offering));
    amounts.insert("nodes".to_owned(), 1.0);
    amounts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::CapacityType;

    fn pool(name: &str, weight: i32, capacity: &str, limits: &Value) -> Pool {
        let requirement =
            json!({ "key": "karpenter.sh/capacity-type", "operator": "In", "values": [capacity] });
        let class = json!({ "group": "g", "kind": "K", "name": "n" });
        let spec = json!({
            "weight": weight, "limits": limits,
            "template": { "spec": { "nodeClassRef": class, "requirements": [requirement] } },
        });
        let spec = serde_json::from_value(spec).unwrap();
        Pool { name: name.to_owned(), uid: String::new(), spec }
    }

    fn catalog() -> Catalog {
        let offering = |capacity| Offering::new("g4dn.xlarge", "us-east-1a", capacity);
        Catalog::default()
            .instance_type("g4dn.xlarge", &[("cpu", "4"), ("nvidia.com/gpu", "1")])
            .offer(offering(CapacityType::Spot), 0.16)
            .offer(offering(CapacityType::OnDemand), 0.53)
    }

    fn chosen(pools: &[Pool], used: BTreeMap<String, Amounts>, pod: &Value) -> Option<String> {
        let (catalog, sold_out) = (catalog(), BTreeSet::new());
        let choices =
            Choices { pools, overlays: &[], catalog: &catalog, sold_out: &sold_out, used };
        let pod: Pod = serde_json::from_value(json!({ "spec": pod })).unwrap();
        choose(&choices, &pod).map(|launch| launch.pool.name.clone())
    }

    #[test]
    fn weight_comes_before_price_and_limits_before_weight() {
        let spot = pool("spot", 1, "spot", &json!({}));
        let chosen = |pools: &[Pool], used| chosen(pools, used, &json!({ "containers": [] }));
        let pools = [spot.clone(), pool("od", 9, "on-demand", &json!({}))];
        assert_eq!(chosen(&pools, BTreeMap::new()).unwrap(), "od");
        let pools = [spot, pool("od", 9, "on-demand", &json!({ "cpu": "7" }))];
        assert_eq!(chosen(&pools, BTreeMap::new()).unwrap(), "od");
        let used = [("od".to_owned(), Amounts::from([("cpu".to_owned(), 4.0)]))];
        assert_eq!(chosen(&pools, used.into()).unwrap(), "spot");
        let none = [pool("spot", 1, "spot", &json!({ "nodes": "0" }))];
        assert_eq!(chosen(&none, BTreeMap::new()), None);
    }

    #[test]
    fn a_pod_that_no_machine_can_hold_gets_none() {
        let asks = |gpus: &str| {
            json!({ "containers": [
                { "name": "a", "resources": { "limits": { "nvidia.com/gpu": gpus } } },
            ] })
        };
        let pools = [pool("spot", 1, "spot", &json!({}))];
        assert_eq!(chosen(&pools, BTreeMap::new(), &asks("1")).unwrap(), "spot");
        assert_eq!(chosen(&pools, BTreeMap::new(), &asks("2")), None);
    }
}
