//! A line chart over the time of a run, as inline SVG: one way to draw, so that every chart of the
//! page can be read like its neighbours. Colours come from the page's style sheet, by class.

use std::fmt::Write;

use super::{html::escape, text::moment};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 24.0;

/// What every chart of one run has in common.
pub(super) struct Frame {
    pub(super) end_ms: f64,
    /// Phases: start, end and name.
    pub(super) bands: Vec<(f64, f64, String)>,
    /// Mishaps: moment and name.
    pub(super) marks: Vec<(f64, String)>,
}

/// One chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What the numbers of the vertical axis are.
    pub(super) unit: &'static str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
}

/// How values become heights.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0, evenly.
    Linear,
    /// By decades, from 1.
    Log,
}

/// One line of a chart.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// The style sheet's word for its colour.
    pub(super) class: &'static str,
    /// Whether a value holds until the next one.
    pub(super) steps: bool,
    /// Moment and value; a gap where there is none.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Draws a chart with its title and its key.
pub(super) fn draw(chart: &Chart, frame: &Frame) -> String {
    let axis = Axis::of(chart);
    let x = |ms: f64| LEFT + (WIDTH - LEFT - RIGHT) * ms / frame.end_ms.max(1.0);
    let mut svg = String::new();
    open(&mut svg, chart);
    for (index, (start, end, name)) in frame.bands.iter().enumerate() {
        band(&mut svg, index, (x(*start), x(*end)), name);
    }
    axis.draw(&mut svg);
    let labels = (0..).map(|minute| f64::from(minute) * 60_000.0);
    for at_ms in labels.take_while(|at_ms| *at_ms <= frame.end_ms) {
        text(&mut svg, "tick", (x(at_ms), HEIGHT - 8.0), &moment(at_ms));
    }
    for (at_ms, name) in &frame.marks {
        mark(&mut svg, x(*at_ms), name);
    }
    for line in &chart.lines {
        let path = path(line, &x, &|value| axis.y(value));
        let _ = write!(svg, r#"<path class="line {}" d="{path}"/>"#, line.class);
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn open(svg: &mut String, chart: &Chart) {
    let Chart { title, unit, .. } = chart;
    let _ = write!(svg, "<figure><figcaption><b>{title}</b> <span>{unit}</span>");
    for line in &chart.lines {
        let _ =
            write!(svg, r#"<span class="key"><i class="{}"></i>{}</span>"#, line.class, line.name);
    }
    let _ = write!(
        svg,
        r#"</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}, {unit}">"#
    );
}

fn band(svg: &mut String, index: usize, (from, to): (f64, f64), name: &str) {
    let (width, height) = (to - from, HEIGHT - TOP - BOTTOM);
    let shade = if index.is_multiple_of(2) { "even" } else { "odd" };
    let _ = write!(
        svg,
        r#"<g><title>{name}</title><rect class="band {shade}" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#,
        name = escape(name)
    );
    text(svg, "phase", (from + width / 2.0, TOP - 6.0), &(index + 1).to_string());
    svg.push_str("</g>");
}

fn mark(svg: &mut String, x: f64, name: &str) {
    let bottom = HEIGHT - BOTTOM;
    let _ = write!(
        svg,
        r#"<g><title>{name}</title><line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}"/></g>"#,
        name = escape(name)
    );
    text(svg, "mark", (x, TOP + 10.0), name);
}

fn text(svg: &mut String, class: &str, (x, y): (f64, f64), text: &str) {
    let _ = write!(svg, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(text));
}

fn path(line: &Line, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (at_ms, value) in &line.points {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let (x, y) = (x(*at_ms), y(*value));
        let _ = match (pen_down, line.steps) {
            (true, true) => write!(path, "H{x:.1}V{y:.1}"),
            (true, false) => write!(path, "L{x:.1} {y:.1}"),
            // A value alone between two gaps still shows, as a dot of the line's width.
            (false, _) => write!(path, "M{x:.1} {y:.1}h0.01"),
        };
        pen_down = true;
    }
    path
}

/// The vertical axis.
struct Axis {
    scale: Scale,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(chart: &Chart) -> Self {
        let values = chart.lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1);
        let top = values.fold(0.0, f64::max);
        let ticks = match chart.scale {
            Scale::Linear => even_ticks(top),
            Scale::Log => decades(top),
        };
        Self { scale: chart.scale, ticks }
    }

    fn y(&self, value: f64) -> f64 {
        let top = self.ticks.last().copied().unwrap_or(1.0);
        let share = match self.scale {
            Scale::Linear => value / top,
            Scale::Log => value.max(1.0).log10() / top.log10(),
        };
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, svg: &mut String) {
        let right = WIDTH - RIGHT;
        for tick in &self.ticks {
            let y = self.y(*tick);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#
            );
            text(svg, "tick end", (LEFT - 6.0, y + 4.0), &format!("{tick}"));
        }
    }
}

/// 0 and up to five more, at a 1, 2 or 5 times a power of ten, the last at or above `top`.
fn even_ticks(top: f64) -> Vec<f64> {
    let top = if top > 0.0 { top } else { 1.0 };
    let power = 10_f64.powf((top / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| step * 5.0 >= top).unwrap_or(top);
    let places = (-step.log10().floor()).max(0.0);
    let round = |value: f64| (value * 10_f64.powf(places)).round() / 10_f64.powf(places);
    (0..=(top / step).ceil() as u32).map(|index| round(f64::from(index) * step)).collect()
}

/// Powers of ten from 1 to the first at or above `top`, at least to 10.
fn decades(top: f64) -> Vec<f64> {
    let last = top.max(10.0).log10().ceil() as i32;
    (0..=last).map(|power| 10_f64.powi(power)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_top() {
        assert_eq!(even_ticks(0.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(even_ticks(7.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(even_ticks(0.012), [0.0, 0.005, 0.01, 0.015]);
        assert_eq!(decades(900.0), [1.0, 10.0, 100.0, 1_000.0]);
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(3.0)), (3.0, Some(4.0))];
        let mut line = Line { name: "", class: "", steps: false, points };
        let same = |value: f64| value;
        assert_eq!(path(&line, &same, &same), "M0.0 1.0h0.01M2.0 3.0h0.01L3.0 4.0");
        line.steps = true;
        assert!(path(&line, &same, &same).ends_with("H3.0V4.0"));
    }
}
