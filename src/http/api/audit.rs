//! The audit log: the events of an order and of a restaurant.

use axum::Json;
use utoipa::IntoParams;
use uuid::Uuid;

use super::views::EventList;
use crate::{
    domain::{EVENT_KINDS, EventCursor, EventFilter, RestaurantId, TimeZone, Timestamp},
    http::{
        code::FaultCode,
        edge::caller::CallerOrders,
        extract::{
            FromQuery, InPath, OrderInPath, Query, QueryReader, Rejected, RestaurantInPath, moment,
            pagination::PageQuery, word,
        },
        problem::{Problem, problems},
    },
};

const EVENT_LIMIT: usize = 100;
const MAX_ACTOR_CHARACTERS: usize = 64;

/// The part of an order's events that is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OrderEventsQuery {
    /// At most so many events.
    #[param(rename = "limit", value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    page: PageQuery<EventCursor>,
    /// The `next_cursor` of the part before.
    #[param(value_type = Option<String>)]
    #[expect(dead_code, reason = "only its documentation is used: it is read with the page")]
    cursor: (),
}

impl FromQuery for OrderEventsQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        Some(Self { page: PageQuery::read(query, EVENT_LIMIT), cursor: () })
    }
}

problems!(OrderEventProblems: OrderNotFound, InvalidParameter, Unavailable);

/// List the events of an order
///
/// Every change of it: what, when, by whom, before and after. Oldest first.
///
/// Of an order with a thousand changes or more, a part may have fewer events than `limit`, or none. `next_cursor` then
/// says that there are more to look at.
///
/// The list has all that was acknowledged before the call, unless `complete_up_to` says otherwise: then changes made at
/// that instant or later wait for the ledger; ask again. Dead letters, which the ledger refused, are not shown.
#[utoipa::path(
    get, path = "/v1/orders/{internal_order_id}/events", tag = "audit", operation_id = "list_order_events",
    params(OrderInPath, OrderEventsQuery),
    responses((status = 200, description = "The events.", body = EventList), OrderEventProblems),
)]
pub(crate) async fn list_order_events(
    CallerOrders(orders): CallerOrders,
    InPath(id): InPath<Uuid>,
    Query(query): Query<OrderEventsQuery>,
) -> Result<Json<EventList>, Problem> {
    Ok(Json(orders.events(id, query.page.of_any()).await?.into()))
}

/// Which events of a restaurant are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RestaurantEventsQuery {
    /// At this instant or later: RFC 3339, or a date (`2026-10-05`) for the first instant of that day in UTC.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this instant: RFC 3339, or a date for the end of that day in UTC, so that the day is wholly in the list.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Only events of this kind; repeat it, or put commas between several: `created`, `imported`, `changed`,
    /// `released`, `reopened`, `recycled` (a number's rest was ended), `restated` (said again after a loss), `renumbered`,
    /// `replaced` (an import took the order again) or `configured` (the restaurant's settings).
    #[param(rename = "kind", value_type = Option<Vec<String>>)]
    kinds: Vec<String>,
    /// Only changes by this actor, such as `api`, `cleanup`, `recovery` or `key:7`.
    #[param(value_type = Option<String>, max_length = 64)]
    actor: Option<String>,
    /// Only events of this order: its id, or the foreign UUID under which it was imported.
    #[param(value_type = Option<Uuid>)]
    order: Option<Uuid>,
    /// At most so many events.
    #[param(rename = "limit", value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    page: PageQuery<EventCursor>,
    /// The `next_cursor` of the part before.
    #[param(value_type = Option<String>)]
    #[expect(dead_code, reason = "only its documentation is used: it is read with the page")]
    cursor: (),
}

impl FromQuery for RestaurantEventsQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let from = query.optional("from", moment).map(|from| from.begin(TimeZone::UTC));
        let to = query.optional("to", moment).map(|to| to.end(TimeZone::UTC));
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            query.fault("to", FaultCode::InvalidValue, "must be later than from");
        }
        Some(Self {
            from,
            to,
            kinds: query.list("kind", event_kind),
            actor: query.optional("actor", actor),
            order: query.optional("order", order_id),
            page: PageQuery::read(query, EVENT_LIMIT),
            cursor: (),
        })
    }
}

fn event_kind(text: &str) -> Result<String, Rejected> {
    word(text, &EVENT_KINDS, |kind| kind).map(str::to_owned)
}

fn actor(text: &str) -> Result<String, Rejected> {
    if text.chars().count() > MAX_ACTOR_CHARACTERS {
        return Err(Rejected::new(FaultCode::TooLong, format!("must have at most {MAX_ACTOR_CHARACTERS} characters")));
    }
    Ok(text.to_owned())
}

fn order_id(text: &str) -> Result<Uuid, Rejected> {
    Uuid::try_parse(text).map_err(|_| Rejected::invalid("must be a UUID"))
}

problems!(RestaurantEventProblems: RestaurantNotFound, InvalidParameter, Unavailable);

/// List the events of a restaurant
///
/// Every change of its orders and settings: what, when, by whom, before and after. Newest first.
///
/// One call looks at 5,000 events at most. So a part may have fewer events than `limit`, or none, while `next_cursor`
/// says that there are more to look at: go on until it is null. These are found without looking at others: events of a
/// kind other than `created`, `changed` and `released`, those by `cleanup`, `recovery` or `backfill`, and those of one
/// order.
///
/// The list has all that was acknowledged before the call, unless `complete_up_to` says otherwise: then changes made at
/// that instant or later wait for the ledger; ask again. Dead letters, which the ledger refused, are not shown.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/events", tag = "audit", operation_id = "list_restaurant_events",
    params(RestaurantInPath, RestaurantEventsQuery),
    responses((status = 200, description = "The events.", body = EventList), RestaurantEventProblems),
)]
pub(crate) async fn list_restaurant_events(
    CallerOrders(orders): CallerOrders,
    InPath(restaurant): InPath<RestaurantId>,
    Query(query): Query<RestaurantEventsQuery>,
) -> Result<Json<EventList>, Problem> {
    let page = query.page.of(restaurant)?;
    let RestaurantEventsQuery { from, to, kinds, actor, order, .. } = query;
    let filter = EventFilter { from, to, kinds, actor, order: None };
    Ok(Json(orders.restaurant_events(restaurant, filter, order, page).await?.into()))
}
