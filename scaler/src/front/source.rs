//! Where the list of endpoints comes from: another part of the process, flags and a file that is watched, or a cluster.
//! Everything else in the front only knows the watch channel that the list comes through.

use std::{path::Path, time::Duration};

use prometheus_client::registry::Registry;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    config::Config,
    endpoint::{EndpointError, Listed},
    kubernetes::{Cluster, ClusterError},
};

/// The content is compared, not the time stamp: Kubernetes swaps mounted files by symbolic link.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why there is no list of endpoints to be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Of the file of endpoints.
    #[error("--upstreams-file: {0}")]
    File(#[from] FileError),
    /// Of the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// A file that gives no list of endpoints.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
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

/// Where a front gets its endpoints from.
pub struct Source(Kind);

enum Kind {
    Given(watch::Receiver<Vec<Listed>>),
    Flags(Vec<Listed>),
    Cluster(Box<Cluster>),
}

/// The list, now and from now on.
pub(super) struct Feed {
    pub(super) endpoints: watch::Receiver<Vec<Listed>>,
    /// False until the first list has been had.
    pub(super) has_list: watch::Receiver<bool>,
}

impl Source {
    /// What the flags name. A file is read, and a cluster looked for, but nothing is called yet.
    pub async fn of(config: &Config) -> Result<Self, SourceError> {
        Ok(Self(if config.kubernetes.kubernetes {
            Kind::Cluster(Box::new(Cluster::find(config).await?))
        } else {
            Kind::Flags(initial(config)?)
        }))
    }

    /// Follows it until `end`.
    pub(super) fn follow(
        self,
        config: &Config,
        registry: &mut Registry,
        tasks: &TaskTracker,
        end: &CancellationToken,
    ) -> Feed {
        let list = match self.0 {
            Kind::Cluster(cluster) => return cluster.watch(registry, tasks, end),
            Kind::Given(list) => list,
            Kind::Flags(first) => {
                let (sender, list) = watch::channel(first);
                if config.upstreams_file.is_some() {
                    tasks.spawn(watch_file(config.clone(), sender, end.clone()));
                }
                list
            }
        };
        Feed { endpoints: list, has_list: watch::channel(true).1 }
    }
}

impl From<watch::Receiver<Vec<Listed>>> for Source {
    fn from(list: watch::Receiver<Vec<Listed>>) -> Self {
        Self(Kind::Given(list))
    }
}

/// The list to start with.
pub(super) fn initial(config: &Config) -> Result<Vec<Listed>, FileError> {
    let mut list = config.upstreams.clone();
    if let Some(path) = &config.upstreams_file {
        list.extend(read(path)?);
    }
    Ok(list)
}

/// Publishes the list whenever the file changes. A file that has become wrong is reported, and the last list stays.
async fn watch_file(config: Config, list: watch::Sender<Vec<Listed>>, end: CancellationToken) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_error = String::new();
    while end.run_until_cancelled(ticks.tick()).await.is_some() {
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

fn read(path: &Path) -> Result<Vec<Listed>, FileError> {
    let shown = || path.display().to_string();
    let refuse = |source| FileError::Read { path: shown(), source };
    if std::fs::metadata(path).map_err(refuse)?.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { path: shown() });
    }
    let text = std::fs::read_to_string(path).map_err(refuse)?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let wrong = |source| FileError::Line { path: shown(), line: index + 1, source };
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
