//! The caller of a request: what the doorkeeper has found out, as handlers take it.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::request_id::RequestId;
use crate::{
    domain::{ApiKey, Context, Role, Scope, Sight},
    http::{SharedState, extract::api_key},
    service::Orders,
};

/// The caller, as the audit trail will name it: `key:3`, or `api` where no keys are in force.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub Context);

/// The restaurants that the caller's key is good for; all, where no keys are in force.
#[derive(Debug, Clone)]
pub(crate) struct CallerScope(pub Scope);

/// What the caller's key is for; None where no keys are in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerRole(pub Option<Role>);

/// How much of an order the caller may see. A handler that answers a screen passes the orders through it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerSight(pub Sight);

/// The caller's key; None where no keys are in force. For what outlives the request, and asks later whether it is still good.
#[derive(Debug, Clone)]
pub(crate) struct CallerKey(pub Option<Arc<ApiKey>>);

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

impl<S: Sync> FromRequestParts<S> for CallerRole {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(api_key(parts).map(|key| key.is.role)))
    }
}

impl<S: Sync> FromRequestParts<S> for CallerKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Arc<ApiKey>>().cloned()))
    }
}

impl<S: Sync> FromRequestParts<S> for CallerSight {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Sight::of(api_key(parts).map(|key| &key.is))))
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
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{Choice, NewApiKey, Order, OrderDetails},
        http::testing::{self, behind_the_edge, request, send, text},
    };

    #[tokio::test]
    async fn the_audit_trail_names_the_request() {
        let routes = Router::new().route("/", get(|Caller(context): Caller| async move { format!("{context:?}") }));
        let sent = request("GET", "/").header("X-Request-Id", "till-7").body(Body::empty());
        let context = Context { request_id: Some("till-7".into()), ..Context::of("api") };
        assert_eq!(text(send(&behind_the_edge(routes, testing::settings()), sent).await).await, format!("{context:?}"));
    }

    fn order() -> Order {
        let details = json!({
            "table_number": "12", "order_source": "kiosk", "order_type": "dine_in", "external_id": "till-7-99",
            "customer_name": "José", "note": "no onions", "metadata": {"phone": "+34 600 000 000"},
        });
        let details = serde_json::from_value(details).expect("valid details");
        Order { details, choice: Choice::Reserved, ..testing::order() }
    }

    fn key(role: Role, shows_names: bool) -> NewApiKey {
        NewApiKey {
            name: "a test".parse().expect("a name"),
            role,
            scope: Scope::All,
            expires_at: None,
            rate_per_second: None,
            shows_names,
        }
    }

    #[test]
    fn a_board_sees_what_all_guests_may_see() {
        for (shows_names, customer_name) in [(false, None), (true, Some("José".to_owned()))] {
            let seen = Sight::of(Some(&key(Role::Screen, shows_names))).sees(order());
            let whole = order();
            let details = OrderDetails {
                order_source: whole.details.order_source,
                order_type: whole.details.order_type,
                customer_name,
                ..OrderDetails::default()
            };
            assert_eq!(seen, Order { details, choice: Choice::Next, ..whole });
        }
    }

    #[test]
    fn others_see_all() {
        for role in Role::ALL.into_iter().filter(|role| *role != Role::Screen) {
            assert_eq!(Sight::of(Some(&key(role, false))).sees(order()), order(), "{role}");
        }
        assert_eq!(Sight::of(None).sees_all(vec![order()]), [order()]);
    }
}
