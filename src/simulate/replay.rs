//! `spotscale simulate replay`: a dumped plan made anew.

use std::{fs::File, io::BufReader, io::Write as _};

use anyhow::Context as _;
use clap::{Args as _, FromArgMatches as _};
use spotscale_autoscaler::Config;
use spotscale_decide::planner::Policy;
use spotscale_simulate::replay::Dump;

use super::flags::ReplayArgs;

pub(super) fn main(args: &ReplayArgs) -> anyhow::Result<()> {
    let named = || args.dump.display().to_string();
    let file = File::open(&args.dump).with_context(named)?;
    let mut dump = Dump::read(BufReader::new(file)).with_context(named)?;
    let mut changed = Vec::new();
    for flag in &args.with {
        changed.extend(change(&mut dump, flag).with_context(|| format!("--with {flag}"))?);
    }
    let replay = dump.replay(changed);
    let told = if args.json { serde_json::to_string_pretty(&replay)? } else { replay.to_string() };
    Ok(writeln!(std::io::stdout(), "{}", told.trim_end())?)
}

/// Changes what the flag is about. That is found out by what it changes when it has another value, so that a value which
/// is the default is heeded too.
fn change(dump: &mut Dump, flag: &str) -> anyhow::Result<Vec<String>> {
    let name = flag.trim_start_matches('-');
    let (name, value) = name.split_once('=').context("wanted FLAG=VALUE")?;
    let with = policy(&[format!("--{name}={value}")])?;
    let other = policy(&[format!("--{name}=1{value}")]).ok();
    let without: Vec<Policy> = [Some(policy(&[])?), other].into_iter().flatten().collect();
    let changed = dump.change(&with, &without)?;
    anyhow::ensure!(!changed.is_empty(), "it changes nothing of a policy");
    Ok(changed)
}

/// The policy that these flags spell, whatever the environment says.
fn policy(flags: &[String]) -> anyhow::Result<Policy> {
    let command = Config::augment_args(clap::Command::new("policy"))
        .mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let words = std::iter::once("policy").chain(flags.iter().map(String::as_str));
    let matches = command.try_get_matches_from(words)?;
    Ok(Config::from_arg_matches(&matches)?.policy())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use spotscale_autoscaler::{Memory, Observation, Plan};
    use spotscale_decide::{
        planner::Snapshot,
        units::{MicroUsd, Millis},
    };

    use super::*;

    /// A dump whose policy was spelled by these flags.
    fn dump(flags: &[&str]) -> Dump {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let seen = Observation {
            at: Timestamp::UNIX_EPOCH,
            workloads: vec![],
            nodes: vec![],
            pods: vec![],
            notices: vec![],
            provisioner: None,
        };
        let (prices, spent_this_month) = (BTreeMap::new(), Some(MicroUsd::ZERO));
        Dump {
            policy: policy(&flags).unwrap(),
            snapshot: Snapshot {
                seen,
                prices,
                price_age_ms: None,
                spent_this_month,
                traffic: None,
            },
            memory_before: Memory::default(),
            plan: Plan::default(),
        }
    }

    #[test]
    fn a_flag_changes_what_it_is_about_and_nothing_else() {
        let flags = ["--machine=g4dn.xlarge=400", "--fallback-after=90s", "--nodes-max=7"];
        let mut dump = dump(&flags);
        let mut expected = dump.policy.clone();
        // The default is a value like any other.
        assert_eq!(change(&mut dump, "--fallback-after=2m").unwrap(), ["fleet.fallback_after_ms"]);
        expected.fleet.fallback_after_ms = Millis::from_secs(120);
        assert_eq!(dump.policy, expected);
        assert_eq!(change(&mut dump, "nodes-max=8").unwrap(), ["nodes_max"]);
        expected.nodes_max = 8;
        assert_eq!(dump.policy, expected);
    }

    #[test]
    fn what_is_no_flag_of_the_policy_is_refused() {
        for wrong in ["--fallback-after", "--fallback-after=soon", "--no-such=1", "--tick=2s"] {
            assert!(change(&mut dump(&[]), wrong).is_err(), "{wrong} was accepted");
        }
    }
}
