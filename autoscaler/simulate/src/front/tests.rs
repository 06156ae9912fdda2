use super::*;

struct At(VecDeque<u64>);

impl Arriving for At {
    fn next_at(&mut self) -> Option<Moment> {
        self.0.front().map(|ms| Moment::from(Millis(*ms)))
    }

    fn come(&mut self) {
        self.0.pop_front();
    }
}

/// Two slots a replica, a tenth of a second a request.
fn front(retries: bool) -> Front {
    let mut rules = Service { retries, scv: 0.0, ..Service::default() };
    rules.policy.concurrency = std::num::NonZeroU32::new(2).unwrap();
    Front::new(rules, 1)
}

fn tenth() -> ServiceTime {
    ServiceTime::new(0.1, 0.0).unwrap()
}

fn ms(ms: u64) -> Moment {
    Moment::from(Millis(ms))
}

#[test]
fn from_nobody_there_requests_wait_for_the_first_replica() {
    let mut front = front(true);
    let mut arrivals = At([0, 10, 20].into());
    front.run(ms(5000), &mut arrivals);
    assert_eq!((front.held(), front.tally.held_cold), (3, 3));
    front.open(ms(5000), 1, tenth());
    front.run(ms(6000), &mut arrivals);
    let tally = &front.tally;
    assert_eq!((tally.latencies.count(), tally.cold_starts, front.held()), (3, 1, 0));
    assert_eq!(tally.latencies.within(Millis(4900)), 0, "each waited for five seconds");
    assert_eq!(tally.latencies.within(Millis(5300)), 3, "two at once, and one after them");
}

#[test]
fn who_waits_past_the_deadline_is_given_up() {
    let mut front = front(true);
    front.run(ms(200_000), &mut At([0, 100_000].into()));
    assert_eq!((front.tally.expired, front.held()), (1, 1));
}

#[test]
fn what_a_dead_replica_served_is_sent_again_first_or_lost() {
    for retries in [true, false] {
        let mut front = front(retries);
        let mut arrivals = At([0, 0, 0].into());
        front.open(ms(0), 1, tenth());
        front.run(ms(50), &mut arrivals);
        front.close(ms(50), 1);
        front.open(ms(60), 2, tenth());
        front.run(ms(500), &mut arrivals);
        let Tally { retried, lost, latencies, .. } = &front.tally;
        let expected = if retries { (2, 0, 3) } else { (0, 2, 1) };
        assert_eq!((*retried, *lost, latencies.count()), expected);
        if retries {
            assert_eq!(latencies.within(Millis(165)), 2, "the first two are first again");
        }
    }
}

#[test]
fn one_that_leaves_is_used_last_and_one_that_ends_not_at_all() {
    let mut front = front(true);
    (1..=3).for_each(|id| front.open(ms(0), id, tenth()));
    front.mark(1, Place::Leaving);
    front.mark(2, Place::Ending);
    front.run(ms(10), &mut At([0, 0].into()));
    assert!(!front.works(1) && !front.works(2) && front.works(3));
    front.run(ms(20), &mut At([10, 10, 10].into()));
    assert!(front.works(1) && !front.works(2));
    assert_eq!((front.held(), front.counters(ms(20)).endpoints), (1, Replicas(2)));
}
