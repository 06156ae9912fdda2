//! What can be expected of a spot offering before anything is known of it: the type's rate of interruptions last month,
//! shared out over the zones by how short of capacity they are now.
//!
//! That a zone with half the mean score is twice as risky is a guess of ours: AWS says that scores foretell no
//! interruption. It only orders zones that nothing else tells apart, and it leaves the region's mean about as it is.

use std::collections::BTreeMap;

use spotscale_autoscaler::{CapacityType, Offering, Prior};
use spotscale_decide::units::ZoneId;

use crate::advisor::Advisor;

/// The prior of each spot offering of which something is known.
pub(crate) fn prior<'a>(
    offerings: impl Iterator<Item = &'a Offering>,
    advisor: Option<&Advisor>,
    scores: &BTreeMap<ZoneId, u8>,
    usual: f64,
) -> Prior {
    let spot = offerings.filter(|offering| offering.capacity_type == CapacityType::Spot);
    let rate = |offering: &Offering| {
        let of_type = advisor.and_then(|advisor| advisor.per_hour(&offering.instance_type));
        let of_zone = risk(scores, &offering.zone);
        if of_type.is_none() && of_zone.is_none() {
            return None;
        }
        Some(of_type.unwrap_or(usual) * of_zone.unwrap_or(1.0))
    };
    let known = spot.filter_map(|offering| Some((offering.clone(), rate(offering)?)));
    Prior { interruptions_per_hour: known.collect() }
}

/// How much riskier a zone is than its region, from 0.1 to 10.
fn risk(scores: &BTreeMap<ZoneId, u8>, zone: &ZoneId) -> Option<f64> {
    let score = f64::from(*scores.get(zone)?);
    let mean = scores.values().copied().map(f64::from).sum::<f64>() / scores.len() as f64;
    Some(mean / score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(instance_type: &str, zone: &str, capacity_type: CapacityType) -> Offering {
        Offering {
            instance_type: instance_type.parse().unwrap(),
            zone: zone.parse().unwrap(),
            capacity_type,
        }
    }

    #[test]
    fn a_rate_is_the_types_shared_out_over_zones() {
        let data = r#"{"spot_advisor": {"r": {"Linux": {"g4dn.xlarge": {"s": 70, "r": 3}}}}}"#;
        let advisor = Advisor::parse(data, "r").unwrap();
        let of_type = advisor.per_hour(&"g4dn.xlarge".parse().unwrap()).unwrap();
        let scores = [("a".parse().unwrap(), 9), ("b".parse().unwrap(), 3)].into();
        let offerings = [
            offering("g4dn.xlarge", "a", CapacityType::Spot),
            offering("g4dn.xlarge", "b", CapacityType::Spot),
            offering("g4dn.xlarge", "c", CapacityType::Spot),
            offering("g4dn.xlarge", "a", CapacityType::OnDemand),
            offering("g5.xlarge", "b", CapacityType::Spot),
            offering("g5.xlarge", "c", CapacityType::Spot),
        ];
        let rates = prior(offerings.iter(), Some(&advisor), &scores, 0.5).interruptions_per_hour;
        let rate = |n: usize| rates.get(&offerings[n]).copied();
        let near = |n, wanted: f64| assert!((rate(n).unwrap() - wanted).abs() < 1e-12, "{n}");
        near(0, of_type * 6.0 / 9.0);
        near(1, of_type * 2.0);
        near(2, of_type);
        assert_eq!(rate(3), None, "on demand nothing is taken");
        near(4, 0.5 * 2.0);
        assert_eq!(rate(5), None, "nothing is known of it");
    }
}
