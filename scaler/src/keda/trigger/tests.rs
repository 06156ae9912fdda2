//! From metadata to policy. The refusals are tested over the wire, where their codes matter too.

use std::num::NonZeroU32;

use super::*;

fn parse(metadata: &[(&str, &str)]) -> Result<Trigger, TriggerError> {
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let queries = BTreeMap::from([("dcgm".to_owned(), Arc::from("avg(gpu)"))]);
    Trigger::parse(&pairs.collect(), "vision/resnet".to_owned(), &Some(queries))
}

#[test]
fn an_empty_trigger_is_the_default_policy_for_its_own_service() {
    let trigger = parse(&[]).unwrap();
    assert_eq!(trigger.service, "vision/resnet");
    assert_eq!(trigger.policy, Policy::default());
    assert!(trigger.queries().is_empty());
}

#[test]
fn every_key_reaches_the_policy() {
    let trigger = parse(&[
        ("service", "batch/resnet"),
        ("minReplicas", "1"),
        ("maxReplicas", "30"),
        ("warmReplicas", "2"),
        ("sloMs", "750"),
        ("sloQuantile", "0.99"),
        ("utilisationMax", "0.6"),
        ("concurrency", "4"),
        ("serviceTimeMs", "12.5"),
        ("idleAfterSeconds", "90"),
        ("shrinkWindowSeconds", "240"),
        ("coldStartSeconds", "45"),
        ("gpuQueryRef", "dcgm"),
        ("gpuBusyMax", "0.7"),
        ("priceQuery", "min(spot)"),
        ("onDemandUsdPerHour", "0.526"),
        ("priceDearRatio", "0.8"),
    ])
    .unwrap();
    let Policy { min, max, warm, promise, concurrency, .. } = trigger.policy;
    assert_eq!((min, max, warm), (Replicas(1), Replicas(30), Replicas(2)));
    assert_eq!((promise.slo, promise.quantile), (Millis(750), Ratio::try_from(0.99).unwrap()));
    assert_eq!(promise.utilisation_max, Ratio::try_from(0.6).unwrap());
    assert_eq!(Some(concurrency), NonZeroU32::new(4));
    let Policy { service_prior, idle_after, stabilisation, cold_start, .. } = trigger.policy;
    assert!((service_prior.mean_seconds() - 0.0125).abs() < 1e-12);
    assert_eq!(idle_after, Millis::from_secs(90));
    assert_eq!(stabilisation, Millis::from_secs(240));
    assert_eq!(cold_start, Millis::from_secs(45));
    assert_eq!(trigger.policy.gpu.unwrap().busy, Ratio::try_from(0.7).unwrap());
    assert_eq!(trigger.policy.price.unwrap().dear, PriceRatio::try_from(0.8).unwrap());
    assert_eq!(trigger.service, "batch/resnet");
    assert_eq!(&*trigger.gpu.unwrap().promql, "avg(gpu)");
    let (query, on_demand) = trigger.price.unwrap();
    assert_eq!((&*query.promql, on_demand), ("min(spot)", UsdPerHour(526_000)));
}

#[test]
fn a_price_needs_something_to_be_held_against() {
    for on_demand in [&[][..], &[("onDemandUsdPerHour", "0")]] {
        let metadata = [&[("priceQuery", "spot")], on_demand].concat();
        let refused = parse(&metadata).unwrap_err();
        assert!(refused.to_string().contains("onDemandUsdPerHour"), "{refused}");
    }
}

#[test]
fn a_query_is_written_or_referred_to() {
    let both = parse(&[("gpuQuery", "up"), ("gpuQueryRef", "dcgm")]).unwrap_err();
    assert!(both.to_string().contains("not both"), "{both}");
    assert!(parse(&[("gpuQuery", "")]).is_err());
}

#[test]
fn a_short_shrink_window_is_not_lengthened_by_the_price() {
    let metadata =
        [("priceQuery", "spot"), ("onDemandUsdPerHour", "1"), ("shrinkWindowSeconds", "30")];
    let policy = parse(&metadata).unwrap().policy;
    assert_eq!(policy.price.unwrap().stabilisation_when_dear, policy.stabilisation);
}
