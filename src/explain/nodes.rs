//! Each node that is still told by itself, with the prices that it was led at.

use jiff::Timestamp;
use spotscale_autoscaler::{EndedBy, LifeEnd, LifeLine};
use spotscale_decide::units::MicroUsd;

use super::cost::usd;

pub(super) fn lines(lives: &[LifeLine], now: Timestamp) -> Vec<String> {
    let title = "Node by node; what ended more than a day ago is in the sums only".to_owned();
    std::iter::once(title).chain(lives.iter().flat_map(|life| one(life, now))).collect()
}

fn one(life: &LifeLine, now: Timestamp) -> Vec<String> {
    let machine = life.instance.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
    let pool = life.pool.as_ref().map_or_else(String::new, |it| format!(", pool {it}"));
    let until = life.end.map_or_else(|| format!("runs at {now:.0}"), end);
    let mut lines = vec![format!(
        "{}{machine}: {}{pool}, from {:.0}, {until}: {}",
        life.node,
        life.offering,
        life.from,
        cost(life)
    )];
    if life.earlier > MicroUsd::ZERO {
        lines.push(format!("  before that {}", usd(life.earlier)));
    }
    if let Some(left) = life.left_on_advice {
        let cost = left.cost.map_or("at no known price".to_owned(), usd);
        lines
            .push(format!("  left on advice at {:.0} and not taken: {cost} from then on", left.at));
    }
    lines.extend(life.stretches.iter().map(|stretch| {
        let price = stretch.price.as_usd();
        format!("  {:.0} to {:.0} at ${price:.6} an hour", stretch.from, stretch.to)
    }));
    lines
}

fn end(end: LifeEnd) -> String {
    let by = match end.by {
        EndedBy::Us => "given back",
        EndedBy::Provider => "taken by the provider",
        EndedBy::Unknown => "gone",
    };
    match (end.inferred, end.at == end.at_latest) {
        (false, true) => format!("{by} at {:.0}", end.at),
        (false, false) => format!("{by} between {:.0} and {:.0}", end.at, end.at_latest),
        (true, _) => format!("gone without a word after {:.0}, held to be {by}", end.at),
    }
}

fn cost(life: &LifeLine) -> String {
    match life.cost {
        None => "no known price".to_owned(),
        Some(cost) if life.refund > MicroUsd::ZERO => {
            format!("{}, of which {} is not billed", usd(cost), usd(life.refund))
        }
        Some(cost) => usd(cost),
    }
}
