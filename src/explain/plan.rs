//! One look of the autoscaler and what followed from it, on one screen.

use std::{collections::BTreeMap, fmt::Display};

use spotscale_autoscaler::{
    CapacityType, Node, NodePhase, NoticeKind, Observation, PodPhase, Reason, Role, State,
};

/// Of what is shown last first: so many.
const DECISIONS_MAX: usize = 10;
const OFFERS_MAX: usize = 3;

pub(super) fn text(state: &State) -> String {
    let mut lines = vec![role(state)];
    section(&mut lines, "Seen", seen(state));
    section(&mut lines, "Decided", decided(state));
    section(&mut lines, "In the way", state.plan.refused.iter().map(ToString::to_string).collect());
    section(&mut lines, "Waits", waits(state));
    section(&mut lines, "Cheapest for the work now", offers(state));
    section(&mut lines, "Last decisions", decisions(state));
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, told: Vec<String>) {
    if !told.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(told.into_iter().map(|line| format!("  {line}")));
    }
}

fn role(state: &State) -> String {
    let is = match state.role {
        Role::Leader => "This autoscaler leads.",
        Role::Standby => {
            "This autoscaler does not lead: it does nothing, and what the one does that leads only that one knows. \
             Below is what this one sees, and what it would do."
        }
        Role::DryRun => "This is a dry run: nothing is done, and below is what would be.",
    };
    format!("{is} It looked at {:.0}.", state.snapshot.seen.at)
}

fn seen(state: &State) -> Vec<String> {
    let seen = &state.snapshot.seen;
    let mut told = vec![nodes(seen)];
    for workload in &seen.workloads {
        let (wanted, ready) = (workload.replicas_wanted.0, seen.ready(&workload.name));
        told.push(format!("{}: {wanted} replicas wanted, {ready} ready", workload.name));
    }
    let pending = seen.pods.iter().filter(|pod| pod.phase == PodPhase::Pending).count();
    if pending > 0 {
        told.push(format!("{pending} pods have no node yet"));
    }
    told.extend(seen.notices.iter().map(|notice| match notice.kind {
        NoticeKind::Interruption { deadline } => {
            Reason::Interruption { node: notice.node.clone(), deadline }.to_string()
        }
        NoticeKind::Rebalance => Reason::Rebalance { node: notice.node.clone() }.to_string(),
        NoticeKind::Maintenance { deadline } => {
            Reason::Maintenance { node: notice.node.clone(), deadline }.to_string()
        }
    }));
    told.push(match state.snapshot.price_age_ms {
        Some(age) => format!(
            "{} prices, confirmed {:.0} s before",
            state.snapshot.prices.len(),
            age.as_secs_f64()
        ),
        None => "no prices yet".to_owned(),
    });
    if state.role != Role::Standby {
        told.push(match state.snapshot.spent_this_month {
            Some(spent) => {
                format!("${:.2} spent this month, refunds taken off", spent.as_usd())
            }
            None => "what was spent this month is not known yet".to_owned(),
        });
    }
    told
}

fn nodes(seen: &Observation) -> String {
    let alive: Vec<&Node> = seen.nodes.iter().filter(|node| node.is_alive()).collect();
    let mut kinds = BTreeMap::<CapacityType, usize>::new();
    for node in &alive {
        *kinds.entry(node.offering.capacity_type).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let kinds = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
    let starting = alive.iter().filter(|node| node.phase == NodePhase::Provisioning).count();
    let leaving = alive.iter().filter(|node| node.cordoned.is_some()).count();
    let besides = [(starting, "not ready yet"), (leaving, "being emptied")];
    let besides = besides.into_iter().filter(|(count, _)| *count > 0);
    let besides = besides.map(|(count, are)| format!("{count} {are}"));
    std::iter::once(format!("nodes: {kinds}")).chain(besides).collect::<Vec<_>>().join("; ")
}

fn decided(state: &State) -> Vec<String> {
    let split = state.plan.split;
    let aim =
        format!("to hold room for {} pods on spot and {} on demand", split.spot, split.on_demand);
    let steps = state.plan.steps.iter().map(|step| Reason::tell(&step.action, &step.reasons));
    let none = state.plan.steps.is_empty().then(|| "to do nothing now".to_owned());
    std::iter::once(aim).chain(none).chain(steps).collect()
}

fn waits(state: &State) -> Vec<String> {
    let until = state.plan.wait_until.map(|until| {
        format!(
            "until {until:.0}, when time alone changes what is to be done; for any change before"
        )
    });
    let asked = state.memory.asked.iter();
    let asked = asked.map(|(action, at)| format!("to see what it asked for at {at:.0}: {action}"));
    until.into_iter().chain(asked).collect()
}

fn offers(state: &State) -> Vec<String> {
    let ranking = &state.plan.ranking;
    let offers = ranking.offers.iter().take(OFFERS_MAX).map(|offer| {
        let (price, work) = (offer.price.as_usd(), offer.per_million_requests.as_usd());
        format!("{}: ${price:.4} an hour, ${work:.4} per million requests", offer.offering)
    });
    let excluded = ranking.excluded.iter();
    let excluded = excluded.map(|(offering, why)| not_bought(offering, why));
    offers.chain(excluded.take(OFFERS_MAX)).collect()
}

fn not_bought(offering: impl Display, why: impl Display) -> String {
    format!("not {offering}: {why}")
}

fn decisions(state: &State) -> Vec<String> {
    let last = state.decisions.iter().rev().take(DECISIONS_MAX);
    last.map(|decision| format!("{:.0} {decision}", decision.at)).collect()
}
