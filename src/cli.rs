//! The command line: which subcommands there are, and how a failure ends.

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{autoscaler, explain, front, inference, model, node, role, scaler, simulate, up};

/// The exit status of a command that was called wrongly (`EX_USAGE` of sysexits).
const EXIT_USAGE: u8 = 64;

/// Fast and cheap GPU inference on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "spotscale", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    log: role::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The KEDA external scaler: answers "how many replicas" from memory, over gRPC.
    Scaler(Box<spotscale_scaler::keda::Config>),
    /// The request-holding front: holds, releases, retries and counts the requests of a service.
    Front(Box<spotscale_scaler::front::Config>),
    /// The cost-aware daemon: steers Karpenter, empties nodes before they are taken, and keeps the ledger.
    Autoscaler(Box<autoscaler::Config>),
    /// The watcher on a node: hears of its interruption from the EC2 metadata, and leaves it on the Node.
    Node(Box<node::Config>),
    /// The bundled model server: image classification with ONNX Runtime.
    Inference(Box<inference::Args>),
    /// All roles on this machine: no cluster, no cloud account.
    Up(Box<up::Config>),
    /// What a policy would have cost: its decisions on recorded or generated traffic, prices and spot capacity.
    Simulate(Box<simulate::Args>),
    /// What the autoscaler sees, decides and spends, and why, in words: asks one that runs.
    Explain(explain::Args),
    /// Writes ResNet-50 v1 with seeded weights, the stand-in for when the model zoo cannot be reached.
    Model(model::Args),
}

/// Parses `args` and runs what they name to its end.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return refuse(&error),
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    cli.log.init();
    let outcome = match cli.command {
        Command::Scaler(config) => role::block_on(scaler::main(*config)),
        Command::Front(config) => role::block_on(front::main(*config)),
        Command::Autoscaler(config) => role::block_on(autoscaler::main(*config)),
        Command::Node(config) => role::block_on(node::main(*config)),
        Command::Inference(args) => role::block_on(inference::main(*args)),
        Command::Up(config) => role::block_on(up::main(*config)),
        Command::Simulate(args) => simulate::main(&args),
        Command::Explain(args) => role::block_on(explain::main(args)),
        Command::Model(args) => model::main(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&told_once(&error));
            ExitCode::FAILURE
        }
    }
}

/// One line for a wrong call: clap's explanation without its usage text.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(EXIT_USAGE);
    }
    let text = error.to_string();
    let explanation = text.split("\n\nUsage:").next().unwrap_or(&text);
    let explanation = explanation.split("\n\nFor more information").next().unwrap_or(explanation);
    let words: Vec<&str> = explanation.split_whitespace().collect();
    complain(&format!("{} (see --help)", words.join(" ").trim_start_matches("error: ")));
    ExitCode::from(EXIT_USAGE)
}

/// An error and its causes, without those that the text before them already tells.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.contains(&cause) => told,
        cause if told.is_empty() => cause,
        cause => format!("{told}: {cause}"),
    })
}

/// The one line on standard error that a failed command ends with.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "spotscale: {line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn an_error_tells_each_cause_once() {
        let error = anyhow::anyhow!("no such file").context("a.onnx: no such file").context("up");
        assert_eq!(super::told_once(&error), "up: a.onnx: no such file");
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
