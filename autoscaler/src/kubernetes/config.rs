//! The flags of the Kubernetes side.

use std::{str::FromStr, time::Duration};

use clap::Args;
use kube::core::{Expression, Selector};
use serde::Serialize;

use crate::config::duration;

/// The cluster, and what of it is ours.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Kubernetes {
    /// The labels of the nodes that are watched over and emptied: KEY or KEY=VALUE, several with commas between. Give
    /// them to the template of each NodePool that is to be steered, and to no other: whatever runs on these nodes is
    /// moved when they go.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_NODE_SELECTOR", default_value = "spotscale.dev/pool")]
    pub node_selector: Labels,

    /// The labels of the Deployments whose pods are replaced before they are evicted: KEY or KEY=VALUE, several with
    /// commas between.
    #[arg(
        long,
        env = "SPOTSCALE_AUTOSCALER_WORKLOAD_SELECTOR",
        default_value = "spotscale.dev/workload"
    )]
    pub workload_selector: Labels,

    /// A view of the cluster that is older than this is not acted on.
    #[arg(
        long,
        env = "SPOTSCALE_AUTOSCALER_VIEW_STALE_MAX",
        default_value = "30s",
        value_parser = duration
    )]
    pub view_stale_max: Duration,
}

/// Labels that an object must have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Labels {
    text: String,
    #[serde(skip)]
    selector: Selector,
}

impl Labels {
    /// As the API server is asked for them.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }
}

impl FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let term = |term: &str| {
            let (key, value) = match term.split_once('=') {
                Some((key, value)) => (key.trim(), Some(value.trim())),
                None => (term.trim(), None),
            };
            let wrong = || format!("{text:?} is not KEY or KEY=VALUE, several with commas between");
            let is_plain =
                |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
            if key.is_empty() || !is_plain(key) || !value.is_none_or(is_plain) {
                return Err(wrong());
            }
            let key = key.to_owned();
            Ok(match value {
                Some(value) => Expression::Equal(key, value.to_owned()),
                None => Expression::Exists(key),
            })
        };
        let selector = text.split(',').map(term).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), selector })
    }
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt as _;

    use super::*;

    #[test]
    fn labels_are_asked_for_as_they_are_matched() {
        let labels: Labels = "spotscale.dev/pool, team=vision".parse().unwrap();
        assert_eq!(labels.selector().to_string(), "spotscale.dev/pool,team=vision");
        let has = |all: &[(&str, &str)]| {
            let all = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            labels.selector().matches(&all)
        };
        assert!(has(&[("spotscale.dev/pool", "gpu"), ("team", "vision")]));
        assert!(!has(&[("spotscale.dev/pool", "gpu"), ("team", "sales")]));
        assert!(!has(&[("team", "vision")]));
        for wrong in ["", ",", "a,", "=b", "a!=b", "a in (b)"] {
            assert!(wrong.parse::<Labels>().is_err(), "{wrong:?} was accepted");
        }
    }
}
