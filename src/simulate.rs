//! `spotscale simulate`: what a policy would have cost and how it would have answered, on recordings or on a generated
//! month. The files are read here; what is done with them is `spotscale_simulate`'s.

mod flags;
mod inputs;
mod replay;

use std::{io::Write as _, path::Path};

use anyhow::Context as _;
use clap::{Args as _, FromArgMatches as _};
use spotscale_simulate::{Report, simulate};

pub(crate) use self::flags::Args;
use self::{flags::Command, inputs::Read};

pub(crate) fn main(args: &Args) -> anyhow::Result<()> {
    if let Some(Command::Replay(args)) = &args.command {
        return replay::main(args);
    }
    let mut config = args.config.clone();
    if config.types().is_empty() {
        config.machines = default_config()?.machines;
    }
    config.validate()?;
    args.validate()?;
    let Read { inputs, lasts } = inputs::read(args, &config)?;
    let setup = args.setup(&config, lasts)?;
    let report = simulate(&setup, &inputs, &mut |at| {
        let _ = writeln!(std::io::stderr(), "simulated {} days", at.0 / 86_400_000);
    })?;
    let told = if args.json { json(&report)? } else { report.to_string() };
    writeln!(std::io::stdout(), "{}", told.trim_end())?;
    match &args.report {
        Some(path) => save(path, &json(&report)?),
        None => Ok(()),
    }
}

/// With the machine that the generated month is made for, as the flag spells it.
fn default_config() -> anyhow::Result<spotscale_autoscaler::Config> {
    let command = spotscale_autoscaler::Config::augment_args(clap::Command::new("simulate"));
    let flag = format!("--machine={}", flags::MACHINE_DEFAULT);
    let matches = command.try_get_matches_from(["simulate", &flag])?;
    Ok(spotscale_autoscaler::Config::from_arg_matches(&matches)?)
}

fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)?)
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("--report {}", path.display()))
}
