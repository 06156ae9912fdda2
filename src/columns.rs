//! Tables for a terminal.

/// Pads cells into columns; `right` says which hold numbers, which end on one line where words begin on one.
pub(crate) fn columns(
    head: &[&str],
    rows: &[Vec<String>],
    right: impl Fn(usize) -> bool,
) -> Vec<String> {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let cell = |(column, text): (usize, &String)| {
        let width = widths.get(column).copied().unwrap_or(0);
        if right(column) { format!("{text:>width$}") } else { format!("{text:<width$}") }
    };
    let line = |row: &Vec<String>| row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
    rows.into_iter().map(|row| line(row).trim_end().to_owned()).collect()
}
