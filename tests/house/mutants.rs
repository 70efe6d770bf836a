//! The list of `make mutants` fits the tree: each mutant can be made, and the tests that should notice it are there.

#[path = "../mutants/list.rs"]
#[allow(dead_code, reason = "shared with an example, which uses the rest")]
mod list;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use list::Mutant;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mutants() -> Vec<Mutant> {
    list::read(root()).expect("a list of mutants")
}

#[test]
fn every_mutant_can_be_made() {
    for mutant in mutants() {
        let text = fs::read_to_string(root().join(&mutant.file)).unwrap_or_else(|e| panic!("{}: {e}", mutant.file));
        mutant.apply(&text).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_mutant_says_what_it_breaks_under_a_name_of_its_own() {
    let mutants = mutants();
    let lua = mutants.iter().filter(|mutant| mutant.is_lua()).count();
    assert!(lua >= 25 && mutants.len() - lua >= 20, "only {} mutants, {lua} of them of Lua", mutants.len());
    let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    assert_eq!(names.len(), mutants.len(), "two mutants have one name");
    for Mutant { name, breaks, survives, .. } in &mutants {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        for sentence in std::iter::once(breaks).chain(survives) {
            assert!(sentence.ends_with('.') && sentence.len() > 20, "{name}: {sentence:?} is no sentence");
        }
    }
}

#[test]
fn every_mutant_names_tests_that_are_there() {
    for mutant in mutants() {
        let name = &mutant.name;
        assert!(mutant.tests().next().is_some(), "{}/{name} names no test", mutant.area);
        for (subject, filters) in mutant.tests() {
            let tests = tests_of(subject);
            assert!(!tests.is_empty(), "{name}: there are no tests in {subject}");
            for filter in filters {
                assert!(tests.iter().any(|test| test.contains(filter)), "{name}: no test of {subject} is {filter}");
            }
        }
    }
}

/// The names of the tests of a subject, without their modules.
fn tests_of(subject: &str) -> Vec<String> {
    let mut waiting: Vec<PathBuf> = match subject {
        "lib" => vec![root().join("src")],
        _ => {
            let both = ["long", "short"].map(|folder| root().join("tests/it").join(folder));
            both.iter().flat_map(|folder| [folder.join(format!("{subject}.rs")), folder.join(subject)]).collect()
        }
    };
    let mut tests = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("readable").flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let mut lines = text.lines().map(str::trim_start);
            while lines.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
                let head = lines.find_map(|line| line.split_once("fn ")).expect("a function behind its attribute");
                tests.extend(head.1.split('(').next().map(str::to_owned));
            }
        }
    }
    tests
}
