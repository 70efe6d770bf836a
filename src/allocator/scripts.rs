//! The Lua scripts: their texts, put together from `lua/`, and how one is called.
//!
//! A script is a file in `lua/` and the helpers it names here from `lua/lib/`, joined into one text and hashed once.
//! The `KEYS:` line of its header is what a call passes, so it cannot tell anything but the truth.
//! Calls go out as EVALSHA, and as EVAL where the server does not know the script (after `SCRIPT FLUSH`, say).

use std::{fmt::Display, io::Write, sync::LazyLock};

use redis::Cmd;

use super::{
    DRIFT, FRESHNESS, RunId,
    keys::{KeyKind, Keys},
    record,
};
use crate::domain::{PartitionId, RestaurantId};

/// One script.
pub(super) struct Script {
    /// The file's name without `.lua`.
    pub(super) name: &'static str,
    text: String,
    sha: String,
    keys: Vec<KeyKind>,
    /// Whether it writes.
    pub(super) changes: bool,
}

const CLOCK: &str = include_str!("../../lua/lib/clock.lua");
const TOKENS: &str = include_str!("../../lua/lib/tokens.lua");
const PARTITION: &str = include_str!("../../lua/lib/partition.lua");
const RECORD: &str = include_str!("../../lua/lib/record.lua");
const POOL: &str = include_str!("../../lua/lib/pool.lua");
const DESCRIBE: &str = include_str!("../../lua/lib/describe.lua");
const COOLING: &str = include_str!("../../lua/lib/cooling.lua");
const RUNS: &str = include_str!("../../lua/lib/runs.lua");
const LAYOUT: &str = include_str!("../../lua/lib/layout.lua");
const BUILD_FENCE: &str = include_str!("../../lua/lib/build.lua");
const CHOOSE: &str = include_str!("../../lua/lib/choose.lua");

macro_rules! scripts {
    ($($constant:ident = $file:literal with [$($lib:ident),*];)*) => {
        $(
            pub(super) static $constant: LazyLock<Script> = LazyLock::new(|| {
                Script::new($file, include_str!(concat!("../../lua/", $file, ".lua")), &[$($lib),*])
            });
        )*

        /// Every script, to load them ahead.
        pub(super) fn all() -> Vec<&'static Script> {
            vec![$(&*$constant),*]
        }
    };
}

scripts! {
    ALLOCATE = "allocate" with [PARTITION, CLOCK, RECORD, POOL, COOLING, RUNS, CHOOSE];
    BARRIER = "barrier" with [];
    BUILD = "build" with [];
    BUILT = "built" with [BUILD_FENCE];
    CONFIGURE = "configure" with [PARTITION, CLOCK, TOKENS, RECORD, POOL, COOLING, LAYOUT];
    EMIT = "emit" with [PARTITION, CLOCK, BUILD_FENCE];
    FENCE = "fence" with [];
    FORGET = "forget" with [BUILD_FENCE];
    FURNISH = "furnish" with [BUILD_FENCE, RECORD, POOL, COOLING, LAYOUT];
    INSPECT = "inspect" with [PARTITION, CLOCK, POOL, COOLING];
    INVITE = "invite" with [BUILD_FENCE];
    LOAD = "load" with [BUILD_FENCE, RECORD, COOLING];
    MEND = "mend" with [];
    OPEN = "open" with [];
    RECALL = "recall" with [BUILD_FENCE];
    RECLAIM = "reclaim" with [PARTITION, CLOCK, RECORD, POOL, COOLING];
    RECYCLE = "recycle" with [PARTITION, CLOCK, TOKENS, RECORD, POOL, COOLING, RUNS];
    RELEASE = "release" with [PARTITION, CLOCK, TOKENS, RECORD, POOL, COOLING, RUNS];
    RESTATE = "restate" with [PARTITION, BUILD_FENCE, CLOCK, RECORD, POOL, COOLING, RUNS, CHOOSE];
    RESTORE = "restore" with [PARTITION, CLOCK, RECORD, POOL, COOLING, RUNS, CHOOSE];
    RETIRE = "retire" with [PARTITION, RECORD];
    SETTINGS = "settings" with [PARTITION, POOL, DESCRIBE];
    SKIP = "skip" with [PARTITION, BUILD_FENCE, CLOCK, POOL, COOLING, RUNS, CHOOSE];
    SNAPSHOT = "snapshot" with [PARTITION, POOL, DESCRIBE];
    TELL = "tell" with [];
    TRANSITION = "transition" with [PARTITION, CLOCK, TOKENS, RECORD];
    TRIM = "trim" with [PARTITION];
    USAGE = "usage" with [PARTITION, CLOCK, POOL, COOLING];
}

impl Script {
    /// `#!lua` and its flags must be the first line of the whole, so the constants and the helpers go behind it.
    fn new(name: &'static str, file: &str, libs: &[&str]) -> Self {
        let (shebang, body) = file.split_once('\n').expect("a script has more than one line");
        let constants = format!(
            "local FRESHNESS_MS, DRIFT_MS, LAYOUT = {}, {}, {}",
            FRESHNESS.as_millis(),
            DRIFT.as_millis(),
            record::LAYOUT
        );
        let text = format!("{shebang}\n{constants}\n{}\n{body}", libs.join("\n"));
        let sha = redis::Script::new(&text).get_hash().to_owned();
        Self { name, text, sha, keys: keys_of(body), changes: !shebang.contains("no-writes") }
    }

    /// `SCRIPT LOAD` of this script.
    pub(super) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(&self.text);
        cmd
    }

    /// A call of this script without keys: the caller names them.
    pub(super) fn call(&'static self, partition: PartitionId) -> Call {
        Call { script: self, partition, run_id: None, generation: 0, keys: Keyring::default(), args: Args::default() }
    }

    /// A call of this script with the keys that its header names, those of a restaurant.
    pub(super) fn call_for(&'static self, keys: &Keys, restaurant: RestaurantId) -> Call {
        let mut call = self.call(keys.partition_of(restaurant));
        // Most calls have a dozen keys of some twenty bytes.
        call.keys.text.reserve(512);
        for kind in &self.keys {
            keys.write(&mut call.keys.text, *kind, restaurant);
            call.keys.ends.push(call.keys.text.len());
        }
        call
    }
}

/// The kinds of keys that a header names, up to those that depend on the call (in brackets, or behind a comma).
fn keys_of(body: &str) -> Vec<KeyKind> {
    let line = body.lines().find_map(|line| line.strip_prefix("-- KEYS: ")).expect("a header names its keys");
    let fixed = line.split([',', '[']).next().unwrap_or_default();
    fixed.split_whitespace().map(|name| KeyKind::from_name(name).expect("a header names kinds of keys")).collect()
}

/// A call of a script: its keys and arguments, to be sent once or again.
pub(super) struct Call {
    pub(super) script: &'static Script,
    /// Whose server it goes to.
    pub(super) partition: PartitionId,
    /// Who that server must be; None where it does not matter.
    pub(super) run_id: Option<RunId>,
    /// The generation that it is for; 0 for none.
    pub(super) generation: u64,
    keys: Keyring,
    args: Args,
}

/// Keys, one behind the other: a dozen strings of their own would be a dozen trips to the allocator.
#[derive(Default)]
struct Keyring {
    text: String,
    ends: Vec<usize>,
}

/// Arguments, in the same way.
#[derive(Default)]
struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Call {
    /// For one generation, on the server that it was made on only.
    pub(super) fn bound(mut self, generation: u64, run_id: &RunId) -> Self {
        (self.generation, self.run_id) = (generation, Some(run_id.clone()));
        self
    }

    pub(super) fn key(mut self, key: impl AsRef<str>) -> Self {
        self.keys.text.push_str(key.as_ref());
        self.keys.ends.push(self.keys.text.len());
        self
    }

    pub(super) fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.bytes.extend_from_slice(arg.as_ref());
        self.args.ends.push(self.args.bytes.len());
        self
    }

    /// An argument that is a number.
    pub(super) fn number(mut self, number: impl Display) -> Self {
        write!(self.args.bytes, "{number}").expect("a Vec takes everything");
        self.args.ends.push(self.args.bytes.len());
        self
    }

    /// A read of its first key: a server that does not serve the script does not serve this either, and says so.
    pub(super) fn probe(&self) -> Cmd {
        let mut cmd = redis::cmd("EXISTS");
        let first = self.keys.ends.first().and_then(|end| self.keys.text.get(..*end));
        cmd.arg(first.unwrap_or_default());
        cmd
    }

    pub(super) fn evalsha(&self) -> Cmd {
        self.command("EVALSHA", &self.script.sha)
    }

    pub(super) fn eval(&self) -> Cmd {
        self.command("EVAL", &self.script.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let (keys, args) = (self.keys.text.as_bytes(), &self.args.bytes);
        let parts = 3 + self.keys.ends.len() + self.args.ends.len();
        let mut cmd = Cmd::with_capacity(parts, name.len() + script.len() + 4 + keys.len() + args.len());
        cmd.arg(name).arg(script).arg(self.keys.ends.len());
        for part in parts_of(keys, &self.keys.ends).chain(parts_of(args, &self.args.ends)) {
            cmd.arg(part);
        }
        cmd
    }
}

/// What lies one behind the other, one by one.
fn parts_of<'a>(bytes: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(start, end)| bytes.get(*start..*end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_can_be_put_together() {
        for script in all() {
            assert_eq!(script.sha.len(), 40, "{}", script.name);
            // A barrier is of a server, not of a generation.
            let first = if script.name == "barrier" { KeyKind::Barrier } else { KeyKind::Partition };
            assert_eq!(script.keys.first(), Some(&first), "{} asks the fence first", script.name);
        }
    }
}
