//! Draws requests from the document: valid ones, and ones that are wrong in some way.

use std::collections::HashMap;
use std::fmt;

use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

/// One call of the document.
pub struct Operation {
    pub method: String,
    pub path: String,
    /// `GET /v1/orders/{internal_order_id}`
    pub name: String,
    pub document: Value,
}

impl Operation {
    /// All of them.
    pub fn all(document: &Value) -> Vec<Self> {
        let paths = document["paths"].as_object().expect("paths");
        let all = paths.iter().flat_map(|(path, item)| {
            item.as_object().expect("operations").iter().map(move |(method, operation)| Self {
                method: method.to_uppercase(),
                path: path.clone(),
                name: format!("{} {path}", method.to_uppercase()),
                document: operation.clone(),
            })
        });
        all.collect()
    }
}

/// What is sent.
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Option<Vec<u8>>,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        for (name, value) in &self.headers {
            write!(f, "\n{name}: {}", value.escape_ascii())?;
        }
        match &self.body {
            Some(body) => write!(f, "\n\n{}", body[..body.len().min(2000)].escape_ascii()),
            None => Ok(()),
        }
    }
}

/// A source of requests. It remembers values that the daemon has answered with, by field, since ids cannot be guessed.
pub struct Draw {
    random: StdRng,
    components: Value,
    known: HashMap<String, Vec<Value>>,
}

const MOST_KNOWN: usize = 40;
const DEEPEST: usize = 6;

/// Headers that any call may have, and that are sent with nonsense in them.
const ODD_HEADERS: [&str; 12] = [
    "x-request-id",
    "accept",
    "accept-encoding",
    "traceparent",
    "host",
    "origin",
    "sec-fetch-site",
    "x-forwarded-host",
    "x-http-method-override",
    "if-unmodified-since",
    "if-match",
    "content-encoding",
];

/// Texts that mean something somewhere, and texts that mean nothing.
const TEXTS: [&str; 34] = [
    "",
    " ",
    "0",
    "1",
    "42",
    "0042",
    "-1",
    "999999",
    "1000000",
    "2147483648",
    "9223372036854775808",
    "1e9",
    "true",
    "null",
    "ready",
    "completed",
    "pending",
    "{n:04}",
    "{n}",
    "{",
    "2026-11-23T02:50:41Z",
    "\0",
    "\u{feff}",
    "%",
    "_",
    "'",
    "\"",
    "\\",
    "🍕",
    "R1-0001",
    "00000000-0000-0000-0000-000000000000",
    "../..",
    "a,b",
    "ledger",
];

impl Draw {
    pub fn new(document: &Value, seed: u64) -> Self {
        let components = document["components"].clone();
        Self { random: StdRng::seed_from_u64(seed), components, known: HashMap::new() }
    }

    /// Remembers the values of an answer.
    pub fn learn(&mut self, answer: &str) {
        if let Ok(answer) = serde_json::from_str::<Value>(answer) {
            self.learn_from("", &answer);
        }
    }

    fn learn_from(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| self.learn_from(name, value)),
            Value::Array(items) => items.iter().take(5).for_each(|item| self.learn_from(name, item)),
            Value::Null => {}
            _ => {
                let known = self.known.entry(name.trim_start_matches("next_").to_owned()).or_default();
                if known.len() == MOST_KNOWN {
                    known.remove(0);
                }
                known.push(value.clone());
            }
        }
    }

    /// A request for this operation.
    pub fn request(&mut self, operation: &Operation) -> Request {
        let mut path = operation.path.clone();
        let (mut query, mut headers) = (Vec::new(), Vec::new());
        for parameter in operation.document["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            match parameter["in"].as_str() {
                Some("path") => {
                    let text = self.parameter(name, &parameter["schema"]);
                    path = path.replace(&format!("{{{name}}}"), &segment(&text));
                }
                Some("query") if self.is_given(parameter) => {
                    query.push((name, self.parameter(name, &parameter["schema"])))
                }
                Some("header") if self.is_given(parameter) => {
                    let value = self.header(name, &parameter["schema"]);
                    headers.push((name.to_owned(), value));
                }
                _ => {}
            }
        }
        if self.one_in(15) {
            query.push((
                *["limit", "q", "nothing", "", "é", "cursor"].choose(&mut self.random).expect("some"),
                self.text(),
            ));
        }
        if !query.is_empty() {
            let pairs: Vec<_> =
                query.iter().map(|(name, text)| format!("{}={}", encoded(name), encoded(text))).collect();
            path = format!("{path}?{}", pairs.join("&"));
        }
        let body = self.body(&operation.document["requestBody"]);
        if body.is_some() && !self.one_in(20) {
            headers.push(("content-type".into(), b"application/json".to_vec()));
        } else if self.one_in(20) {
            headers.push(("content-type".into(), self.visible()));
        }
        if self.one_in(20) {
            let name = *ODD_HEADERS.choose(&mut self.random).expect("some");
            headers.push((name.into(), self.visible()));
        }
        Request { path, headers, body }
    }

    fn is_given(&mut self, parameter: &Value) -> bool {
        if parameter["required"] == true { !self.one_in(15) } else { self.one_in(3) }
    }

    fn parameter(&mut self, name: &str, schema: &Value) -> String {
        if self.one_in(6) {
            return self.text();
        }
        match self.valid(name, schema, 0) {
            Value::String(text) => text,
            value => value.to_string(),
        }
    }

    fn header(&mut self, name: &str, schema: &Value) -> Vec<u8> {
        if self.one_in(4) {
            return self.visible();
        }
        let value = self.valid(&name.to_lowercase(), schema, 0);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.bytes().filter(|byte| (32..127).contains(byte)).collect()
    }

    /// Bytes that HTTP allows in a header.
    fn visible(&mut self) -> Vec<u8> {
        let length = self.random.random_range(0..60);
        (0..length)
            .map(|_| *[b' ', b'"', b'*', b',', b'a', b'7', b'/', 0xe9].choose(&mut self.random).expect("some"))
            .collect()
    }

    fn body(&mut self, described: &Value) -> Option<Vec<u8>> {
        let schema = &described["content"]["application/json"]["schema"];
        if !schema.is_object() {
            // None is expected.
            return self.one_in(20).then(|| self.junk(0).to_string().into_bytes());
        }
        if self.one_in(if described["required"] == true { 20 } else { 4 }) {
            return None;
        }
        let mut body = self.valid("", schema, 0);
        if self.one_in(2) {
            self.spoil(&mut body);
        }
        let mut bytes = body.to_string().into_bytes();
        match self.random.random_range(0..40) {
            // JSON that broke on its way.
            0 => {
                let at = self.random.random_range(0..bytes.len());
                bytes[at] = self.random.random();
            }
            1 => bytes.truncate(bytes.len() / 2),
            2 => bytes = (0..200).map(|_| self.random.random()).collect(),
            3 => bytes = ["{\"metadata\":".repeat(300), "1".into(), "}".repeat(300)].concat().into_bytes(),
            _ => {}
        }
        Some(bytes)
    }

    /// A value that fits the schema, as far as the schema tells.
    fn valid(&mut self, name: &str, schema: &Value, depth: usize) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.strip_prefix("#/components").expect("a reference into the components");
            let target = self.components.pointer(pointer).expect("it leads somewhere").clone();
            return self.valid(name, &target, depth);
        }
        if self.random.random_bool(0.6)
            && let Some(known) = self.known_value(name)
        {
            return known;
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        for (key, whole) in [("enum", true), ("oneOf", false), ("anyOf", false), ("examples", true)] {
            if let Some(choice) = schema[key].as_array().and_then(|list| list.choose(&mut self.random)).cloned()
                && (key != "examples" || self.one_in(5))
            {
                return if whole { choice } else { self.valid(name, &choice, depth) };
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let parts: Vec<_> = parts.iter().map(|part| self.valid("", part, depth)).collect();
            return parts
                .into_iter()
                .filter_map(|part| part.as_object().cloned())
                .flatten()
                .collect::<Map<_, _>>()
                .into();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.choose(&mut self.random).and_then(Value::as_str),
            kind => kind.as_str(),
        };
        match kind {
            Some("null") => Value::Null,
            Some("boolean") => self.random.random::<bool>().into(),
            Some("integer") => self.integer(schema).into(),
            Some("number") => (self.integer(schema) as f64 + 0.5).into(),
            Some("string") => self.string(schema).into(),
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let length = least + self.random.random_range(0..4);
                (0..length).map(|_| self.valid("", &schema["items"], depth + 1)).collect()
            }
            Some("object") => self.object(schema, depth),
            _ => self.junk(depth),
        }
    }

    fn known_value(&mut self, name: &str) -> Option<Value> {
        // A `restaurant_id` may be any; small ones are drawn often enough to meet again.
        if name.is_empty() || name == "restaurant_id" {
            return None;
        }
        let short = name.rfind('_').map_or(name, |at| &name[at + 1..]);
        let known = self.known.get(name).or_else(|| self.known.get(short))?;
        known.choose(&mut self.random).cloned()
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if required.iter().any(|needed| needed == name) || self.one_in(3) {
                object.insert(name.clone(), self.valid(name, property, depth + 1));
            }
        }
        if schema["properties"].is_null() && depth < DEEPEST {
            object.insert("k".into(), self.junk(depth + 1));
        }
        object.into()
    }

    /// Small, at an end of its range, or anywhere in it.
    fn integer(&mut self, schema: &Value) -> i64 {
        let least = schema["minimum"].as_i64().unwrap_or(0);
        let most = schema["maximum"].as_i64().unwrap_or(1_000_000).max(least);
        match self.random.random_range(0..10) {
            0 => least,
            1 => most,
            2 => self.random.random_range(least..=most),
            _ => self.random.random_range(least..=most.min(least.saturating_add(8))),
        }
    }

    fn string(&mut self, schema: &Value) -> String {
        match schema["format"].as_str() {
            Some("uuid") => uuid::Uuid::from_u128(self.random.random()).to_string(),
            Some("date-time") => {
                let seconds = self.random.random_range(1_500_000_000..2_000_000_000);
                chrono::DateTime::from_timestamp(seconds, 0).expect("a time").to_rfc3339()
            }
            _ => {
                let least = usize::try_from(schema["minLength"].as_u64().unwrap_or(0)).expect("small");
                let most = usize::try_from(schema["maxLength"].as_u64().unwrap_or(30)).expect("small");
                let text: String = self.text().chars().take(most).collect();
                let missing = least.saturating_sub(text.chars().count());
                text + &"x".repeat(missing)
            }
        }
    }

    fn text(&mut self) -> String {
        match self.random.random_range(0..10) {
            0 => (0..self.random.random_range(0..300)).map(|_| self.random.random::<char>()).collect(),
            1..4 => self.random.random_range(0..60_u32).to_string(),
            _ => (*TEXTS.choose(&mut self.random).expect("some")).to_owned(),
        }
    }

    /// Any value at all.
    fn junk(&mut self, depth: usize) -> Value {
        match self.random.random_range(0..16) {
            0 => Value::Null,
            1 => true.into(),
            2 => (-1).into(),
            3 => u64::MAX.into(),
            4 => i64::MIN.into(),
            5 => 1e308.into(),
            6 => 0.5.into(),
            7 => "x".repeat(self.random.random_range(0..6000)).into(),
            8 => "🍕".repeat(self.random.random_range(0..5000)).into(),
            9 => (0..100).fold(json!([]), |inner, _| json!([inner])),
            10 => json!({"": {}, "é/~": []}),
            11 if depth < DEEPEST => (0..self.random.random_range(0..5)).map(|_| self.junk(depth + 1)).collect(),
            12 => self.random.random::<i64>().into(),
            _ => self.text().into(),
        }
    }

    /// Makes something in it wrong: a value, a field that is missing, one too many.
    fn spoil(&mut self, value: &mut Value) {
        let inner = match &mut *value {
            Value::Object(fields) if !fields.is_empty() && !self.random.random_bool(0.05) => {
                let names: Vec<_> = fields.keys().cloned().collect();
                let name = names.choose(&mut self.random).expect("some").clone();
                match self.random.random_range(0..5) {
                    0 => drop(fields.remove(&name)),
                    1 => drop(fields.insert("nothing".into(), self.junk(0))),
                    2 => {
                        let taken = fields.remove(&name).unwrap_or_default();
                        fields.insert(name.to_uppercase(), taken);
                    }
                    _ => return self.spoil(&mut fields[&name]),
                }
                return;
            }
            Value::Array(items) if !items.is_empty() => items.choose_mut(&mut self.random),
            _ => None,
        };
        match inner {
            Some(inner) => self.spoil(inner),
            None => *value = self.junk(0),
        }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.random.random_range(0..many) == 0
    }
}

/// A part of a path: never empty, and nothing that URLs resolve away.
fn segment(text: &str) -> String {
    if text.chars().all(|c| c == '.') { format!("x{text}") } else { encoded(text) }
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}
