//! The documents: every page has its place, every link and anchor leads somewhere, and what they name is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::{files, root};

/// The README is what a newcomer reads first: two screens, not a book.
const README_BYTES: usize = 9 * 1024;

/// Columns of a line of prose; tables, blocks of code and links cannot be wrapped.
const COLUMNS: usize = 120;

/// Every Markdown file, with its path from the root and its text.
pub fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).expect("the root").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.ends_with(".md") {
            found.push((name, fs::read_to_string(path).expect("text")));
        } else if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(documents_below(&name));
        }
    }
    assert!(found.len() > 20, "only {} documents", found.len());
    found
}

fn documents_below(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("a folder").flatten() {
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(documents_below(&name));
        } else if name.ends_with(".md") {
            let text = fs::read_to_string(entry.path()).expect("text");
            found.push((name, text));
        }
    }
    found
}

/// What a document holds, as far as these tests want to know.
#[derive(Default)]
struct Contents {
    links: Vec<String>,
    anchors: BTreeSet<String>,
    code: Vec<String>,
}

fn contents(text: &str) -> Contents {
    let mut contents = Contents::default();
    let mut heading: Option<String> = None;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap_or_default());
                let before = times.entry(anchor.clone()).or_default();
                let unique = if *before == 0 { anchor } else { format!("{anchor}-{before}") };
                *before += 1;
                contents.anchors.insert(unique);
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                contents.links.push(dest_url.into_string());
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                for attribute in ["href=\"", "src=\""] {
                    let values = html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
                    contents.links.extend(values.map(str::to_owned));
                }
            }
            Event::Text(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
                contents.code.push(words.into_string());
            }
            _ => {}
        }
    }
    contents
}

/// The anchor of a heading, the same on GitHub and in an mdBook.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    };
    heading.to_lowercase().chars().filter_map(kept).collect()
}

/// A path without `.` and `..`, from the root; `None` if it leads out of the tree.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => normal.push(part),
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            _ => return None,
        }
    }
    Some(normal)
}

/// What is wrong with a link in a document, if anything.
fn fault(document: &str, link: &str, anchors: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    if ["https://", "http://", "mailto:"].iter().any(|start| link.starts_with(start)) {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let folder = Path::new(document).parent().expect("a folder");
    let target = if path.is_empty() { Some(PathBuf::from(document)) } else { normal(&folder.join(path)) };
    let Some(target) = target.filter(|target| root().join(target).exists()) else {
        return Some(format!("{document}: {link} leads nowhere"));
    };
    let anchor = anchor?;
    let known = anchors.get(&*target.to_string_lossy()).is_some_and(|anchors| anchors.contains(anchor));
    (!known).then(|| format!("{document}: {link} has no such heading"))
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let contents: BTreeMap<_, _> = documents().into_iter().map(|(path, text)| (path, contents(&text))).collect();
    let anchors = contents.iter().map(|(path, contents)| (path.clone(), contents.anchors.clone())).collect();
    let mut links = 0;
    let mut faults = Vec::new();
    for (path, contents) in &contents {
        links += contents.links.len();
        faults.extend(contents.links.iter().filter_map(|link| fault(path, link, &anchors)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(links > 100, "only {links} links were found");
}

#[test]
fn links_that_lead_nowhere_are_found() {
    let page =
        contents("# A page\n\n## Who, what?\n\n[a](b.md) ![c](d.svg) <a href=\"#who-what\">e</a>\n\n## Who what\n");
    assert_eq!(page.links, ["b.md", "d.svg", "#who-what"]);
    assert_eq!(page.anchors, ["a-page", "who-what", "who-what-1"].map(str::to_owned).into());
    let anchors = BTreeMap::from([("README.md".to_owned(), page.anchors)]);
    let is_good = |document: &str, link: &str| fault(document, link, &anchors).is_none();
    assert!(is_good("README.md", "#who-what") && is_good("docs/tour.md", "../README.md#a-page"));
    assert!(is_good("README.md", "src/main.rs") && is_good("README.md", "https://example.com/"));
    assert!(!is_good("README.md", "#who") && !is_good("docs/tour.md", "../README.md#who"));
    assert!(!is_good("README.md", "src/none.rs") && !is_good("README.md", "../other"));
}

#[test]
fn the_table_of_contents_names_every_page() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).expect("docs/SUMMARY.md");
    let mut named = BTreeSet::new();
    for link in contents(&summary).links {
        let page = normal(&Path::new("docs").join(&link)).expect("within the tree");
        assert!(root().join(&page).is_file(), "SUMMARY.md names {link}, which is not there");
        assert!(named.insert(page.to_string_lossy().into_owned()), "SUMMARY.md names {link} twice");
    }
    let pages = documents().into_iter().map(|(path, _)| path).filter(|path| path != "docs/SUMMARY.md");
    let missing: Vec<_> = pages.filter(|path| !named.contains(path)).collect();
    assert!(missing.is_empty(), "SUMMARY.md does not name {missing:?}");
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.len() <= README_BYTES, "README.md has {} bytes of {README_BYTES}", readme.len());
}

#[test]
fn prose_has_short_lines() {
    for (path, text) in documents() {
        let mut in_code = false;
        for (i, line) in text.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            let is_free = in_code || line.starts_with('|') || line.contains("](") || line.contains("://");
            let columns = line.chars().count();
            assert!(is_free || columns <= COLUMNS, "{path}:{}: {columns} columns", i + 1);
        }
    }
}

/// The check-lists and the map of the code name files and tests: they are there.
#[test]
fn files_and_tests_that_are_named_are_there() {
    let folders =
        ["src/", "lua/", "migrations/", "tests/", "benches/", "examples/", "grafana/", "docs/", ".ci/", ".sqlx/"];
    let tests = files("tests", "rs");
    let everything: String = tests.iter().chain(&files("src", "rs")).map(|(_, text)| text.as_str()).collect();
    let mut named = 0;
    for (path, text) in documents() {
        for words in contents(&text).code {
            let is_plain = !words.contains(['*', '<', ' ', '…', '{']);
            if is_plain && folders.iter().any(|folder| words.starts_with(folder)) {
                assert!(root().join(&words).exists(), "{path} names {words}, which is not there");
                named += 1;
            }
            // Names of tests are sentences. Fields and settings are shorter, and codes are texts somewhere.
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let is_sentence = words.matches('_').count() >= 3 && !words.starts_with("nowserving_");
            if is_sentence && words.chars().all(is_word) {
                let is_there =
                    [format!("fn {words}("), format!("\"{words}\"")].iter().any(|text| everything.contains(text));
                assert!(is_there, "{path} names {words}, which is not there");
                named += 1;
            }
            let Some((file, name)) = words.split_once("::").filter(|_| is_plain) else { continue };
            let of_subject = |path: &str| {
                let path = path.trim_start_matches("tests/").trim_start_matches("it/");
                let path = path.trim_start_matches("long/").trim_start_matches("short/");
                path.strip_prefix(file).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            let mut of_file = tests.iter().filter(|(path, _)| of_subject(path)).peekable();
            if of_file.peek().is_some() {
                let name = name.rsplit("::").next().unwrap_or_default();
                let is_there = of_file.any(|(_, text)| text.contains(&format!("fn {name}(")));
                assert!(is_there, "{path} names the test {words}, which is not there");
                named += 1;
            }
        }
    }
    assert!(named > 100, "only {named} files and tests are named");
}

/// The map of the code and the list of scripts are whole.
#[test]
fn the_maps_name_every_room_and_every_script() {
    let map = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let (_, map) = map.split_once("```text\nsrc/\n").expect("a map");
    let map: Vec<&str> = map.split("```").next().unwrap_or_default().lines().map(str::trim).collect();
    for entry in fs::read_dir(root().join("src")).expect("src").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".rs");
        let is_named = [format!("{stem}/ "), format!("{stem}.rs ")];
        let is_there = map.iter().any(|line| is_named.iter().any(|name| line.starts_with(name)));
        let is_known = ["main.rs", "lib.rs", "config.default.toml"].contains(&name.as_str());
        assert!(is_there || is_known, "docs/architecture.md has no {name} in its map");
    }
    let scripts = fs::read_to_string(root().join("lua/README.md")).expect("lua/README.md");
    for (path, _) in files("lua", "lua").iter().filter(|(path, _)| !path.starts_with("lua/lib/")) {
        let name = path.trim_start_matches("lua/");
        assert!(scripts.contains(&format!("]({name})")), "lua/README.md does not name {name}");
    }
}
