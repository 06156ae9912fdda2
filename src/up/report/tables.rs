//! The tables of the report, as words: the terminal and the page show the same ones.

use super::{
    Counts, Latency, Report,
    text::{moment, or_dash, seconds},
};

/// A table whose rows are as wide as its head, or narrower.
pub(super) struct Table {
    pub(super) title: &'static str,
    /// Whether all columns but the first hold numbers.
    pub(super) numbers: bool,
    pub(super) head: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
}

/// Every table, in the order of the page.
pub(super) fn all(report: &Report) -> [Table; 4] {
    [phases(report), mishaps(report), comparison(report), nodes(report)]
}

fn phases(report: &Report) -> Table {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for phase in &report.phases {
        let mut row = requests(&phase.name, phase.requests, phase.latency_ms);
        row.extend([phase.ready_max.to_string(), phase.held_max.to_string()]);
        rows.push(row);
    }
    rows.push(requests("all", report.requests, report.latency_ms));
    Table {
        title: "Phase by phase",
        numbers: true,
        head: &["phase", "sent", "ok", "refused", "lost", "p50", "p95", "p99", "ready", "held"],
        rows,
    }
}

fn requests(name: &str, counts: Counts, latency: Option<Latency>) -> Vec<String> {
    let Counts { sent, answered, refused, lost } = counts;
    let mut row = vec![name.to_owned()];
    row.extend([sent, answered, refused, lost].map(|count| count.to_string()));
    let percentiles: [fn(Latency) -> f64; 3] = [|l| l.p50, |l| l.p95, |l| l.p99];
    row.extend(percentiles.map(|percentile| or_dash(latency, |l| seconds(percentile(l)))));
    row
}

fn mishaps(report: &Report) -> Table {
    let rows = report.mishaps.iter().map(|mishap| {
        let Counts { sent, lost, .. } = mishap.requests;
        vec![
            moment(mishap.at_ms),
            mishap.what.clone(),
            mishap.victim.clone().unwrap_or_else(|| "nothing there".to_owned()),
            format!("{lost} of {sent}"),
            mishap.ready_min.to_string(),
            or_dash(mishap.recovered_ms, seconds),
        ]
    });
    Table {
        title: "Broken on purpose",
        numbers: false,
        head: &["at", "what", "hit", "lost", "fewest ready", "replaced after"],
        rows: rows.collect(),
    }
}

fn comparison(report: &Report) -> Table {
    let rows = report.comparison.iter().map(|row| {
        let ours = row.ours.clone().unwrap_or_else(|| "not measured here".to_owned());
        vec![row.subject.to_owned(), row.post.to_owned(), ours]
    });
    Table {
        title: "Beside the post's figures",
        numbers: false,
        head: &["what", "the post", "this run"],
        rows: rows.collect(),
    }
}

fn nodes(report: &Report) -> Table {
    let rows = report.nodes.iter().map(|node| {
        let (min, max) = (node.usd_per_hour_min, node.usd_per_hour_max);
        vec![
            node.name.clone(),
            format!("{} in {}, {}", node.instance_type, node.zone, node.capacity_type),
            if min < max { format!("${min:.4} to ${max:.4}/h") } else { format!("${min:.4}/h") },
            format!("{} to {}", moment(node.from_ms), moment(node.to_ms)),
            match (node.interrupted, node.to_ms < report.duration_ms) {
                (true, _) => "interrupted",
                (false, true) => "released",
                (false, false) => "still there",
            }
            .to_owned(),
        ]
    });
    Table {
        title: "Nodes that were paid for",
        numbers: false,
        head: &["node", "offer", "price", "seen", "end"],
        rows: rows.collect(),
    }
}
