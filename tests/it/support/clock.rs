//! Clocks that can be set: those of a daemon, a Redis or a Postgres that was started with one.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::scratch;

/// What a process takes for the time of day, as far as it is off. A clone is the same clock.
#[derive(Debug, Clone)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// One that is right, so far.
    pub fn new() -> Self {
        let clock = Self { file: scratch::folder("clock").join("ahead") };
        let file = File::create(&clock.file).expect("a file can be made in our own folder");
        file.write_all_at(&[0; 8], 0).expect("it is ours");
        // Postgres has an account of its own.
        file.set_permissions(Permissions::from_mode(0o644)).expect("it is ours");
        clock
    }

    /// Sets it so many seconds ahead; behind where that is negative.
    pub fn set(&self, ahead_seconds: i64) {
        self.set_us(ahead_seconds * 1_000_000);
    }

    /// As [`Clock::set`], in microseconds.
    pub fn set_us(&self, ahead_us: i64) {
        // In place: a process that is running has it mapped.
        let file = OpenOptions::new().write(true).open(&self.file).expect("it is ours");
        file.write_all_at(&ahead_us.to_ne_bytes(), 0).expect("it is ours");
    }

    /// The variables that a process has to be started with.
    pub fn environment(&self) -> [(String, String); 2] {
        let text = |path: &PathBuf| path.to_str().expect("our folders have plain names").to_owned();
        [("LD_PRELOAD".to_owned(), text(library())), ("TEST_CLOCK_FILE".to_owned(), text(&self.file))]
    }
}

/// Compiles it once for all tests of this binary. It is not libfaketime: with that, sleeps fail where a clock is set
/// back.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = scratch::folder("clocklib").join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        let output = compiler.output().expect("a C compiler is installed: `make test` sees to it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    })
}
