//! Whether an answer is one that the document describes.

use std::collections::HashMap;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::requests::Operation;
use crate::support::api::Answer;

/// Knows the document, and the validators that have been made of it.
pub struct Judge {
    components: Value,
    validators: HashMap<(String, u16), Validator>,
}

impl Judge {
    pub fn new(document: &Value) -> Self {
        Self { components: document["components"].clone(), validators: HashMap::new() }
    }

    /// What is wrong with the answer.
    pub fn check(&mut self, operation: &Operation, answer: &Answer) -> Result<(), String> {
        let responses = &operation.document["responses"];
        let described = &responses[answer.status.to_string()];
        if !described.is_object() {
            return Err("the status is not documented for this operation".into());
        }
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if answer.status >= 500 {
            return Err("a failure of the service".into());
        }
        let Some(content) = described["content"].as_object() else {
            return if answer.text.is_empty() { Ok(()) } else { Err("no body is documented".into()) };
        };
        let Some(media) = content.get(kind) else { return Err(format!("{kind:?} is not documented")) };
        if !kind.ends_with("json") {
            return Ok(());
        }
        let body: Value = serde_json::from_str(&answer.text).map_err(|error| format!("not JSON: {error}"))?;
        self.validator(operation, answer.status, &media["schema"])
            .validate(&body)
            .map_err(|error| format!("not as documented: {error}, at {}", error.instance_path()))?;
        if kind == "application/problem+json" {
            answer.any_problem();
            let code = format!("`{}`", body["code"].as_str().unwrap_or_default());
            if !described["description"].as_str().is_some_and(|text| text.contains(&code)) {
                return Err(format!("{code} is not documented for this operation"));
            }
        }
        Ok(())
    }

    fn validator(&mut self, operation: &Operation, status: u16, schema: &Value) -> &Validator {
        self.validators.entry((operation.name.clone(), status)).or_insert_with(|| {
            let whole = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": self.components,
                "allOf": [schema],
            });
            jsonschema::validator_for(&whole).unwrap_or_else(|error| panic!("{}: {error}", operation.name))
        })
    }
}
