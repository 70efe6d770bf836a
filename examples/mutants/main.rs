//! `make mutants`: breaks the program in the ways that `tests/mutants/` lists, one at a time, and looks whether a test
//! notices.
//!
//! It works in a copy of the tree under `target/mutants`. First the tests that are named pass on the unbroken copy. A broken
//! script is read from a folder (`NOWSERVING_LUA_FOLDER`), so it needs no build; for broken Rust the tests that are named
//! are built anew. What no test notices is argued in the list, or the run fails; so does it where the argument is wrong.

#[path = "../../tests/mutants/list.rs"]
#[allow(dead_code, reason = "shared with a test, which uses the rest")]
mod list;
mod run;
mod tree;

use std::{
    collections::BTreeMap,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use list::Mutant;
use run::{Binaries, Ran, Until};
use tree::Tree;

/// Breaks the program in the ways that tests/mutants lists, and looks whether a test notices.
#[derive(Parser)]
struct Arguments {
    /// Only the mutants whose names or areas contain this.
    only: Option<String>,
}

/// A test that breaks may wait for its patience, and more than once: so much longer may it take than it did unbroken.
const PATIENCE: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    match break_all(Arguments::parse().only.as_deref().unwrap_or_default()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("mutants: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Answers with how many mutants became something else than the list says.
fn break_all(only: &str) -> Result<usize, String> {
    let started = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut mutants = list::read(root)?;
    mutants.retain(|mutant| mutant.name.contains(only) || mutant.area.contains(only));
    if mutants.is_empty() {
        return Err(format!("no mutant's name contains {only}"));
    }
    // Those that need no build come first.
    mutants.sort_by_key(|mutant| !mutant.is_lua());
    let tree = Tree::copy(root)?;

    println!("building the tests of {} mutants", mutants.len());
    let mut binaries = tree.build(mutants.iter().flat_map(Mutant::tests).map(|(subject, _)| subject))?;
    let usual = pass_unbroken(&tree, &binaries, &mutants)?;

    let (mut noticed, mut argued, mut wrong) = (0, 0, Vec::new());
    for (at, mutant) in mutants.iter().enumerate() {
        let begun = Instant::now();
        let broken = tree.break_with(mutant)?;
        let outcome = meet(&tree, &mut binaries, mutant, &usual)?;
        broken.mend()?;
        let says = match (outcome, &mutant.survives) {
            (Outcome::Noticed(test), None) => {
                noticed += 1;
                format!("noticed by {test}")
            }
            (Outcome::Survived, Some(_)) => {
                argued += 1;
                "survives, as argued".to_owned()
            }
            (outcome, _) => {
                wrong.push(mutant);
                match outcome {
                    Outcome::Noticed(test) => format!("NOTICED by {test}, though it is argued that no test can"),
                    Outcome::Survived => format!("SURVIVED: {}", mutant.breaks),
                    Outcome::NotBuilt(why) => format!("DOES NOT COMPILE:\n{why}"),
                }
            }
        };
        let (count, took) = (mutants.len(), begun.elapsed().as_secs());
        println!("{:>3}/{count} {}/{}: {says} ({took} s)", at + 1, mutant.area, mutant.name);
    }
    println!(
        "{} mutants in {} s: {noticed} noticed, {argued} survive as argued, {} are not as the list says",
        mutants.len(),
        started.elapsed().as_secs(),
        wrong.len()
    );
    for mutant in &wrong {
        println!("  {}/{} ({})", mutant.area, mutant.name, mutant.file);
    }
    Ok(wrong.len())
}

/// Runs all tests that are named, which have to pass. Answers with how long those of each subject take.
fn pass_unbroken(tree: &Tree, binaries: &Binaries, mutants: &[Mutant]) -> Result<BTreeMap<String, Duration>, String> {
    // Without a part of a name, all tests of the subject.
    let mut named: BTreeMap<&str, Option<Vec<&str>>> = BTreeMap::new();
    for (subject, filters) in mutants.iter().flat_map(Mutant::tests) {
        let all = named.entry(subject).or_insert_with(|| Some(Vec::new()));
        *all = all.take().filter(|_| !filters.is_empty()).map(|mut all| {
            all.extend(filters.iter().filter(|filter| !all.contains(filter)).copied().collect::<Vec<_>>());
            all
        });
    }
    let mut usual = BTreeMap::new();
    for (subject, filters) in named {
        let begun = Instant::now();
        let filters = filters.unwrap_or_default();
        let run = || run::tests(tree, binaries, subject, &filters, 10 * PATIENCE, Until::End);
        if let Ran::Failed { test, output } = run()? {
            println!("{test} failed without any mutant, and is run once more:\n{output}");
            if let Ran::Failed { test, .. } = run()? {
                return Err(format!("{test} fails without any mutant"));
            }
        }
        println!("{subject} passes unbroken ({} s)", begun.elapsed().as_secs());
        usual.insert(subject.to_owned(), begun.elapsed());
    }
    Ok(usual)
}

/// What becomes of a mutant.
enum Outcome {
    /// By this test.
    Noticed(String),
    /// All of its tests pass.
    Survived,
    /// The compiler says why.
    NotBuilt(String),
}

/// Runs the tests of a mutant up to the first that notices it.
fn meet(
    tree: &Tree,
    binaries: &mut Binaries,
    mutant: &Mutant,
    usual: &BTreeMap<String, Duration>,
) -> Result<Outcome, String> {
    if !mutant.is_lua() {
        match tree.build(mutant.tests().map(|(subject, _)| subject)) {
            Ok(built) => binaries.extend(built),
            Err(why) => return Ok(Outcome::NotBuilt(why)),
        }
    }
    for (subject, filters) in mutant.tests() {
        let deadline = PATIENCE + 2 * usual.get(subject).copied().unwrap_or_default();
        if let Ran::Failed { test, .. } = run::tests(tree, binaries, subject, &filters, deadline, Until::Failure)? {
            return Ok(Outcome::Noticed(test));
        }
    }
    Ok(Outcome::Survived)
}
