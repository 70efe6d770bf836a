//! The reference of the book (`docs/reference/`): what stands between the marks is made from the code, by `make reference`.

use std::{fmt::Write, fs};

use clap::{Arg, Command, CommandFactory};
use nowserving::{cli::Cli, http, metrics};
use serde_json::Value;

use crate::root;

const BEGIN: &str = "<!-- Made from the code by `make reference`: do not edit. -->\n";
const END: &str = "\n<!-- End of what is made from the code. -->";

/// Each page of the reference, with what is made for it.
fn made() -> [(&'static str, String); 5] {
    [
        ("api.md", calls()),
        ("errors.md", http::Code::markdown_table()),
        ("settings.md", settings()),
        ("metrics.md", descriptions()),
        ("command-line.md", command_line()),
    ]
}

/// A page as it should be: what stands around the marks is written by hand.
fn renewed(name: &str, made: &str) -> (String, String) {
    let page = fs::read_to_string(root().join("docs/reference").join(name)).expect("a page of the reference");
    let (before, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{name} has no line {BEGIN}"));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{name} has no line {END}"));
    let new = format!("{before}{BEGIN}\n{}\n{END}{after}", made.trim());
    (page, new)
}

#[test]
fn the_reference_is_what_the_code_says() {
    for (name, made) in made() {
        let (page, new) = renewed(name, &made);
        let differs = page.lines().zip(new.lines()).find(|(old, new)| old != new);
        assert!(page == new, "docs/reference/{name} is stale: run `make reference` ({differs:?})");
    }
}

#[test]
#[ignore = "writes the reference: `make reference`"]
fn write_the_reference() {
    for (name, made) in made() {
        let (_, new) = renewed(name, &made);
        fs::write(root().join("docs/reference").join(name), new).expect("written");
    }
}

/// A text as one cell of a table.
fn cell(text: &str) -> String {
    let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
    spaced.replace('|', "\\|").replace('<', "&lt;")
}

/// The calls of the OpenAPI document, a table for each tag.
fn calls() -> String {
    let document: Value = serde_json::from_str(&http::openapi().to_json().expect("JSON")).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut page = String::new();
    for tag in list(&document["tags"]) {
        let name = text(&tag["name"]);
        let _ = write!(page, "## {name}\n\n{}\n\n", text(&tag["description"]));
        page.push_str("| call | does | parameters and headers | roles |\n|---|---|---|---|\n");
        for (path, calls) in document["paths"].as_object().expect("paths") {
            for (method, call) in calls.as_object().expect("calls") {
                if !list(&call["tags"]).contains(&Value::from(name.as_str())) {
                    continue;
                }
                let said = text(&call["description"]);
                let more = said.split("\n\n").next().filter(|part| !part.starts_with("Roles: ")).unwrap_or_default();
                let summary = text(&call["summary"]);
                let stop = if summary.ends_with('?') { "" } else { "." };
                let does = cell(&format!("{summary}{stop} {more}"));
                let named = |place: &str| {
                    let all = list(&call["parameters"]).into_iter();
                    all.filter(|p| p["in"] == place).map(|p| format!("`{}`", text(&p["name"]))).collect::<Vec<_>>()
                };
                let takes = [named("query"), named("header")].concat().join(", ");
                let roles = match list(&call["x-roles"]) {
                    roles if roles.is_empty() => "no key needed".to_owned(),
                    roles => roles.iter().map(&text).collect::<Vec<_>>().join(", "),
                };
                let _ = writeln!(page, "| `{} {path}` | {does} | {takes} | {roles} |", method.to_uppercase());
            }
        }
        page.push('\n');
    }
    page
}

/// The settings as `config.default.toml` explains them, a table for each section.
fn settings() -> String {
    let defaults = fs::read_to_string(root().join("src/config.default.toml")).expect("the defaults");
    const HEAD: &str = "| key | default | what |\n|---|---|---|\n";
    let mut page = format!("## Top level\n\n{HEAD}");
    let (mut section, mut about) = (String::new(), String::new());
    for line in defaults.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            // What is indented is a list of forms.
            if comment.starts_with("   ") {
                let _ = write!(about, "<br>`{}`", comment.trim());
            } else {
                let _ = write!(about, " {}", comment.trim().replace('|', "\\|").replace('<', "&lt;"));
            }
        } else if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_end_matches(']');
            section = format!("{name}.");
            let _ = write!(page, "\n## {name}\n\n{HEAD}");
        } else if let Some((key, default)) = line.split_once(" = ") {
            let default = if default == "\"\"" { "empty".to_owned() } else { format!("`{default}`") };
            let _ = writeln!(page, "| `{section}{key}` | {default} | {} |", about.trim());
            about.clear();
        } else {
            about.clear();
        }
    }
    page
}

/// The metrics with what `/metrics` says of each.
fn descriptions() -> String {
    let mut page = String::from("| metric | type | what |\n|---|---|---|\n");
    for (name, kind, help) in metrics::HELP {
        let kind = match kind.strip_prefix("survey_") {
            Some(kind) => format!("{kind}, survey"),
            None => (*kind).to_owned(),
        };
        let _ = writeln!(page, "| `{name}` | {kind} | {} |", cell(help));
    }
    page
}

/// Every command with its options, those of all commands once.
fn command_line() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = String::from("## Flags of every command\n\n");
    options(&mut page, root.get_arguments().filter(|arg| arg.is_global_set()));
    for command in root.get_subcommands() {
        describe(&mut page, "nowserving", command);
    }
    page
}

fn describe(page: &mut String, parent: &str, command: &Command) {
    if command.get_name() == "help" {
        return;
    }
    let name = format!("{parent} {}", command.get_name());
    let usage = command.clone().render_usage().to_string();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n## {name}\n\n{}\n\n```text\n{}\n```\n\n", paragraphs(&about), usage.trim());
    options(page, command.get_arguments().filter(|arg| !arg.is_global_set()));
    if let Some(more) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = write!(page, "\n{}\n", paragraphs(&more.to_string()));
    }
    for command in command.get_subcommands() {
        describe(page, &name, command);
    }
}

/// Prose of any width, wrapped as the pages are.
fn paragraphs(text: &str) -> String {
    let mut wrapped = String::new();
    for paragraph in text.split("\n\n") {
        let mut columns = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            let gap = match columns {
                0 => "",
                _ if columns + 1 + length > 118 => "\n",
                _ => " ",
            };
            columns = if gap == " " { columns + 1 + length } else { length };
            wrapped.push_str(gap);
            wrapped.push_str(&word.replace('<', "&lt;"));
        }
        wrapped.push_str("\n\n");
    }
    wrapped.trim().to_owned()
}

fn options<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let args: Vec<_> = args.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())).collect();
    if args.is_empty() {
        return;
    }
    page.push_str("| argument | what |\n|---|---|\n");
    for arg in args {
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let mut what = cell(&help);
        let values: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if arg.get_action().takes_values() && !values.is_empty() {
            let _ = write!(what, " ({})", values.join(", "));
        }
        if let Some(name) = arg.get_env() {
            let _ = write!(what, " (or `{}`)", name.to_string_lossy());
        }
        let _ = writeln!(page, "| `{}` | {} |", arg.to_string().replace('|', "\\|"), what.trim());
    }
}
