//! The least that a model server can be asked: a model that averages colours, and a picture of one pixel. Right for what
//! happens around a model, and quick.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use bytes::Bytes;

use crate::parts::part;

/// Writes the models of the inference server's own tests into a folder, which is made where it is not; the path of the
/// classifier `logits.onnx` among them.
pub fn write_models(folder: &Path) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../inference/tests/python/tiny_model.py");
    std::fs::create_dir_all(folder).unwrap();
    let written = Command::new(part("SPOTSCALE_PYTHON")).arg(script).arg(folder).status().unwrap();
    assert!(written.success(), "{script} wrote no model");
    folder.join("logits.onnx")
}

/// Writes them for all tests of a program into one folder, always the same, which it returns. It must be no temporary one:
/// of those a pod has its own.
pub fn write_models_once(folder: &'static str) -> &'static Path {
    static WRITTEN: OnceLock<&Path> = OnceLock::new();
    let folder = Path::new(folder);
    let written = WRITTEN.get_or_init(|| {
        write_models(folder);
        folder
    });
    assert_eq!(*written, folder, "nothing is written there");
    folder
}

/// A picture of one pixel, as BMP: red, green or blue, which are classes 0, 1 and 2 of the classifier.
pub fn pixel(class: usize) -> Bytes {
    let mut bmp =
        b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bmp.resize(54, 0);
    let mut colour = [0; 4];
    // Blue is first in the file.
    colour[2 - class] = 255;
    bmp.extend(colour);
    bmp.into()
}
