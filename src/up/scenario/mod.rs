//! A scenario: a day of load and mishaps, written down as TOML, played against a running local
//! mode. This file is the format and its bounds; `player` plays it, `recording` is what comes of
//! it.

mod arrivals;
mod client;
mod outcome;
mod pictures;
mod player;
mod recording;

use std::{path::Path, time::Duration};

use serde::Deserialize;

pub(crate) use outcome::{Outcome, Why};
pub(crate) use player::play;
pub(crate) use recording::{Happening, Played, Recording, Sample, Seen, ready};

const PHASES_MAX: usize = 50;
const PHASE_SECONDS_MAX: f64 = 600.0;
const SCENARIO_SECONDS_MAX: f64 = 1_800.0;
const LOAD_MAX: f64 = 10.0;
const EVENTS_MAX: usize = 20;
const DAY: &str = include_str!("day.toml");

/// A day, in phases.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Short name, for logs and the report's title.
    pub name: String,
    /// One sentence on what it shows.
    pub summary: String,
    /// Decides every arrival and every choice of picture: the same seed asks for the same load.
    #[serde(default)]
    pub seed: u64,
    /// How arrivals are spaced.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// The phases, in order.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// Independent of each other, as those of many people are.
    #[default]
    Poisson,
    /// Evenly.
    Fixed,
}

/// A stretch of constant load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    /// What happens in it, in a few words.
    pub name: String,
    /// How long it takes; with `until`, how long at most.
    pub seconds: f64,
    /// Arrivals, as a multiple of what the whole machine can answer; 0 is silence.
    #[serde(default)]
    pub load: f64,
    /// Ends the phase early, and fails the scenario when it has not come about in time.
    pub until: Option<Until>,
    /// More load than anyone could answer: 503 with `Retry-After` is then a right answer.
    #[serde(default)]
    pub refusals_expected: bool,
    /// What goes wrong, and when.
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
}

/// What a phase waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Until {
    /// No replica is left, and no node is paid for.
    ZeroReplicas,
}

/// A mishap.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// The provider takes a spot node away.
    InterruptSpotNode {
        /// Seconds after the phase's start at which notice is given.
        at_seconds: f64,
        /// Seconds between notice and end.
        notice_seconds: f64,
    },
    /// A replica's process gets SIGKILL.
    KillReplica {
        /// Seconds after the phase's start.
        at_seconds: f64,
    },
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read scenario {path}: {source}")]
    Read {
        /// As given.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or not of this format; the message shows the place.
    #[error("scenario {path}: {source}")]
    Parse {
        /// As given.
        path: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Well formed, but outside what a scenario may do.
    #[error("scenario {path}: {what}")]
    Bounds {
        /// As given.
        path: String,
        /// Which bound, and what was asked for.
        what: String,
    },
}

impl Scenario {
    /// The bundled scenario for `day`, else the one in the file of that name.
    pub(crate) fn load(name_or_path: &str) -> Result<Self, ScenarioError> {
        if name_or_path == "day" {
            return Self::parse("day", DAY);
        }
        let text = std::fs::read_to_string(Path::new(name_or_path))
            .map_err(|source| ScenarioError::Read { path: name_or_path.to_owned(), source })?;
        Self::parse(name_or_path, &text)
    }

    /// The longest it can take, the answers to the last requests not counted.
    pub(crate) fn planned(&self) -> Duration {
        self.phases.iter().map(Phase::duration).sum()
    }

    fn parse(path: &str, text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|source| ScenarioError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        scenario.check().map_err(|what| ScenarioError::Bounds { path: path.to_owned(), what })?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=PHASES_MAX).contains(&self.phases.len()) {
            return Err(format!("{} phases, not 1 to {PHASES_MAX}", self.phases.len()));
        }
        self.phases.iter().try_for_each(|phase| {
            phase.check().map_err(|what| format!("phase {:?}: {what}", phase.name))
        })?;
        // Summed as numbers, because each one was just shown to be finite.
        let seconds: f64 = self.phases.iter().map(|phase| phase.seconds).sum();
        within("seconds of all phases together", seconds, SCENARIO_SECONDS_MAX)
    }
}

impl Phase {
    /// How long it takes, or may take at most.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn check(&self) -> Result<(), String> {
        within("seconds", self.seconds, PHASE_SECONDS_MAX)?;
        within("load", self.load, LOAD_MAX)?;
        if self.events.len() > EVENTS_MAX {
            return Err(format!("{} events, not 0 to {EVENTS_MAX}", self.events.len()));
        }
        self.events.iter().try_for_each(|event| {
            within("at_seconds", event.at_seconds(), self.seconds)?;
            match event {
                Event::InterruptSpotNode { notice_seconds, .. } => {
                    within("notice_seconds", *notice_seconds, PHASE_SECONDS_MAX)
                }
                Event::KillReplica { .. } => Ok(()),
            }
        })
    }
}

impl Event {
    fn at_seconds(&self) -> f64 {
        match self {
            Self::InterruptSpotNode { at_seconds, .. } | Self::KillReplica { at_seconds } => {
                *at_seconds
            }
        }
    }
}

fn within(what: &str, value: f64, max: f64) -> Result<(), String> {
    if (0.0..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{what} is {value}, not 0 to {max}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Scenario::parse("x.toml", text).expect_err("was accepted").to_string()
    }

    fn phase(line: &str) -> String {
        format!("name = 'x'\nsummary = ''\n[[phase]]\nname = 'p'\n{line}\n")
    }

    #[test]
    fn the_bundled_day_has_every_mishap_and_ends_in_time() {
        let day = Scenario::load("day").unwrap();
        assert!(day.planned() < Duration::from_mins(4), "takes {:?}", day.planned());
        let events: Vec<&Event> = day.phases.iter().flat_map(|p| &p.events).collect();
        assert!(events.iter().any(|e| matches!(e, Event::InterruptSpotNode { .. })));
        assert!(events.iter().any(|e| matches!(e, Event::KillReplica { .. })));
        assert!(day.phases.iter().any(|p| p.refusals_expected && p.load > 1.0));
        assert_eq!(day.phases.last().unwrap().until, Some(Until::ZeroReplicas));
    }

    #[test]
    fn a_mistake_is_refused_with_its_place() {
        assert!(refused(&phase("seconds = 1\nlod = 1")).contains("lod"));
        assert!(refused(&phase("seconds = '1'")).contains("line 5"));
        assert!(refused("name = 'x'\nsummary = ''\nphase = []").contains("0 phases"));
        let unknown = phase("seconds = 1\nevent = [{ do = 'explode', at_seconds = 0 }]");
        assert!(refused(&unknown).contains("explode"));
        assert!(Scenario::load("/nowhere.toml").unwrap_err().to_string().contains("/nowhere.toml"));
    }

    #[test]
    fn nothing_unbounded_is_played() {
        for line in ["seconds = -1", "seconds = nan", "seconds = 601", "seconds = 1\nload = 11"] {
            assert!(refused(&phase(line)).contains("not 0 to"), "{line}");
        }
        let late = phase("seconds = 1\nevent = [{ do = 'kill-replica', at_seconds = 2 }]");
        assert!(refused(&late).contains("at_seconds is 2, not 0 to 1"));
    }
}
