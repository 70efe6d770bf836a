//! Whose order a row is, where the other system has ids of its own.

use std::{collections::HashMap, fs, path::Path, str::FromStr};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::domain::RestaurantId;

/// How the restaurant of a row is found.
#[derive(Debug, Default)]
pub(super) enum Restaurants {
    /// Its id there is its id here.
    #[default]
    Same,
    /// All rows are of this one.
    One(RestaurantId),
    /// Its id there, and here.
    Mapped(HashMap<String, RestaurantId>),
}

impl Restaurants {
    /// Reads a map: CSV of two columns (theirs, ours), or a JSON object.
    ///
    /// # Errors
    /// When it is no map.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let text = std::str::from_utf8(&bytes).ok().with_context(|| format!("{name} is no UTF-8"))?;
        let text = text.trim_start_matches('\u{feff}');
        let pairs = if text.trim_start().starts_with(['{', '[']) { of_json(text) } else { of_csv(text) };
        let pairs = pairs.with_context(|| format!("the map of restaurants {name}"))?;
        let mut map = HashMap::new();
        for (theirs, ours) in pairs {
            let theirs = theirs.trim().to_owned();
            let id = RestaurantId::from_str(ours.trim());
            let Ok(id) = id else { bail!("{name}: {theirs:?} leads to {ours:?}, which is no restaurant's id here") };
            if map.insert(theirs.clone(), id).is_some_and(|other| other != id) {
                bail!("{name}: {theirs:?} leads to two restaurants");
            }
        }
        if map.is_empty() {
            bail!("{name} names no restaurant");
        }
        Ok(Self::Mapped(map))
    }

    /// The restaurant that a row's own word means.
    pub(super) fn of(&self, word: Option<&str>) -> Option<RestaurantId> {
        match self {
            Self::One(id) => Some(*id),
            Self::Same => RestaurantId::from_str(word?).ok(),
            Self::Mapped(map) => map.get(word?).copied(),
        }
    }
}

type Pairs = Vec<(String, String)>;

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `{"L1": 7}`, or a list of pairs: `[["L1", 7]]`, `[{"theirs": "L1", "ours": 7}]`.
fn of_json(text: &str) -> anyhow::Result<Pairs> {
    match serde_json::from_str(text)? {
        Value::Object(map) => Ok(map.iter().map(|(theirs, ours)| (theirs.clone(), plain(ours))).collect()),
        Value::Array(list) => list
            .iter()
            .map(|entry| match (entry, entry.get("theirs"), entry.get("ours")) {
                (Value::Array(pair), ..) if pair.len() == 2 => Ok((plain(&pair[0]), plain(&pair[1]))),
                (_, Some(theirs), Some(ours)) => Ok((plain(theirs), plain(ours))),
                _ => bail!("{entry} is no pair of an id there and an id here"),
            })
            .collect(),
        _ => bail!("write an object: {{\"THEIRS\": OURS}}"),
    }
}

/// Two columns, with a header or without.
fn of_csv(text: &str) -> anyhow::Result<Pairs> {
    let first = text.lines().next().unwrap_or_default();
    let delimiter = [b';', b'\t'].into_iter().find(|sign| first.contains(char::from(*sign))).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let mut pairs = Pairs::new();
    for (at, record) in reader.records().enumerate() {
        let record = record?;
        let (Some(theirs), Some(ours), None) = (record.get(0), record.get(1), record.get(2)) else {
            bail!("line {} has {} fields: write theirs,ours", at + 1, record.len());
        };
        let is_header = at == 0 && !ours.trim().starts_with(|c: char| c.is_ascii_digit());
        if !is_header {
            pairs.push((theirs.to_owned(), ours.to_owned()));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> anyhow::Result<Restaurants> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        fs::write(file.path(), text).expect("it can be written");
        Restaurants::read(file.path())
    }

    #[test]
    fn a_map_is_a_table_or_an_object() {
        let seven = RestaurantId::new(7).ok();
        for text in [
            "theirs,ours\nL1,7\n\"Bar, old\",8\n",
            "L1;7\r\nBar, old;8\r\n",
            "\u{feff}L1\t7\nBar, old\t8\n",
            r#"{"L1": 7, "Bar, old": "8"}"#,
            r#"[["L1", 7], {"theirs": "Bar, old", "ours": 8}]"#,
        ] {
            let map = map(text).unwrap_or_else(|error| panic!("{text}: {error:#}"));
            assert_eq!(map.of(Some("L1")), seven, "{text}");
            assert_eq!(map.of(Some("Bar, old")), RestaurantId::new(8).ok(), "{text}");
            assert_eq!((map.of(Some("7")), map.of(None)), (None, None), "an id that is not in the map is unknown");
        }
    }

    #[test]
    fn a_map_that_is_none_is_told() {
        for (text, words) in [
            ("", "names no restaurant"),
            ("theirs,ours\n", "names no restaurant"),
            ("L1,7\nL2\n", "line 2"),
            ("L1,7\nL2,bar\n", "\"bar\""),
            ("L1,7\nL1,8\n", "two restaurants"),
            ("{\"L1\": 0}", "\"0\""),
            ("[1]", "no pair"),
        ] {
            let error = format!("{:#}", map(text).expect_err(text));
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
