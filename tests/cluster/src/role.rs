//! A role of the program as a process of a test.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Longer than any start takes on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// `spotscale`, which lies at `program`. It ends with its handle, and is told nothing by the variables of the tests.
pub fn role(program: &str) -> Command {
    let mut command = Command::new(program);
    let tells = |name: &str| {
        ["SPOTSCALE_", "AWS_"].iter().any(|ours| name.starts_with(ours)) || name == "ORT_DYLIB_PATH"
    };
    for (name, _) in std::env::vars().filter(|(name, _)| tells(name)) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Starts a role. Where each of its listeners is, as it says on its first line; none when it ended without one.
pub async fn announced(mut command: Command) -> (Child, Option<Value>) {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first = timeout(START_TIMEOUT, lines.next_line()).await.expect("it says nothing").unwrap();
    // Read on: a role that cannot print would end.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let said = first.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    (process, said.map(|said| said["listening"].clone()))
}
