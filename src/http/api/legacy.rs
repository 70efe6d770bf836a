//! The older system's endpoints: the same parameters and meaning, the same order in JSON.

use axum::{Json, extract::State, http::HeaderMap, http::StatusCode, response::Response};

use super::views::{LegacyOrders, OrderJson, one_order};
use crate::{
    http::{
        SharedState,
        code::Code,
        edge::caller::CallerOrders,
        extract::{LegacySearchQuery, LookupQuery, Query},
        problem::{Problem, problems},
    },
    service::Page,
};

problems!(LookupProblems: OrderNotFound, RestaurantNotFound, NumberOutOfRange, InvalidParameter, Unavailable);

/// Look up an order (older systems)
///
/// By `restaurant_id` and `display_number`: the order that has the number now, or had it last. By `internal_id`: that
/// order. Exactly one of the two ways.
#[utoipa::path(
    get, path = "/api/orders/lookup", tag = "legacy", operation_id = "legacy_lookup",
    params(LookupQuery),
    responses(
        (status = 200, description = "The order.", body = OrderJson,
            headers(("ETag" = String, description = "Its version."))),
        LookupProblems,
    ),
)]
pub(crate) async fn lookup(
    CallerOrders(orders): CallerOrders,
    Query(query): Query<LookupQuery>,
) -> Result<Response, Problem> {
    let order = match query {
        LookupQuery::Id(id) => orders.get(id).await?,
        LookupQuery::Number(restaurant, number) => {
            let report = orders.number(restaurant, number, None).await?;
            report.order.ok_or_else(|| {
                Problem::new(Code::OrderNotFound, format!("No order ever had number {number}; check the number."))
            })?
        }
    };
    Ok(one_order(StatusCode::OK, order, HeaderMap::new()))
}

problems!(SearchProblems: RestaurantNotFound, InvalidParameter, Unavailable);

/// Search orders (older systems)
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/orders/search", tag = "legacy", operation_id = "legacy_search",
    params(LegacySearchQuery),
    responses((status = 200, description = "The orders found.", body = LegacyOrders), SearchProblems),
)]
pub(crate) async fn search(
    State(state): State<SharedState>,
    Query(query): Query<LegacySearchQuery>,
) -> Result<Json<LegacyOrders>, Problem> {
    let page = Page { limit: query.limit, after: None };
    let found = state.service.orders.search(query.restaurant_id, &query.q, query.include_completed, page).await?;
    Ok(Json(LegacyOrders { orders: found.orders.into_iter().map(OrderJson::from).collect() }))
}
