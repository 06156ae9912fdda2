//! Whether the run held what it promises. One sentence for each promise that it broke.

use super::Report;
use crate::up::scenario::{Outcome, Recording};

pub(super) fn failures(recording: &Recording, report: &Report) -> Vec<String> {
    let mut failures = Vec::new();
    if report.requests.answered == 0 {
        failures.push("no request was answered".to_owned());
    }
    if report.requests.lost > 0 {
        let reasons: Vec<String> =
            report.lost_by_reason.iter().map(|(why, count)| format!("{count} {why}")).collect();
        failures.push(format!(
            "{} requests were lost: {}",
            report.requests.lost,
            reasons.join(", ")
        ));
    }
    let refused = refused_without_overload(recording);
    if refused > 0 {
        failures.push(format!("{refused} requests were refused although nothing was overloaded"));
    }
    let missed = recording.phases.iter().filter(|phase| !phase.reached);
    failures
        .extend(missed.map(|phase| format!("replicas did not return to zero in {:?}", phase.name)));
    let unhurt = report.mishaps.iter().filter(|mishap| mishap.victim.is_none());
    failures.extend(unhurt.map(|mishap| format!("nothing was there for: {}", mishap.what)));
    failures
}

fn refused_without_overload(recording: &Recording) -> usize {
    let in_overload =
        |index: usize| recording.phases.get(index).is_some_and(|p| p.refusals_expected);
    let refused = recording.samples.iter().filter(|sample| sample.outcome == Outcome::Refused);
    refused.filter(|sample| !in_overload(sample.phase)).count()
}

#[cfg(test)]
mod tests {
    use crate::up::{
        report::{
            Report,
            fixture::{answered, ended, recording},
        },
        scenario::{Event, Happening, Outcome, Recording, Why},
    };

    fn judged(change: impl FnOnce(&mut Recording)) -> Vec<String> {
        let mut day = recording();
        day.samples = vec![answered(10.0, 5.0)];
        change(&mut day);
        Report::of(&day).failures
    }

    #[test]
    fn a_run_that_keeps_its_promises_passes() {
        assert_eq!(judged(|_| {}), Vec::<String>::new());
        let refused_in_overload = judged(|day| {
            day.phases[0].refusals_expected = true;
            day.samples.push(ended(20.0, Outcome::Refused));
        });
        assert_eq!(refused_in_overload, Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_named() {
        let lost = Outcome::Lost { why: Why::Status(502) };
        assert!(judged(|day| day.samples.push(ended(20.0, lost)))[0].contains("1 status 502"));
        let refused = judged(|day| day.samples.push(ended(20.0, Outcome::Refused)));
        assert!(refused[0].contains("1 requests were refused"));
        assert!(judged(|day| day.phases[0].reached = false)[0].contains("return to zero"));
        assert!(judged(|day| day.samples.clear())[0].contains("no request was answered"));
        let event = Event::KillReplica { at_seconds: 0.0 };
        let unhurt = Happening { phase: 0, at_ms: 0.0, event, victim: None };
        assert!(judged(|day| day.happenings.push(unhurt))[0].contains("nothing was there"));
    }
}
