//! The id of a request.

use axum::http::{HeaderMap, HeaderValue};

/// Names one request, in the log, in the audit trail and to the caller.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

pub(crate) const X_REQUEST_ID: &str = "x-request-id";

impl RequestId {
    /// The caller's own id where it is sane, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        const MAX_BYTES: usize = 64;
        let sane = |id: &&HeaderValue| {
            (1..=MAX_BYTES).contains(&id.len())
                && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
        };
        headers.get(X_REQUEST_ID).filter(sane).cloned().map_or_else(Self::random, Self)
    }

    /// 64 random bits: short, since it is stored with every event.
    fn random() -> Self {
        let id = format!("{:016x}", rand::random::<u64>());
        Self(HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none")))
    }

    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        // Only ASCII gets in.
        self.0.to_str().unwrap_or_default()
    }

    #[must_use]
    pub(crate) fn into_header(self) -> HeaderValue {
        self.0
    }
}
