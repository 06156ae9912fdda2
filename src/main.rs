//! `spotscale`: one command, every role. Here is only the way in; each role is a library of its own.

mod autoscaler;
mod calibrate;
mod cli;
mod columns;
mod explain;
mod front;
mod inference;
mod loopback;
mod model;
mod node;
mod role;
mod scaler;
mod simulate;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
