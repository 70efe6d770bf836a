//! The copy of the tree that is broken, and builds of it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    list::{Mutant, binary_of},
    run::Binaries,
};

/// The copy.
pub struct Tree {
    /// Its root.
    pub root: PathBuf,
    /// A copy of its scripts, which tests read: cargo would build anew what was built with others.
    pub lua: PathBuf,
    target: PathBuf,
    _lock: File,
}

/// A file that is broken, and mended when this is dropped.
pub struct Broken {
    path: PathBuf,
    text: String,
    is_mended: bool,
}

impl Tree {
    /// Copies the files that git knows or would add.
    pub fn copy(from: &Path) -> Result<Self, String> {
        let folder = from.join("target/mutants");
        fs::create_dir_all(&folder).map_err(|error| told(&folder, &error))?;
        let lock = File::create(folder.join("lock")).map_err(|error| told(&folder, &error))?;
        lock.try_lock().map_err(|_| format!("another run works in {}", folder.display()))?;
        let [root, lua, target] = ["tree", "lua", "target"].map(|name| folder.join(name));
        let tree = Self { root, lua, target, _lock: lock };
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(from)
            .output()
            .map_err(|error| format!("git: {error}"))?;
        let listed = String::from_utf8(listed.stdout).map_err(|error| format!("git: {error}"))?;
        let mut files: BTreeSet<&Path> = listed.split('\0').filter(|name| !name.is_empty()).map(Path::new).collect();
        files.retain(|file| from.join(file).is_file());
        if files.is_empty() {
            return Err(format!("git knows no files in {}", from.display()));
        }
        mirror(from, &tree.root, &files)?;
        let scripts = files.iter().filter_map(|file| file.strip_prefix("lua").ok()).collect();
        mirror(&from.join("lua"), &tree.lua, &scripts)?;
        Ok(tree)
    }

    /// Breaks it.
    pub fn break_with(&self, mutant: &Mutant) -> Result<Broken, String> {
        let path = match mutant.file.strip_prefix("lua/") {
            Some(script) => self.lua.join(script),
            None => self.root.join(&mutant.file),
        };
        let text = fs::read_to_string(&path).map_err(|error| told(&path, &error))?;
        fs::write(&path, mutant.apply(&text)?).map_err(|error| told(&path, &error))?;
        Ok(Broken { path, text, is_mended: false })
    }

    /// Builds the test binaries of these subjects, and answers with where they are.
    pub fn build<'a>(&self, subjects: impl Iterator<Item = &'a str>) -> Result<Binaries, String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["test", "--no-run", "--quiet", "--message-format", "json-render-diagnostics"]);
        for binary in subjects.map(binary_of).collect::<BTreeSet<_>>() {
            match binary {
                "lib" => cargo.arg("--lib"),
                _ => cargo.args(["--test", binary]),
            };
        }
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).stdin(Stdio::null());
        // Nobody looks at a mutant with a debugger, and without that it is built sooner.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "false");
        let built = cargo.output().map_err(|error| format!("cargo: {error}"))?;
        if !built.status.success() {
            return Err(String::from_utf8_lossy(&built.stderr).into_owned());
        }
        let mut found = Binaries::new();
        for message in built.stdout.split(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<serde_json::Value>(message) else { continue };
            let (target, path) = (&message["target"], &message["executable"]);
            if let Some(path) = path.as_str()
                && message["profile"]["test"] == true
            {
                let is_lib = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"));
                let name = if is_lib { "lib" } else { target["name"].as_str().unwrap_or_default() };
                found.insert(name.to_owned(), PathBuf::from(path));
            }
        }
        Ok(found)
    }
}

impl Broken {
    /// Makes the file what it was.
    pub fn mend(mut self) -> Result<(), String> {
        self.is_mended = true;
        fs::write(&self.path, &self.text).map_err(|error| told(&self.path, &error))
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if !self.is_mended {
            fs::write(&self.path, &self.text).ok();
        }
    }
}

/// Makes a folder hold these files and no others. What is as it should be is not touched: cargo builds what is newer than
/// its last build, and that is every file that was broken or mended since.
fn mirror(from: &Path, to: &Path, files: &BTreeSet<&Path>) -> Result<(), String> {
    let mut waiting = vec![to.to_owned()];
    while let Some(folder) = waiting.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                waiting.push(path);
            } else if path.strip_prefix(to).is_ok_and(|file| !files.contains(file)) {
                fs::remove_file(&path).map_err(|error| told(&path, &error))?;
            }
        }
    }
    for file in files {
        let (source, copy) = (from.join(file), to.join(file));
        let text = fs::read(&source).map_err(|error| told(&source, &error))?;
        if fs::read(&copy).is_ok_and(|there| there == text) {
            continue;
        }
        fs::create_dir_all(copy.parent().unwrap_or(to)).map_err(|error| told(&copy, &error))?;
        fs::copy(&source, &copy).map_err(|error| told(&copy, &error))?;
    }
    Ok(())
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
