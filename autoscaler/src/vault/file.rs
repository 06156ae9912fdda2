//! A vault that is a file. It is replaced by renaming a whole new one over it, so that a crash leaves the old or the new
//! and never a part of either.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tempfile::NamedTempFile;

use super::{Stored, Vault, VaultError, Version};

/// A file that one process keeps its state in.
#[derive(Debug, Clone)]
pub struct FileVault {
    path: PathBuf,
    /// Held for as long as the vault is: two daemons with one file would undo each other's work.
    _lock: Arc<File>,
}

// === impl FileVault ===

impl FileVault {
    /// The file need not exist, its folder must. Fails where another process uses it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        let lock = File::create(&lock)?;
        lock.try_lock()?;
        Ok(Self { path, _lock: Arc::new(lock) })
    }

    /// Runs blocking work on the path where it holds up nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let path = self.path.clone();
        let ended = tokio::task::spawn_blocking(move || work(&path)).await;
        ended.map_err(|error| VaultError::Unavailable(error.to_string()))?
    }
}

#[async_trait]
impl Vault for FileVault {
    async fn load(&self) -> Result<Option<Stored>, VaultError> {
        self.blocking(read).await
    }

    async fn save(&self, bytes: &[u8], over: Option<&Version>) -> Result<Version, VaultError> {
        let (bytes, over) = (bytes.to_vec(), over.cloned());
        self.blocking(move |path| {
            if read(path)?.map(|stored| stored.version) != over {
                return Err(VaultError::Conflict);
            }
            replace(path, &bytes).map_err(|error| failed(path, &error))?;
            Ok(version(&bytes))
        })
        .await
    }

    async fn set_aside(&self, stored: &Stored) -> Result<String, VaultError> {
        let stored = stored.clone();
        self.blocking(move |path| {
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".refused-{}", stored.version.0));
            let aside = PathBuf::from(aside);
            replace(&aside, &stored.bytes).map_err(|error| failed(&aside, &error))?;
            Ok(aside.display().to_string())
        })
        .await
    }
}

fn read(path: &Path) -> Result<Option<Stored>, VaultError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Stored { version: version(&bytes), bytes })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

/// The rename counts only when the folder is on disk, too.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut new = NamedTempFile::new_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    File::open(folder)?.sync_all()
}

fn version(bytes: &[u8]) -> Version {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Version(format!("{:016x}", hasher.finish()))
}

fn failed(path: &Path, error: &io::Error) -> VaultError {
    VaultError::Unavailable(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_saved_is_there_again_and_only_the_last_reader_may_replace_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let vault = FileVault::open(&path).unwrap();
        assert_eq!(vault.load().await, Ok(None));
        let first = vault.save(b"one", None).await.unwrap();
        assert_eq!(vault.save(b"two", None).await, Err(VaultError::Conflict));
        let second = vault.save(b"two", Some(&first)).await.unwrap();
        assert_eq!(vault.save(b"three", Some(&first)).await, Err(VaultError::Conflict));
        drop(vault);
        let stored = FileVault::open(&path).unwrap().load().await.unwrap().unwrap();
        assert_eq!(stored, Stored { bytes: b"two".to_vec(), version: second });
    }

    #[tokio::test]
    async fn a_file_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = FileVault::open(&path).unwrap();
        assert!(FileVault::open(&path).is_err());
        drop(first);
        FileVault::open(&path).unwrap();
    }

    #[tokio::test]
    async fn what_is_set_aside_stays_when_the_next_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let vault = FileVault::open(folder.path().join("state")).unwrap();
        vault.save(b"odd", None).await.unwrap();
        let stored = vault.load().await.unwrap().unwrap();
        let aside = vault.set_aside(&stored).await.unwrap();
        vault.save(b"new", Some(&stored.version)).await.unwrap();
        assert_eq!(std::fs::read(aside).unwrap(), b"odd");
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let vault = FileVault::open(folder.path().join("state")).unwrap();
        drop(folder);
        let error = vault.save(b"x", None).await.unwrap_err();
        assert_eq!(error.kind(), "unavailable");
    }
}
