//! The layers of the settings, and the checks that their keys exist.
//!
//! Which keys there are is read from the embedded default file, so that it is the one place where a key is spelled
//! next to its meaning; the type of each default is the type that environment variables and flags are read as.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::ConfigError;
use crate::failpoint;

/// The embedded default file.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

const ENV_PREFIX: &str = "NOWSERVING_";

/// The variable that stands for `--config`: the one that is not a setting.
pub(super) const ENV_CONFIG: &str = "NOWSERVING_CONFIG";

/// A value that came as text, with a name for where it came from ("NOWSERVING_LISTEN", "--listen").
pub(super) struct Given {
    pub origin: String,
    pub key: String,
    pub text: String,
}

/// Stacks the layers.
pub(super) fn stack(file: Option<&Path>, environment: Vec<Given>, flags: Vec<Given>) -> Result<Figment, ConfigError> {
    let keys = known_keys();
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        check_file(path, &text, &keys)?;
        figment = figment.merge(Named { name: path.display().to_string(), inner: Toml::string(&text) });
    }
    for given in environment.into_iter().chain(flags) {
        let value = typed(&given, &keys)?;
        figment = figment.merge(One { origin: given.origin, key: given.key, value });
    }
    Ok(figment)
}

/// The settings among the variables of an environment.
pub(super) fn from_environment(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(Option<PathBuf>, Vec<Given>), ConfigError> {
    let names: BTreeMap<String, String> = known_keys().into_keys().map(|key| (env_name(&key), key)).collect();
    let mut file = None;
    let mut given = Vec::new();
    for (name, text) in variables.filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        if name == failpoint::VARIABLE && cfg!(debug_assertions) {
            // Not a setting: tests end the daemon with it.
        } else if name == ENV_CONFIG {
            file = Some(text).filter(|path| !path.is_empty()).map(PathBuf::from);
        } else if let Some(key) = names.get(&name) {
            given.push(Given { origin: name, key: key.clone(), text });
        } else {
            let hint = hint(&name, names.keys().map(String::as_str));
            return Err(ConfigError::UnknownVariable { name, hint });
        }
    }
    Ok((file, given))
}

/// The environment's name of a key.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Every key, as a dotted path, with its default.
pub(super) fn known_keys() -> BTreeMap<String, toml::Value> {
    let table: toml::Table = toml::from_str(DEFAULTS).expect("the embedded defaults are TOML: a test reads them");
    let mut keys = BTreeMap::new();
    flatten("", &table, &mut keys);
    keys
}

fn flatten(prefix: &str, table: &toml::Table, keys: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, keys),
            other => drop(keys.insert(key, other.clone())),
        }
    }
}

fn check_file(path: &Path, text: &str, known: &BTreeMap<String, toml::Value>) -> Result<(), ConfigError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| ConfigError::NotToml {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| text[..span.start].lines().count().max(1)),
        reason: error.message().to_owned(),
    })?;
    let mut present = BTreeMap::new();
    flatten("", &table, &mut present);
    // A section without keys says nothing, but a misspelt one is a mistake all the same.
    let empty = table.iter().filter(|(_, value)| value.as_table().is_some_and(toml::Table::is_empty));
    let sections: Vec<&str> = known.keys().filter_map(|key| key.split_once('.').map(|(section, _)| section)).collect();
    for (name, _) in empty {
        if !sections.contains(&name.as_str()) {
            let hint = hint(name, sections.iter().copied());
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key: name.clone(), hint });
        }
    }
    match present.into_keys().find(|key| !known.contains_key(key)) {
        None => Ok(()),
        Some(key) => {
            let hint = hint(&key, known.keys().map(String::as_str));
            Err(ConfigError::UnknownKey { path: path.to_owned(), key, hint })
        }
    }
}

/// ": did you mean …?" with the nearest of the known names, or where to look when none is near.
fn hint<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (strsim::jaro_winkler(unknown, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness > 0.7 => format!("did you mean `{name}`?"),
        _ => "`nowserving config` lists the known ones".to_owned(),
    }
}

/// Reads a text as the type that the key's default has.
fn typed(given: &Given, known: &BTreeMap<String, toml::Value>) -> Result<Value, ConfigError> {
    let text = given.text.trim();
    let wrong = |expected| ConfigError::WrongType { origin: given.origin.clone(), expected };
    match known.get(&given.key) {
        Some(toml::Value::Integer(_)) => text.parse::<i64>().map(Value::from).map_err(|_| wrong("a whole number")),
        Some(toml::Value::Float(_)) => text.parse::<f64>().map(Value::from).map_err(|_| wrong("a number")),
        Some(toml::Value::Boolean(_)) => text.parse::<bool>().map(Value::from).map_err(|_| wrong("true or false")),
        Some(toml::Value::Array(_)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::from(items.map(Value::from).collect::<Vec<_>>()))
        }
        Some(_) => Ok(Value::from(text)),
        None => unreachable!("{} is not a key of the default file: a test checks each flag", given.key),
    }
}

/// A provider under a name of our own, so that an error can say where a value came from.
struct Named<P> {
    name: String,
    inner: P,
}

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.inner.data()
    }
}

/// One value.
struct One {
    origin: String,
    key: String,
    value: Value,
}

impl Provider for One {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Map::from([(Profile::Default, nested.into_dict().unwrap_or_default())]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_share_an_environment_name() {
        let keys = known_keys();
        let names: BTreeSet<String> = keys.keys().map(|key| env_name(key)).collect();
        assert_eq!(names.len(), keys.len());
        assert!(!names.contains(ENV_CONFIG), "{ENV_CONFIG} stands for --config");
        assert!(names.contains("NOWSERVING_REDIS_URL") && names.contains("NOWSERVING_WRITE_BEHIND_BATCH_SIZE"));
    }

    #[test]
    fn every_default_is_explained() {
        let mut lines = DEFAULTS.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(next) = lines.peek()
                && next.contains(" = ")
                && !next.starts_with('#')
            {
                assert!(line.starts_with('#'), "no comment above: {next}");
            }
        }
    }
}
