//! The tours of the README and of `docs/tour.md`, run as they are written: every `$` line of their `console` blocks, with
//! the answers that stand below it.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Daemon, DaemonOptions};

/// A command, and what the page says it answers.
struct Step {
    command: String,
    answer: String,
}

/// The steps of all `console` blocks, in order: the tour is one session.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), answer: String::new() }),
                (None, Some(step)) if step.command.ends_with('\\') => {
                    step.command.push('\n');
                    step.command.push_str(line);
                }
                (None, Some(step)) => step.answer = format!("{}{line}\n", step.answer),
                (None, None) => panic!("a console block begins with a command"),
            }
        }
    }
    steps
}

/// What is different each time is made alike: ids, times, and how a JSON answer is laid out.
fn alike(text: &str) -> String {
    let text = match serde_json::from_str::<serde_json::Value>(text.trim()) {
        Ok(json) => json.to_string(),
        Err(_) => text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned(),
    };
    let id = marked(&text, 36, |i, c| if [8, 13, 18, 23].contains(&i) { c == '-' } else { c.is_ascii_hexdigit() });
    let time = marked(&id, 24, |i, c| match i {
        4 | 7 => c == '-',
        10 => c == 'T',
        13 | 16 => c == ':',
        19 => c == '.',
        23 => c == 'Z',
        _ => c.is_ascii_digit(),
    });
    let date = marked(&time, 10, |i, c| if i == 4 || i == 7 { c == '-' } else { c.is_ascii_digit() });
    let request = marked(&date, 18, |i, c| if i == 0 || i == 17 { c == '"' } else { c.is_ascii_hexdigit() });
    // On a slow day a second has passed already.
    marked(&request, 13, |i, c| if i == 12 { c.is_ascii_digit() } else { "retry after ".chars().nth(i) == Some(c) })
}

/// Replaces every run of `length` characters of this shape by a mark.
fn marked(text: &str, length: usize, shape: impl Fn(usize, char) -> bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut result = String::new();
    let mut at = 0;
    while at < chars.len() {
        if at + length <= chars.len() && (0..length).all(|i| shape(i, chars[at + i])) {
            result.push('…');
            at += length;
        } else {
            result.push(chars[at]);
            at += 1;
        }
    }
    result
}

#[test]
fn the_tour_goes_as_the_readme_says() {
    assert!(run("README.md") >= 5, "the README has a tour");
}

#[test]
fn the_tour_goes_as_it_is_written() {
    assert!(run("docs/tour.md") > 10, "docs/tour.md is a tour");
}

/// Runs the steps of a page against a daemon of its own; how many there are.
fn run(page: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let steps = steps(&fs::read_to_string(path).expect(page));
    let options = DaemonOptions::local();
    let daemon = Daemon::start(&options);
    const MARK: &str = "=====";
    let mut script = String::new();
    for step in &steps {
        script.push_str(&format!("{}\necho '{MARK}'\n", step.command));
    }
    let script = script
        .replace("localhost:8042", daemon.url().trim_start_matches("http://"))
        .replace("target/debug/nowserving", env!("CARGO_BIN_EXE_nowserving"));
    let mut shell = Command::new("bash")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NOWSERVING_DATA_DIR", &options.data_dir)
        .env("NOWSERVING_REDIS_NAMESPACE", &options.namespace)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash");
    shell.stdin.take().expect("piped").write_all(script.as_bytes()).expect("bash reads");
    let output = shell.wait_with_output().expect("bash ends");
    let answers = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<&str> = answers.split(&format!("{MARK}\n")).collect();
    for (step, answer) in steps.iter().zip(&answers) {
        assert_eq!(alike(answer), alike(&step.answer), "{page}: $ {}\n{answer}", step.command);
    }
    assert_eq!(answers.len(), steps.len() + 1);
    // It is alone here, and says what else there is to see.
    let board = format!("open {}/board/1, the board of restaurant 1", daemon.url());
    assert!(daemon.output().contains(&board), "{}", daemon.output());
    steps.len()
}

/// `#[tokio::test]`, with arguments or without.
fn is_tokio_test(attribute: &str) -> bool {
    attribute
        .strip_prefix("#[tokio::test")
        .is_some_and(|rest| rest == "]" || rest.starts_with('(') && rest.ends_with(")]"))
}

/// Each line of both tables of what survives what names tests, and these are there.
#[test]
fn every_line_of_what_survives_what_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/recovery.md")).expect("docs/recovery.md");
    let (_, section) = page.split_once("## What survives what\n").expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut lines = 0;
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let shown_by = line.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        if shown_by == "shown by" {
            continue;
        }
        lines += 1;
        let tests: Vec<&str> = shown_by.split('`').filter(|text| !text.trim().is_empty()).collect();
        assert!(!tests.is_empty(), "{line} names no test");
        for test in tests {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} is no test ({line})"));
            let places = ["long", "short"].map(|folder| root.join("tests/it").join(folder).join(file));
            let files = places.into_iter().flat_map(|place| {
                let folder = fs::read_dir(&place).into_iter().flatten().flatten();
                folder.map(|entry| entry.path()).chain([place.with_extension("rs")]).collect::<Vec<_>>()
            });
            let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
            let (before, _) = text.split_once(&format!("fn {name}()")).unwrap_or_else(|| panic!("no test {test}"));
            let before = before.trim_end_matches("async ").trim_end();
            let attributes: Vec<&str> = before.lines().rev().take_while(|line| line.starts_with("#[")).collect();
            let is_test = |line: &&str| *line == "#[test]" || is_tokio_test(line);
            assert!(attributes.iter().any(is_test), "{test} is no test: {attributes:?}");
            assert!(!attributes.iter().any(|line| line.starts_with("#[ignore")), "{test} is left out: {attributes:?}");
        }
    }
    assert!(lines >= 15, "only {lines} lines");
}
