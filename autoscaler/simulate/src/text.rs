//! A report as text, for people.

use std::{fmt, fmt::Write as _};

use spotscale_decide::units::MicroUsd;

use crate::report::Report;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.lasts_ms.as_secs_f64() / 86_400.0;
        writeln!(
            f,
            "Spotscale, simulated: {days:.1} days from {:.0}, seed {}",
            self.begins_at, self.seed
        )?;
        for input in &self.inputs {
            writeln!(f, "  {input}")?;
        }
        self.write_money(f)?;
        self.write_requests(f)?;
        self.write_nodes(f)
    }
}

impl Report {
    fn write_money(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let money = &self.money;
        writeln!(f, "\nMoney (nodes only)")?;
        row(
            f,
            "paid",
            &format!(
                "{}: {} less refunds of {}",
                usd(money.net),
                usd(money.spend),
                usd(money.refund)
            ),
        )?;
        row(f, "baseline", &format!("{}: {}", usd(money.baseline), money.baseline_is))?;
        let saved = money.saved_percent.map_or("-".to_owned(), |saved| format!("{saved:.1} %"));
        row(f, "saved", &saved)?;
        let over = money
            .over_bound
            .map_or(String::new(), |times| format!("; spent {times:.1} times that"));
        row(
            f,
            "bound",
            &format!("{}, the least that a clairvoyant would spend{over}", usd(money.bound)),
        )
    }

    fn write_requests(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, latency) = (&self.requests, &self.latency);
        writeln!(f, "\nRequests")?;
        row(f, "arrived", &requests.arrived.to_string())?;
        row(f, "answered", &format!("{}, {:.3} %", requests.answered, requests.success_percent))?;
        let refused: u64 = requests.refused.values().sum();
        let why: Vec<_> = requests.refused.iter().map(|(why, n)| format!("{why} {n}")).collect();
        row(f, "refused", &format!("{refused}{}", listed(&why)))?;
        row(f, "expired, lost", &format!("{}, {}", requests.expired, requests.lost))?;
        row(
            f,
            "held",
            &format!(
                "{}, {} of them while no replica was ready",
                requests.held, requests.held_cold
            ),
        )?;
        row(f, "sent again", &requests.sent_again.to_string())?;
        row(f, "unfinished", &requests.unfinished.to_string())?;
        let quantiles =
            [latency.p50_seconds, latency.p95_seconds, latency.p99_seconds].map(seconds);
        row(f, "P50, P95, P99", &quantiles.join(", "))?;
        row(
            f,
            "within the SLO",
            &format!("{:.2} % of all, which is {}", latency.within_slo_percent, latency.slo_ms),
        )
    }

    fn write_nodes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = &self.nodes;
        writeln!(f, "\nReplicas and nodes")?;
        row(f, "most replicas", &nodes.replicas_max.to_string())?;
        row(f, "cold starts", &nodes.cold_starts.to_string())?;
        row(f, "launched", &format!("{}, and {} times sold out", nodes.launched, nodes.sold_out))?;
        row(
            f,
            "interruptions",
            &format!("{} notices, {} nodes taken", nodes.interruptions, nodes.taken),
        )?;
        for (offering, hours) in &nodes.hours {
            row(f, "hours", &format!("{hours:.2} {offering}"))?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:<15} {value}")
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { String::new() } else { format!(" ({})", items.join(", ")) }
}

fn usd(money: MicroUsd) -> String {
    format!("${:.2}", money.as_usd())
}

fn seconds(seconds: Option<f64>) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = match seconds {
        None => write!(text, "-"),
        Some(long) if long >= 1.0 => write!(text, "{long:.1} s"),
        Some(short) => write!(text, "{:.0} ms", short * 1000.0),
    };
    text
}
