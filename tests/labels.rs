//! `scripts/labels.py` on a wheel of the test's own: every class gets its own words, or nothing is written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

/// Writes a wheel with so many classes, whose words are listed in another order than the classes.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
path, count = sys.argv[1], int(sys.argv[2])
synsets = [f"n{number:08}" for number in range(count)]
words = [f"{synset}\tthing {number}, Res {number}" for number, synset in enumerate(synsets)]
with zipfile.ZipFile(path, "w") as file:
    file.writestr("timm/data/_info/imagenet_synsets.txt", "\n".join(synsets))
    file.writestr("timm/data/_info/imagenet_synset_to_lemma.txt", "\n".join(reversed(words)))
"#;

fn python() -> Command {
    Command::new("python3")
}

fn labels(folder: &Path, classes: u32) -> Output {
    let wheel = folder.join("some.whl");
    let made = python().args(["-c", MAKE_WHEEL]).arg(&wheel).arg(classes.to_string()).status();
    assert!(made.unwrap().success());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/labels.py");
    python().arg(script).arg(wheel).output().unwrap()
}

#[test]
fn each_class_gets_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let said = String::from_utf8(labels(folder.path(), 1000).stdout).unwrap();
    let names: Vec<&str> = said.lines().collect();
    assert_eq!(names.len(), 1000);
    assert_eq!((names[0], names[281]), ("thing 0, Res 0", "thing 281, Res 281"));
}

#[test]
fn another_number_of_classes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = labels(folder.path(), 999);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(why.contains("999 classes, not 1000"), "{why}");
}
