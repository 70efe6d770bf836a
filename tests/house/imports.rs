//! Which file uses which: read from the paths in the code, through the doors (`mod.rs`) that hand on what others define.

use std::collections::{BTreeMap, BTreeSet};

/// A path of modules and a name: `["crate", "domain", "OrderId"]`.
pub type Path = Vec<String>;

/// The files of the crate, and what each of them uses.
pub struct Imports {
    /// By file: the files that it uses, the doors above it and below it left out.
    pub uses: BTreeMap<String, BTreeSet<String>>,
    /// By file: the rooms through whose doors it reaches them.
    pub rooms: BTreeMap<String, BTreeSet<String>>,
}

struct File {
    module: Path,
    /// What it uses, as paths from `crate`.
    paths: Vec<Path>,
    /// What others find here by another name: name → path.
    handed_on: Vec<(String, Path)>,
}

impl Imports {
    /// Reads sources, each a path and a text. Tests inside them do not count.
    pub fn read(sources: &[(String, String)]) -> Self {
        let files: BTreeMap<&str, File> =
            sources.iter().map(|(path, text)| (path.as_str(), File::read(path, text))).collect();
        let by_module: BTreeMap<&[String], &str> =
            files.iter().map(|(path, file)| (file.module.as_slice(), *path)).collect();
        let (mut uses, mut rooms) = (BTreeMap::new(), BTreeMap::new());
        for (path, file) in files.iter().filter(|(path, _)| !is_test(path)) {
            let found = file.paths.iter().filter_map(|used| defined_in(used, &by_module, &files, 0));
            // A file and the doors that lead to it belong together.
            let found = found.filter(|other| {
                let theirs = &files[other.as_str()].module;
                other != path && !file.module.starts_with(theirs) && !theirs.starts_with(&file.module)
            });
            uses.insert((*path).to_owned(), found.collect());
            rooms.insert((*path).to_owned(), file.paths.iter().filter_map(|used| used.get(1).cloned()).collect());
        }
        Self { uses, rooms }
    }

    /// Files that use each other, directly or not: each list is one circle.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.uses.keys().map(|file| (file.as_str(), self.reach(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, others) in &reached {
            let circle: Vec<String> =
                others.iter().filter(|other| reached[*other].contains(file)).map(|other| (*other).to_owned()).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reach<'a>(&'a self, from: &'a str) -> BTreeSet<&'a str> {
        let (mut reached, mut waiting) = (BTreeSet::new(), vec![from]);
        while let Some(file) = waiting.pop() {
            for next in &self.uses[file] {
                if self.uses.contains_key(next) && reached.insert(next.as_str()) {
                    waiting.push(next);
                }
            }
        }
        reached
    }
}

impl File {
    fn read(path: &str, text: &str) -> Self {
        let module = module_of(path);
        let text = without_comments(text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default());
        let children: BTreeSet<&str> = text.lines().filter_map(child).collect();
        let absolute = |path: &[String]| absolute(path, &module, &children);
        let (mut paths, mut handed_on, mut rest) = (Vec::new(), Vec::new(), String::new());
        let mut from = 0;
        for (at, _) in text.match_indices("use ") {
            let line = text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
            let public = line.starts_with("pub");
            if at < from || !(line.is_empty() || public && line.split_whitespace().count() == 1) {
                continue;
            }
            let Some(end) = text[at..].find(';').map(|end| at + end) else { continue };
            rest.push_str(&text[from..at]);
            from = end;
            for (leaf, alias) in leaves(&text[at + 4..end]) {
                let Some(leaf) = absolute(&leaf) else { continue };
                if public {
                    handed_on.push((alias.unwrap_or_else(|| leaf.last().cloned().unwrap_or_default()), leaf.clone()));
                }
                paths.push(leaf);
            }
        }
        rest.push_str(&text[from..]);
        paths.extend(inline(&rest).iter().filter_map(|path| absolute(path)));
        Self { module, paths, handed_on }
    }
}

/// `src/http/api/orders.rs` → `crate::http::api::orders`.
pub fn module_of(path: &str) -> Path {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let parts = inner.split('/').filter(|part| !["mod", "lib"].contains(part));
    std::iter::once("crate").chain(parts).map(str::to_owned).collect()
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("/testing.rs")
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// The module that a line declares.
fn child(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix(';')?;
    let (before, name) = line.rsplit_once(' ')?;
    (before == "mod" || before.ends_with(" mod") && before.starts_with("pub")).then_some(name)
}

/// A path from `crate`; None where it leads out of the crate.
fn absolute(path: &[String], module: &[String], children: &BTreeSet<&str>) -> Option<Path> {
    let first = path.first()?.as_str();
    let supers = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match first {
        "crate" => return Some(path.to_vec()),
        "self" => (module, &path[1..]),
        "super" => (&module[..module.len().checked_sub(supers)?], &path[supers..]),
        child if children.contains(child) => (module, path),
        _ => return None,
    };
    Some(base.iter().chain(rest).filter(|part| *part != "self").cloned().collect())
}

/// The paths of a `use`, each with the name that it gets.
fn leaves(tree: &str) -> Vec<(Path, Option<String>)> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let (path, alias) =
            tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim().to_owned())));
        let path: Path = path.trim().split("::").map(str::to_owned).collect();
        let alias = alias.or_else(|| (path.last()? == "self").then(|| path.iter().rev().nth(1).cloned())?);
        return vec![(path, alias)];
    };
    let prefix: Path = tree[..open]
        .trim()
        .trim_end_matches("::")
        .split("::")
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    found.extend(leaves(&inner[start..at]));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    let with_prefix = |(path, alias): (Path, Option<String>)| {
        let alias = alias.or_else(|| (path == ["self"]).then(|| prefix.last().cloned())?);
        (prefix.iter().cloned().chain(path).collect(), alias)
    };
    found.into_iter().map(with_prefix).collect()
}

/// Paths in the code itself: `crate::metrics::redis_away()`.
fn inline(code: &str) -> Vec<Path> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    for root in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|letter: char| is_word(letter) || letter == ':') {
                continue;
            }
            let end =
                code[at..].find(|letter: char| !is_word(letter) && letter != ':').map_or(code.len(), |end| at + end);
            found.push(code[at..end].trim_end_matches(':').split("::").map(str::to_owned).collect());
        }
    }
    found
}

/// The file that defines what a path names.
fn defined_in(
    path: &[String],
    by_module: &BTreeMap<&[String], &str>,
    files: &BTreeMap<&str, File>,
    hops: usize,
) -> Option<String> {
    let (known, file) = (1..=path.len()).rev().find_map(|end| Some((end, *by_module.get(&path[..end])?)))?;
    let handed_on = path.get(known).and_then(|name| files[file].handed_on.iter().find(|(alias, _)| alias == name));
    match handed_on {
        Some((_, real)) if hops < 8 => {
            let real: Path = real.iter().chain(&path[known + 1..]).cloned().collect();
            defined_in(&real, by_module, files, hops + 1)
        }
        _ => Some(file.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sources: &[(&str, &str)]) -> Imports {
        Imports::read(&sources.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn paths_are_followed_through_doors() {
        let imports = read(&[
            ("src/lib.rs", "pub mod a;\npub mod b;\n"),
            ("src/a/mod.rs", "mod inner;\npub use self::inner::{Thing, other as Other};\npub struct Own;\n"),
            ("src/a/inner.rs", "use super::Own;\npub struct Thing;\n"),
            ("src/b.rs", "use crate::{\n    a::{self, Other, Thing},\n};\nfn f() { super::c::g() }\n"),
            ("src/c.rs", "// crate::b\nfn g() { crate::b::f() }\n#[cfg(test)]\nmod tests { use crate::a; }\n"),
        ]);
        let uses = |file: &str| imports.uses[file].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(uses("src/b.rs"), ["src/a/inner.rs", "src/a/mod.rs", "src/c.rs"]);
        assert_eq!(uses("src/a/inner.rs"), Vec::<&str>::new(), "its own door");
        assert_eq!(imports.circles(), [["src/b.rs", "src/c.rs"]]);
    }
}
