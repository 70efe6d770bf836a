//! Who is calling: what the doorkeeper has found out, as handlers take it.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{Shared, edge::RequestId};
use crate::{
    domain::{ApiKey, Context, Scope},
    service::Service,
};

/// The caller, as the audit trail will name it: `key:3`, or `api` where no keys are in force.
#[derive(Debug, Clone)]
pub struct Caller(pub Context);

/// The restaurants that the caller's key is good for; all, where no keys are in force.
#[derive(Debug, Clone)]
pub struct CallerScope(pub Scope);

/// The use cases as the caller may have them. Whatever finds an order by an id takes this: a foreign UUID may look like
/// an order id of one restaurant and belong to another.
pub struct CallerService(pub Arc<Service>);

fn key(parts: &Parts) -> Option<&ApiKey> {
    parts.extensions.get::<Arc<ApiKey>>().map(Arc::as_ref)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned());
        let actor = key(parts).map_or_else(|| "api".to_owned(), ApiKey::actor);
        Ok(Self(Context { request_id, ..Context::of(&actor) }))
    }
}

impl<S: Sync> FromRequestParts<S> for CallerScope {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(key(parts).map_or(Scope::All, |key| key.is.scope.clone())))
    }
}

impl FromRequestParts<Shared> for CallerService {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Self::Rejection> {
        Ok(Self(match key(parts).map(|key| &key.is.scope) {
            Some(scope @ Scope::Restaurants(_)) => Arc::new(state.service.within(scope)),
            _ => state.service.clone(),
        }))
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
