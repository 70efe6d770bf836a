//! Keys that have moved to a section whose name tells the truth about them. The old names are still read, from every
//! layer, and each use of one is told.

use std::fmt;

use super::{
    ConfigError,
    keys::{Given, env_name},
};

/// Each old key with the one that it is now. To move a key, move its field and its default, and add a line here.
const MOVED: [(&str, &str); 4] = [
    ("cleanup.interval_seconds", "survey.interval_seconds"),
    ("http.shutdown_deadline_ms", "shutdown.deadline_ms"),
    ("write_behind.memory_limit_mb", "admission.memory_limit_mb"),
    ("write_behind.outbox_limit", "admission.outbox_limit"),
];

/// A setting that was given under its old key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MovedKey {
    old: &'static str,
    new: &'static str,
    origin: String,
}

impl fmt::Display for MovedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new, origin } = self;
        let variable = env_name(new);
        write!(f, "`{old}` (from {origin}) has moved: write `{new}` ({variable}) instead; the old key is still read")
    }
}

pub(super) fn old_keys() -> impl Iterator<Item = &'static str> {
    MOVED.into_iter().map(|(old, _)| old)
}

/// Takes what a file says under old keys out of it. Answers with the values, each with its key.
///
/// # Errors
/// Where the file has both keys of a setting, with different values.
pub(super) fn take(file: &mut toml::Table, origin: &str) -> Result<Vec<(MovedKey, toml::Value)>, ConfigError> {
    let mut moved = Vec::new();
    for (old, new) in MOVED {
        let Some(value) = remove(file, old) else { continue };
        if find(file, new).is_some_and(|other| *other != value) {
            return Err(two_values(old.to_owned(), new.to_owned(), origin));
        }
        moved.push((MovedKey { old, new, origin: origin.to_owned() }, value));
    }
    Ok(moved)
}

/// Gives what one layer says under old keys its new ones.
///
/// # Errors
/// Where the layer has both keys of a setting, with different values.
pub(super) fn rename(layer: &mut [Given]) -> Result<Vec<MovedKey>, ConfigError> {
    let mut moved = Vec::new();
    for (old, new) in MOVED {
        let Some(at) = layer.iter().position(|given| given.key == old) else { continue };
        let origin = layer[at].origin.clone();
        if let Some(other) = layer.iter().find(|given| given.key == new)
            && other.text.trim() != layer[at].text.trim()
        {
            return Err(two_values(origin, other.origin.clone(), "the environment or the flags"));
        }
        new.clone_into(&mut layer[at].key);
        moved.push(MovedKey { old, new, origin });
    }
    Ok(moved)
}

impl MovedKey {
    /// What the setting is called now.
    pub(super) fn key(&self) -> &'static str {
        self.new
    }

    /// Where its value came from, for an error: an operator that looks there finds the old key.
    pub(super) fn place(&self) -> String {
        format!("{}, as `{}`", self.origin, self.old)
    }
}

fn two_values(old: String, new: String, origin: &str) -> ConfigError {
    ConfigError::TwoValues { old, new, origin: origin.to_owned() }
}

fn find<'t>(table: &'t toml::Table, key: &str) -> Option<&'t toml::Value> {
    match key.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}

fn remove(table: &mut toml::Table, key: &str) -> Option<toml::Value> {
    match key.split_once('.') {
        Some((section, rest)) => remove(table.get_mut(section)?.as_table_mut()?, rest),
        None => table.remove(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::known_keys;

    #[test]
    fn what_has_moved_is_where_it_says() {
        let known = known_keys();
        for (old, new) in MOVED {
            assert!(known.contains_key(new), "there is no setting {new}");
            assert!(!known.contains_key(old), "{old} is a setting still");
            let taken = known.keys().find(|key| env_name(key) == env_name(old));
            assert_eq!(taken, None, "its variable is that of {old}, too");
        }
    }
}
