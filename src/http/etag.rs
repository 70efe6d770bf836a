//! Entity tags as they are written; `If-Match` is read in `extract`.

use axum::http::HeaderValue;

use crate::domain::SettingsTag;

/// The entity tag of a version: `"3"`.
pub(crate) fn etag(version: u32) -> HeaderValue {
    // Quotes and digits are always a valid header.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The entity tag of a restaurant's settings: `"5-1f0c9a3be2d47706"`.
pub(crate) fn settings_etag(tag: &SettingsTag) -> HeaderValue {
    HeaderValue::try_from(format!("\"{}\"", tag.as_str())).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
