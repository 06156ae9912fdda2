//! The report for a terminal, and the few spellings that the page shares with it.

use super::{Counts, Report, tables};
use crate::columns::columns;

/// Milliseconds as people read them.
pub(super) fn seconds(ms: f64) -> String {
    if ms < 1_000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1_000.0) }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Dollars; a run of minutes costs fractions of a cent.
pub(super) fn dollars(usd: f64) -> String {
    format!("${usd:.5}")
}

/// A moment of the run, as minutes and seconds.
pub(super) fn moment(ms: f64) -> String {
    let whole_seconds = (ms / 1_000.0) as u64;
    format!("{}:{:02}", whole_seconds / 60, whole_seconds % 60)
}

/// `-` where there is nothing to say.
pub(super) fn or_dash<T>(value: Option<T>, spell: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), spell)
}

pub(super) fn page(report: &Report) -> String {
    let mut lines = vec![
        format!("Spotscale, scenario \"{}\"", report.scenario),
        report.summary.clone(),
        format!(
            "{} long, up to {} replicas; loads are relative to {:.1} images/s, reckoned from one idle replica.",
            moment(report.duration_ms),
            report.max_replicas,
            report.capacity_images_per_second
        ),
    ];
    for table in tables::all(report).iter().filter(|table| !table.rows.is_empty()) {
        lines.extend([String::new(), table.title.to_owned()]);
        lines.extend(columns(table.head, &table.rows, |column| table.numbers && column > 0));
    }
    lines.extend([String::new(), money(report), PRICES.to_owned(), String::new()]);
    lines.extend(verdict(report));
    lines.join("\n") + "\n"
}

/// What the money is and is not.
const PRICES: &str = "The prices are illustrative unless --prices names a recording; a virtual node is one process on \
                      this machine's CPU, whatever type it is billed as.";

fn money(report: &Report) -> String {
    format!(
        "Spent {} ({} of refunds taken off), baseline {}, saved {}.",
        dollars(report.money.spend_usd),
        dollars(report.money.refund_usd),
        dollars(report.money.baseline_usd),
        or_dash(report.saving, percent),
    )
}

fn verdict(report: &Report) -> Vec<String> {
    if report.passed() {
        let Counts { sent, answered, refused, .. } = report.requests;
        return vec![format!(
            "PASS: of {sent} requests {answered} were answered, {refused} refused with Retry-After \
             in the overload, none lost."
        )];
    }
    report.failures.iter().map(|failure| format!("FAIL: {failure}.")).collect()
}
