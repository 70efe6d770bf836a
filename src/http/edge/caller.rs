//! The caller of a request: what the doorkeeper has found out, as handlers take it.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::request_id::RequestId;
use crate::{
    domain::{ApiKey, Context, Scope},
    http::{SharedState, extract::api_key},
    service::Orders,
};

/// The caller, as the audit trail will name it: `key:3`, or `api` where no keys are in force.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub Context);

/// The restaurants that the caller's key is good for; all, where no keys are in force.
#[derive(Debug, Clone)]
pub(crate) struct CallerScope(pub Scope);

/// The orders that the caller may see. A handler that finds one by an id takes this: a foreign UUID may look like an
/// order id of one restaurant and belong to another.
pub(crate) struct CallerOrders(pub Arc<Orders>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned());
        let actor = api_key(parts).map_or_else(|| "api".to_owned(), ApiKey::actor);
        Ok(Self(Context { request_id, ..Context::of(&actor) }))
    }
}

impl<S: Sync> FromRequestParts<S> for CallerScope {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(api_key(parts).map_or(Scope::All, |key| key.is.scope.clone())))
    }
}

impl FromRequestParts<SharedState> for CallerOrders {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, Self::Rejection> {
        Ok(Self(match api_key(parts).map(|key| &key.is.scope) {
            Some(scope @ Scope::Restaurants(_)) => Arc::new(state.service.orders.within(scope)),
            _ => state.service.orders.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};

    use super::*;
    use crate::http::testing::{self, behind_the_edge, request, send, text};

    #[tokio::test]
    async fn the_audit_trail_names_the_request() {
        let routes = Router::new().route("/", get(|Caller(context): Caller| async move { format!("{context:?}") }));
        let sent = request("GET", "/").header("X-Request-Id", "till-7").body(Body::empty());
        let context = Context { request_id: Some("till-7".into()), ..Context::of("api") };
        assert_eq!(text(send(&behind_the_edge(routes, testing::settings()), sent).await).await, format!("{context:?}"));
    }
}
