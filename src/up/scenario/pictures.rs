//! The pictures that are sent: every PNG and JPEG of one folder, held in memory, within bounds.

use std::path::{Path, PathBuf};

use bytes::Bytes;

const PICTURES_MAX: usize = 200;
const BYTES_MAX: u64 = 256 << 20;

/// One file, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) content_type: &'static str,
    pub(super) bytes: Bytes,
}

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PicturesError {
    /// The folder, or a picture in it, cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds none.
    #[error("no *.png, *.jpg or *.jpeg in {}", folder.display())]
    None {
        /// Which folder.
        folder: PathBuf,
    },
    /// They do not fit in memory comfortably.
    #[error("the pictures in {} are more than {} MiB", folder.display(), BYTES_MAX >> 20)]
    TooLarge {
        /// Which folder.
        folder: PathBuf,
    },
}

/// Reads the first `PICTURES_MAX` pictures of `folder`, by name, so that a seed means the same
/// everywhere.
pub(super) fn load(folder: &Path) -> Result<Vec<Picture>, PicturesError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| PicturesError::Read { path, source }
    };
    let entries = std::fs::read_dir(folder).map_err(failed(folder))?;
    let mut paths: Vec<(PathBuf, &'static str)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| content_type(&entry.path()).map(|kind| (entry.path(), kind)))
        .collect();
    paths.sort();
    paths.truncate(PICTURES_MAX);

    let mut room = BYTES_MAX;
    let mut pictures = Vec::with_capacity(paths.len());
    for (path, content_type) in paths {
        let length = std::fs::metadata(&path).map_err(failed(&path))?.len();
        room = room
            .checked_sub(length)
            .ok_or_else(|| PicturesError::TooLarge { folder: folder.to_owned() })?;
        let bytes = std::fs::read(&path).map_err(failed(&path))?.into();
        pictures.push(Picture { content_type, bytes });
    }
    if pictures.is_empty() {
        return Err(PicturesError::None { folder: folder.to_owned() });
    }
    Ok(pictures)
}

fn content_type(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_by_name_and_nothing_else_comes() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.JPG", "2"), ("a.png", "1"), ("notes.txt", "x")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let pictures = load(folder.path()).unwrap();
        let seen: Vec<_> = pictures.iter().map(|p| (p.content_type, &p.bytes[..])).collect();
        assert_eq!(seen, [("image/png", &b"1"[..]), ("image/jpeg", &b"2"[..])]);
    }

    #[test]
    fn an_empty_or_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains("no *.png"));
        let missing = folder.path().join("missing");
        assert!(load(&missing).unwrap_err().to_string().contains("missing"));
    }
}
