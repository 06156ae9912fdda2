//! ResNet-50 v1 with seeded weights, written as an ONNX file: what is served where the trained
//! model cannot be had.
//!
//! It answers different pictures differently, and always the same for the same seed, but it knows
//! nothing: its metadata says `weights=seeded`. The file is the same on every platform, because it
//! is computed with integers and with the float operations that IEEE 754 rounds exactly.

mod activation;
mod convolution;
mod layers;
mod network;
mod noise;
mod onnx;
mod pictures;
mod random;
mod writer;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use network::Architecture;

/// The seed of the stand-in that everybody gets who asks for no other.
pub const SEED: u64 = 50;
/// SHA-256 of the whole file of [`SEED`], in hexadecimal. It changes with the writer, so it is also the writer's
/// version: a file that was kept is good as long as it has this sum.
pub const SHA256: &str = "577f83ffadf087215c54675672fd9b5bc2234f9e013d9e94c827b94634af916d";

/// How far the writing is: one step for each convolution and one for the dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Layers written so far.
    pub layers_done: usize,
    /// Layers of the whole network.
    pub layers_total: usize,
}

/// The model file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the seeded model to {path}: {source}", path = path.display())]
pub struct SeededError {
    path: PathBuf,
    source: io::Error,
}

impl SeededError {
    /// A stable name for metric labels.
    pub fn kind(&self) -> &'static str {
        "seeded_model_not_written"
    }
}

/// Writes the model to `path`, about 102 MB; the same `seed` gives the same bytes.
///
/// The file appears whole or not at all: it is written beside `path` and then renamed. Takes some
/// seconds of one core, and memory for a few layers, not for the file.
pub fn write_resnet50(
    path: &Path,
    seed: u64,
    progress: impl FnMut(Progress),
) -> Result<(), SeededError> {
    write(path, seed, &Architecture::RESNET50, progress)
        .map_err(|source| SeededError { path: path.to_owned(), source })
}

fn write(
    path: &Path,
    seed: u64,
    architecture: &Architecture,
    progress: impl FnMut(Progress),
) -> io::Result<()> {
    let part = part_of(path);
    let written = File::create(&part).and_then(|file| {
        architecture.write(file, seed, progress)?.sync_all()?;
        fs::rename(&part, path)
    });
    written.inspect_err(|_| drop(fs::remove_file(&part)))
}

/// A name beside `path` that no other process writes to.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;
