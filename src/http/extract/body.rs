//! JSON bodies: parsed strictly, then checked, with every fault named.

mod declared;
mod strict;
mod text;

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, Request},
};
use garde::Validate;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use serde_with::rust::double_option;
use utoipa::ToSchema;

use crate::{
    domain::{
        Metadata, OrderDetails, OrderItem, OrderSource, OrderStatus, OrderType, PoolSettings, Quarantine,
        SettingsPatch,
        storable::{NUL_MESSAGE, storable_and_not_blank},
        table_number,
    },
    http::{
        code::{Code, FaultCode, Location},
        problem::{Fault, MOST_FAULTS, Problem},
    },
    service::OrderChange,
};

/// A body that must be there.
#[derive(Debug, Clone)]
pub(crate) struct JsonBody<T>(pub T);

/// A body that may be absent, or `null`: then every field has its default.
#[derive(Debug, Clone)]
pub(crate) struct MaybeJsonBody<T>(pub T);

/// A JSON object whose fields are all optional.
pub(crate) trait Body: DeserializeOwned {
    /// The fields that hold objects. (serde would take an object for an enum's name as well.)
    const OBJECT_FIELDS: &'static [&'static str] = &[];

    /// The fields that hold one of some words, which may be written in letters of any case.
    const WORD_FIELDS: &'static [&'static str] = &[];

    /// Notes what is wrong with values of the right type. A pointer to the whole body is for faults between fields.
    fn check(&self, faults: &mut Vec<Fault>);
}

impl<S: Send + Sync, T: Body> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = body_bytes(request, state).await?;
        if let Some(body) = straight(&bytes) {
            return Ok(Self(body));
        }
        match parsed(&bytes)? {
            Some((value, faults)) => decode(value, faults).map(Self),
            None => Err(Problem::new(Code::MalformedJson, "The body is empty; send a JSON object.")),
        }
    }
}

impl<S: Send + Sync, T: Body + Default> FromRequest<S> for MaybeJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = body_bytes(request, state).await?;
        if let Some(body) = straight(&bytes) {
            return Ok(Self(body));
        }
        match parsed(&bytes)? {
            Some((value, faults)) if !value.is_null() => decode(value, faults).map(Self),
            _ => Ok(Self(T::default())),
        }
    }
}

/// Nearly every body: an object without objects in it, with nothing wrong. It is parsed straight into its type. All others
/// take the longer way, which names their faults. What an object inside may hide (a key that is there twice, an enum) is
/// seen there only.
fn straight<T: Body>(bytes: &[u8]) -> Option<T> {
    let begins_object = bytes.trim_ascii_start().first() == Some(&b'{');
    if !begins_object || bytes.iter().filter(|byte| **byte == b'{').count() != 1 {
        return None;
    }
    let body: T = serde_json::from_slice(bytes).ok()?;
    let mut faults = Vec::new();
    body.check(&mut faults);
    faults.is_empty().then_some(body)
}

/// The body, empty if there is none; the middleware has read it and kept it within its limit.
async fn body_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    if request.body().is_end_stream() {
        return Ok(Bytes::new());
    }
    declared::check(request.method(), request.headers())?;
    Bytes::from_request(request, state).await.map_err(|_| Problem::plain(Code::BodyTooLarge))
}

/// What a body holds, with what is wrong with single values; None for an empty one.
fn parsed(bytes: &[u8]) -> Result<Option<(Value, Vec<Fault>)>, Problem> {
    let text = text::utf_8(bytes).map_err(|encoding| {
        let detail = format!("The body is in {encoding}; send JSON in UTF-8, as RFC 8259 has it.");
        Problem::new(Code::MalformedJson, detail)
    })?;
    if text.is_empty() {
        return Ok(None);
    }
    strict::parse(text).map(Some).map_err(|error| {
        let detail = match std::str::from_utf8(text) {
            Ok(_) => format!("The body cannot be read as JSON: {}; correct it.", in_words(&error.to_string())),
            Err(invalid) => {
                let at = bytes.len() - text.len() + invalid.valid_up_to();
                format!("The body is not in UTF-8 from byte {at} on; send JSON in UTF-8, as RFC 8259 has it.")
            }
        };
        Problem::new(Code::MalformedJson, detail)
    })
}

fn decode<T: Body>(mut value: Value, mut faults: Vec<Fault>) -> Result<T, Problem> {
    for name in T::WORD_FIELDS {
        if let Some(Value::String(word)) = value.get_mut(*name) {
            word.make_ascii_lowercase();
        }
    }
    let Value::Object(fields) = &value else {
        return Err(Problem::invalid_body(vec![whole_body(FaultCode::WrongType, "the body must be a JSON object")]));
    };
    for (name, _) in fields.iter().filter(|(name, value)| value.is_object() && !T::OBJECT_FIELDS.contains(&&***name)) {
        // A field that does not exist is named below.
        if let Err(fault) = deserialize::<T>(&Value::Object(Map::from_iter([(name.clone(), Value::Null)])))
            && fault.code == FaultCode::UnknownField
        {
            continue;
        }
        faults.push(Fault::new(Location::Body, pointer_to(name), FaultCode::WrongType, "must not be an object"));
    }
    let decoded = deserialize::<T>(&value);
    match decoded {
        Ok(body) if faults.is_empty() => {
            body.check(&mut faults);
            if faults.is_empty() { Ok(body) } else { Err(Problem::invalid_body(faults)) }
        }
        _ => Err(Problem::invalid_body(all_faults::<T>(fields, faults))),
    }
}

/// A body that is refused is looked at field by field, so that its sender learns of all faults at once.
fn all_faults<T: Body>(fields: &Map<String, Value>, mut faults: Vec<Fault>) -> Vec<Fault> {
    let mut sound = Map::new();
    for (name, value) in fields {
        if faults.len() >= MOST_FAULTS {
            break;
        }
        let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        match deserialize::<T>(&alone) {
            Ok(_) => _ = sound.insert(name.clone(), value.clone()),
            // It is another field that is missing, since this one is looked at alone.
            Err(fault) if fault.code == FaultCode::Missing && !fault.pointer.starts_with(&pointer_to(name)) => {
                sound.insert(name.clone(), value.clone());
            }
            Err(fault) if faults.iter().any(|known| known.pointer == fault.pointer) => {}
            Err(fault) => match value.as_array() {
                Some(list) if fault.pointer.len() > pointer_to(name).len() => {
                    faults.extend(faults_of_elements::<T>(name, list));
                }
                _ => faults.push(fault),
            },
        }
    }
    match deserialize::<T>(&Value::Object(sound)) {
        Err(fault) if fields.keys().all(|name| pointer_to(name) != fault.pointer) => faults.push(fault),
        Err(_) => {}
        Ok(body) => {
            let mut more = Vec::new();
            body.check(&mut more);
            // Faults between fields mean nothing while one of the fields is missing; nor is a field missing that was left
            // out here for another fault.
            more.retain(|fault| !fault.pointer.is_empty() && !fault.code.is_between_fields());
            more.retain(|fault| faults.iter().all(|known| known.pointer != fault.pointer));
            faults.extend(more);
        }
    }
    faults
}

/// Of a list, each element is looked at by itself.
fn faults_of_elements<T: Body>(name: &str, list: &[Value]) -> Vec<Fault> {
    let first = format!("{}/0", pointer_to(name));
    let elements = list.iter().enumerate().filter_map(|(at, element)| {
        let alone = Value::Object(Map::from_iter([(name.to_owned(), Value::Array(vec![element.clone()]))]));
        let mut fault = deserialize::<T>(&alone).err()?;
        if let Some(behind) = fault.pointer.strip_prefix(&first) {
            fault.pointer = format!("{}/{at}{behind}", pointer_to(name));
        }
        Some(fault)
    });
    elements.take(MOST_FAULTS).collect()
}

fn deserialize<T: Body>(value: &Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path() {
            match segment {
                Segment::Map { key } => pointer.push_str(&pointer_to(key)),
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let message = error.into_inner().to_string();
        if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            pointer.push_str(&pointer_to(missing));
            return Fault::new(Location::Body, pointer, FaultCode::Missing, "must be given");
        }
        Fault::new(Location::Body, pointer, code_of(&message), in_words(&message))
    })
}

/// serde tells its faults apart by their wording only.
fn code_of(message: &str) -> FaultCode {
    if message.starts_with("unknown field") {
        FaultCode::UnknownField
    } else if message.starts_with("invalid type") {
        FaultCode::WrongType
    } else if message.starts_with("invalid value: integer") {
        FaultCode::OutOfRange
    } else {
        FaultCode::InvalidValue
    }
}

/// serde's wording, without Rust's names for types.
fn in_words(message: &str) -> String {
    message
        .replace("unknown variant", "unknown value")
        .replace("expected u32", "expected a whole number from 0 to 4294967295")
        .replace("expected u16", "expected a whole number from 0 to 65535")
        .replace("invalid type: map", "invalid type: object")
        .replace("expected a map", "expected an object")
        .replace("expected a sequence", "expected an array")
        .replace("recursion limit exceeded", "nested more than 127 levels deep")
}

/// One step of a JSON pointer (RFC 6901).
fn pointer_to(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn whole_body(code: FaultCode, detail: &str) -> Fault {
    Fault::new(Location::Body, "", code, detail)
}

/// The fields that are lists with a greatest length.
const LISTS: [&str; 4] = ["ranges", "avoid", "items", "languages"];

/// The pointer to what garde calls `ranges[0].min_number`.
fn pointer_of(path: &str) -> String {
    let steps = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    steps.map(pointer_to).collect()
}

/// What garde found.
fn note(checked: Result<(), garde::Report>, faults: &mut Vec<Fault>) {
    for (path, error) in checked.err().into_iter().flat_map(garde::Report::into_inner) {
        let path = path.to_string();
        let pointer = pointer_of(&path);
        let message = error.message();
        let (code, detail) = match message {
            NUL_MESSAGE => (FaultCode::NulCharacter, message.to_owned()),
            _ if let Some(max) = message.strip_prefix("length is greater than ") => {
                let what = if LISTS.contains(&&*path) { "elements" } else { "characters" };
                (FaultCode::TooLong, format!("must have at most {max} {what}"))
            }
            _ if let Some(max) = message.strip_prefix("greater than ") => {
                (FaultCode::OutOfRange, format!("must be at most {max}"))
            }
            _ if let Some(min) = message.strip_prefix("lower than ") => {
                (FaultCode::OutOfRange, format!("must be at least {min}"))
            }
            _ if message.contains(" bytes as compact JSON") => (FaultCode::TooLarge, message.to_owned()),
            _ => (FaultCode::InvalidValue, message.to_owned()),
        };
        faults.push(Fault::new(Location::Body, pointer, code, detail));
    }
}

impl Body for OrderDetails {
    const OBJECT_FIELDS: &'static [&'static str] = &["metadata"];
    const WORD_FIELDS: &'static [&'static str] = &["order_source", "order_type"];

    fn check(&self, faults: &mut Vec<Fault>) {
        note(self.validate(), faults);
    }
}

impl Body for PoolSettings {
    const OBJECT_FIELDS: &'static [&'static str] = &["business_day", "special"];
    const WORD_FIELDS: &'static [&'static str] = &["policy"];

    fn check(&self, faults: &mut Vec<Fault>) {
        match self.validate() {
            Ok(()) => faults.extend(self.range_faults().into_iter().map(Fault::from)),
            found => note(found, faults),
        }
        if !self.special.is_empty() {
            let detail = "is no field of settings: there are calls of their own for reservations and quarantine";
            faults.push(Fault::new(Location::Body, "/special", FaultCode::UnknownField, detail));
        }
    }
}

impl Body for SettingsPatch {
    const OBJECT_FIELDS: &'static [&'static str] = PoolSettings::OBJECT_FIELDS;

    fn check(&self, faults: &mut Vec<Fault>) {
        // Whether its fields go together is known once they are among the present ones.
        let mut found = Vec::new();
        note(self.applied_to(&PoolSettings::default()).validate(), &mut found);
        faults.extend(found.into_iter().filter(|fault| !fault.pointer.is_empty()));
    }
}

/// A change of settings that does not come in a request, read and checked as one that does.
pub(crate) fn settings_patch(bytes: &[u8]) -> Result<SettingsPatch, Problem> {
    match parsed(bytes)? {
        Some((value, faults)) => decode(value, faults),
        None => Ok(SettingsPatch::default()),
    }
}

/// What to change about an order. `null` clears a field, an absent one is left alone.
// Each field has its own `default`: one for all would write `null` as their default into the schema, where it clears.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrderChange)]
pub(crate) struct Change {
    /// Where the order is to stand. A final status releases the number. Cannot be cleared.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<OrderStatus>, nullable = false)]
    status: Option<Option<OrderStatus>>,
    /// The table, as the restaurant names it; at most 32 characters. An integer is taken for the text that it is.
    #[serde(default, deserialize_with = "table_number::given")]
    #[schema(schema_with = table_number::schema)]
    table_number: Option<Option<String>>,
    /// The channel that the order came in by.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<OrderSource>)]
    order_source: Option<Option<OrderSource>>,
    /// How the guest gets the food.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<OrderType>)]
    order_type: Option<Option<OrderType>>,
    /// The caller's own identifier for the order; at most 128 characters.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, max_length = 128)]
    external_id: Option<Option<String>>,
    /// The name to call out beside the number; at most 128 characters.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, max_length = 128)]
    customer_name: Option<Option<String>>,
    /// A remark for the kitchen; at most 500 characters.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<String>, max_length = 500)]
    note: Option<Option<String>>,
    /// Replaces all of it: an object of at most 2 KiB as compact JSON, at most 100 levels deep.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Metadata>)]
    metadata: Option<Option<Metadata>>,
    /// Replaces all of them: at most 50.
    #[serde(default, with = "double_option")]
    #[schema(value_type = Option<Vec<OrderItem>>, max_items = 50)]
    items: Option<Option<Vec<OrderItem>>>,
}

impl Body for Change {
    const OBJECT_FIELDS: &'static [&'static str] = OrderDetails::OBJECT_FIELDS;
    const WORD_FIELDS: &'static [&'static str] = &["status", "order_source", "order_type"];

    fn check(&self, faults: &mut Vec<Fault>) {
        if self.status == Some(None) {
            faults.push(Fault::new(Location::Body, "/status", FaultCode::WrongType, "cannot be null"));
        }
        // The limits are those of a new order: they are written there only.
        let details = OrderDetails {
            table_number: self.table_number.clone().flatten(),
            order_source: None,
            order_type: None,
            external_id: self.external_id.clone().flatten(),
            customer_name: self.customer_name.clone().flatten(),
            note: self.note.clone().flatten(),
            metadata: self.metadata.clone().flatten(),
            items: self.items.clone().flatten(),
        };
        details.check(faults);
    }
}

impl From<Change> for OrderChange {
    fn from(change: Change) -> Self {
        let Change {
            status,
            table_number,
            order_source,
            order_type,
            external_id,
            customer_name,
            note,
            metadata,
            items,
        } = change;
        Self {
            status: status.flatten(),
            table_number,
            order_source,
            order_type,
            external_id,
            customer_name,
            note,
            metadata,
            keeps_final: false,
            items,
        }
    }
}

/// As [`Change`], with a status in it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct StatusChange(pub Change);

impl Body for StatusChange {
    const OBJECT_FIELDS: &'static [&'static str] = Change::OBJECT_FIELDS;
    const WORD_FIELDS: &'static [&'static str] = Change::WORD_FIELDS;

    fn check(&self, faults: &mut Vec<Fault>) {
        if self.0.status.is_none() {
            faults.push(Fault::new(Location::Body, "/status", FaultCode::Missing, "must be given"));
        }
        self.0.check(faults);
    }
}

/// How to release an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReleaseRequest {
    /// Frees the number at once instead of letting it rest.
    pub immediate: bool,
}

impl Body for ReleaseRequest {
    fn check(&self, _: &mut Vec<Fault>) {}
}

/// How to reopen an order: there is nothing to choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReopenRequest {}

impl Body for ReopenRequest {
    fn check(&self, _: &mut Vec<Fault>) {}
}

/// Where an order that is called is to be picked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema, Validate)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CallRequest {
    /// As screens show it: 1 to 40 characters.
    #[garde(inner(length(chars, max = 40), custom(storable_and_not_blank)))]
    #[schema(min_length = 1, max_length = 40, examples("Counter 2"))]
    pub place: Option<String>,
}

impl Body for CallRequest {
    fn check(&self, faults: &mut Vec<Fault>) {
        note(self.validate(), faults);
    }
}

/// For which table a number is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReservationRequest {
    /// The table, as orders name it: 1 to 32 characters. An integer is taken for the text that it is.
    #[serde(deserialize_with = "table_number::required")]
    #[garde(length(chars, max = 32), custom(storable_and_not_blank))]
    #[schema(schema_with = table_number::required_schema)]
    pub table_number: String,
}

impl Body for ReservationRequest {
    fn check(&self, faults: &mut Vec<Fault>) {
        note(self.validate(), faults);
    }
}

impl Body for Quarantine {
    fn check(&self, faults: &mut Vec<Fault>) {
        note(self.validate(), faults);
    }
}

/// How to clean up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CleanupRequest {
    /// Lists the orders that would be expired, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// At most so many orders: 1 to 1000, 100 by default.
    // No `default` of its own: it would stand in the schema as `null`, which is no integer.
    #[schema(minimum = 1, maximum = 1000, nullable = false)]
    pub limit: Option<u32>,
}

impl Body for CleanupRequest {
    fn check(&self, faults: &mut Vec<Fault>) {
        if self.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
            faults.push(Fault::new(Location::Body, "/limit", FaultCode::OutOfRange, "must be from 1 to 1000"));
        }
    }
}

#[cfg(test)]
mod tests;
