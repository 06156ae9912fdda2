use super::*;
use crate::testing::{at, on_demand, spot};

fn policy() -> OfferPolicy {
    let machine = |name: &str, rps| Machine {
        instance_type: name.parse().unwrap(),
        throughput: Throughput::try_from(rps).unwrap(),
        pods_max: 1,
    };
    let machines = vec![machine("g4dn.xlarge", 400.0), machine("c7i.large", 40.0)];
    OfferPolicy { machines, ..OfferPolicy::default() }
}

fn cpu(zone: &str) -> Offering {
    Offering { instance_type: "c7i.large".parse().unwrap(), ..spot(zone) }
}

fn market(prices: &[(Offering, &str)]) -> BTreeMap<Offering, UsdPerHour> {
    prices.iter().map(|(offering, price)| (offering.clone(), price.parse().unwrap())).collect()
}

fn names(ranking: &Ranking) -> Vec<String> {
    ranking.offers.iter().map(|offer| offer.offering.to_string()).collect()
}

#[test]
fn work_per_dollar_ranks_and_not_the_price_alone() {
    let prices = [(spot("a"), "0.20"), (cpu("a"), "0.019"), (on_demand("a"), "0.526")];
    let ranking = rank(&policy(), &market(&prices), &Marks::default(), at(0));
    let expected = ["spot c7i.large in a", "spot g4dn.xlarge in a", "on-demand g4dn.xlarge in a"];
    assert_eq!(names(&ranking), expected);
    // 0.526 $/h at 400/s: 0.6944 h for a million
    let dearest = ranking.best(CapacityType::OnDemand).unwrap();
    assert_eq!(dearest.per_million_requests, MicroUsd(365_278));
}

#[test]
fn an_offering_that_was_lost_is_left_alone_and_comes_back() {
    let prices = market(&[(spot("a"), "0.20"), (spot("b"), "0.21")]);
    let mut marks = Marks::default();
    marks.add(&spot("a"), 1.0, Millis::from_secs(1800), at(0));
    let best = |now| rank(&policy(), &prices, &marks, now).offers[0].offering.zone.to_string();
    assert_eq!(best(at(0)), "b");
    assert_eq!(best(at(1799)), "b");
    let excluded = rank(&policy(), &prices, &marks, at(0)).excluded;
    assert_eq!(excluded, [(spot("a"), Exclusion::BadLately { until: at(1800) })]);
    assert_eq!(names(&rank(&policy(), &prices, &marks, at(1801))).len(), 2);
    assert_eq!(best(at(20 * 3600)), "a", "in the end the price decides again");
}

#[test]
fn on_demand_is_never_left_alone_but_goes_last() {
    let prices = market(&[(on_demand("a"), "0.526"), (on_demand("b"), "0.6")]);
    let mut marks = Marks::default();
    marks.add(&on_demand("a"), 1.0, Millis::from_secs(1800), at(0));
    let ranking = rank(&policy(), &prices, &marks, at(0));
    let expected = ["on-demand g4dn.xlarge in b", "on-demand g4dn.xlarge in a"];
    assert_eq!(names(&ranking), expected);
}

#[test]
fn spot_that_is_dearer_than_on_demand_is_not_bought() {
    let prices = market(&[(spot("a"), "0.53"), (on_demand("a"), "0.526")]);
    let ranking = rank(&policy(), &prices, &Marks::default(), at(0));
    assert_eq!(names(&ranking), ["on-demand g4dn.xlarge in a"]);
    assert_eq!(ranking.excluded[0].1.kind(), "dearer-than-on-demand");
}

#[test]
fn a_type_that_was_not_measured_is_not_bought() {
    let odd = Offering { instance_type: "p5.48xlarge".parse().unwrap(), ..spot("a") };
    let ranking = rank(&policy(), &market(&[(odd, "0.01")]), &Marks::default(), at(0));
    assert!(ranking.offers.is_empty());
    assert_eq!(ranking.excluded[0].1, Exclusion::NotAllowed);
}

#[test]
fn throughput_is_a_number_above_zero() {
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Throughput::try_from(wrong).is_err(), "{wrong} was accepted");
    }
}
