//! Whatever happens, in whatever order, these hold.

use proptest::prelude::*;

use super::*;

/// Something that happens before a stretch of quiet seconds.
#[derive(Debug, Clone)]
enum Event {
    Wants(u32),
    Interruption { nth: usize, lead: i64 },
    Rebalance { nth: usize },
    Forgets,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u32).prop_map(Event::Wants),
        (0..6_usize, -20..130_i64).prop_map(|(nth, lead)| Event::Interruption { nth, lead }),
        (0..6_usize).prop_map(|nth| Event::Rebalance { nth }),
        Just(Event::Forgets),
    ]
}

impl Story {
    fn happens(&mut self, event: &Event) {
        match event {
            Event::Wants(replicas) => drop(self.wants(*replicas)),
            Event::Interruption { nth, lead } => drop(self.notice(*nth, Some(*lead))),
            Event::Rebalance { nth } => drop(self.notice(*nth, None)),
            Event::Forgets => self.memory = Memory::default(),
        }
    }

    /// One second, held against the rules.
    fn checked_tick(&mut self) -> Result<(), TestCaseError> {
        self.world.tick();
        let (before, memory) = (self.snapshot(), self.memory.clone());
        let serving = self.world.ready();
        let plan = self.act();
        let again = super::plan(&self.policy, &before, memory).0;
        prop_assert_eq!(&plan, &again, "the same input gives the same plan");
        let because = |kind| move |reason: &Reason| reason.kind() == kind;
        for step in &plan.steps {
            prop_assert!(!step.reasons.is_empty(), "{:?} has no reason", step);
        }
        let mut reasons = plan.steps.iter().flat_map(|step| &step.reasons);
        let (left, wanted) = (self.world.ready(), self.world.now.replicas_wanted().0);
        if left < serving && !reasons.any(because("deadline-forces")) {
            prop_assert!(left >= wanted, "{left} pods serve and {wanted} are wanted: {plan:?}");
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
