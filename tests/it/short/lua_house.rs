//! What must be true of `lua/`, as text and as it is called: headers that tell the truth, keys that come from the
//! caller alone, no file and no helper that is not used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use crate::support::{self, OwnRedis, Proxy};
use nowserving::{
    allocator::{Allocated, Allocator, Build, Changed, DateSet, OrderUpdate, Restated, RunId},
    domain::{
        Context, DateImage, DisplayNumber, IdempotencyDigest, OrderDetails, OrderId, OrderStatus, PartitionId,
        PoolImage, PoolSettings, RestaurantId, SettingsChange, Timestamp,
    },
};

/// Path without `.lua` → text.
type Files = BTreeMap<String, String>;

fn scripts() -> Files {
    ["orders", "outbox", "pools", "recovery"]
        .into_iter()
        .flat_map(|folder| lua_files(&format!("lua/{folder}")))
        .collect()
}

fn helpers() -> Files {
    lua_files("lua/lib")
}

fn lua_files(folder: &str) -> Files {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(path).expect("the folder is there").map(|entry| entry.expect("readable").path());
    entries
        .filter(|path| path.is_file() && !path.ends_with("README.md"))
        .map(|path| {
            assert!(path.extension().is_some_and(|extension| extension == "lua"), "{} is no script", path.display());
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("readable"))
        })
        .collect()
}

/// The comment at the top of a script, without its dashes.
fn header(text: &str) -> String {
    let comment = text.lines().skip(1).take_while(|line| line.starts_with("--"));
    comment.map(|line| line.trim_start_matches("--").to_owned() + "\n").collect()
}

/// The part of a header behind `KEYS:` or the like, up to the next such part.
fn part<'a>(header: &'a str, title: &str) -> Option<&'a str> {
    let behind = header.split_once(&format!(" {title}: "))?.1;
    let ends = ["\n ARGV:", "\n Reply:", "\n Cost:"].iter().filter_map(|next| behind.find(next));
    Some(&behind[..ends.min().unwrap_or(behind.len())])
}

#[test]
fn every_script_begins_with_a_header() {
    for (name, text) in scripts() {
        let first = text.lines().next().expect("not empty");
        let flags = ["#!lua", "#!lua flags=no-writes", "#!lua flags=allow-oom"];
        assert!(flags.contains(&first), "lua/{name}.lua begins with {first:?}");
        let header = header(&text);
        assert!(header.lines().next().is_some_and(|says| says.ends_with(['.', ','])), "lua/{name}.lua: what it does");
        for title in ["KEYS", "ARGV", "Reply", "Cost"] {
            assert!(
                part(&header, title).is_some_and(|part| part.trim().ends_with('.') || title != "Cost"),
                "{name}: {title}"
            );
        }
    }
    for (name, text) in helpers() {
        assert!(text.starts_with("-- "), "lua/lib/{name}.lua has no header");
    }
}

#[test]
fn flags_say_what_scripts_do() {
    const WRITES: [&str; 19] = [
        "DEL",
        "HDEL",
        "HINCRBY",
        "HSET",
        "HSETNX",
        "LINSERT",
        "LPOP",
        "LPUSH",
        "LREM",
        "PEXPIREAT",
        "RPUSH",
        "SADD",
        "SET",
        "SREM",
        "XADD",
        "XSETID",
        "XTRIM",
        "ZADD",
        "ZREM",
    ];
    let helpers: Vec<Function> = helpers().values().flat_map(|text| functions(text)).collect();
    let mut writing: BTreeSet<&str> = BTreeSet::new();
    let writes = |text: &str, writing: &BTreeSet<&str>| {
        calls(text, "redis.call").iter().any(|call| WRITES.contains(&call[0].trim_matches('\'')))
            || writing.iter().any(|helper| !calls(text, helper).is_empty())
    };
    for _ in 0..helpers.len() {
        let more = helpers.iter().filter(|helper| writes(&helper.body, &writing)).map(|helper| helper.name.as_str());
        writing = more.collect();
    }
    for (name, text) in scripts() {
        let told = text.starts_with("#!lua flags=no-writes");
        assert_eq!(!told, writes(&text, &writing), "lua/{name}.lua: whether it writes");
    }
}

#[test]
fn lines_are_short_and_clean() {
    for (name, text) in scripts().into_iter().chain(helpers()) {
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{name}.lua: its end");
        for (at, line) in text.lines().enumerate() {
            let place = format!("{name}.lua:{}: {line}", at + 1);
            assert!(line.chars().count() <= 120, "too long: {place}");
            assert!(line.trim_end() == line && !line.contains('\t'), "white space: {place}");
        }
    }
}

#[test]
fn scripts_call_nothing_that_scans_waits_or_hides_errors() {
    for (name, text) in scripts().into_iter().chain(helpers()) {
        for bad in ["'KEYS'", "'SCAN'", "'HSCAN'", "'SSCAN'", "'ZSCAN'", "'FLUSH", "'RANDOMKEY'", "'DUMP'", "'SORT'"] {
            assert!(!text.to_uppercase().contains(bad), "{name}.lua calls {bad}");
        }
        for bad in ["redis.pcall", "loadstring", "math.random", "cjson", "os.time", "redis.log"] {
            assert!(!text.contains(bad), "{name}.lua uses {bad}");
        }
        for call in calls(&text, "redis.call") {
            assert!(call[0].starts_with('\'') && call[0].ends_with('\''), "{name}.lua: redis.call({})", call[0]);
        }
    }
}

/// Follows keys from the commands that touch them back to `KEYS`, through the helpers' parameters.
#[test]
fn every_key_that_a_script_touches_is_one_of_its_keys() {
    let helpers: Vec<Function> = helpers().values().flat_map(|text| functions(text)).collect();
    // Parameters that are keys: a command's key, or handed on to one.
    let mut keys: BTreeSet<(String, usize)> = BTreeSet::new();
    loop {
        let before = keys.len();
        for helper in &helpers {
            for key in touched(&helper.body, &keys) {
                let root = key.split('.').next().expect("not empty");
                let place = helper.parameters.iter().position(|parameter| parameter == root);
                let place = place.unwrap_or_else(|| panic!("{} touches {key}, which it was not given", helper.name));
                keys.insert((helper.name.clone(), place));
            }
        }
        if keys.len() == before {
            break;
        }
    }
    for (name, text) in scripts() {
        let given = names_of_keys(&text);
        for key in touched(&text, &keys) {
            assert!(key.starts_with("KEYS[") || given.contains(&key), "lua/{name}.lua touches {key}");
        }
    }
}

struct Function {
    name: String,
    parameters: Vec<String>,
    body: String,
}

/// The functions of a helper file; each ends at the first `end` that is not indented.
fn functions(text: &str) -> Vec<Function> {
    text.split("\nlocal function ")
        .skip(1)
        .map(|rest| {
            let (head, body) = rest.split_once(")\n").expect("a list of parameters");
            let (name, parameters) = head.split_once('(').expect("a list of parameters");
            let body = body.split_once("\nend").map_or(body, |(body, _)| body);
            Function {
                name: name.to_owned(),
                parameters: parameters.split(',').map(|parameter| parameter.trim().to_owned()).collect(),
                body: body.to_owned(),
            }
        })
        .collect()
}

/// What stands where a key is expected: behind a command's name, and where helpers take keys.
fn touched(text: &str, keys: &BTreeSet<(String, usize)>) -> Vec<String> {
    let commands = calls(text, "redis.call").into_iter().filter(|call| call[0] != "'TIME'").map(|call| call[1].clone());
    // A pool knows the key that it was read from, which was given then.
    let commands = commands.filter(|key| !key.ends_with(".key"));
    let handed_on = keys.iter().flat_map(|(helper, place)| {
        calls(text, helper).into_iter().filter_map(|arguments| arguments.get(*place).cloned())
    });
    commands.chain(handed_on).collect()
}

/// The arguments of every call of a function.
fn calls(text: &str, function: &str) -> Vec<Vec<String>> {
    let code: String = text.lines().map(|line| line.split("--").next().unwrap_or_default().to_owned() + "\n").collect();
    let opened = format!("{function}(");
    code.match_indices(&opened)
        .filter(|(at, _)| {
            let before = &code[..*at];
            !before.ends_with("function ") && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
        })
        .map(|(at, _)| arguments(&code[at + opened.len()..]))
        .collect()
}

fn arguments(behind: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut found) = (0, false, vec![String::new()]);
    for c in behind.chars() {
        match c {
            '\'' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().expect("never empty").push(c);
    }
    found.iter().map(|argument| argument.trim().to_owned()).collect()
}

/// The names that a script gives to its keys: `local a, b = KEYS[1], KEYS[2]` and `local keys = { a = KEYS[1] }`, all
/// of them written once and holding nothing else. A table of keys may be handed on whole.
fn names_of_keys(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("local ")) {
        let Some((left, right)) = line.split_once(" = ") else { continue };
        if let Some(table) = right.strip_prefix("{ ").and_then(|table| table.strip_suffix(" }")) {
            let fields: Vec<_> = table.split(", ").filter_map(|field| field.split_once(" = ")).collect();
            if fields.iter().all(|(_, value)| value.starts_with("KEYS[")) {
                names.insert(left.to_owned());
                names.extend(fields.iter().map(|(field, _)| format!("{left}.{field}")));
            }
        } else if right.split(", ").all(|value| value.starts_with("KEYS[")) {
            names.extend(left.split(", ").map(str::to_owned));
        }
    }
    let rewritten = |name: &String| text.lines().any(|line| line.trim_start().starts_with(&format!("{name} = ")));
    assert!(!names.iter().any(rewritten), "a name of a key is written again");
    names
}

#[test]
fn every_helper_is_used() {
    let all: String = scripts().into_values().chain(helpers().into_values()).collect();
    for (file, text) in helpers() {
        for function in functions(&text) {
            assert!(!calls(&all, &function.name).is_empty(), "{} of lua/lib/{file}.lua is not used", function.name);
        }
    }
}

/// Runs every kind of call through a proxy, and compares what went over the wire with what the headers say.
#[tokio::test]
async fn headers_name_the_keys_and_arguments_that_are_sent() {
    let server = OwnRedis::start().await;
    let proxy = Proxy::start(&server.socket());
    call_everything(&proxy.url()).await;

    let loaded: BTreeMap<String, String> = proxy
        .recorded("SCRIPT")
        .into_iter()
        .map(|command| {
            let text = String::from_utf8(command[2].clone()).expect("scripts are text");
            (redis::Script::new(&text).get_hash().to_owned(), text)
        })
        .collect();
    let (files, helpers) = (scripts(), helpers());
    let name_of = |text: &str| -> &str {
        let found = files.iter().find(|(_, file)| text.contains(comment_at(file.lines().skip(1)).as_str()));
        found.map(|(name, _)| name.as_str()).expect("what is loaded comes from lua/")
    };
    let names: BTreeMap<&str, &str> = loaded.iter().map(|(sha, text)| (sha.as_str(), name_of(text))).collect();
    let every_file: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names.values().copied().collect::<BTreeSet<_>>(), every_file, "every file in lua/ is loaded");
    for text in loaded.values() {
        let name = name_of(text);
        needs_its_helpers(name, &files[name], text, &helpers);
    }

    let mut called = BTreeSet::new();
    for command in proxy.recorded("EVALSHA") {
        let strings: Vec<String> = command.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        let name = names[strings[1].as_str()];
        let (keys, arguments) = strings[3..].split_at(strings[2].parse().expect("a number of keys"));
        let header = header(&files[name]);
        assert_keys(name, part(&header, "KEYS").expect("checked above"), keys);
        assert_arguments(name, part(&header, "ARGV").expect("checked above"), arguments.len());
        called.insert(name);
    }
    assert_eq!(called, every_file, "every script is called here");
}

/// The comment that a file begins with: what is sent has it unchanged, though not the constants of the file.
fn comment_at<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.take_while(|line| line.starts_with("--")).map(|line| line.to_owned() + "\n").collect()
}

/// A script carries no helpers that it does not need: they cost time in every call.
fn needs_its_helpers(name: &str, source: &str, sent: &str, helpers: &Files) {
    let carried: Vec<(&String, &String)> =
        helpers.iter().filter(|(_, helper)| sent.contains(&comment_at(helper.lines()))).collect();
    for (helper, helper_text) in &carried {
        let others: String = carried
            .iter()
            .filter(|(other, _)| other != helper)
            .map(|(_, text)| text.as_str())
            .chain([source])
            .collect();
        let constants = helper_text.lines().filter_map(|line| line.strip_prefix("local ")?.split_once(" = "));
        let needed = functions(helper_text).iter().any(|function| !calls(&others, &function.name).is_empty())
            || constants.into_iter().any(|(names, _)| names.split(", ").any(|name| others.contains(name)));
        assert!(needed, "lua/{name}.lua does not need lua/lib/{helper}.lua");
    }
}

/// `partition pool free [idem idem]`; or `partition, then done and num of each order's restaurant`.
fn assert_keys(script: &str, told: &str, sent: &[String]) {
    let kinds: Vec<&str> = sent.iter().map(|key| key.split("}:").nth(1).unwrap_or_default()).collect();
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.split(':').next().unwrap_or_default()).collect();
    let told = told.lines().next().unwrap_or_default().trim();
    if let Some((first, each)) = told.split_once(", then ") {
        let each: Vec<&str> = each.split(" of each").next().unwrap_or_default().split(" and ").collect();
        assert_eq!(kinds[0], first, "keys of {script}");
        assert!(kinds[1..].chunks(each.len()).all(|chunk| chunk == each), "keys of {script}: {kinds:?}");
        return;
    }
    let (always, sometimes) = told.split_once(" [").unwrap_or((told, ""));
    let always: Vec<&str> = always.split_whitespace().collect();
    if let Some(kind) = sometimes.strip_suffix("...]") {
        let more = kinds.strip_prefix(&always[..]).unwrap_or_else(|| panic!("keys of {script}: {kinds:?}"));
        assert!(more.iter().all(|sent| *sent == kind), "keys of {script}: told {told}, sent {kinds:?}");
        return;
    }
    let sometimes = sometimes.trim_end_matches(']').split_whitespace();
    let all: Vec<&str> = always.iter().copied().chain(sometimes).collect();
    assert!(kinds == always || kinds == all, "keys of {script}: told {told}, sent {kinds:?}");
}

/// `1 this   2 that   (8-12: with idem)`; `3... these`; `2 this, then for each …`.
fn assert_arguments(script: &str, told: &str, sent: usize) {
    let items: Vec<&str> = told.split("   ").flat_map(str::lines).map(str::trim).collect();
    let index = |item: &&str| item.split([' ', '.']).next().and_then(|number| number.parse::<usize>().ok());
    let indices: Vec<usize> = items.iter().filter_map(index).collect();
    let last = indices.len();
    assert_eq!(indices, (1..=last).collect::<Vec<_>>(), "arguments of {script}: {told}");
    let optional = items.iter().find_map(|item| item.strip_prefix('(')?.split('-').next()?.parse::<usize>().ok());
    let fits = if told.contains("... ") {
        sent >= last
    } else if told.contains(", then for each") {
        sent > last
    } else {
        sent == last || optional.is_some_and(|optional| (optional - 1..last).contains(&sent))
    };
    assert!(fits, "arguments of {script}: {sent} sent, told {told}");
}

async fn call_everything(url: &str) {
    let settings = support::library::redis_settings("house");
    let a = Allocator::new(url, &settings, 1, Duration::from_hours(24))
        .expect("a valid URL")
        .with_levels(0, Duration::from_secs(1));
    let (partition, restaurant) = (PartitionId::new(0), RestaurantId::new(7).expect("in range"));
    let (context, details) = (Context::of("house"), OrderDetails::default());
    let run_id = a.server_of(partition).await.expect("Redis answers");
    let made = a.create_partition(partition, 1, b"0123456789abcdef", &run_id).await.expect("Redis answers");
    assert!(made);
    a.open_partition(partition, 1, &run_id, 0, 0);
    a.configure(restaurant, &PoolSettings::default(), false, &context).await.expect("Redis answers");

    let mut ids = Vec::new();
    let digest = IdempotencyDigest { key: [1; 16], body: [2; 16] };
    for digest in [None, Some(digest)] {
        let Ok(Allocated::New(order)) = a.allocate(restaurant, &details, digest, &context).await else {
            panic!("a number is free")
        };
        ids.push(order.id);
    }
    let update =
        |status| OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context: &context };
    a.transition(ids[0], update(OrderStatus::Ready)).await.expect("Redis answers");
    a.call(ids[0], Some("Counter 2"), None, &context).await.expect("Redis answers");
    a.complete_served(ids[0], &context).await.expect("Redis answers");
    let walk = a.begin_served_walk(restaurant).await.expect("Redis answers");
    a.end_served_walk(walk, None).await.expect("Redis answers");
    for id in &ids {
        a.release(*id, update(OrderStatus::Completed), false, false).await.expect("Redis answers");
        a.reopen(*id, update(OrderStatus::Preparing), None).await.expect("Redis answers");
        let Ok(Changed::Done(order)) = a.release(*id, update(OrderStatus::Completed), false, false).await else {
            panic!("the order is live")
        };
        a.recycle(&order, None, &context).await.expect("Redis answers");
    }
    let id = OrderId::new(Timestamp::from_unix_ms(1), restaurant, 1);
    a.restore(id, None, OrderStatus::Ready, None, &details, &context).await.expect("Redis answers");
    let numbers: Vec<DisplayNumber> = (1..4).filter_map(|n| DisplayNumber::new(n).ok()).collect();
    a.reclaim(restaurant, &numbers, &context).await.expect("Redis answers");
    a.inspect(restaurant, numbers[0]).await.expect("Redis answers");
    // So many that the oldest of them is looked for outside of a script.
    for _ in 0..260 {
        let made = a.allocate(restaurant, &details, None, &context).await.expect("Redis answers");
        assert!(matches!(made, Allocated::New(_)), "{made:?}");
    }
    a.count_numbers(restaurant).await.expect("Redis answers");
    a.settings(restaurant).await.expect("Redis answers");
    let date = a.see_business_date(restaurant, None).await.expect("Redis answers").expect("it has settings");
    let (today, ends_at) = (date.day.expect("there are orders").date, date.ends_at);
    let set = a.set_business_date(restaurant, &date, (today, ends_at), &[], &context).await.expect("Redis answers");
    assert_eq!(set, DateSet::Done);
    a.snapshot(restaurant).await.expect("Redis answers");
    a.retire(partition, 1, &ids).await.expect("Redis answers");
    a.trim_outboxes([(partition, 1, 1)]).await.expect("Redis answers");
    let mark = a.mark(a.moment(), partition, None).expect("the partition is open");
    assert!(a.on_replicas(&mark).await, "no replica is needed");
    assert!(a.spoiled_by(partition, u64::MAX).await.expect("Redis answers"), "no event is as late as that");
    a.mend_outbox(partition).await.expect("Redis answers");
    a.open_partition(partition, 1, &run_id, 0, 0);
    rebuild(&a, &run_id, digest).await;
}

/// The calls of a builder.
async fn rebuild(a: &Allocator, run_id: &RunId, digest: IdempotencyDigest) {
    let (partition, restaurant) = (PartitionId::new(0), RestaurantId::new(7).expect("in range"));
    let context = Context::of("house");
    let new_order = async || {
        let Ok(Allocated::New(order)) = a.allocate(restaurant, &OrderDetails::default(), None, &context).await else {
            panic!("a number is free")
        };
        order
    };
    let (kept, order) = (new_order().await, new_order().await);
    assert!(a.fence_off(partition, 1, run_id).await.expect("Redis answers"));
    let build = Build { partition, generation: 2, run_id: run_id.clone() };
    a.begin_to_tell(&build).await.expect("Redis answers");
    a.begin_build(&build, 100, Timestamp::from_unix_ms(0), b"0123456789abcdef", false).await.expect("Redis answers");
    assert_eq!(a.forget_others(&build, &[]).await.expect("Redis answers"), 1);
    let settings = SettingsChange { restaurant, settings: PoolSettings::default(), version: 3 };
    let image = PoolImage {
        settings: settings.clone(),
        live: vec![kept],
        cooling: vec![(a.now().expect("Redis told it"), DisplayNumber::new(9).expect("in range"))],
        odd_cooldowns: [(DisplayNumber::new(9).expect("in range"), 7)].into(),
        last_given: Vec::new(),
        business_day: DateImage::default(),
        keys: vec![(digest, order.id)],
    };
    a.load_pool(&build, &image).await.expect("Redis answers");
    a.skip_numbers(restaurant, &build, 3, 3, &context).await.expect("Redis answers");
    a.emit(&build, &[(order.clone(), None)], &[settings], &context).await.expect("Redis answers");
    let restated = a.restate(&build, |lost| lost.id == order.id, false, &context).await.expect("Redis answers");
    assert_eq!(restated, [(order.id, Restated::Back(None))]);
    a.invite(&build).await.expect("Redis answers");
    a.finish_build(&build).await.expect("Redis answers");
}
