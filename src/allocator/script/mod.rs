//! The Lua scripts: their texts, put together from `lua/`, and how one is called.
//!
//! A script is a file in `lua/` and the helpers it names here from `lua/lib/`, joined into one text and hashed once.
//! The `KEYS:` line of its header is what a call passes, so it cannot tell anything but the truth.
//! Calls go out as EVALSHA, and as EVAL where the server does not know the script (after `SCRIPT FLUSH`, say).

mod assembly;
mod constants;
pub(super) mod keys;
pub(super) mod lua_folder;
pub(super) mod record;
pub(super) mod reply;

use std::{fmt::Display, io::Write, sync::LazyLock};

use redis::Cmd;

use self::{
    keys::{KeyKind, Keys},
    lua_folder::LuaFile,
};
use super::{
    RunId,
    timing::{DRIFT, FRESHNESS},
};
use crate::domain::{Context, PartitionId, RestaurantId};

pub(super) struct Script {
    /// What metrics and traces call it.
    pub(super) name: &'static str,
    text: String,
    sha: String,
    keys: Vec<KeyKind>,
    /// Whether it writes.
    pub(super) changes: bool,
}

macro_rules! lua_file {
    ($path:expr) => {
        LuaFile { path: $path, text: include_str!(concat!("../../../lua/", $path, ".lua")) }
    };
}

const CLOCK: LuaFile = lua_file!("lib/clock");
const TOKENS: LuaFile = lua_file!("lib/tokens");
const PARTITION: LuaFile = lua_file!("lib/partition");
const FLAGS: LuaFile = lua_file!("lib/flags");
const RECORD: LuaFile = lua_file!("lib/record");
const REPACK: LuaFile = lua_file!("lib/repack");
const POOL: LuaFile = lua_file!("lib/pool");
const RANGES: LuaFile = lua_file!("lib/ranges");
const BARS: LuaFile = lua_file!("lib/bars");
const DESCRIBE: LuaFile = lua_file!("lib/describe");
const COOLING: LuaFile = lua_file!("lib/cooling");
const RUN_IN_USE: LuaFile = lua_file!("lib/run_in_use");
const RUNS: LuaFile = lua_file!("lib/runs");
const ALL_RUNS: LuaFile = lua_file!("lib/all_runs");
const RING: LuaFile = lua_file!("lib/ring");
const DAY: LuaFile = lua_file!("lib/business_day");
const TURN_DAY: LuaFile = lua_file!("lib/turn_day");
const ASK: LuaFile = lua_file!("lib/ask");
const STATE: LuaFile = lua_file!("lib/state");
const OLDEST: LuaFile = lua_file!("lib/oldest");
const RANGE_COUNTS: LuaFile = lua_file!("lib/range_counts");
const LAY_OUT: LuaFile = lua_file!("lib/layout");
const SETTINGS: LuaFile = lua_file!("lib/settings");
const BUILD_FENCE: LuaFile = lua_file!("lib/build_fence");
const CHOOSE: LuaFile = lua_file!("lib/choose");
const SETTLE: LuaFile = lua_file!("lib/settle");
const SPECIAL: LuaFile = lua_file!("lib/special");
const COUNT_SPECIAL: LuaFile = lua_file!("lib/count_special");
const ODD_RESTS: LuaFile = lua_file!("lib/odd_rests");
const GIVE_WAY: LuaFile = lua_file!("lib/give_way");
const AVOID: LuaFile = lua_file!("lib/avoid");
const PLACES: LuaFile = lua_file!("lib/places");
const NEXT_FREE: LuaFile = lua_file!("lib/next_free");

macro_rules! scripts {
    ($($constant:ident = $name:literal in $file:literal with [$($lib:ident),*]
       $(rarely [$($rare:ident),*])?;)*) => {
        $(
            pub(super) static $constant: LazyLock<Script> = LazyLock::new(|| {
                Script::new($name, lua_file!($file), &[$($lib),*], &[$($($rare),*)?])
            });
        )*

        /// Every script, to load them ahead.
        pub(super) fn all() -> Vec<&'static Script> {
            vec![$(&*$constant),*]
        }
    };
}

scripts! {
    ALLOCATE_ORDER = "allocate" in "orders/allocate_order"
        with [PARTITION, CLOCK, FLAGS, RECORD, POOL]
        rarely [CHOOSE, SETTLE, RUNS, COOLING, RUN_IN_USE, RANGES, ASK, SPECIAL, AVOID, BARS, RING, DAY, TURN_DAY, STATE,
            NEXT_FREE, ODD_RESTS, GIVE_WAY];
    CALL_ORDER = "call" in "orders/call_order" with [PARTITION, CLOCK, TOKENS, FLAGS, RECORD, REPACK];
    WRITE_BARRIER = "barrier" in "outbox/write_barrier" with [];
    BEGIN_BUILD = "build" in "recovery/begin_build" with [];
    FINISH_BUILD = "built" in "recovery/finish_build" with [BUILD_FENCE];
    CONFIGURE_POOL = "configure" in "pools/configure_pool"
        with [PARTITION, CLOCK, TOKENS, FLAGS, POOL, COOLING, RUN_IN_USE, RUNS]
        rarely [REPACK, RANGES, SPECIAL, BARS, RING, DAY, LAY_OUT, ODD_RESTS, SETTINGS];
    EMIT_EVENTS = "emit" in "recovery/emit_events" with [PARTITION, CLOCK, BUILD_FENCE];
    FENCE_PARTITION = "fence" in "recovery/fence_partition" with [];
    FORGET_POOLS = "forget" in "recovery/forget_pools" with [BUILD_FENCE];
    LOAD_ORDERS = "furnish" in "recovery/load_orders"
        with [BUILD_FENCE, CLOCK, FLAGS, POOL, COOLING, RUN_IN_USE, RUNS]
        rarely [REPACK, RANGES, SPECIAL, BARS, RING, LAY_OUT, ODD_RESTS, SETTINGS];
    INSPECT_BUSINESS_DATE = "date" in "pools/inspect_business_date"
        with [PARTITION, CLOCK, POOL, PLACES];
    INSPECT_NUMBER = "inspect" in "pools/inspect_number"
        with [PARTITION, CLOCK, FLAGS, POOL, COOLING, RUN_IN_USE, RUNS]
        rarely [RANGES, SPECIAL, BARS, STATE];
    INVITE_DAEMONS = "invite" in "recovery/invite_daemons" with [BUILD_FENCE];
    LOAD_POOL = "load" in "recovery/load_pool" with [BUILD_FENCE, FLAGS, RECORD, REPACK, ODD_RESTS];
    MEND_OUTBOX = "mend" in "outbox/mend_outbox" with [];
    NOTE_OLDEST = "oldest" in "pools/note_oldest" with [PARTITION];
    NOTE_SERVED = "served" in "pools/note_served" with [PARTITION, CLOCK];
    CREATE_PARTITION = "open" in "recovery/create_partition" with [];
    RECALL_KEYS = "recall" in "recovery/recall_keys" with [BUILD_FENCE];
    RECLAIM_NUMBERS = "reclaim" in "pools/reclaim_numbers"
        with [PARTITION, CLOCK, FLAGS, RECORD, REPACK, POOL, COOLING, RUN_IN_USE, RUNS]
        rarely [RANGES, SPECIAL, BARS];
    RECYCLE_NUMBER = "recycle" in "orders/recycle_number"
        with [PARTITION, CLOCK, TOKENS, FLAGS, RECORD, REPACK, POOL, COOLING, RUN_IN_USE, RUNS]
        rarely [RANGES, SPECIAL, BARS];
    RELEASE_ORDER = "release" in "orders/release_order"
        with [PARTITION, CLOCK, TOKENS, FLAGS, RECORD, REPACK, POOL, COOLING]
        rarely [RUNS, RUN_IN_USE, RANGES, SPECIAL, BARS, ODD_RESTS];
    REOPEN_ORDER = "reopen" in "orders/reopen_order"
        with [PARTITION, CLOCK, TOKENS, FLAGS, RECORD, REPACK, POOL, COOLING]
        rarely [RANGES, SPECIAL, BARS];
    RESTATE_ORDER = "restate" in "recovery/restate_order"
        with [PARTITION, BUILD_FENCE, CLOCK, FLAGS, RECORD, REPACK, POOL, COOLING, RUN_IN_USE, RUNS, CHOOSE, SETTLE]
        rarely [RANGES, SPECIAL, BARS, DAY, ODD_RESTS];
    IMPORT_ORDER = "restore" in "orders/import_order"
        with [PARTITION, CLOCK, FLAGS, RECORD, POOL, COOLING, RUN_IN_USE, RUNS, CHOOSE, SETTLE]
        rarely [RANGES, SPECIAL, BARS, DAY, ASK, NEXT_FREE];
    EVICT_ORDERS = "retire" in "orders/evict_orders" with [PARTITION, FLAGS, RECORD, REPACK];
    READ_SETTINGS = "settings" in "pools/read_settings"
        with [PARTITION, FLAGS, POOL, RUN_IN_USE] rarely [RANGES, DESCRIBE];
    SET_BUSINESS_DATE = "redate" in "pools/set_business_date"
        with [PARTITION, CLOCK, TOKENS, FLAGS, POOL, RUN_IN_USE, RUNS, PLACES] rarely [RANGES, RING, DAY, TURN_DAY];
    SKIP_NUMBERS = "skip" in "recovery/skip_numbers"
        with [PARTITION, BUILD_FENCE, CLOCK, FLAGS, POOL, COOLING, RUN_IN_USE, RUNS, CHOOSE, SETTLE]
        rarely [RANGES, SPECIAL, BARS, ALL_RUNS];
    SNAPSHOT_POOL = "snapshot" in "pools/snapshot_pool"
        with [PARTITION, FLAGS, POOL, RUN_IN_USE] rarely [RANGES, ALL_RUNS, DESCRIBE];
    DESCRIBE_PARTITION = "tell" in "recovery/describe_partition" with [];
    CHANGE_ORDER = "transition" in "orders/change_order" with [PARTITION, CLOCK, TOKENS, FLAGS, RECORD, REPACK];
    TRIM_OUTBOX = "trim" in "outbox/trim_outbox" with [PARTITION];
    COUNT_NUMBERS = "usage" in "pools/count_numbers"
        with [PARTITION, CLOCK, FLAGS, POOL, OLDEST]
        rarely [REPACK, RUN_IN_USE, RANGES, SPECIAL, BARS, COUNT_SPECIAL, ALL_RUNS, DESCRIBE, RANGE_COUNTS];
}

impl Script {
    /// `#!lua` and its flags must be the first line of the whole, so the constants and the helpers go behind it.
    fn new(name: &'static str, file: LuaFile, libs: &[LuaFile], rare: &[LuaFile]) -> Self {
        let file = file.read();
        let (shebang, body) = file.split_once('\n').expect("a script has more than one line");
        let constants = format!(
            "local FRESHNESS_MS, DRIFT_MS, LAYOUT = {}, {}, {}",
            FRESHNESS.as_millis(),
            DRIFT.as_millis(),
            record::LAYOUT
        );
        let helpers = |files: &[LuaFile]| files.iter().map(|file| (file.name(), file.read().into_owned())).collect();
        let text = format!("{shebang}\n{constants}\n{}", assembly::joined(helpers(libs), helpers(rare), body));
        let text = constants::inlined(&text);
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

/// Who asked for a change, and under which request, as scripts append it to an event.
pub(super) fn context_json(context: &Context) -> Vec<u8> {
    serde_json::to_vec(context).expect("a context is plain strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of each file in `lua/`.
    fn texts() -> Vec<String> {
        let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/lua")).expect("the folder is there");
        let folders = folders.map(|entry| entry.expect("readable").path()).filter(|path| path.is_dir());
        let files = folders.flat_map(|folder| std::fs::read_dir(folder).expect("readable"));
        files.map(|file| std::fs::read_to_string(file.expect("readable").path()).expect("text")).collect()
    }

    /// One name with two literals would stand for the wrong one somewhere.
    #[test]
    fn no_two_constants_of_a_script_have_one_name() {
        let texts = texts();
        let of_libs: Vec<(&str, &str)> =
            texts.iter().flat_map(|text| text.lines()).filter_map(constants::definitions).flatten().collect();
        for (name, literal) in &of_libs {
            assert!(of_libs.iter().all(|(other, value)| name != other || literal == value), "{name}");
        }
        assert!(of_libs.len() > 20, "{of_libs:?}");
        assert!(all().iter().all(|script| script.text.lines().all(|line| constants::definitions(line).is_none())));
    }

    /// A call finds its helper by the name alone.
    #[test]
    fn no_function_has_the_name_of_a_helper() {
        let texts = texts();
        let defined = |indented: bool| {
            let lines =
                texts.iter().flat_map(|text| text.lines()).filter(move |line| line.starts_with(' ') == indented);
            lines.filter_map(|line| line.trim_start().strip_prefix("local function ")?.split('(').next())
        };
        let helpers: Vec<&str> = defined(false).collect();
        for name in &helpers {
            let times = helpers.iter().filter(|other| name == *other).count();
            assert!(times == 1 && defined(true).all(|other| other != *name), "{name} is defined twice");
        }
        assert!(helpers.len() > 80, "{helpers:?}");
    }

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
