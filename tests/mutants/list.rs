//! The list of mutants: ways to break the program, each with the tests that notice it. `tests/mutants/<area>.toml` holds
//! those of an area.

use std::{fs, path::Path};

use serde::Deserialize;

/// One way to break the program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// Unique in all areas.
    pub name: String,
    /// The path of the file that is changed, from the root.
    pub file: String,
    /// A text that occurs once in the file.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
    /// The promise that is broken.
    pub breaks: String,
    /// A subject of `tests/it` each (or `lib` for the unit tests), and parts of test names; without any, all of its tests.
    pub tests: Vec<String>,
    /// Why no test can notice it; then these tests pass.
    pub survives: Option<String>,
    /// The file of the list that it is in, without `.toml`.
    #[serde(skip)]
    pub area: String,
}

/// The test binary that a subject is in.
pub fn binary_of(subject: &str) -> &str {
    if subject == "lib" { subject } else { "it" }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    mutant: Vec<Mutant>,
}

/// All mutants of a tree, by area.
pub fn read(root: &Path) -> Result<Vec<Mutant>, String> {
    let folder = root.join("tests/mutants");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut mutants = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let area: Area = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        mutants.extend(area.mutant.into_iter().map(|mutant| Mutant { area: name.clone(), ..mutant }));
    }
    Ok(mutants)
}

impl Mutant {
    /// Whether only a script is changed, so that nothing is built.
    pub fn is_lua(&self) -> bool {
        self.file.starts_with("lua/")
    }

    /// The text of its file, broken.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        if self.find == self.replace {
            return Err(format!("{} changes nothing", self.name));
        }
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            count => Err(format!("{}: what it looks for occurs {count} times in {}", self.name, self.file)),
        }
    }

    /// Its tests: each subject, and the parts of names.
    pub fn tests(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.tests.iter().map(|test| {
            let mut words = test.split_whitespace();
            (words.next().unwrap_or_default(), words.collect())
        })
    }
}
