//! When requests came.

use std::io::BufRead;

use jiff::{civil::DateTime, tz::TimeZone};
use spotscale_decide::units::Millis;

use super::{ReadError, Table, number};
use crate::{arrivals::Arrivals, moment::Moment};

/// Where a line says when its request came.
enum Column {
    /// Date and time of day.
    Civil(usize),
    Seconds(usize),
    /// The end and the duration, both in seconds.
    EndAndDuration(usize, usize),
    /// No request has a line of its own: from this column on there are counts, a minute each.
    MinuteCounts(usize),
}

/// Reads requests in any of the forms that are known. The first of them is the beginning, or the first minute.
pub fn requests(input: impl BufRead) -> Result<Arrivals, ReadError> {
    let mut lines = input.lines().enumerate();
    let header = lines.next().ok_or(ReadError::Empty)?.1?;
    let column = Column::of(&Table::new(&header)).ok_or_else(|| ReadError::unknown(&header))?;
    let (mut moments, mut counts) = (Vec::new(), Vec::new());
    for (index, line) in lines {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        if let Column::MinuteCounts(first) = column {
            add_counts(&mut counts, &line, first, index + 1)?;
        } else {
            moments.push(column.moment(&line, index + 1)?);
        }
    }
    if counts.iter().any(|count| *count > 0) {
        return Ok(Arrivals::Counts { every: Millis::from_secs(60), counts });
    }
    if moments.is_empty() {
        return Err(ReadError::Empty);
    }
    let first = moments.iter().copied().fold(f64::INFINITY, f64::min);
    let from_first = moments.into_iter().map(|at| Moment::from_secs_f64(at - first));
    Ok(Arrivals::from_moments(from_first.collect()))
}

fn add_counts(counts: &mut Vec<u32>, line: &str, first: usize, at: usize) -> Result<(), ReadError> {
    for (minute, field) in line.trim_end().split(',').skip(first).enumerate() {
        let wrong = |_| ReadError::line(at, format!("{field:?} is no count"));
        let count: u32 = field.trim().parse().map_err(wrong)?;
        if counts.len() <= minute {
            counts.resize(minute + 1, 0);
        }
        counts[minute] = counts[minute].saturating_add(count);
    }
    Ok(())
}

impl Column {
    fn of(table: &Table<'_>) -> Option<Self> {
        let civil = table.column("gmt_create").or_else(|| table.column("TIMESTAMP"));
        let ended = table.column("end_timestamp").zip(table.column("duration"));
        civil
            .map(Self::Civil)
            .or_else(|| ended.map(|(end, duration)| Self::EndAndDuration(end, duration)))
            .or_else(|| table.column("seconds").map(Self::Seconds))
            .or_else(|| table.column("HashFunction").and(table.column("1")).map(Self::MinuteCounts))
    }

    /// In seconds since some moment that is the same for all lines.
    fn moment(&self, line: &str, at: usize) -> Result<f64, ReadError> {
        match *self {
            Self::Civil(column) => {
                let field = line.split(',').nth(column).unwrap_or_default().trim();
                let wrong = |error: jiff::Error| ReadError::line(at, error);
                let time: DateTime = field.parse().map_err(wrong)?;
                let time = time.to_zoned(TimeZone::UTC).map_err(wrong)?.timestamp();
                Ok(time.as_microsecond() as f64 / 1e6)
            }
            Self::Seconds(column) => number(line, column, at),
            Self::EndAndDuration(end, duration) => {
                Ok(number(line, end, at)? - number(line, duration, at)?)
            }
            Self::MinuteCounts(_) => Err(ReadError::Empty),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Vec<u64> {
        let arrivals = requests(text.as_bytes()).unwrap();
        arrivals.play(1).map(|at| (at.0 + 500) / 1000).collect()
    }

    #[test]
    fn each_form_gives_moments_from_the_first_on() {
        let alibaba = "user,gmt_create,type\nu,2024-11-15 16:57:50,A\nu,2024-11-15 16:57:52,B\n";
        assert_eq!(millis(alibaba), [0, 2000]);
        let azure = "TIMESTAMP,ContextTokens\n2023-11-16 18:17:04.0319600,3\n2023-11-16 18:17:03.9799600,4\n";
        assert_eq!(millis(azure), [0, 52]);
        let functions = "app,func,end_timestamp,duration\na,f,57.2,57.1\na,f,1.0,0.5\n";
        assert_eq!(millis(functions), [0, 400]);
        assert_eq!(millis("seconds\n7\n9.25\n"), [0, 2250]);
    }

    #[test]
    fn counts_of_all_functions_are_summed_up() {
        let text =
            "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,queue,0,5,1\no,a,g,http,0,2,0\n";
        let every = Millis::from_secs(60);
        let expected = Arrivals::Counts { every, counts: vec![0, 7, 1] };
        assert_eq!(requests(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, kind) in [
            ("", "empty"),
            ("a,b\n", "unknown"),
            ("seconds\n", "empty"),
            ("seconds\nsoon\n", "line"),
            ("gmt_create\nyesterday\n", "line"),
            ("HashFunction,1\nf,x\n", "line"),
        ] {
            assert_eq!(requests(text.as_bytes()).unwrap_err().kind(), kind, "{text:?}");
        }
    }
}
