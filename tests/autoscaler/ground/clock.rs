//! The wall clock of one process, which is set while it runs: libfaketime is loaded into it and asks a file how far off
//! the clock is. The monotonic clock, and everybody else's clocks, stay as they are: a time namespace has no wall clock
//! of its own, and the machine's is not the test's to set.

use std::path::{Path, PathBuf};

use spotscale_test_cluster::parts::part;

pub(crate) struct Clock {
    file: PathBuf,
}

impl Clock {
    /// It is right at first.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let clock = Self { file: folder.join(format!("{name}.clock")) };
        clock.set(0);
        clock
    }

    /// What the environment of the process must have.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", part("SPOTSCALE_FAKETIME").display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            // Asked at every look at the clock.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// From now on it is so many seconds ahead; behind where negative.
    pub(crate) fn set(&self, seconds: i64) {
        // In one step: it is read at any moment.
        let part = self.file.with_extension("part");
        std::fs::write(&part, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(part, &self.file).unwrap();
    }
}
