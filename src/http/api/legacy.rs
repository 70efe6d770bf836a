//! The older system's endpoints: the same parameters and meaning, the same order in JSON.

use axum::{Json, extract::State, response::Response};

use super::views::{LegacyOrderJson, LegacyOrders, order_on_conditions};
use crate::{
    http::{
        SharedState,
        code::Code,
        edge::caller::CallerOrders,
        extract::{LegacySearchQuery, LookupQuery, Query, ReadConditions, ReadConditionsInHeader},
        problem::{Problem, problems},
    },
    service::{Page, Wanted},
};

problems!(LookupProblems: InvalidIfMatch, OrderNotFound, RestaurantNotFound, NumberOutOfRange, VersionMismatch, InvalidParameter,
    Unavailable);

/// Look up an order (older systems)
///
/// By `display_number`, and `restaurant_id` unless the key is good for one restaurant only: the order that has the number
/// now, or had it last; where there is none, the one that another system called so. By `internal_id`: that order. Exactly
/// one of the two ways.
#[utoipa::path(
    get, path = "/api/orders/lookup", tag = "legacy", operation_id = "legacy_lookup",
    params(LookupQuery, ReadConditionsInHeader),
    responses(
        (status = 200, description = "The order.", body = LegacyOrderJson,
            headers(("ETag" = String, description = "Its version."))),
        (status = 304, description = "The order is at the version that `If-None-Match` names.",
            headers(("ETag" = String, description = "Its version."))),
        LookupProblems,
    ),
)]
pub(crate) async fn lookup(
    CallerOrders(orders): CallerOrders,
    Query(query): Query<LookupQuery>,
    conditions: ReadConditions,
) -> Result<Response, Problem> {
    let order = match query {
        LookupQuery::Id(id) => orders.get(id).await?,
        LookupQuery::Number(restaurant, written) => orders.by_number(restaurant, &written).await?.ok_or_else(|| {
            Problem::new(Code::OrderNotFound, "No order ever had this number; check the number.".to_owned())
        })?,
    };
    order_on_conditions::<LegacyOrderJson>(order, &conditions)
}

problems!(SearchProblems: RestaurantNotFound, InvalidParameter, Unavailable);

/// Search orders (older systems)
///
/// Newest first; in the key's own restaurant, where it is good for one only and `restaurant_id` is left out.
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
    let wanted = Wanted::Text(&query.q, None);
    let found = state.service.orders.search(query.restaurant_id, wanted, query.include_completed, page).await?;
    Ok(Json(LegacyOrders { orders: found.orders.into_iter().map(LegacyOrderJson::from).collect() }))
}
