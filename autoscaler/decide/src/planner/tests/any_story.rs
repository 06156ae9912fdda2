//! Whatever happens, in whatever order, these hold.

use proptest::prelude::*;

use super::{provisioned::BOTH, *};
use crate::{cluster::Workload, testing::provisioner::pool};

/// Something that happens before a stretch of quiet seconds.
#[derive(Debug, Clone)]
enum Event {
    Wants(u32),
    Interruption { nth: usize, lead: i64 },
    Rebalance { nth: usize },
    Withdrawn,
    SoldOut { a: bool, b: bool },
    Forgets,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u32).prop_map(Event::Wants),
        (0..6_usize, -20..130_i64).prop_map(|(nth, lead)| Event::Interruption { nth, lead }),
        (0..6_usize).prop_map(|nth| Event::Rebalance { nth }),
        Just(Event::Withdrawn),
        any::<(bool, bool)>().prop_map(|(a, b)| Event::SoldOut { a, b }),
        Just(Event::Forgets),
    ]
}

impl Story {
    fn happens(&mut self, event: &Event) {
        match event {
            Event::Wants(replicas) => drop(self.wants(*replicas)),
            Event::Interruption { nth, lead } => drop(self.notice(*nth, Some(*lead))),
            Event::Rebalance { nth } => drop(self.notice(*nth, None)),
            Event::Withdrawn => {
                // An interruption is never called off.
                let stands = |notice: &Notice| notice.kind.kind() == "interruption";
                self.world.now.notices.retain(stands);
            }
            Event::SoldOut { a, b } => {
                let zones = [(spot("a"), *a), (spot("b"), *b)];
                let sold_out = zones.into_iter().filter(|(_, out)| *out);
                self.sell_out(&sold_out.map(|(offering, _)| offering).collect::<Vec<_>>());
            }
            Event::Forgets => self.memory = Memory::default(),
        }
    }

    /// One second, held against the rules.
    fn checked_tick(&mut self) -> Result<(), TestCaseError> {
        self.world.tick();
        let (before, memory) = (self.snapshot(), self.memory.clone());
        let serving = |story: &Self| {
            let seen = &story.world.now;
            let serves =
                |workload: &Workload| (seen.ready(&workload.name), workload.replicas_wanted.0);
            seen.workloads.iter().map(serves).collect::<Vec<_>>()
        };
        let served = serving(self);
        let plan = self.act();
        let again = super::plan(&self.policy, &before, memory).0;
        prop_assert_eq!(&plan, &again, "the same input gives the same plan");
        let because = |kind| move |reason: &Reason| reason.kind() == kind;
        for step in &plan.steps {
            prop_assert!(!step.reasons.is_empty(), "{:?} has no reason", step);
        }
        let mut reasons = plan.steps.iter().flat_map(|step| &step.reasons);
        let forced = reasons.any(because("deadline-forces"));
        for ((before, _), (left, wanted)) in served.into_iter().zip(serving(self)) {
            let kept = left >= wanted || left >= before || forced;
            prop_assert!(kept, "{left} pods serve and {wanted} are wanted: {plan:?}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_rule_holds_at_every_second(
        floor in 0..3_u32,
        events in prop::collection::vec((event(), 1..90_u32), 1..12),
    ) {
        let mut story = Story::new(2);
        story.policy.fleet.on_demand_floor = floor;
        story.policy.nodes_max = 12;
        story.policy.offers.mark_half_life_ms = Millis::from_secs(60);
        for (event, seconds) in &events {
            story.happens(event);
            for _ in 0..*seconds {
                story.checked_tick()?;
                let draining = story.world.alive().filter(|node| node.cordoned.is_some()).count();
                prop_assert!(story.world.alive().count() <= 12 + draining);
            }
        }
        // When nothing more happens, what is wanted is there, and nothing else.
        let wanted = story.world.now.replicas_wanted().0;
        story.world.now.notices.retain(|notice| notice.kind.kind() == "interruption");
        story.run(1500);
        prop_assert_eq!(story.world.ready(), wanted);
        prop_assert_eq!(story.world.alive().count(), wanted as usize);
        let quiet = story.told.len();
        story.run(300);
        prop_assert_eq!(&story.told[quiet..], &[]);
    }

    #[test]
    fn every_rule_holds_where_a_provisioner_buys(
        (floor, overlays, mixed) in (0..3_u32, any::<bool>(), any::<bool>()),
        events in prop::collection::vec((event(), 1..90_u32), 1..12),
    ) {
        let mut story = if mixed {
            Story::provisioned(2, vec![pool("any", &BOTH, Some(10))])
        } else {
            Story::two_pools(2)
        };
        story.policy.fleet.on_demand_floor = floor;
        story.policy.fleet.return_after_ms = Millis::from_secs(60);
        story.policy.fleet.return_steady_ms = Millis::from_secs(20);
        story.policy.fleet.return_window_ms = Millis::from_secs(60);
        story.policy.offers.mark_half_life_ms = Millis::from_secs(30);
        let other = Workload { name: "other".parse().unwrap(), ..workload(1) };
        story.world.now.workloads.push(other);
        if !overlays {
            story.world.now.provisioner.as_mut().unwrap().overlays = None;
        }
        for (event, seconds) in &events {
            story.happens(event);
            for _ in 0..*seconds {
                story.checked_tick()?;
            }
        }
        story.happens(&Event::Withdrawn);
        story.happens(&Event::SoldOut { a: false, b: false });
        story.run(3000);
        let wanted = story.world.now.replicas_wanted().0;
        prop_assert_eq!(story.world.ready(), wanted);
        prop_assert_eq!(story.world.alive().count(), wanted as usize);
        prop_assert!(story.on_demand_nodes() <= floor.min(wanted) as usize, "{:?}", story.kinds());
        let quiet = story.told.len();
        story.run(300);
        let told = story.told[quiet..].iter().filter(|(_, step)| step.action.kind() != "overlay");
        prop_assert_eq!(told.count(), 0, "a price may still be forgotten, and nothing else");
    }

    #[test]
    fn with_time_enough_no_pod_dies_with_its_machine(
        notices in prop::collection::vec((0..4_usize, 20..130_i64, 1..60_u32), 1..10),
    ) {
        let mut story = Story::new(4);
        story.run(60);
        for (nth, lead, seconds) in notices {
            story.notice(nth, Some(lead));
            story.run(seconds);
        }
        story.run(130);
        prop_assert_eq!(&story.world.killed, &[]);
    }

    #[test]
    fn a_snapshot_and_a_plan_survive_json(wants in 0..5_u32, seconds in 1..200_u32) {
        let mut story = Story::new(wants);
        story.run(seconds);
        story.notice(0, Some(120));
        let plan = story.tick();
        let json = serde_json::to_string(&(story.snapshot(), &story.memory, &plan)).unwrap();
        let back: (Snapshot, Memory, Plan) = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back, (story.snapshot(), story.memory.clone(), plan));
    }
}
