//! Runs of test binaries, each in a process group of its own, which ends with the run.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use nowserving::config::ENV_LUA_FOLDER;

use crate::{list::binary_of, tree::Tree};

/// Where the test binaries are, by name.
pub type Binaries = BTreeMap<String, PathBuf>;

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the first test that fails.
    Failure,
    /// To its end, where tests say why they failed.
    End,
}

/// What became of a run.
pub enum Ran {
    /// Every test passed.
    Passed,
    /// A test failed, or did not come to its end in time.
    Failed {
        /// Which.
        test: String,
        /// What was said until then.
        output: String,
    },
}

/// Runs the tests of a subject whose names contain one of these parts, or all of them.
pub fn tests(
    tree: &Tree,
    binaries: &Binaries,
    subject: &str,
    filters: &[&str],
    deadline: Duration,
    until: Until,
) -> Result<Ran, String> {
    let binary = binary_of(subject);
    let path = binaries.get(binary).ok_or_else(|| format!("cargo built no test binary {binary}"))?;
    let mut command = Command::new(path);
    if filters.is_empty() && subject != binary {
        command.arg(format!("::{subject}::"));
    }
    command.args(filters).current_dir(&tree.root).env(ENV_LUA_FOLDER, &tree.lua);
    // The first failing case is enough.
    command.env("PROPTEST_MAX_SHRINK_ITERS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut group = Group(command.spawn().map_err(|error| format!("{}: {error}", path.display()))?);
    let (lines, said) = channel();
    follow(group.0.stdout.take().expect("it is piped"), lines.clone());
    follow(group.0.stderr.take().expect("it is piped"), lines);

    let (started, mut output) = (Instant::now(), String::new());
    let (mut passed, mut test) = (0, None);
    while test.is_none() || until == Until::End {
        match said.recv_timeout(deadline.saturating_sub(started.elapsed())) {
            Ok(line) => {
                if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) {
                    match outcome {
                        "ok" => passed += 1,
                        "FAILED" => drop(test.get_or_insert_with(|| format!("{subject}::{name}"))),
                        _ => {}
                    }
                }
                output.push_str(&line);
                output.push('\n');
            }
            // Both ends are closed.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                test.get_or_insert_with(|| format!("the deadline of {subject} {}", filters.join(" ")));
                break;
            }
        }
    }
    if let Some(test) = test {
        return Ok(Ran::Failed { test, output });
    }
    let status = group.0.wait().map_err(|error| format!("{}: {error}", path.display()))?;
    if !status.success() {
        return Ok(Ran::Failed { test: format!("the end of {subject}, with {status}"), output });
    }
    if passed == 0 {
        return Err(format!("{subject} has no test {}", filters.join(" ")));
    }
    Ok(Ran::Passed)
}

/// A child that leads a process group. Dropped, both are killed.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // A child that was not waited for keeps its pid, and with it that of the group.
        if let (Ok(None), Ok(pid)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
            self.0.wait().ok();
        }
    }
}

fn follow(pipe: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}
