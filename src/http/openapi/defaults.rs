//! Defaults in schemas, which mean more to a generator of clients than they say.
//!
//! A field with a default always has a value. So TypeScript makes a field of it that has to be given, and other
//! languages send the value by themselves. In an answer that is right; in a request it hides that the field may be left
//! out.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::{
    OpenApi, RefOr,
    path::Operation,
    schema::{Object, Schema},
};

const SCHEMAS: &str = "#/components/schemas/";

/// Leaves out defaults of `null`, which utoipa writes for what may be absent, and tells the others of requests in words.
/// A schema of requests and answers becomes two: the answers' keeps its name, and has all of its fields.
pub(super) fn settle(document: &mut OpenApi) {
    let Some(components) = &mut document.components else { return };
    components.schemas.values_mut().for_each(without_null);
    let mut operations: Vec<&mut Operation> = document.paths.paths.values_mut().flat_map(operations).collect();
    let answered: String =
        operations.iter().map(|operation| serde_json::json!(operation.responses).to_string()).collect();
    let asked: BTreeSet<String> =
        operations.iter_mut().flat_map(|operation| bodies(operation)).map(|it| it.clone()).collect();
    for body in asked {
        let Some(name) = body.strip_prefix(SCHEMAS) else { continue };
        let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(name) else { continue };
        if !schema.properties.values().any(|property| default_of(property).is_some()) {
            continue;
        }
        if !answered.contains(&format!("\"{body}\"")) {
            in_words(schema, |_| true);
            continue;
        }
        let mut request = schema.clone();
        schema.required = schema.properties.keys().cloned().collect();
        in_words(&mut request, |_| true);
        // Java's generator writes `[]` for the default of what is a list by reference, which is no Java.
        in_words(schema, Value::is_array);
        components.schemas.insert(format!("{name}Request"), RefOr::T(Schema::Object(request)));
        for operation in &mut operations {
            bodies(operation).into_iter().filter(|it| **it == body).for_each(|it| it.push_str("Request"));
        }
    }
}

fn operations(item: &mut utoipa::openapi::path::PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.post, &mut item.put, &mut item.patch].into_iter().flatten()
}

/// What the bodies of a request refer to.
fn bodies(operation: &mut Operation) -> Vec<&mut String> {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return Vec::new() };
    let schemas = body.content.values_mut().filter_map(|content| match content {
        RefOr::T(content) => content.schema.as_mut(),
        RefOr::Ref(_) => None,
    });
    let references = schemas.filter_map(|schema| match schema {
        RefOr::Ref(reference) => Some(&mut reference.ref_location),
        RefOr::T(_) => None,
    });
    references.collect()
}

fn without_null(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    let (default, parts) = match schema {
        Schema::Object(object) => (&mut object.default, object.properties.values_mut().collect::<Vec<_>>()),
        Schema::OneOf(one) => (&mut one.default, one.items.iter_mut().collect()),
        Schema::AllOf(all) => (&mut all.default, all.items.iter_mut().collect()),
        _ => return,
    };
    default.take_if(|default| default.is_null());
    parts.into_iter().for_each(without_null);
}

fn in_words(schema: &mut Object, is_meant: impl Fn(&Value) -> bool) {
    for property in schema.properties.values_mut() {
        let Some(default) = default_of(property).filter(|default| is_meant(default)).cloned() else { continue };
        let words = match default {
            Value::String(text) => format!(" By default `{text}`."),
            other => format!(" By default `{other}`."),
        };
        match property {
            RefOr::Ref(reference) => {
                reference.default = None;
                reference.description.push_str(&words);
            }
            RefOr::T(Schema::Object(object)) => {
                object.default = None;
                object.description.get_or_insert_default().push_str(&words);
            }
            RefOr::T(Schema::Array(array)) => {
                array.default = None;
                array.description.get_or_insert_default().push_str(&words);
            }
            RefOr::T(_) => {}
        }
    }
}

fn default_of(property: &RefOr<Schema>) -> Option<&Value> {
    match property {
        RefOr::Ref(reference) => reference.default.as_ref(),
        RefOr::T(Schema::Object(object)) => object.default.as_ref(),
        RefOr::T(Schema::Array(array)) => array.default.as_ref(),
        RefOr::T(_) => None,
    }
}
