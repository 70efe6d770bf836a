//! Who is calling.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::edge::RequestId;
use crate::domain::Context;

/// The caller, as the audit trail will name it.
///
/// Every handler that changes something takes one, so this is the place where authentication belongs: once there are
/// API keys, this extractor checks the `Authorization` header, and its rejection becomes a `Problem`.
#[derive(Debug, Clone)]
pub struct Caller(pub Context);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned());
        Ok(Self(Context { request_id, ..Context::of("api") }))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};

    use super::*;
    use crate::http::{
        Limits,
        testing::{behind_the_edge, request, send, text},
    };

    #[tokio::test]
    async fn the_audit_trail_names_the_request() {
        let routes = Router::new().route("/", get(|Caller(context): Caller| async move { format!("{context:?}") }));
        let sent = request("GET", "/").header("X-Request-Id", "till-7").body(Body::empty());
        let context = Context { request_id: Some("till-7".into()), ..Context::of("api") };
        assert_eq!(text(send(&behind_the_edge(routes, Limits::default()), sent).await).await, format!("{context:?}"));
    }
}
