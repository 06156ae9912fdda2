//! Karpenter's NodePools, and the prices that we told it by NodeOverlays.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt as _,
    core::{Selector, SelectorExt as _},
};
use serde_json::Value;
use spotscale_decide::{
    cluster::{CapacityType, Offering, Overlay, Pool},
    units::UsdPerHour,
};

use crate::kubernetes::{
    kinds::{NodeOverlay, NodePool, Object, Requirement},
    names,
};

/// Karpenter looks at a new overlay within seconds, if it looks at overlays at all.
const HEEDED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// A pool, if the nodes that it makes are ours.
pub(in crate::kubernetes) fn pool(pool: &Object<NodePool>, ours: &Selector) -> Option<Pool> {
    let template = &pool.spec.template;
    let mut labels = template.metadata.labels.clone();
    labels.insert(names::POOL.to_owned(), pool.name_any());
    if !ours.matches(&labels) {
        return None;
    }
    let rules = &template.spec.requirements;
    let is_static = pool.spec.replicas.is_some();
    Some(Pool {
        name: pool.name_any().parse().ok()?,
        capacity_types: capacity_types(rules),
        instance_types: parsed(admitted(rules, names::INSTANCE_TYPE)),
        zones: parsed(admitted(rules, names::ZONE)),
        weight: (!is_static).then(|| pool.spec.weight.unwrap_or(0)),
        closed: is_closed(pool),
    })
}

/// Did we set its limits so that it buys nothing, and are they still so?
pub(in crate::kubernetes) fn is_closed(pool: &Object<NodePool>) -> bool {
    let cpu = pool.spec.limits.as_ref().and_then(|limits| limits.get("cpu"));
    let is_zero =
        cpu.is_some_and(|cpu| matches!(cpu.as_str(), Some("0")) || cpu == &Value::from(0));
    is_zero && pool.annotations().contains_key(names::LIMITS)
}

/// What the overlay of an offering is called. Overlays have no namespace: a daemon with other nodes tells other prices,
/// which must not be taken for ours.
pub(in crate::kubernetes) fn overlay_name(offering: &Offering, ours: &Selector) -> String {
    let Offering { instance_type, zone, capacity_type } = offering;
    let nodes = ours.to_string().to_ascii_lowercase();
    let words = nodes.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let nodes: Vec<_> = words.collect();
    format!("spotscale-{instance_type}-{zone}-{capacity_type}-{}", nodes.join("-"))
        .to_ascii_lowercase()
}

/// A price that we told, if the overlay is ours. Where it was told for other pools than `pools`, it is as good as none.
pub(in crate::kubernetes) fn overlay(
    overlay: &Object<NodeOverlay>,
    ours: &Selector,
    pools: &BTreeSet<&str>,
) -> Option<Overlay> {
    if overlay.labels().get(names::MANAGED_BY).is_none_or(|by| by != names::MANAGER) {
        return None;
    }
    let rules = &overlay.spec.requirements;
    let only = |key| admitted(rules, key).filter(|values| values.len() == 1)?.pop_first();
    let offering = Offering {
        instance_type: only(names::INSTANCE_TYPE)?.parse().ok()?,
        zone: only(names::ZONE)?.parse().ok()?,
        capacity_type: only(names::CAPACITY_TYPE)?.parse().ok()?,
    };
    if overlay.name_any() != overlay_name(&offering, ours) {
        return None;
    }
    let told = admitted(rules, names::POOL).unwrap_or_default();
    let is_for_these = told.iter().map(String::as_str).eq(pools.iter().copied());
    let price = overlay.spec.price.as_deref().and_then(|price| price.parse().ok());
    let price = price.filter(|_| is_for_these).unwrap_or(UsdPerHour::ZERO);
    Some(Overlay { offering, price })
}

/// Does Karpenter take our overlays? It says so of each, unless that feature is off. One that it refuses, such as one that
/// somebody else's contradicts, is as good as none.
pub(in crate::kubernetes) fn are_heeded<'a>(
    mut overlays: impl Iterator<Item = &'a Object<NodeOverlay>>,
    now: Timestamp,
) -> bool {
    overlays.all(|overlay| {
        let made_at = overlay.metadata.creation_timestamp.as_ref();
        let is_new = made_at.is_none_or(|at| now.duration_since(at.0) < HEEDED_WITHIN);
        let mut said = overlay.status.conditions.iter().filter(|one| one.r#type == "Ready");
        said.next().map_or(is_new, |ready| ready.status != "False")
    })
}

/// The values that rules about a label leave; any where they do not list them.
fn admitted(rules: &[Requirement], key: &str) -> Option<BTreeSet<String>> {
    let about = |rule: &&Requirement| rule.key == key;
    let mut lists = rules.iter().filter(about).filter(|rule| rule.operator == "In");
    let first: BTreeSet<String> = lists.next()?.values.iter().cloned().collect();
    let mut left = lists.fold(first, |left, rule| {
        left.into_iter().filter(|value| rule.values.contains(value)).collect()
    });
    for rule in rules.iter().filter(about).filter(|rule| rule.operator == "NotIn") {
        left.retain(|value| !rule.values.contains(value));
    }
    Some(left)
}

/// Both where the rules do not list them.
fn capacity_types(rules: &[Requirement]) -> BTreeSet<CapacityType> {
    let refused: BTreeSet<&String> = rules
        .iter()
        .filter(|rule| rule.key == names::CAPACITY_TYPE && rule.operator == "NotIn")
        .flat_map(|rule| &rule.values)
        .collect();
    let both = || ["spot", "on-demand"].map(str::to_owned).into();
    let left = admitted(rules, names::CAPACITY_TYPE).unwrap_or_else(both);
    left.iter().filter(|value| !refused.contains(value)).filter_map(|v| v.parse().ok()).collect()
}

fn parsed<T: std::str::FromStr + Ord>(values: Option<BTreeSet<String>>) -> Option<BTreeSet<T>> {
    Some(values?.iter().filter_map(|value| value.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use kube::core::Expression;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::mapping::testing::{at, object, with};

    fn a_pool() -> Value {
        json!({
            "metadata": { "name": "gpu-spot" },
            "spec": {
                "weight": 50, "limits": { "nvidia.com/gpu": 20 },
                "template": {
                    "metadata": { "labels": { "spotscale.dev/pool": "gpu" } },
                    "spec": { "requirements": [
                        { "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"] },
                        { "key": "node.kubernetes.io/instance-type", "operator": "In",
                          "values": ["g5.xlarge", "g4dn.xlarge", "g6.xlarge"] },
                        { "key": "node.kubernetes.io/instance-type", "operator": "NotIn",
                          "values": ["g6.xlarge"] },
                    ] },
                },
            },
        })
    }

    fn ours() -> Selector {
        Expression::Exists("spotscale.dev/pool".to_owned()).into()
    }

    fn seen(text: &Value) -> Option<Pool> {
        pool(&object(text), &ours())
    }

    #[test]
    fn a_pool_says_what_it_may_buy() {
        let pool = seen(&a_pool()).unwrap();
        assert_eq!(pool.capacity_types, [CapacityType::Spot].into());
        let types: Vec<_> = pool.instance_types.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(types, ["g4dn.xlarge", "g5.xlarge"]);
        assert_eq!((pool.zones, pool.weight, pool.closed), (None, Some(50), false));
        let open = with(a_pool(), "/spec/template/spec/requirements", json!([]));
        assert_eq!(seen(&open).unwrap().capacity_types.len(), 2);
        let fixed = with(a_pool(), "/spec/replicas", 3.into());
        assert_eq!(seen(&fixed).unwrap().weight, None);
    }

    #[test]
    fn a_pool_of_other_nodes_is_not_ours() {
        assert_eq!(seen(&with(a_pool(), "/spec/template/metadata/labels", json!({}))), None);
    }

    #[test]
    fn a_pool_is_closed_by_our_limits_alone() {
        let limited = |annotations: Value, cpu: Value| {
            let text = with(a_pool(), "/metadata/annotations", annotations);
            seen(&with(text, "/spec/limits/cpu", cpu)).unwrap().closed
        };
        let ours = || json!({ "spotscale.dev/limits": "null" });
        assert!(limited(ours(), "0".into()));
        assert!(limited(ours(), 0.into()));
        assert!(!limited(json!({}), "0".into()), "somebody else did");
        assert!(!limited(ours(), "100".into()), "somebody opened it again");
    }

    fn an_overlay() -> Value {
        let rule =
            |key: &str, value: &str| json!({ "key": key, "operator": "In", "values": [value] });
        json!({
            "metadata": {
                "name": "spotscale-g4dn.xlarge-us-east-1a-spot-spotscale-dev-pool",
                "creationTimestamp": "1970-01-01T00:00:00Z",
                "labels": { "app.kubernetes.io/managed-by": "spotscale-autoscaler" },
            },
            "spec": { "price": "0.25", "requirements": [
                rule("node.kubernetes.io/instance-type", "g4dn.xlarge"),
                rule("topology.kubernetes.io/zone", "us-east-1a"),
                rule("karpenter.sh/capacity-type", "spot"),
                rule("karpenter.sh/nodepool", "gpu-spot"),
            ] },
        })
    }

    #[test]
    fn an_overlay_of_ours_tells_a_price_for_our_pools() {
        let told = |text: &Value, pools: &[&str]| {
            overlay(&object(text), &ours(), &pools.iter().copied().collect())
        };
        let told_price = told(&an_overlay(), &["gpu-spot"]).unwrap();
        assert_eq!(told_price.offering.to_string(), "spot g4dn.xlarge in us-east-1a");
        assert_eq!(told_price.price, UsdPerHour(250_000));
        let pools = ["gpu-spot", "gpu-new"];
        assert_eq!(told(&an_overlay(), &pools).unwrap().price, UsdPerHour::ZERO);
        let foreign = with(an_overlay(), "/metadata/labels", json!({}));
        assert_eq!(told(&foreign, &["gpu-spot"]), None);
        let others: Selector =
            Expression::Equal("spotscale.dev/pool".to_owned(), "other".to_owned()).into();
        assert_eq!(overlay(&object(&an_overlay()), &others, &["gpu-spot"].into()), None);
    }

    #[test]
    fn overlays_that_karpenter_says_nothing_about_are_not_heeded() {
        let heeded = |text: &Value, now| are_heeded([object(text)].iter(), at(now));
        assert!(heeded(&an_overlay(), 59));
        assert!(!heeded(&an_overlay(), 61));
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        assert!(heeded(&with(an_overlay(), "/status", ready), 61));
        let refused = json!({ "conditions": [{ "type": "Ready", "status": "False" }] });
        assert!(!heeded(&with(an_overlay(), "/status", refused), 59));
    }
}
