//! What of the catalog can be had now, and in which order. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use serde::Deserialize;

use super::fit::{Labels, holds};
use crate::catalog::{Catalog, Offering};

/// What can be had now, cheapest first by the prices as `overlays` change them; with the labels of a Node of it.
pub(super) fn available<'a>(
    catalog: &'a Catalog,
    sold_out: &BTreeSet<Offering>,
    pool: &Labels,
    overlays: &[Overlay],
) -> Vec<(&'a Offering, Labels)> {
    let mut found: Vec<(f64, &Offering, Labels)> = Vec::new();
    for (offering, price) in &catalog.prices {
        if !sold_out.contains(offering) {
            let labels: Labels = pool.clone().into_iter().chain(offering.labels()).collect();
            found.push((overlaid(*price, &labels, overlays), offering, labels));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|(_, offering, labels)| (offering, labels)).collect()
}

/// The part of a NodeOverlay's spec that changes prices.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overlay {
    requirements: Vec<NodeSelectorRequirement>,
    #[serde(default)]
    price: Option<String>,
    #[serde(default)]
    price_adjustment: Option<String>,
    #[serde(default)]
    weight: i32,
}

/// The price under the weightiest overlay that has a say in it.
fn overlaid(price: f64, labels: &Labels, overlays: &[Overlay]) -> f64 {
    let speaks = |one: &&Overlay| one.price.is_some() || one.price_adjustment.is_some();
    let applies = |one: &&Overlay| one.requirements.iter().all(|one| holds(one, labels));
    let strongest = overlays.iter().filter(speaks).filter(applies).max_by_key(|one| one.weight);
    match strongest {
        None => price,
        Some(Overlay { price: Some(fixed), .. }) => fixed.parse().unwrap_or(price),
        Some(Overlay { price_adjustment, .. }) => {
            let change = price_adjustment.as_deref().unwrap_or_default();
            let by = |text: &str| text.parse::<f64>().unwrap_or_default();
            match change.strip_suffix('%') {
                Some(percent) => (price * (1.0 + by(percent) / 100.0)).max(0.0),
                None => (price + by(change)).max(0.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::{CapacityType, ZONE};

    #[test]
    fn overlays_change_what_is_cheapest() {
        let spot = |zone: &str| Offering::new("g4dn.xlarge", zone, CapacityType::Spot);
        let catalog =
            Catalog { prices: [(spot("a"), 0.10), (spot("b"), 0.20)].into(), ..Catalog::default() };
        let overlay =
            |spec: serde_json::Value| -> Overlay { serde_json::from_value(spec).unwrap() };
        let in_a = json!([{ "key": ZONE, "operator": "In", "values": ["a"] }]);
        let first = |overlays: &[Overlay], sold_out: &[Offering]| {
            let sold_out = sold_out.iter().cloned().collect();
            let all = available(&catalog, &sold_out, &Labels::new(), overlays);
            all[0].0.zone.clone()
        };
        assert_eq!(first(&[], &[]), "a");
        for change in [
            json!({ "requirements": in_a, "price": "0.21" }),
            json!({ "requirements": in_a, "priceAdjustment": "+101%" }),
            json!({ "requirements": in_a, "priceAdjustment": "+0.11" }),
        ] {
            let small = overlay(json!({ "requirements": in_a, "price": "0.01", "weight": 1 }));
            assert_eq!(first(&[overlay(change.clone())], &[]), "b", "{change}");
            assert_eq!(first(&[overlay(change), small], &[]), "a", "the weightier");
        }
        assert_eq!(first(&[], &[spot("a")]), "b");
    }
}
