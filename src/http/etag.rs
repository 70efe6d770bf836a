//! Entity tags as they are written; `If-Match` is read in `extract`.

use axum::http::HeaderValue;

/// The entity tag of a version: `"3"`.
pub(crate) fn etag(version: u32) -> HeaderValue {
    // Quotes and digits are always a valid header.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
