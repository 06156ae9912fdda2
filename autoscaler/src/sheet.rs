//! CSV as the files of this crate are: a header that is known beforehand, and no quotes, since no name in them has a
//! comma. Lines that begin with `#` and empty lines are skipped; nothing else is forgiven, and what is wrong is named by
//! line and column.

use std::{fmt, str::FromStr};

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {what}")]
pub struct WrongLine {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong with it; it begins with the column where it is about one.
    pub what: String,
}

/// The cells of one line.
pub(crate) struct Cells<'a> {
    header: &'a str,
    line: &'a str,
}

/// What `read` makes of each line, with the line's number; nothing where there is not even a header.
pub(crate) fn rows<T>(
    text: &str,
    header: &str,
    read: impl Fn(&Cells<'_>) -> Result<T, String>,
) -> Result<Vec<(usize, T)>, WrongLine> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
    let mut lines = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    match lines.next() {
        None => return Ok(vec![]),
        Some((_, found)) if found == header => {}
        Some((number, _)) => {
            return Err(WrongLine { number, what: format!("wanted the header {header}") });
        }
    }
    let wanted = header.split(',').count();
    let row = |(number, line): (usize, &str)| {
        let found = line.split(',').count();
        let cells = Cells { header, line };
        let row = if found == wanted {
            read(&cells)
        } else {
            Err(format!("{found} fields where {wanted} are wanted"))
        };
        row.map(|row| (number, row)).map_err(|what| WrongLine { number, what })
    };
    lines.map(row).collect()
}

// === impl Cells ===

impl Cells<'_> {
    /// The text of a column of the header.
    pub(crate) fn text(&self, column: &str) -> &str {
        let named = self.header.split(',').zip(self.line.split(','));
        named.into_iter().find(|(name, _)| *name == column).map_or("", |(_, text)| text.trim())
    }

    /// What a column says, or what is wrong with it.
    pub(crate) fn get<T: FromStr<Err: fmt::Display>>(&self, column: &str) -> Result<T, String> {
        self.text(column).parse().map_err(|error| wrong(column, error))
    }
}

/// Something wrong with a column.
pub(crate) fn wrong(column: &str, what: impl fmt::Display) -> String {
    format!("{column}: {what}")
}
