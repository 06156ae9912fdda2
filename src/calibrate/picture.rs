//! The picture that is classified to measure, and the call that does it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::sweep::Answer;
use crate::loopback::{self, CallError};

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PictureError {
    /// There is no answer.
    #[error("the replica did not answer")]
    Call(#[from] CallError),
    /// There is one, but no classification.
    #[error("the replica answered {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// A single caller is one too many.
    #[error("the replica turned a single request away")]
    Busy,
    /// A picture cannot be read.
    #[error("cannot read {path}: {why}", path = .path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
}

/// Where the model's weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Weights {
    /// Made from a seed: right shape and speed, meaningless answers.
    Seeded,
    /// Trained by somebody.
    Pretrained,
}

#[derive(Deserialize)]
struct Classified {
    weights: Weights,
}

/// Has the replica at `address` classify it.
pub(crate) async fn classify(
    address: SocketAddr,
    picture: Bytes,
) -> Result<(Answer, Option<Weights>), PictureError> {
    let (status, body) = loopback::post(address, "/v1/classify", picture).await?;
    if matches!(status.as_u16(), 429 | 503) {
        return Ok((Answer::TooMany, None));
    }
    match serde_json::from_slice::<Classified>(&body) {
        Ok(classified) if status.is_success() => Ok((Answer::Served, Some(classified.weights))),
        _ => Err(PictureError::Refused {
            status: status.as_u16(),
            body: String::from_utf8_lossy(&body).into_owned(),
        }),
    }
}

/// The file, or the first picture by name of the folder, or the stand-in.
pub(crate) fn picture(path: Option<&Path>) -> Result<Bytes, PictureError> {
    let found = match path {
        Some(folder) if folder.is_dir() => first_picture(folder)?,
        Some(file) => Some(file.to_owned()),
        None => None,
    };
    let Some(path) = found else { return Ok(grey_picture()) };
    std::fs::read(&path).map(Bytes::from).map_err(|why| PictureError::Picture { path, why })
}

fn first_picture(folder: &Path) -> Result<Option<PathBuf>, PictureError> {
    let failed = |why| PictureError::Picture { path: folder.to_owned(), why };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        ["jpg", "jpeg", "png"].contains(&extension.to_ascii_lowercase().as_str())
    };
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_picture).min())
}

/// A grey picture of 256 x 256 as a BMP of 24 bits: a header of 54 bytes, then the pixels.
fn grey_picture() -> Bytes {
    const SIDE: u32 = 256;
    const PIXELS: u32 = SIDE * SIDE * 3;
    let mut bmp = b"BM".to_vec();
    for field in [54 + PIXELS, 0, 54, 40, SIDE, SIDE, 1 | 24 << 16, 0, PIXELS, 0, 0, 0, 0] {
        bmp.extend(field.to_le_bytes());
    }
    bmp.resize(bmp.len() + PIXELS as usize, 128);
    bmp.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_picture_says_its_own_size() {
        let bmp = grey_picture();
        assert_eq!(bmp.len(), 54 + 256 * 256 * 3);
        assert_eq!(u32::from_le_bytes(bmp[2..6].try_into().unwrap()) as usize, bmp.len());
        assert_eq!(bmp[28], 24, "bits per pixel");
    }

    #[test]
    fn a_folder_stands_for_its_first_picture() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(picture(Some(folder.path())).unwrap(), grey_picture());
        for name in ["b.png", "a.JPG", "0.txt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        assert_eq!(picture(Some(folder.path())).unwrap(), "a.JPG");
        assert_eq!(picture(Some(&folder.path().join("b.png"))).unwrap(), "b.png");
        assert!(picture(Some(&folder.path().join("none.png"))).is_err());
    }
}
