//! Where the list of endpoints comes from outside of a cluster: flags, and a file that is watched. Everything else in
//! the front only knows the watch channel that the list comes through.

use std::{path::Path, time::Duration};

use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    config::Config,
    endpoint::{Endpoint, EndpointError},
};

/// The content is compared, not the time stamp: Kubernetes swaps mounted files by symbolic link.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that gives no list of endpoints.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is larger than any such list.
    #[error("{path}: more than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// A line is wrong.
    #[error("{path}:{line}: {source}")]
    Line {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        source: EndpointError,
    },
}

/// The list to start with.
pub(super) fn initial(config: &Config) -> Result<Vec<Endpoint>, SourceError> {
    let mut list = config.upstreams.clone();
    if let Some(path) = &config.upstreams_file {
        list.extend(read(path)?);
    }
    Ok(list)
}

/// Publishes the list whenever the file changes. A file that has become wrong is reported, and the last list stays.
pub(super) async fn watch_file(
    config: Config,
    list: watch::Sender<Vec<Endpoint>>,
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_error = String::new();
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        match initial(&config) {
            Ok(new) => {
                last_error.clear();
                list.send_if_modified(|old| std::mem::replace(old, new.clone()) != new);
            }
            Err(error) if error.to_string() != last_error => {
                last_error = error.to_string();
                tracing::warn!(%error, "the list of endpoints stays as it was");
            }
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> Result<Vec<Endpoint>, SourceError> {
    let shown = || path.display().to_string();
    let refuse = |source| SourceError::Read { path: shown(), source };
    if std::fs::metadata(path).map_err(refuse)?.len() > FILE_BYTES_MAX {
        return Err(SourceError::TooLarge { path: shown() });
    }
    let text = std::fs::read_to_string(path).map_err(refuse)?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let wrong = |source| SourceError::Line { path: shown(), line: index + 1, source };
            line.parse().map_err(wrong)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_comments_and_a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upstreams");
        std::fs::write(&path, "# all\n\nhttp://a:1 tier=cpu\nhttp://b:2\n").unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        std::fs::write(&path, "http://a:1\nftp://b:2\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("upstreams:2:"));
        assert!(read(&folder.path().join("none")).is_err());
    }
}
