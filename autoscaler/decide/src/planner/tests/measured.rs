//! What traffic tells of machines decides what is bought.

use super::*;
use crate::offers::{Source, Work};

#[test]
fn a_type_that_does_less_than_it_was_calibrated_to_is_bought_no_longer_and_the_memory_is_kept() {
    let cpu = Offering { instance_type: "c7i.large".parse().unwrap(), ..spot("a") };
    let mut story = Story::new(1);
    story.prices.insert(cpu.clone(), "0.021".parse().unwrap());
    let machine = Machine {
        instance_type: cpu.instance_type.clone(),
        throughput: Throughput::try_from(40.0).unwrap(),
        pods_max: 1,
    };
    story.policy.offers.machines.push(machine);
    let best = |story: &mut Story| story.tick().ranking.offers[0].offering.to_string();
    assert_eq!(best(&mut story), "spot g4dn.xlarge in a", "0.20 for 400 is less than 0.021 for 40");
    story.run(100);
    let pod = story.world.now.pods[0].name.clone();
    let work = Work { requests: crate::units::Requests(144_000), busy_ms: Millis::from_secs(480) };
    for _ in 0..3600 {
        story.traffic = Some(Traffic { age_ms: Millis::ZERO, pods: [(pod.clone(), work)].into() });
        story.tick();
    }
    let plan = story.tick();
    assert!(plan.rates[0].per_second.get() < 303.0, "{:?}", plan.rates);
    assert_eq!(
        (plan.rates[0].source, plan.rates[1].source),
        (Source::Traffic, Source::Calibration)
    );
    assert_eq!(best(&mut story), "spot c7i.large in a");
    // Without Prometheus it is known for a while yet, after a restart too.
    let memory = serde_json::to_string(&story.memory).unwrap();
    story.memory = serde_json::from_str(&memory).unwrap();
    story.traffic = None;
    assert_eq!(best(&mut story), "spot c7i.large in a");
}
