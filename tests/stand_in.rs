//! `scripts/setup.py model` where the model zoo cannot be reached, with a program of the test's own: the stand-in is
//! kept for as long as it is what the program writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// Nobody listens there.
const NO_ZOO: &str = "http://127.0.0.1:1/resnet50-v1-12.onnx";

/// A cache and a program that stands for `spotscale`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// From now on the program writes `writes`, says that it is `says`, and counts how often it wrote.
    fn program(&self, says: &str, writes: &str) {
        fs::write(self.at("says"), says).unwrap();
        let (program, says, count) = (self.at("program"), self.at("says"), self.at("count"));
        let script = format!(
            "#!/bin/sh\n\
             if [ \"$2\" = --print-sha256 ]; then sha256sum < {says} | cut -d' ' -f1; exit; fi\n\
             printf %s {writes} > \"$3\" && echo >> {count}\n",
            says = says.display(),
            count = count.display(),
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn setup(&self) -> Output {
        Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/setup.py"))
            .args(["--print-env", "model", "--spotscale"])
            .arg(self.at("program"))
            .env("SPOTSCALE_CACHE", self.at("cache"))
            .env("SPOTSCALE_MODEL_URLS", NO_ZOO)
            .output()
            .unwrap()
    }

    /// Runs the script and gives the file that it names.
    fn model(&self) -> PathBuf {
        let output = self.setup();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        said.strip_prefix("export SPOTSCALE_MODEL=").unwrap().trim_end().into()
    }

    fn times_written(&self) -> usize {
        fs::read_to_string(self.at("count")).unwrap_or_default().lines().count()
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_stand_in_is_written_once_and_again_when_the_writer_has_changed() {
    let place = Place::new();
    place.program("one", "one");
    let first = place.model();
    assert_eq!(text(&first), "one");
    assert_eq!((place.model(), place.times_written()), (first.clone(), 1));

    place.program("two", "two");
    let second = place.model();
    assert_ne!(second, first);
    assert_eq!((text(&second), place.times_written()), ("two".to_owned(), 2));

    fs::write(&second, "tw").unwrap();
    assert_eq!((text(&place.model()), place.times_written()), ("two".to_owned(), 3));
}

#[test]
fn the_stand_in_gets_no_class_names() {
    let place = Place::new();
    place.program("one", "one");
    let model = place.model();
    assert!(!model.with_extension("labels.txt").exists());
}

#[test]
fn a_program_that_writes_other_bytes_than_it_says_is_refused() {
    let place = Place::new();
    place.program("one", "other");
    let output = place.setup();
    assert!(!output.status.success());
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(why.contains("wrote another model than it says"), "{why}");
}
