//! Where the money went.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use spotscale_autoscaler::{Books, LifeLine, SpendLine, Totals};
use spotscale_decide::units::MicroUsd;

use super::nodes;
use crate::columns::columns;

/// The sums, and what they come to.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    /// Up to when.
    at: Timestamp,
    /// Spend less refund.
    paid: MicroUsd,
    /// The part of the baseline that was not paid; none without a baseline.
    saved: Option<f64>,
    #[serde(flatten)]
    totals: Totals,
    /// Node by node, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<LifeLine>>,
}

/// One line of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    spend: MicroUsd,
    refund: MicroUsd,
}

impl Cost {
    pub(super) fn of(books: &Books, nodes: bool) -> Self {
        let totals = books.totals();
        let paid = totals.spend.saturating_sub(totals.refund);
        let held_against = Some(totals.baseline).filter(|baseline| *baseline > MicroUsd::ZERO);
        Self {
            at: books.at,
            paid,
            saved: held_against.map(|baseline| 1.0 - paid.as_usd() / baseline.as_usd()),
            totals,
            nodes: nodes.then(|| books.lives().collect()),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut lines = self.summary();
        let of_workload = |line: &SpendLine| {
            line.workload.as_ref().map_or("idle".to_owned(), ToString::to_string)
        };
        let of_pool =
            |line: &SpendLine| line.pool.as_ref().map_or("none".to_owned(), ToString::to_string);
        lines.extend(self.table("workload", of_workload));
        lines.extend(self.table("pool", of_pool));
        lines.extend(self.table("offering", |line| line.offering.to_string()));
        if let Some(lives) = &self.nodes {
            lines.push(String::new());
            lines.extend(nodes::lines(lives, self.at));
        }
        lines.join("\n")
    }

    fn summary(&self) -> Vec<String> {
        let Totals { spend, refund, on_advice, baseline, baseline_is, unpriced, .. } = &self.totals;
        let mut lines = vec![
            format!("Up to {:.0} the nodes cost {}.", self.at, usd(*spend)),
            format!("Not billed of it: {} (spot nodes taken in their first hour).", usd(*refund)),
            format!("Paid: {}.", usd(self.paid)),
            format!("Baseline: {}, for {baseline_is}.", usd(*baseline)),
        ];
        if *on_advice > MicroUsd::ZERO {
            lines.push(format!(
                "False alarms: {} of it, for nodes that were left on advice and not taken, from then to their end.",
                usd(*on_advice)
            ));
        }
        lines.push(match self.saved {
            Some(saved) => format!("Saved: {:.1} % of the baseline.", saved * 100.0),
            None => "Saved: unknown, as there is no baseline yet.".to_owned(),
        });
        if !unpriced.is_empty() {
            let names: Vec<_> = unpriced.iter().map(ToString::to_string).collect();
            lines.push(format!("Without a known price, and in no sum: {}.", names.join(", ")));
        }
        lines
    }

    /// The lines summed up by one of their names, the dearest first.
    fn table(&self, by: &str, name: impl Fn(&SpendLine) -> String) -> Vec<String> {
        let mut sums = BTreeMap::<String, Sum>::new();
        for line in &self.totals.lines {
            let sum = sums.entry(name(line)).or_default();
            sum.spend = sum.spend.saturating_add(line.spend);
            sum.refund = sum.refund.saturating_add(line.refund);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.spend));
        let row = |(name, Sum { spend, refund }): (String, Sum)| {
            let paid = spend.saturating_sub(refund);
            vec![name, usd(spend), usd(refund), usd(paid)]
        };
        let rows: Vec<_> = sums.into_iter().map(row).collect();
        let head = [by, "spend", "not billed", "paid"];
        std::iter::once(String::new()).chain(columns(&head, &rows, |column| column > 0)).collect()
    }
}

pub(super) fn usd(money: MicroUsd) -> String {
    format!("${:.6}", money.as_usd())
}
