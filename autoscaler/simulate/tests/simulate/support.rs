//! A setup to start from.

use spotscale_decide::{
    ledger::Baseline,
    offers::{Machine, OfferPolicy, Throughput},
    planner::Policy,
    units::Millis,
};
use spotscale_simulate::{
    Inputs, Report, Setup, generate,
    setup::{Delays, Scaling, Service, Spot, pools},
    simulate,
};

pub(crate) const DAY: Millis = Millis::from_secs(24 * 3600);

/// The machine of the generated month at so many requests a second, for so long.
pub(crate) fn setup(per_second: f64, lasts: Millis) -> Setup {
    let throughput = Throughput::try_from(per_second).unwrap();
    let instance_type: spotscale_decide::units::InstanceType = generate::MACHINE.parse().unwrap();
    let machine = Machine { instance_type: instance_type.clone(), throughput, pods_max: 1 };
    let offers = OfferPolicy { machines: vec![machine], ..OfferPolicy::default() };
    Setup {
        seed: 1,
        begins_at: generate::BEGINS_AT,
        lasts,
        planner: Policy { offers, ..Policy::default() },
        baseline: Baseline { instance_type, pods_max: 1, nodes: None },
        price_refresh: Millis::from_secs(300),
        service: Service { timeout: Millis::from_secs(240), ..Service::default() },
        scaling: Scaling::chart(0, 20),
        delays: Delays::default(),
        spot: Spot::default(),
        pools: pools(true).unwrap(),
    }
}

/// The generated month.
pub(crate) fn month(seed: u64) -> Inputs {
    generate::month(generate::REQUESTS_PER_DAY, seed).unwrap()
}

pub(crate) fn run(setup: &Setup, inputs: &Inputs) -> Report {
    simulate(setup, inputs, &mut |_| {}).unwrap()
}
