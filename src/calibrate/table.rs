//! Writing the table of what machines were measured to do: the file that the autoscaler takes as its `--machines-file`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use spotscale_autoscaler::Calibration;

const HEADER: &str = Calibration::HEADER;

/// Why the table was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// It cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The table.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is some other file.
    #[error("{path}: its first line is not {HEADER}", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A name that would be two columns.
    #[error("{0:?} has a comma, and cannot stand in the table")]
    Comma(String),
}

/// Puts a row into the table at `path`, which need not be there yet, in place of an older one of the same machine type,
/// bound, device and model. Other lines stay as they are.
pub(crate) fn put(path: &Path, row: &Calibration) -> Result<(), TableError> {
    let failed = |source| TableError::File { path: path.to_owned(), source };
    let line = line(row)?;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HEADER.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some(HEADER) {
        return Err(TableError::Foreign { path: path.to_owned() });
    }
    let kept = lines.filter(|old| !old.is_empty() && key(old) != key(&line));
    let table: Vec<&str> = [HEADER].into_iter().chain(kept).chain([line.as_str()]).collect();
    replace(path, &(table.join("\n") + "\n")).map_err(failed)
}

fn line(row: &Calibration) -> Result<String, TableError> {
    for name in [row.instance_type.as_str(), &row.device, &row.model] {
        if name.contains(',') {
            return Err(TableError::Comma(name.to_owned()));
        }
    }
    Ok(row.to_string())
}

/// What tells one row from another: machine type, bound, device, model.
fn key(line: &str) -> Vec<&str> {
    let columns: Vec<&str> = line.split(',').map(str::trim).collect();
    [0, 3, 4, 5].into_iter().filter_map(|index| columns.get(index).copied()).collect()
}

/// A reader sees the old table or the new one, and nothing between.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut file = std::fs::File::create(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| std::fs::rename(&beside, path));
    placed.inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn row(instance_type: &str, requests_per_second: f64) -> Calibration {
        Calibration {
            instance_type: instance_type.parse().unwrap(),
            pods_max: NonZeroU32::MIN,
            requests_per_second: requests_per_second.try_into().unwrap(),
            slo_ms: 500,
            device: "cuda".to_owned(),
            model: "resnet50@1".to_owned(),
            measured_at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_row_takes_the_place_of_its_own_kind_and_of_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machines.csv");
        put(&path, &row("g4dn.xlarge", 300.0)).unwrap();
        put(&path, &row("c7g.large", 40.0)).unwrap();
        put(&path, &Calibration { slo_ms: 100, ..row("g4dn.xlarge", 200.0) }).unwrap();
        let two =
            Calibration { pods_max: NonZeroU32::new(2).unwrap(), ..row("g4dn.xlarge", 310.06) };
        put(&path, &two).unwrap();
        let wanted = format!(
            "{HEADER}\n\
             c7g.large,1,40.0,500,cuda,resnet50@1,2026-01-02T03:04:06Z\n\
             g4dn.xlarge,1,200.0,100,cuda,resnet50@1,2026-01-02T03:04:06Z\n\
             g4dn.xlarge,2,310.1,500,cuda,resnet50@1,2026-01-02T03:04:06Z\n"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "something was left beside it");
    }

    #[test]
    fn some_other_file_is_left_alone_and_a_comma_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.csv");
        std::fs::write(&path, "dear,diary\n").unwrap();
        let error = put(&path, &row("g4dn.xlarge", 1.0)).unwrap_err().to_string();
        assert!(error.contains("notes.csv") && error.contains(HEADER), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear,diary\n");
        let error = put(&folder.path().join("t.csv"), &row("a,b", 1.0)).unwrap_err();
        assert!(matches!(error, TableError::Comma(_)), "{error}");
        let nowhere = folder.path().join("none/t.csv");
        assert!(matches!(put(&nowhere, &row("a", 1.0)), Err(TableError::File { .. })));
    }
}
