//! The layers of the settings, and the checks that their keys exist.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{
    ConfigError,
    keys::{ENV_PREFIX, Given, defaults, env_name, flatten, known_keys},
    moved::{self, MovedKey},
    service_links::is_service_link,
};
use crate::failpoint;

/// The variable that stands for `--config`, and so is not a setting.
pub(super) const ENV_CONFIG: &str = "NOWSERVING_CONFIG";

/// The variable that names a folder to read Lua scripts from, in debug builds. Not a setting either: see
/// `allocator/lua_folder.rs`.
pub const ENV_LUA_FOLDER: &str = "NOWSERVING_LUA_FOLDER";

/// Names of other programs for what has another one here, behind the prefix, and its key. By their letters others would
/// be nearer.
const MEANT: [(&str, &str); 8] = [
    ("PORT", "listen"),
    ("HOST", "listen"),
    ("BIND", "listen"),
    ("REDIS_HOST", "redis_url"),
    ("REDIS_PORT", "redis_url"),
    ("DATABASE_HOST", "database_url"),
    ("DATABASE_PORT", "database_url"),
    ("POSTGRES_URL", "database_url"),
];

/// Stacks the layers. Answers also with what stands in them under an old key.
pub(super) fn stack(
    file: Option<&Path>,
    mut environment: Vec<Given>,
    mut flags: Vec<Given>,
) -> Result<(Figment, Vec<MovedKey>), ConfigError> {
    let keys = known_keys();
    let mut figment = Figment::from(Named { name: "the defaults".to_owned(), inner: Serialized::defaults(defaults()) });
    let mut moved = Vec::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut table = check_file(path, &text, &keys)?;
        let name = path.display().to_string();
        let renamed = moved::take(&mut table, &name)?;
        figment = figment.merge(Named { name, inner: Serialized::defaults(table) });
        for (key, value) in renamed {
            let value = Value::serialize(value).expect("a value of TOML is one of figment, too");
            figment = figment.merge(One { origin: key.place(), key: key.key().to_owned(), value });
            moved.push(key);
        }
    }
    for layer in [&mut environment, &mut flags] {
        moved.extend(moved::rename(layer)?);
    }
    for given in environment.into_iter().chain(flags) {
        let value = typed(&given, &keys)?;
        figment = figment.merge(One { origin: given.origin, key: given.key, value });
    }
    Ok((figment, moved))
}

/// The variables that begin as those of settings do. One whose name is not Unicode cannot be one of ours.
pub(super) fn own_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let named = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let ours = named.filter(|(name, _)| name.starts_with(ENV_PREFIX));
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(ConfigError::NotUnicode { name }),
    })
    .collect()
}

/// The settings among the variables of an environment.
pub(super) fn from_environment(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(Option<PathBuf>, Vec<Given>), ConfigError> {
    let names: BTreeMap<String, String> = known_keys().into_keys().map(|key| (env_name(&key), key)).collect();
    let old_names: BTreeMap<String, &str> = moved::old_keys().map(|key| (env_name(key), key)).collect();
    let mut file = None;
    let mut given = Vec::new();
    for (name, text) in variables.filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        if [failpoint::VARIABLE, ENV_LUA_FOLDER].contains(&name.as_str()) && cfg!(debug_assertions) {
            // Not settings: tests end the daemon with one, and break its scripts with the other.
        } else if name == ENV_CONFIG {
            file = Some(text).filter(|path| !path.is_empty()).map(PathBuf::from);
        } else if let Some(key) = names.get(&name) {
            given.push(Given { origin: name, key: key.clone(), text });
        } else if let Some(key) = old_names.get(&name) {
            given.push(Given { origin: name, key: (*key).to_owned(), text });
        } else if !is_service_link(&name[ENV_PREFIX.len()..], &text) {
            let meant = MEANT.iter().find(|(other, _)| name.strip_prefix(ENV_PREFIX) == Some(other));
            let hint = match meant {
                Some((_, key)) => format!("did you mean `{}`?", env_name(key)),
                None => hint(&name, names.keys().map(String::as_str)),
            };
            return Err(ConfigError::UnknownVariable { name, hint });
        }
    }
    Ok((file, given))
}

/// What a file says, in keys that there are or were.
fn check_file(path: &Path, text: &str, known: &BTreeMap<String, toml::Value>) -> Result<toml::Table, ConfigError> {
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
    let is_known = |key: &String| known.contains_key(key) || moved::old_keys().any(|old| old == key);
    match present.into_keys().find(|key| !is_known(key)) {
        None => Ok(table),
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
    use crate::config::keys::DEFAULTS;

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
