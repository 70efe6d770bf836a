//! The OpenAPI document, generated from the handlers, and the page that shows it.

use std::sync::LazyLock;

use axum::{Router, body::Bytes, http::header, middleware, routing::get};
use utoipa::{
    OpenApi,
    openapi::{RefOr, path::Operation, schema::Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{Shared, audit, code::Code, edge, health, legacy, orders, problem::ProblemBody, restaurants};
use crate::domain::Durability;

#[derive(OpenApi)]
#[openapi(
    info(title = "nowserving"),
    components(schemas(Durability, ProblemBody)),
    tags(
        (name = "orders", description = "Create orders, follow them, close them."),
        (name = "numbers", description = "Who has a number, and how many are left."),
        (name = "restaurants", description = "Settings and clean-up."),
        (name = "audit", description = "Who changed what, and when."),
        (name = "legacy", description = "The older system's endpoints."),
        (name = "operations", description = "What machines ask."),
    ),
)]
struct Document;

/// The OpenAPI 3.1 document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = routes().into_openapi();
    for post in document.paths.paths.values_mut().filter_map(|path| path.post.as_mut()) {
        without_null(post);
    }
    document
}

/// utoipa writes a body that may be absent as one that may be `null`; here it may be absent only.
fn without_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(choice))) = &content.schema {
            content.schema = choice.items.first().cloned();
        }
    }
}

/// Every documented route.
pub fn routes() -> OpenApiRouter<Shared> {
    let mut document = Document::openapi();
    document.info.description = Some(description());
    OpenApiRouter::with_openapi(document)
        .routes(routes!(orders::create_order, restaurants::list_orders))
        .routes(routes!(orders::get_order, orders::change_order))
        .routes(routes!(orders::release_order))
        .routes(routes!(restaurants::get_restaurant, restaurants::put_restaurant))
        .routes(routes!(restaurants::get_number))
        .routes(routes!(restaurants::search_orders))
        .routes(routes!(restaurants::get_slots))
        .routes(routes!(restaurants::clean_up))
        .routes(routes!(audit::list_order_events))
        .routes(routes!(audit::list_restaurant_events))
        .routes(routes!(legacy::lookup))
        .routes(routes!(legacy::search))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

fn description() -> String {
    format!(
        "Order numbers for restaurants: short, unique among live orders, recycled after a rest.\n\n\
         Times are RFC 3339 in UTC with milliseconds. Lists take `limit` and `cursor` and give `next_cursor`. Unknown \
         query parameters and fields are refused, so that a slip of the pen does not go unnoticed. Every answer \
         carries an `X-Request-Id`: the caller's own (at most 64 of `A-Za-z0-9._-`) or a new one.\n\n\
         Whatever changes an order or settings takes a `Durability` header and answers when the change has reached that \
         level: `memory`, `fsync` (the disk of Redis), `replica` (its replicas) or `ledger` (Postgres). A level that is \
         not reached in time is a `durability_unknown`: the change was made, and a repeat waits for its level again.\n\n\
         ## Problems\n\n\
         Whatever is not a success is `application/problem+json` (RFC 9457) with one of these codes, and has changed \
         nothing, `timeout`, `durability_unknown` and `internal` excepted. An id in the path that is no UUID is an `order_not_found`; other \
         path and query parameters are an `invalid_parameter`.\n\n{}",
        Code::markdown_table()
    )
}

/// `/openapi.json`, and `/docs`, which comes with all it needs: it works without the internet.
pub fn documentation() -> Router<Shared> {
    // Rendered once: it never changes.
    static JSON: LazyLock<Bytes> = LazyLock::new(|| openapi().to_json().unwrap_or_default().into());
    let json = get(|| async { ([(header::CONTENT_TYPE, "application/json")], JSON.clone()) });
    Router::new().route("/openapi.json", json).merge(page())
}

fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    // The online validator would call out to the internet.
    let config = Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true);
    Router::from(SwaggerUi::new("/docs").config(config)).layer(middleware::map_response(edge::missing_as_problem))
}

#[cfg(test)]
mod tests;
