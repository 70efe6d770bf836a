//! Which keys there are, and how each is spelled in the environment.
//!
//! They are read from the embedded default file, so that it is the one place where a key is spelled next to its meaning;
//! the type of each default is the type that environment variables and flags are read as.

use std::collections::BTreeMap;

/// The embedded default file.
pub(crate) const DEFAULTS: &str = include_str!("../config.default.toml");

pub(super) const ENV_PREFIX: &str = "NOWSERVING_";

/// A value that came as text, with a name for where it came from ("NOWSERVING_LISTEN", "--listen").
pub(super) struct Given {
    pub origin: String,
    pub key: String,
    pub text: String,
}

/// The environment's name of a key.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The embedded defaults.
pub(super) fn defaults() -> toml::Table {
    toml::from_str(DEFAULTS).expect("the embedded defaults are TOML: a test reads them")
}

/// Every key, as a dotted path, with its default.
pub(super) fn known_keys() -> BTreeMap<String, toml::Value> {
    let mut keys = BTreeMap::new();
    flatten("", &defaults(), &mut keys);
    keys
}

/// The keys of a table, as dotted paths.
pub(super) fn flatten(prefix: &str, table: &toml::Table, keys: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, keys),
            other => drop(keys.insert(key, other.clone())),
        }
    }
}
