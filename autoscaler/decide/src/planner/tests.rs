//! Stories in seconds of fake time, and what must hold in any story.

mod any_story;
mod budget;
mod lost_sight;
mod measured;
mod not_for_sale;
mod provisioned;
mod reactions;
mod scale;
mod stories;
mod unpriced;

use super::*;
use crate::{
    cluster::{Notice, NoticeKind},
    offers::{Machine, Throughput, Traffic},
    testing::{at, on_demand, spot, workload, world::World},
    units::NodeName,
};

/// A world, the planner's memory, and everything that was ever planned.
struct Story {
    policy: Policy,
    prices: BTreeMap<Offering, UsdPerHour>,
    price_age_ms: Option<Millis>,
    spent_this_month: Option<MicroUsd>,
    traffic: Option<Traffic>,
    world: World,
    memory: Memory,
    told: Vec<(i64, Step)>,
}

impl Story {
    fn new(replicas: u32) -> Self {
        let machine = Machine {
            instance_type: "g4dn.xlarge".parse().unwrap(),
            throughput: Throughput::try_from(400.0).unwrap(),
            pods_max: 1,
        };
        let offers = OfferPolicy { machines: vec![machine], ..OfferPolicy::default() };
        let prices = [(spot("a"), "0.20"), (spot("b"), "0.21"), (on_demand("a"), "0.526")];
        Self {
            policy: Policy { offers, ..Policy::default() },
            prices: prices.map(|(offering, price)| (offering, price.parse().unwrap())).into(),
            price_age_ms: Some(Millis::ZERO),
            spent_this_month: Some(MicroUsd::ZERO),
            traffic: None,
            world: World::new(replicas),
            memory: Memory::default(),
            told: vec![],
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            seen: self.world.now.clone(),
            prices: self.prices.clone(),
            price_age_ms: self.price_age_ms,
            spent_this_month: self.spent_this_month,
            traffic: self.traffic.clone(),
        }
    }

    fn second(&self) -> i64 {
        self.world.now.at.as_second() - at(0).as_second()
    }

    /// One second: time passes, a plan is made and done.
    fn tick(&mut self) -> Plan {
        self.world.tick();
        self.act()
    }

    /// A plan is made and done, and no time passes.
    fn act(&mut self) -> Plan {
        let (plan, memory) = plan(&self.policy, &self.snapshot(), std::mem::take(&mut self.memory));
        self.world.apply(&plan);
        self.memory = memory;
        let second = self.second();
        self.told.extend(plan.steps.iter().map(|step| (second, step.clone())));
        plan
    }

    fn run(&mut self, seconds: u32) -> &mut Self {
        (0..seconds).for_each(|_| drop(self.tick()));
        self
    }

    fn wants(&mut self, replicas: u32) -> &mut Self {
        self.world.now.workloads[0] = workload(replicas);
        self
    }

    /// The nth node that is there gets a notice.
    fn notice(&mut self, nth: usize, lead: Option<i64>) -> Option<NodeName> {
        let node = self.world.alive().nth(nth)?.name.clone();
        let kind = match lead {
            Some(lead) => NoticeKind::Interruption { deadline: at(self.second() + lead) },
            None => NoticeKind::Rebalance,
        };
        self.world.now.notices.push(Notice { node: node.clone(), kind });
        Some(node)
    }

    /// The kinds of the steps since a second, in order, each with its second.
    fn since(&self, second: i64) -> Vec<(i64, &'static str)> {
        let later = self.told.iter().filter(|(at, _)| *at > second);
        later.map(|(at, step)| (at - second, step.action.kind())).collect()
    }
}
