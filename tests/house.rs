//! The rules of the house, as tests: what matters fails here, instead of being asked for.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder, with their path from the root and their text.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(folder)];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("a file of the project").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no .{extension} files");
    found
}

/// The module of a source file: `src/http/orders.rs` → `http`.
fn module(path: &str) -> &str {
    let path = path.strip_prefix("src/").unwrap_or(path);
    path.split(['/', '.']).next().unwrap_or(path)
}

/// Each module with those that it may use. The order is that of the crate's own description: imports point down.
const MAY_USE: [(&str, &[&str]); 14] = [
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
    ("http", &["service", "telemetry", "metrics", "failpoint", "domain"]),
    (
        "cli",
        &[
            "clock",
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
    ("main", &["cli"]),
];

#[test]
fn imports_point_down() {
    for (path, text) in files("src", "rs") {
        let from = module(&path);
        if from == "lib" {
            continue;
        }
        let (_, allowed) = MAY_USE.iter().find(|(name, _)| *name == from).unwrap_or_else(|| {
            panic!("{path}: module {from} has no place in the house; give it one in MAY_USE and in lib.rs")
        });
        for used in used_modules(&text) {
            let known = MAY_USE.iter().any(|(name, _)| *name == used);
            assert!(!known || used == from || allowed.contains(&used.as_str()), "{path} uses {used}");
        }
    }
}

/// Every `crate::name`, also inside `use crate::{…}`.
fn used_modules(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut used = BTreeSet::new();
    for (at, marker) in text.match_indices("crate::") {
        let rest = &text[at + marker.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            used.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut starts = true;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                c if starts && !c.is_whitespace() => {
                    used.insert(word(&list[i..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    used
}

#[test]
fn imports_are_read_in_both_forms() {
    let used = used_modules("use crate::domain::X;\nuse crate::{\n    allocator::{A, B},\n    ledger::C,\n};");
    assert_eq!(used, ["domain", "allocator", "ledger"].map(str::to_owned).into());
}

/// A door for each concern: the words that only one module may say.
#[test]
fn each_concern_has_one_door() {
    let doors: [(&[&str], &[&str]); 5] = [
        (&["sqlx::query", "sqlx::raw_sql", "QueryBuilder"], &["ledger"]),
        (&["redis::cmd(", "redis::pipe(", "EVALSHA"], &["allocator"]),
        (&["axum::", "StatusCode"], &["http"]),
        (&["counter!(", "gauge!(", "histogram!("], &["metrics"]),
        (&["opentelemetry"], &["telemetry"]),
    ];
    // Local mode asks the servers that it runs whether they answer; that is not the use of their data.
    let outside = |path: &str| path.starts_with("src/local/");
    for (path, text) in files("src", "rs").iter().filter(|(path, _)| !outside(path)) {
        for (words, homes) in doors {
            for word in words.iter().filter(|word| text.contains(**word)) {
                assert!(homes.contains(&module(path)), "{path} says {word}, which belongs into {homes:?}");
            }
        }
    }
}

/// Root works in folders in which others may have put links: files are opened where no link is followed.
#[test]
fn local_mode_has_one_door_to_files() {
    let words = [
        "File::open(",
        "File::create",
        "OpenOptions",
        "DirBuilder",
        "fs::write(",
        "fs::rename(",
        "fs::copy(",
        "fs::create",
        "fs::remove",
        "fs::set_permissions",
        " chown(",
        "symlink(",
    ];
    let doors = ["src/local/dir.rs", "src/local/trust.rs"];
    for (path, text) in files("src/local", "rs").iter().filter(|(path, _)| !doors.contains(&path.as_str())) {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in words {
            assert!(!product.contains(word), "{path} says {word}, which belongs into {doors:?}");
        }
    }
}

/// No clock has authority alone: the machine's is read in one file, and Postgres's says how long a lease lasts and when a row
/// was made, and nothing that is compared with what Redis stamped.
#[test]
fn clocks_are_read_in_one_place() {
    for (path, text) in files("src", "rs").iter().filter(|(path, _)| path != "src/clock.rs") {
        for word in ["SystemTime", "Utc::now", "Local::now", "UNIX_EPOCH", "OffsetDateTime"] {
            assert!(!text.replace("DateTime::UNIX_EPOCH", "").contains(word), "{path} says {word}: see src/clock.rs");
        }
    }
    let leases =
        ["_until", "until <", "interval => ", "seen_at", "written_at", "updated_at", "installed_on", "revoked_at"];
    let advice = ["clock_timestamp() AS", "least($4, clock_timestamp())", "now() AT TIME ZONE 'UTC') + make_interval"];
    for (path, text) in files("src/ledger", "rs") {
        let lines = text.lines().filter(|line| line.contains(" now()") || line.contains("(now()"));
        for line in lines.chain(text.lines().filter(|line| line.contains("clock_timestamp"))) {
            let is_known =
                leases.iter().chain(&advice).any(|known| line.contains(known)) || line.contains("until) VALUES");
            assert!(is_known, "{path}: {}: what is this time compared with?", line.trim());
        }
    }
}

#[test]
fn every_metric_is_named_in_one_place() {
    for (path, text) in files("src", "rs").iter().filter(|(path, _)| path != "src/metrics.rs") {
        for name in nowserving::metrics::ALL {
            assert!(!text.contains(&format!("\"{name}\"")), "{path} spells {name}");
        }
    }
    let unique: BTreeSet<_> = nowserving::metrics::ALL.iter().collect();
    assert_eq!(unique.len(), nowserving::metrics::ALL.len());
}

#[test]
fn no_file_is_an_orphan() {
    let sources = files("src", "rs");
    for (path, _) in &sources {
        let path = Path::new(path);
        let stem = path.file_stem().expect("a name").to_string_lossy();
        if ["main", "lib", "mod"].contains(&&*stem) {
            continue;
        }
        let named = |text: &str| text.contains(&format!("mod {stem};")) || text.contains(&format!("mod {stem} {{"));
        let folder = path.parent().expect("a folder").to_string_lossy().into_owned();
        let parents = [format!("{folder}/mod.rs"), format!("{folder}.rs"), format!("{folder}/lib.rs")];
        let found = sources.iter().any(|(parent, text)| parents.contains(parent) && named(text));
        assert!(found, "{} belongs to no module", path.display());
    }
}

#[test]
fn the_readme_names_what_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for code in nowserving::http::Code::ALL {
        assert!(readme.contains(&format!("`{}`", code.as_str())), "README.md does not explain {}", code.as_str());
    }
    for name in nowserving::metrics::ALL {
        assert!(readme.contains(name), "README.md does not explain the metric {name}");
    }
}

/// Cargo gives the tests what any of their own dependencies asks for, so the other tests would pass without it.
#[test]
fn numbers_are_read_as_they_were_written() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let features = manifest["dependencies"]["serde_json"].get("features").and_then(toml::Value::as_array);
    let asked = features.into_iter().flatten().any(|feature| feature.as_str() == Some("float_roundtrip"));
    assert!(asked, "serde_json without float_roundtrip reads some floats as their neighbours");
}
