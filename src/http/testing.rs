//! What the unit tests of this module share.

use std::num::NonZeroU32;

use axum::{
    Router,
    body::Body,
    http::{Request, request::Builder},
    response::Response,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::edge::{auth::Doorkeeper, host::Hosts};
use crate::config::{HttpSettings, Settings};
use crate::domain::{
    ApiKey, DisplayNumber, KeyId, NewApiKey, NumberFormat, Order, OrderDetails, OrderId, OrderStatus, RestaurantId,
    Role, Scope, Timestamp,
};

/// The settings by default.
pub(crate) fn settings() -> HttpSettings {
    Settings::default().http
}

/// Puts routes behind the middleware, where no keys are in force.
pub(crate) fn behind_the_edge(routes: Router, settings: HttpSettings) -> Router {
    super::behind_the_edge(routes, settings.into(), Hosts::new(Vec::new(), false), Doorkeeper::without_keys())
}

pub(crate) fn restaurant(id: i64) -> RestaurantId {
    RestaurantId::new(id).expect("a valid restaurant id")
}

/// An order that has ended, at version 3.
pub(crate) fn order() -> Order {
    let details = json!({"table_number": "12", "order_source": "kiosk", "order_type": "dine_in", "metadata": {"k": [1]},
            "items": [{"name": "Soup", "quantity": 2, "station": "cold"}]});
    let details: OrderDetails = serde_json::from_value(details).expect("valid details");
    let ended = Timestamp::from_unix_ms(1_700_000_060_000);
    Order {
        id: OrderId::new(Timestamp::from_unix_ms(1_700_000_000_123), restaurant(7), 5),
        number: DisplayNumber::new(42).ok(),
        given_at: Some(Timestamp::from_unix_ms(1_700_000_000_125)),
        format: NumberFormat::default(),
        range: None,
        choice: crate::domain::Choice::Next,
        business_day: Some(crate::domain::BusinessDay {
            date: chrono::NaiveDate::from_ymd_opt(2023, 11, 14).expect("a date"),
            sequence: 5,
        }),
        legacy_number: None,
        old_number: None,
        status: OrderStatus::Completed,
        details,
        updated_at: ended,
        released_at: Some(ended),
        reopening: None,
        calls: Some(crate::domain::Calls { count: 2, last_at: Timestamp::from_unix_ms(1_700_000_030_000) }),
        cooldown_seconds: 14_400,
        version: 3,
        sequence: 9,
    }
}

/// A key for some restaurants that has been revoked.
pub(crate) fn api_key() -> ApiKey {
    let at = Timestamp::from_unix_ms;
    ApiKey {
        id: KeyId::new(3).expect("in range"),
        is: NewApiKey {
            name: "till 3".parse().expect("a name"),
            role: Role::Till,
            scope: Scope::of([restaurant(7)]).expect("a list"),
            expires_at: Some(at(1_800_000_000_000)),
            rate_per_second: NonZeroU32::new(50),
            shows_names: false,
        },
        created_at: at(1_700_000_000_123),
        created_by: "cli".to_owned(),
        revoked: Some((at(1_700_000_060_000), "key:1".to_owned())),
    }
}

pub(crate) fn request(method: &str, path: &str) -> Builder {
    Request::builder().method(method).uri(path).header("Host", "localhost")
}

pub(crate) async fn send(app: &Router, request: axum::http::Result<Request<Body>>) -> Response {
    let Ok(answer) = app.clone().oneshot(request.expect("a request")).await;
    answer
}

pub(crate) async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

pub(crate) async fn json_body(response: Response) -> Value {
    let text = text(response).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}
