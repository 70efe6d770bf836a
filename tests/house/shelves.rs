//! Who may use whom: rooms, the shelves in them, and files.

use std::collections::BTreeSet;

use super::imports::{Imports, module_of};
use crate::{files, module};

/// Each room with those that it may use. The order is that of the crate's own description: imports point down.
const ROOMS: [(&str, &[&str]); 15] = [
    ("domain", &[]),
    ("failpoint", &[]),
    ("clock", &["domain"]),
    ("config", &["failpoint", "domain"]),
    ("metrics", &["domain"]),
    ("telemetry", &["config", "domain"]),
    ("allocator", &["clock", "telemetry", "config", "metrics", "domain"]),
    ("ledger", &["telemetry", "config", "metrics", "domain"]),
    ("local", &["config", "failpoint"]),
    ("service", &["clock", "allocator", "ledger", "telemetry", "config", "metrics", "domain"]),
    ("write_behind", &["allocator", "ledger", "config", "metrics", "failpoint", "domain"]),
    ("http", &["service", "telemetry", "config", "metrics", "failpoint", "domain"]),
    (
        "app",
        &[
            "http",
            "service",
            "write_behind",
            "allocator",
            "ledger",
            "local",
            "telemetry",
            "config",
            "metrics",
            "domain",
        ],
    ),
    ("cli", &["app", "clock", "http", "service", "local", "telemetry", "config", "domain"]),
    ("main", &["cli"]),
];

/// The shelves of the rooms that have some, a file that stands alone among them. Each may use those before it.
const SHELVES: [(&str, &[&str]); 5] = [
    (
        "allocator",
        &[
            "timing",
            "partitions",
            "error",
            "script",
            "remembered",
            "link",
            "orders",
            "pools",
            "outbox",
            "levels",
            "recovery",
        ],
    ),
    ("ledger", &["db", "tables", "recovery", "write", "read", "upkeep"]),
    (
        "service",
        &[
            "error",
            "trail",
            "tally",
            "dead_letters",
            "keys",
            "screens",
            "levels",
            "operations",
            "restaurants",
            "orders",
            "feed",
            "upkeep",
            "usage",
            "recovery",
        ],
    ),
    ("http", &["etag", "code", "problem", "extract", "listen", "edge", "pages", "api", "openapi"]),
    ("app", &["stores", "tasks", "serve"]),
];

#[test]
fn imports_point_down() {
    let imports = Imports::read(&files("src", "rs"));
    for (path, used) in &imports.rooms {
        let from = module(path);
        if from == "lib" {
            continue;
        }
        let (_, allowed) = ROOMS.iter().find(|(name, _)| *name == from).unwrap_or_else(|| {
            panic!("{path}: module {from} has no place in the house; give it one in ROOMS and in lib.rs")
        });
        for to in used {
            assert!(to == from || allowed.contains(&to.as_str()), "{path} uses {to}");
        }
    }
}

#[test]
fn every_file_has_its_shelf() {
    for (path, _) in files("src", "rs") {
        let Some((room, shelves)) = SHELVES.iter().find(|(room, _)| *room == module(&path)) else { continue };
        let shelf = shelf(&path);
        let known = shelf.is_empty() || shelf == "testing" || shelves.contains(&shelf.as_str());
        assert!(known, "{path}: {room} has no shelf {shelf}; give it a place in SHELVES, and in docs/architecture.md");
    }
}

#[test]
fn shelves_use_those_below_them() {
    let imports = Imports::read(&files("src", "rs"));
    let mut wrong = BTreeSet::new();
    for (path, used) in &imports.uses {
        let Some((room, shelves)) = SHELVES.iter().find(|(room, _)| *room == module(path)) else { continue };
        let height = |path: &str| shelves.iter().position(|known| *known == shelf(path));
        for other in used.iter().filter(|other| module(other) == *room) {
            if let (Some(from), Some(to)) = (height(path), height(other))
                && from < to
            {
                wrong.insert(format!("{path} uses {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "these point up:\n{}", Vec::from_iter(wrong).join("\n"));
}

#[test]
fn no_files_go_in_circles() {
    let circles = Imports::read(&files("src", "rs")).circles();
    assert!(circles.is_empty(), "these files use each other: {circles:#?}");
}

/// The shelf of a file: its folder in the room, or its own name; empty for the room's door.
fn shelf(path: &str) -> String {
    module_of(path).get(2).cloned().unwrap_or_default()
}
