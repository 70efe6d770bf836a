//! The rules of the house, as tests: what matters fails here, instead of being asked for.

mod documents;
mod imports;
mod mutants;
mod prose;
mod reference;
mod shelves;

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

/// The module of a source file: `src/http/api/orders.rs` → `http`.
fn module(path: &str) -> &str {
    let path = path.strip_prefix("src/").unwrap_or(path);
    path.split(['/', '.']).next().unwrap_or(path)
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

/// No clock has authority alone: the machine's is read in one file, and Postgres's says how long a lease lasts and when
/// a row was made or a screen was here, and nothing that is compared with what Redis stamped.
#[test]
fn clocks_are_read_in_one_place() {
    for (path, text) in files("src", "rs").iter().filter(|(path, _)| path != "src/clock.rs") {
        for word in ["SystemTime", "Utc::now", "Local::now", "UNIX_EPOCH", "OffsetDateTime"] {
            assert!(!text.replace("DateTime::UNIX_EPOCH", "").contains(word), "{path} says {word}: see src/clock.rs");
        }
    }
    let leases =
        ["_until", "until <", "interval => ", "seen_at", "written_at", "updated_at", "installed_on", "revoked_at"];
    // How long a screen's code is good, and how long ago daemons saw it.
    let screens = ["expires_at", "now() - make_interval(secs => ", "now() + make_interval(secs => $7)"];
    let advice = ["clock_timestamp() AS", "least($4, clock_timestamp())", "now() AT TIME ZONE 'UTC') + make_interval"];
    for (path, text) in files("src/ledger", "rs") {
        let lines = text.lines().filter(|line| line.contains(" now()") || line.contains("(now()"));
        for line in lines.chain(text.lines().filter(|line| line.contains("clock_timestamp"))) {
            let is_known = leases.iter().chain(&advice).chain(&screens).any(|known| line.contains(known))
                || line.contains("until) VALUES");
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

/// What is polled only between other waits may hold a lock that one of these waits for. Tasks go on by themselves.
#[test]
fn no_loop_waits_beside_what_it_polls() {
    for (path, text) in files("src", "rs") {
        assert!(!text.contains("FuturesUnordered"), "{path} polls by hand: spawn tasks (JoinSet), or use a stream");
    }
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
fn the_reference_names_what_is_there() {
    let page = |name: &str| fs::read_to_string(root().join("docs/reference").join(name)).expect("a page");
    let (errors, metrics) = (page("errors.md"), page("metrics.md"));
    for code in nowserving::http::Code::ALL {
        assert!(errors.contains(&format!("`{}`", code.as_str())), "errors.md does not explain {}", code.as_str());
    }
    for name in nowserving::metrics::ALL {
        assert!(metrics.contains(&format!("`{name}`")), "metrics.md does not explain {name}");
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
