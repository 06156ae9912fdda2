//! How many machines of one kind could be held in one zone, over time.

use std::{collections::BTreeSet, io::BufRead};

use serde::Deserialize;
use spotscale_decide::units::Millis;

use super::{ReadError, Table, number};
use crate::availability::Steps;

/// A recording, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was there.
    pub steps: Steps,
    /// From its beginning to its end.
    pub lasts: Millis,
}

#[derive(Deserialize)]
struct Trace {
    metadata: Metadata,
    data: Vec<u32>,
}

#[derive(Deserialize)]
struct Metadata {
    gap_seconds: u64,
}

/// Reads a recording in any of the forms that are known.
pub fn capacity(mut input: impl BufRead) -> Result<Recorded, ReadError> {
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let first = text.lines().next().unwrap_or_default();
    let recorded = if first.starts_with('{') {
        trace(&text)?
    } else if first.split(',').nth(1).is_some_and(|word| matches!(word, "add" | "remove")) {
        events(&text)?
    } else if first.trim_end() == "seconds,machines" {
        plain(&text)?
    } else {
        return Err(ReadError::unknown(first));
    };
    if recorded.steps.changes().is_empty() { Err(ReadError::Empty) } else { Ok(recorded) }
}

fn trace(text: &str) -> Result<Recorded, ReadError> {
    let Trace { metadata: Metadata { gap_seconds }, data } = serde_json::from_str(text)?;
    let at = |tick: usize| Millis::from_secs(gap_seconds.saturating_mul(tick as u64));
    let lasts = at(data.len());
    let steps = Steps::new(data.into_iter().enumerate().map(|(tick, held)| (at(tick), held)));
    Ok(Recorded { steps, lasts })
}

/// The nodes that were there count as what could be held.
fn events(text: &str) -> Result<Recorded, ReadError> {
    let mut alive = BTreeSet::new();
    let mut changes = vec![(Millis::ZERO, 0)];
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        let millis = Millis(number(line, 0, at)? as u64);
        let mut words = line.trim().split(',').skip(1);
        match (words.next(), words.next()) {
            (Some("add"), Some(node)) => alive.insert(node),
            (Some("remove"), Some(node)) => alive.remove(node),
            _ => return Err(ReadError::line(at, "wanted MILLISECONDS,add|remove,NODE")),
        };
        changes.push((millis, alive.len() as u32));
    }
    Ok(recorded(changes))
}

fn plain(text: &str) -> Result<Recorded, ReadError> {
    let table = Table::new(text.lines().next().unwrap_or_default());
    let columns = table.column("seconds").zip(table.column("machines"));
    let (seconds, machines) = columns.ok_or(ReadError::Empty)?;
    let lines = text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
    let change = |(index, line): (usize, &str)| {
        let at = number(line, seconds, index + 1)?;
        Ok((Millis((at * 1000.0) as u64), number(line, machines, index + 1)? as u32))
    };
    Ok(recorded(lines.map(change).collect::<Result<Vec<_>, ReadError>>()?))
}

fn recorded(changes: Vec<(Millis, u32)>) -> Recorded {
    let lasts = changes.iter().map(|(at, _)| *at).max().unwrap_or_default();
    Recorded { steps: Steps::new(changes), lasts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<(u64, u32)>, u64), ReadError> {
        let Recorded { steps, lasts } = capacity(text.as_bytes())?;
        Ok((steps.changes().iter().map(|(at, n)| (at.0, *n)).collect(), lasts.0))
    }

    #[test]
    fn each_form_gives_what_could_be_held() {
        let json = r#"{"metadata": {"gap_seconds": 300}, "data": [0, 3, 3, 16]}"#;
        assert_eq!(read(json).unwrap(), (vec![(0, 0), (300_000, 3), (900_000, 16)], 1_200_000));
        let events =
            "480000,add,node1\n540000,add,node2\n600000,remove,node1\n600000,remove,node2\n";
        let expected = vec![(0, 0), (480_000, 1), (540_000, 2), (600_000, 0)];
        assert_eq!(read(events).unwrap(), (expected, 600_000));
        assert_eq!(
            read("seconds,machines\n0,2\n1.5,1\n").unwrap(),
            (vec![(0, 2), (1500, 1)], 1500)
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, kind) in [
            ("", "unknown"),
            ("x,y\n", "unknown"),
            ("{\"data\": [1]}", "json"),
            ("0,add,a\n1,sell,a\n", "line"),
            ("seconds,machines\n", "empty"),
            ("seconds,machines\n1,NaN\n", "line"),
        ] {
            assert_eq!(read(text).unwrap_err().kind(), kind, "{text:?}");
        }
    }
}
