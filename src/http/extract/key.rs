//! The API key of a request that the doorkeeper has let in.

use std::sync::Arc;

use axum::http::request::Parts;

use crate::domain::ApiKey;

/// Lets a request in, for the holder of this key.
pub(crate) fn admit(parts: &mut Parts, key: Arc<ApiKey>) {
    parts.extensions.insert(key);
}

/// The key; None where no keys are in force.
pub(crate) fn api_key(parts: &Parts) -> Option<&ApiKey> {
    parts.extensions.get::<Arc<ApiKey>>().map(Arc::as_ref)
}
