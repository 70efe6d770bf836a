//! JSON with nothing left to chance: a repeated key or a number that would be rounded beyond recognition is a fault.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{
    FaultCode, Location, pointer_to,
    text::{self, Mark},
};
use crate::{
    domain::metadata::is_kept,
    http::problem::{Fault, MOST_FAULTS},
};

/// Parses a whole document. The error is for what is not JSON; the faults are for what is, but is refused.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Value, Vec<Fault>), serde_json::Error> {
    read(bytes, None).or_else(|error| match text::with_marks(bytes) {
        Some((marked, mark)) => read(&marked, Some(mark)),
        None => Err(error),
    })
}

fn read(bytes: &[u8], mark: Option<Mark>) -> Result<(Value, Vec<Fault>), serde_json::Error> {
    let mut faults = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { at: &Place::Root, mark, faults: &mut faults }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, faults))
}

/// Where in the document the parser is, as a chain on the stack: it costs nothing until there is a fault.
enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(parent, key) => parent.pointer() + &pointer_to(key),
            Self::Index(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }
}

/// What is wrong with a text that was cut in the middle of an emoji.
const HALF: &str =
    "holds half of a character, a surrogate such as \\ud83c without its other half: cut texts between characters";

fn shown(text: &str, mark: Mark) -> String {
    text.replace(mark, "\u{fffd}")
}

struct Strict<'a> {
    at: &'a Place<'a>,
    /// Stands for half of a character.
    mark: Option<Mark>,
    faults: &'a mut Vec<Fault>,
}

impl Strict<'_> {
    fn fault(&mut self, code: FaultCode, detail: &str) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault::new(Location::Body, self.at.pointer(), code, detail));
        }
    }

    /// Notes the halves of characters in a text, which are shown as browsers show them.
    fn without_halves(&mut self, text: String) -> String {
        let Some(mark) = self.mark.filter(|mark| text.contains(*mark)) else { return text };
        self.fault(FaultCode::InvalidValue, HALF);
        shown(&text, mark)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    /// Whole numbers beyond 64 bits arrive here too, and would not be given back as they came.
    fn visit_f64<E: Error>(mut self, value: f64) -> Result<Value, E> {
        if !is_kept(value) {
            self.fault(FaultCode::OutOfRange, "a number this large cannot be kept exactly; send it as a string");
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E>(mut self, value: String) -> Result<Value, E> {
        Ok(Value::String(self.without_halves(value)))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict {
            at: &Place::Index(self.at, array.len()),
            mark: self.mark,
            faults: self.faults,
        })? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(mut key) = entries.next_key::<String>()? {
            // It is its own place, which is shown without marks.
            let marked = self.mark.filter(|mark| key.contains(*mark));
            if let Some(mark) = marked {
                key = shown(&key, mark);
            }
            let at = Place::Key(self.at, &key);
            let mut entry = Strict { at: &at, mark: self.mark, faults: self.faults };
            if marked.is_some() {
                entry.fault(FaultCode::InvalidValue, HALF);
            }
            if object.contains_key(&key) {
                entry.fault(FaultCode::Duplicate, "this key is there twice");
            }
            let value = entries.next_value_seed(entry)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
