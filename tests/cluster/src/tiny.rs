//! The least that a model server can be asked: a model that averages colours, and a picture of one pixel. Right for what
//! happens around a model, and quick.

use std::{
    path::{Path, PathBuf},
    process::Command,
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

/// A picture of one white pixel, as BMP.
pub fn pixel() -> Bytes {
    let mut bmp =
        b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bmp.resize(54, 0);
    bmp.extend([255, 255, 255, 0]);
    bmp.into()
}
