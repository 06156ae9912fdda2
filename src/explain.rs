//! `spotscale explain`: what a running autoscaler saw, decided and spent, and why, in words. It asks the admin page; it
//! knows nothing else, and changes nothing.

mod cost;
mod feed;
mod nodes;
mod page;
mod plan;
#[cfg(test)]
mod tests;

use std::{io::Write as _, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;
use spotscale_autoscaler::{Books, State, duration};

use self::page::Admin;

/// Which autoscaler, and what of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The admin page of the autoscaler that leads; where that is a pod, after `kubectl port-forward`.
    #[arg(
        long,
        global = true,
        env = "SPOTSCALE_EXPLAIN_URL",
        default_value = "http://127.0.0.1:9404"
    )]
    url: String,

    /// How long its answer is awaited.
    #[arg(
        long,
        global = true,
        env = "SPOTSCALE_EXPLAIN_TIMEOUT",
        default_value = "10s",
        value_parser = duration
    )]
    timeout: Duration,

    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What was seen, what was decided and why, what stands in the way, and what became of the last decisions.
    Plan,
    /// Where each dollar went, and what was saved.
    Cost {
        /// Tell each node that is still told by itself, with the prices that it was led at.
        #[arg(long)]
        nodes: bool,

        /// Hold the ledger against files of EC2's spot instance data feed, as they are in the bucket, packed or not. May be
        /// given several.
        #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "nodes")]
        feed: Vec<PathBuf>,
    },
}

pub(crate) async fn main(args: Args) -> anyhow::Result<()> {
    let Args { url, timeout, json, what } = args;
    let admin = Admin::new(&url, timeout)?;
    let told = match what {
        What::Plan => {
            let state: State = admin.json("/debug/plan").await?;
            told(json, &state, || plan::text(&state))
        }
        What::Cost { feed, .. } if !feed.is_empty() => {
            let rows = feed::read(&feed)?;
            let books: Books = admin.json("/debug/ledger").await?;
            let found = books.reconcile(&rows);
            told(json, &found, || feed::text(rows.len(), &found))
        }
        What::Cost { nodes, .. } => {
            let books: Books = admin.json("/debug/ledger").await?;
            let cost = cost::Cost::of(&books, nodes);
            told(json, &cost, || cost.text())
        }
    }?;
    writeln!(std::io::stdout(), "{}", told.trim_end()).context("cannot write to standard output")
}

fn told(json: bool, it: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<String> {
    if json { Ok(serde_json::to_string_pretty(it)?) } else { Ok(text()) }
}
