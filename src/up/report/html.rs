//! The report as one self-contained page: no script, no font, no picture from anywhere else.

use std::fmt::Write;

use super::{
    Report,
    chart::draw,
    charts,
    tables::{self, Table},
    text::{dollars, moment, or_dash, percent, seconds},
};
use crate::up::view::Weights;

const STYLE: &str = include_str!("report.css");

/// Text as it may stand between tags and in quotes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Spotscale: {name}</title>\n<style>\n{STYLE}</style></head><body><main>\n",
        name = escape(&report.scenario)
    );
    head(&mut page, report);
    tiles(&mut page, report);
    over_time(&mut page, report);
    for each in tables::all(report) {
        table(&mut page, &each);
    }
    definitions(&mut page);
    page.push_str("</main></body></html>\n");
    page
}

fn head(page: &mut String, report: &Report) {
    let _ = writeln!(
        page,
        "<header><h1>Spotscale: {}</h1><p>{}</p><p class=\"quiet\">{}, {} long; loads are relative to {:.1} \
         images per second, reckoned from one idle replica; up to {} replicas.</p></header>",
        escape(&report.scenario),
        escape(&report.summary),
        report.started.strftime("%Y-%m-%d %H:%M UTC"),
        moment(report.duration_ms),
        report.capacity_images_per_second,
        report.max_replicas,
    );
    if report.weights == Some(Weights::Seeded) {
        page.push_str(
            "<p class=\"banner\">The model's weights are seeded, not trained: its speed is real, \
             its answers mean nothing.</p>\n",
        );
    }
    if report.passed() {
        page.push_str("<p class=\"verdict pass\">Passed: no request was lost.</p>\n");
    }
    for failure in &report.failures {
        let _ = writeln!(page, "<p class=\"verdict fail\">Failed: {}.</p>", escape(failure));
    }
}

fn tiles(page: &mut String, report: &Report) {
    let counts = report.requests;
    let tiles = [
        ("requests", counts.sent.to_string(), "sent, each when it was due"),
        ("answered", counts.answered.to_string(), "with a whole classification"),
        ("refused", counts.refused.to_string(), "503 that says when to come back"),
        ("lost", counts.lost.to_string(), "anything else"),
        ("p95", or_dash(report.warm_latency_ms, |l| seconds(l.p95)), "replica ready, no overload"),
        (
            "p95, all",
            or_dash(report.latency_ms, |l| seconds(l.p95)),
            "with cold start and overload",
        ),
        ("spent", dollars(report.money.spend_usd), "on virtual nodes"),
        ("saved", or_dash(report.saving, percent), "of the baseline"),
    ];
    page.push_str("<dl class=\"tiles\">");
    for (name, value, note) in tiles {
        let _ = write!(
            page,
            "<div><dt>{name}</dt><dd>{value}</dd><dd class=\"quiet\">{note}</dd></div>"
        );
    }
    page.push_str("</dl>\n");
}

fn over_time(page: &mut String, report: &Report) {
    page.push_str("<section><h2>Over time</h2><ol class=\"phases\">");
    for phase in &report.phases {
        let _ = write!(page, "<li>{}</li>", escape(&phase.name));
    }
    page.push_str("</ol>\n");
    let frame = charts::frame(report);
    for chart in charts::all(report) {
        page.push_str(&draw(&chart, &frame));
    }
    page.push_str("</section>\n");
}

fn definitions(page: &mut String) {
    page.push_str(
        "<section><h2>What the words mean</h2><dl class=\"words\">\
         <dt>Latency</dt><dd>From the moment at which a request was due, whenever it was really \
         sent, to the end of its answer. Percentiles are exact: every value is kept, and a \
         percentile is one that occurred.</dd>\
         <dt>Lost</dt><dd>No connection, a broken or wrong answer, any 5xx but a 503 that carries \
         Retry-After, or no answer within 60 s of the moment it was due.</dd>\
         <dt>Ready</dt><dd>A replica that the front may choose, as seen about twice a second.</dd>\
         <dt>Spent</dt><dd>What the virtual nodes of this run cost at their prices, from launch to \
         end, less what is refunded when the provider takes a spot node in its first hour. The prices are \
         illustrative unless --prices names a recording; a virtual node is one process on this \
         machine's CPU, whatever type it is billed as.</dd>\
         <dt>Baseline</dt><dd>On-demand nodes for the most replicas that had served at once so far: they \
         come with the load and never go.</dd></dl></section>",
    );
}

fn table(page: &mut String, table: &Table) {
    if table.rows.is_empty() {
        return;
    }
    let class = if table.numbers { "numbers" } else { "words" };
    let _ = write!(
        page,
        "<section><h2>{}</h2><div class=\"wide\" tabindex=\"0\"><table class=\"{class}\"><thead><tr>",
        table.title
    );
    for cell in table.head {
        let _ = write!(page, "<th scope=\"col\">{cell}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escape(cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div></section>\n");
}
