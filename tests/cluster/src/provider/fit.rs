//! Whether a pod may be on a machine that is not there yet, as the scheduler will see it: selectors, required node
//! affinity, taints, resources. Not seen: affinity between pods and topology spread.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, Pod, Taint, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};

/// Labels of a Node.
pub(super) type Labels = BTreeMap<String, String>;
/// Resources, each in its base unit: cores, bytes, pieces.
pub(super) type Amounts = BTreeMap<String, f64>;

/// What a quantity is in its base unit.
pub(super) fn amount(quantity: &Quantity) -> f64 {
    let text = quantity.0.as_str();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => f64::from(1_u32 << 10),
        "Mi" => f64::from(1_u32 << 20),
        "Gi" => f64::from(1_u32 << 30),
        "Ti" => 1024.0 * f64::from(1_u32 << 30),
        _ => 1.0,
    };
    digits.parse::<f64>().unwrap_or(0.0) * factor
}

/// The same for a whole list.
pub(super) fn amounts(quantities: &BTreeMap<String, Quantity>) -> Amounts {
    quantities.iter().map(|(name, quantity)| (name.clone(), amount(quantity))).collect()
}

/// What a pod asks for: its containers together, and a place among the pods.
pub(super) fn requests(pod: &Pod) -> Amounts {
    let mut sum = Amounts::from([("pods".to_owned(), 1.0)]);
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let resources = container.resources.clone().unwrap_or_default();
        // What has a limit and no request is requested: so the API server completes it.
        let mut asked = resources.limits.unwrap_or_default();
        asked.extend(resources.requests.unwrap_or_default());
        for (name, quantity) in &asked {
            *sum.entry(name.clone()).or_default() += amount(quantity);
        }
    }
    sum
}

/// Takes what is asked for out of a room, or nothing if it is not all there.
pub(super) fn take(room: &mut Amounts, asked: &Amounts) -> bool {
    let fits =
        asked.iter().all(|(name, much)| room.get(name).copied().unwrap_or_default() >= *much);
    if fits {
        for (name, much) in asked {
            *room.entry(name.clone()).or_default() -= much;
        }
    }
    fits
}

/// A pod's own wishes about its node hold: node selector, required node affinity, taints.
pub(super) fn allows(pod: &Pod, labels: &Labels, taints: &[Taint]) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let near = required.is_none_or(|required| {
        required
            .node_selector_terms
            .iter()
            .any(|term| all(term.match_expressions.as_deref(), labels))
    });
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let keeps_out = |taint: &&Taint| taint.effect != "PreferNoSchedule";
    let tolerated = taints.iter().filter(keeps_out).all(|taint| tolerates(tolerations, taint));
    selected && near && tolerated
}

fn all(expressions: Option<&[NodeSelectorRequirement]>, labels: &Labels) -> bool {
    expressions.unwrap_or_default().iter().all(|one| holds(one, labels))
}

/// Whether a requirement holds for labels; of a NodePool, of a NodeOverlay, or of a pod's affinity.
pub(super) fn holds(requirement: &NodeSelectorRequirement, labels: &Labels) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let label = labels.get(&requirement.key);
    let number = || Some((label?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => label.is_some_and(|label| values.contains(label)),
        "NotIn" => label.is_none_or(|label| !values.contains(label)),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => number().is_some_and(|(label, bound)| label > bound),
        "Lt" => number().is_some_and(|(label, bound)| label < bound),
        _ => false,
    }
}

fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|one| {
        let key = one.key.as_ref().is_none_or(|key| *key == taint.key);
        let effect = one.effect.as_ref().is_none_or(|effect| *effect == taint.effect);
        let exists = one.operator.as_deref() == Some("Exists");
        let value = one.value.as_deref().unwrap_or_default();
        key && effect && (exists || value == taint.value.as_deref().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "spec": spec })).unwrap()
    }

    #[test]
    fn quantities_come_in_base_units() {
        let of = |text: &str| amount(&Quantity(text.to_owned()));
        assert!((of("250m") - 0.25).abs() < 1e-12);
        assert!((of("16Gi") - 17_179_869_184.0).abs() < 1e-3);
        assert!((of("3") - 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_room_holds_what_fits_and_no_more() {
        let asked = requests(&pod(&json!({ "containers": [
            { "name": "a", "resources": { "limits": { "nvidia.com/gpu": "1" } } },
            { "name": "b", "resources": { "requests": { "cpu": "500m" }, "limits": { "cpu": "2" } } },
        ] })));
        let mut room = Amounts::from(
            [("cpu", 4.0), ("nvidia.com/gpu", 1.0), ("pods", 110.0)].map(|(k, v)| (k.into(), v)),
        );
        assert!(take(&mut room, &asked), "{asked:?}");
        assert!((room["cpu"] - 3.5).abs() < 1e-12);
        assert!(!take(&mut room, &asked), "there is no second GPU");
        assert!((room["cpu"] - 3.5).abs() < 1e-12, "nothing is taken in part");
    }

    #[test]
    fn wishes_and_taints_decide() {
        let labels = Labels::from([("zone".to_owned(), "a".to_owned())]);
        let taint = |effect: &str| Taint {
            key: "gpu".to_owned(),
            value: Some("yes".to_owned()),
            effect: effect.to_owned(),
            time_added: None,
        };
        let term = |values: &[&str]| {
            json!({ "matchExpressions": [
            { "key": "zone", "operator": "In", "values": values },
        ] })
        };
        let affinity = |terms: &[serde_json::Value]| {
            pod(&json!({ "containers": [], "affinity": { "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms },
            } } }))
        };
        assert!(allows(&affinity(&[term(&["b"]), term(&["a"])]), &labels, &[]), "one is enough");
        assert!(!allows(&affinity(&[term(&["b"])]), &labels, &[]));
        let plain = pod(&json!({ "containers": [] }));
        assert!(!allows(&plain, &labels, &[taint("NoSchedule")]));
        assert!(allows(&plain, &labels, &[taint("PreferNoSchedule")]));
        let tolerant = pod(&json!({ "containers": [], "nodeSelector": { "zone": "a" },
            "tolerations": [{ "key": "gpu", "operator": "Exists" }] }));
        assert!(allows(&tolerant, &labels, &[taint("NoSchedule")]));
    }
}
