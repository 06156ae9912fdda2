use super::*;
use crate::testing::{at, node, pod, seen, spot};

const WINDOW: u64 = 600;

/// Minutes of traffic, of one machine type with one pod a machine that was calibrated to 400.
#[derive(Default)]
struct Story {
    memory: BTreeMap<InstanceType, Measurement>,
    minute: i64,
}

/// A pod that would answer so many requests a second, and is busy for so much of the time.
fn work(per_second: f64, busy: f64) -> Work {
    let busy_seconds = busy * WINDOW as f64;
    let requests = Requests((per_second * busy_seconds) as u64);
    Work { requests, busy_ms: Millis((busy_seconds * 1000.0) as u64) }
}

impl Story {
    /// A minute with these pods, each on a machine of its own.
    fn minute(&mut self, pods: &[Work], age_secs: u64) -> Rate {
        self.minute += 1;
        let now = at(self.minute * 60);
        let names: Vec<String> = (0..pods.len()).map(|n| format!("p{n}")).collect();
        let nodes = names.iter().map(|name| node(name, spot("a"), at(0))).collect();
        let mut seen = seen(now, nodes);
        seen.pods = names.iter().map(|name| pod(name, name)).collect();
        let of_each = names.iter().zip(pods);
        let pods = of_each.map(|(name, work)| (name.parse().unwrap(), *work)).collect();
        let traffic = Traffic { age_ms: Millis::from_secs(age_secs), pods };
        self.rate(&seen, Some(&traffic), 1)
    }

    fn rate(&mut self, seen: &Observation, traffic: Option<&Traffic>, pods_max: u32) -> Rate {
        let machine = Machine {
            instance_type: "g4dn.xlarge".parse().unwrap(),
            throughput: Throughput(400.0),
            pods_max,
        };
        let policy = TrafficPolicy::default();
        rates(&policy, &[machine], (seen, traffic), &mut self.memory).remove(0)
    }

    fn minutes(&mut self, minutes: u32, pods: &[Work]) -> Rate {
        (1..minutes).for_each(|_| drop(self.minute(pods, 0)));
        self.minute(pods, 0)
    }
}

fn settled(pods: &[Work]) -> (u32, Source) {
    let rate = Story::default().minutes(120, pods);
    (rate.per_second.get().round() as u32, rate.source)
}

#[test]
fn what_busy_pods_answer_counts_and_moves_slowly() {
    let mut story = Story::default();
    let busy = [work(300.0, 0.8)];
    let first = story.minute(&busy, 0);
    assert_eq!((first.per_second, first.source), (Throughput(400.0), Source::Traffic));
    let half = story.minutes(10, &busy).per_second.get();
    assert!((half - 350.0).abs() < 1.0, "half of the way in one half-life: {half}");
    let later = story.minutes(60, &busy);
    assert!((later.per_second.get() - 300.0).abs() < 1.0, "{later:?}");
    assert_eq!((later.pods, later.bound), (1, false));
}

#[test]
fn who_is_idle_or_answered_little_tells_nothing() {
    assert_eq!(settled(&[work(300.0, 0.49)]), (400, Source::Calibration));
    let few = Work { requests: Requests(199), ..work(300.0, 0.9) };
    assert_eq!(settled(&[few]), (400, Source::Calibration));
    assert_eq!(settled(&[work(300.0, 0.51)]), (300, Source::Traffic));
}

#[test]
fn the_median_of_the_pods_counts_within_a_factor_of_the_calibration() {
    let odd = [work(300.0, 0.8), work(310.0, 0.8), work(9000.0, 0.8)];
    assert_eq!(settled(&odd), (310, Source::Traffic));
    let rate = Story::default().minutes(120, &[work(9000.0, 0.8)]);
    assert_eq!((rate.per_second, rate.bound), (Throughput(800.0), true));
    let rate = Story::default().minutes(120, &[work(10.0, 0.8)]);
    assert_eq!((rate.per_second, rate.bound), (Throughput(200.0), true));
}

#[test]
fn models_that_run_at_once_take_no_longer_than_the_window() {
    let two = Work { requests: Requests(180_000), busy_ms: Millis::from_secs(2 * WINDOW) };
    assert_eq!(settled(&[two]), (300, Source::Traffic));
}

#[test]
fn a_machine_answers_what_all_its_pods_do() {
    let mut story = Story::default();
    let mut now = seen(at(0), vec![node("n", spot("a"), at(0))]);
    now.pods = vec![pod("p", "n")];
    let pods: BTreeMap<_, _> = [("p".parse().unwrap(), work(150.0, 0.8))].into();
    for minute in 0..120 {
        now.at = at(minute * 60);
        let traffic = Traffic { age_ms: Millis::ZERO, pods: pods.clone() };
        story.rate(&now, Some(&traffic), 2);
    }
    assert_eq!(story.rate(&now, None, 2).per_second.get().round() as u32, 300);
}

#[test]
fn an_old_count_is_not_taken_in_and_an_old_measurement_not_used() {
    let mut story = Story::default();
    let busy = [work(300.0, 0.8)];
    assert_eq!(story.minute(&busy, 301).source, Source::Calibration);
    story.minutes(120, &busy);
    let quiet = story.minutes(24 * 60, &[]);
    assert_eq!((quiet.source, quiet.pods), (Source::Traffic, 0), "the night is quiet");
    assert_eq!(quiet.per_second.get().round() as u32, 300);
    let over = story.minute(&[], 0);
    assert_eq!((over.source, over.per_second), (Source::Calibration, Throughput(400.0)));
}

#[test]
fn the_same_count_looked_at_twice_is_taken_in_once() {
    let mut story = Story::default();
    let busy = [work(300.0, 0.8)];
    story.minutes(5, &busy);
    let known = story.memory.clone();
    story.minute(&busy, 60);
    assert_eq!(story.memory, known);
}

#[test]
fn pods_that_are_not_ours_or_not_ready_tell_nothing() {
    let mut story = Story::default();
    let mut now = seen(at(0), vec![node("n", spot("a"), at(0))]);
    now.pods = vec![pod("starting", "n"), pod("elsewhere", "m")];
    now.pods[0].phase = PodPhase::Starting;
    let names = ["starting", "elsewhere", "foreign"];
    let pods = names.map(|name| (name.parse().unwrap(), work(300.0, 0.8))).into();
    let traffic = Traffic { age_ms: Millis::ZERO, pods };
    assert_eq!(story.rate(&now, Some(&traffic), 1).source, Source::Calibration);
}
