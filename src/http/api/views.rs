//! What answers look like in JSON.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::NaiveDate;
use serde::Serialize;
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use crate::{
    domain::{
        Choice, Metadata, NumberState, Order, OrderId, OrderItem, OrderSource, OrderStatus, OrderType, RangeId,
        RecordedEvent, Timestamp,
    },
    http::{etag::etag, extract::ReadConditions, problem::Problem},
    service::{Cleanup, EventPage, NumberReport, OrderPage},
};

/// An order. Every field is always there; what was not given is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderJson {
    /// The identifier that systems keep for ever.
    #[schema(value_type = uuid::Uuid)]
    internal_order_id: OrderId,
    /// The restaurant.
    #[schema(minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: u32,
    /// The number to call out. Null only for imported orders that had ended before they came here.
    #[schema(required = true, minimum = 1, maximum = 999_999, examples(42))]
    display_order_number: Option<u32>,
    /// The number as it is shown; it never changes.
    #[schema(required = true, examples("0042"))]
    display_number_formatted: Option<String>,
    /// The range that gave the number: `main`, or the id of a further one. It stays what it was when ranges change, and
    /// when the order changes its channel. Null without a number.
    #[schema(required = true, examples("main"))]
    number_range: Option<String>,
    /// Why it is this number; null where it was the next one of its range, as usual.
    #[schema(required = true)]
    number_reason: Option<NumberReason>,
    /// The number as older systems show it.
    #[schema(required = true, examples("R7-0042"))]
    order_number: Option<String>,
    /// The business date that it belongs to, by the restaurant's clock; null where none is known: of orders from before there
    /// were business dates, and of imported ones that did not bring one.
    #[schema(required = true, value_type = Option<String>, format = Date, examples("2026-11-30"))]
    business_date: Option<NaiveDate>,
    /// The how-manieth order of that date it is: 1, 2, 3 and so on without gaps.
    #[schema(required = true, minimum = 1, maximum = 16_777_215, examples(57))]
    daily_sequence: Option<u32>,
    /// Where the order stands.
    status: OrderStatus,
    /// The table, as the restaurant names it.
    #[schema(required = true, value_type = Option<String>)]
    table_number: Option<TableNumberJson>,
    /// The channel that the order came in by.
    #[schema(required = true)]
    order_source: Option<OrderSource>,
    /// How the guest gets the food.
    #[schema(required = true)]
    order_type: Option<OrderType>,
    /// The caller's own identifier for the order.
    #[schema(required = true)]
    external_id: Option<String>,
    /// The name to call out beside the number.
    #[schema(required = true)]
    customer_name: Option<String>,
    /// A remark for the kitchen.
    #[schema(required = true)]
    note: Option<String>,
    /// Anything else, as it was given; a number without a fraction as an integer.
    #[schema(required = true)]
    metadata: Option<Metadata>,
    /// What it consists of, for the kitchen.
    #[schema(required = true)]
    items: Option<Vec<ItemJson>>,
    /// When the order was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the number was given to it; null without a number. The lives of one number, from here to the release, never
    /// overlap. An order that is reopened keeps it: no other order had the number since.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    number_given_at: Option<Timestamp>,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When it ended and gave its number back; null while it is live.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    released_at: Option<Timestamp>,
    /// When it was reopened the last time; null where it never was.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    reopened_at: Option<Timestamp>,
    /// How often it was called.
    #[schema(maximum = 65_535)]
    call_count: u16,
    /// When it was called the last time; null where it never was.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    last_called_at: Option<Timestamp>,
    /// Counts the changes, from 1; the `ETag` is this number in quotes.
    #[schema(minimum = 1)]
    version: u32,
}

/// One line of an order, as a kitchen cooks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Item)]
pub(crate) struct ItemJson {
    /// What it is.
    #[schema(examples("Cheeseburger"))]
    name: String,
    /// How many of it.
    #[schema(minimum = 1, maximum = 999)]
    quantity: u16,
    /// How it is wanted.
    #[schema(required = true)]
    note: Option<String>,
    /// Where it is made, as the restaurant names its stations.
    #[schema(required = true, examples("grill"))]
    station: Option<String>,
}

impl From<OrderItem> for ItemJson {
    fn from(item: OrderItem) -> Self {
        let OrderItem { name, quantity, note, station } = item;
        Self { name, quantity, note, station }
    }
}

/// Why an order has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NumberReason {
    /// It was asked for.
    Requested,
    /// It is reserved for the order's table.
    Reserved,
    /// The one that is reserved for its table was held by another order: it got the next one.
    ReservedIsLive,
    /// The one that is reserved for its table rested: it got the next one.
    ReservedRests,
}

impl NumberReason {
    const fn of(choice: Choice) -> Option<Self> {
        match choice {
            Choice::Next => None,
            Choice::ReservedIsLive => Some(Self::ReservedIsLive),
            Choice::ReservedRests => Some(Self::ReservedRests),
            Choice::Wished => Some(Self::Requested),
            Choice::Reserved => Some(Self::Reserved),
        }
    }
}

impl From<Order> for OrderJson {
    fn from(order: Order) -> Self {
        let range = order.number.map(|_| RangeId::name(order.range.as_ref()).to_owned());
        Self {
            internal_order_id: order.id,
            restaurant_id: order.restaurant().get(),
            display_order_number: order.number.map(u32::from),
            display_number_formatted: order.formatted_number(),
            number_range: range,
            number_reason: NumberReason::of(order.choice),
            order_number: order.order_number(),
            business_date: order.business_day.map(|day| day.date),
            daily_sequence: order.business_day.map(|day| day.sequence),
            status: order.status,
            created_at: order.created_at(),
            number_given_at: order.given_at,
            updated_at: order.updated_at,
            released_at: order.released_at,
            reopened_at: order.reopening.map(|reopening| reopening.at),
            call_count: order.calls.map_or(0, |calls| calls.count),
            last_called_at: order.calls.map(|calls| calls.last_at),
            version: order.version,
            table_number: order.details.table_number.map(TableNumberJson::Text),
            order_source: order.details.order_source,
            order_type: order.details.order_type,
            external_id: order.details.external_id,
            customer_name: order.details.customer_name,
            note: order.details.note,
            metadata: order.details.metadata,
            items: order.details.items.map(|items| items.into_iter().map(ItemJson::from).collect()),
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct OrderList {
    /// The orders of this part.
    orders: Vec<OrderJson>,
    /// What to send as `cursor` to get the next part; null at the end.
    #[schema(required = true, value_type = Option<String>)]
    next_cursor: Option<OrderId>,
}

impl From<OrderPage> for OrderList {
    fn from(page: OrderPage) -> Self {
        Self { orders: page.orders.into_iter().map(OrderJson::from).collect(), next_cursor: page.next }
    }
}

/// One change, as the audit log has it. Every field is always there.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventJson {
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    /// What happened: `created`, `imported`, `changed`, `released`, `reopened`, `called`, `recycled`, `restated`, `renumbered`,
    /// `replaced`, `configured` or `business_date_set`.
    #[schema(examples("changed"))]
    kind: String,
    /// The restaurant.
    #[schema(minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: u32,
    /// The order; null for a change of settings, where numbers were put to rest (`restated`), and where a business date
    /// was set.
    #[schema(required = true, value_type = Option<uuid::Uuid>)]
    internal_order_id: Option<OrderId>,
    /// The number that the order had after the change.
    #[schema(required = true, minimum = 1, maximum = 999_999, examples(42))]
    display_order_number: Option<u32>,
    /// The order's status before the change; null where it had none, or it is not known.
    #[schema(required = true)]
    status_before: Option<OrderStatus>,
    /// The order's status after the change.
    #[schema(required = true)]
    status_after: Option<OrderStatus>,
    /// The version of the order, or of the settings, after the change; null where numbers were put to rest, or a business
    /// date was set.
    #[schema(required = true)]
    version: Option<u32>,
    /// Who asked for it: `api`, `key:` and the number of an API key, `cleanup`, `recovery`, `backfill`, …
    #[schema(required = true, examples("api"))]
    actor: Option<String>,
    /// The `X-Request-Id` of the call.
    #[schema(required = true)]
    request_id: Option<String>,
    /// What the other fields do not say. `changes`: each descriptive field that was changed, with what it held before
    /// and after. For settings: `before` (absent where they are not known, null for the first ones) and `after`. For a
    /// business date that was set: `before` (null for the first one), `after` and `ends_at`. For
    /// numbers that were put to rest: `numbers`, `until` and `cause` (`skipped` after a loss, or `reclaimed` since they
    /// had leaked). For a call: `place`, where one was said.
    /// Besides: `immediate`, `previous_number`, `foreign_id`.
    #[schema(required = true, value_type = Option<HashMap<String, Value>>)]
    detail: Option<Value>,
    /// The partition whose outbox held it.
    partition: u16,
    /// Which build of the partition's data it belongs to; 0 for what was imported straight into the ledger.
    generation: u64,
    /// Its place in the partition.
    sequence: u64,
}

impl From<RecordedEvent> for EventJson {
    fn from(event: RecordedEvent) -> Self {
        Self {
            occurred_at: event.position.at,
            kind: event.kind,
            restaurant_id: event.restaurant.get(),
            internal_order_id: event.order,
            display_order_number: event.number.map(u32::from),
            status_before: event.status_before,
            status_after: event.status_after,
            version: event.version,
            actor: event.actor,
            request_id: event.request_id,
            detail: event.detail,
            partition: event.partition.as_i16().cast_unsigned(),
            generation: event.position.generation,
            sequence: event.position.sequence,
        }
    }
}

/// A part of a list of events.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct EventList {
    /// The events of this part. One call looks at a bounded number of events: with a filter that few of them pass there
    /// may be fewer here than `limit`, or none, and more in the next part.
    events: Vec<EventJson>,
    /// What to send as `cursor` to get the next part; null at the end, and only there.
    #[schema(required = true)]
    next_cursor: Option<String>,
    /// Null where all is there that was acknowledged before the call. Else changes made at this instant or later may be
    /// missing: they wait for the ledger.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    complete_up_to: Option<Timestamp>,
}

impl From<EventPage> for EventList {
    fn from(page: EventPage) -> Self {
        Self {
            events: page.events.into_iter().map(EventJson::from).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
            complete_up_to: page.complete_up_to,
        }
    }
}

/// What the older system's search answers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct LegacyOrders {
    /// The orders found, newest first.
    pub orders: Vec<LegacyOrderJson>,
}

/// An order as older systems read it: as everywhere else, but that a table number which is a whole number is one in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LegacyOrderJson(OrderJson);

impl From<Order> for LegacyOrderJson {
    fn from(order: Order) -> Self {
        let mut json = OrderJson::from(order);
        json.table_number = json.table_number.map(TableNumberJson::for_older_systems);
        Self(json)
    }
}

impl PartialSchema for LegacyOrderJson {
    fn schema() -> RefOr<Schema> {
        let mut schema = OrderJson::schema();
        if let RefOr::T(Schema::Object(order)) = &mut schema {
            let table = ObjectBuilder::new()
                .schema_type(SchemaType::from_iter([Type::String, Type::Integer, Type::Null]))
                .description(Some("The table: an integer where it is one, as older systems sent it; else a text."));
            order.properties.insert("table_number".to_owned(), table.into());
        }
        schema
    }
}

impl ToSchema for LegacyOrderJson {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("LegacyOrder")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        OrderJson::schemas(schemas);
    }
}

/// A table number, as text or as a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum TableNumberJson {
    Text(String),
    Number(i64),
}

impl TableNumberJson {
    /// The largest integer that every reader of JSON keeps exactly.
    const MOST: i64 = (1 << 53) - 1;

    fn for_older_systems(self) -> Self {
        let Self::Text(text) = self else { return self };
        let is_canonical = |number: &i64| number.to_string() == text && (-Self::MOST..=Self::MOST).contains(number);
        match text.parse().ok().filter(is_canonical) {
            Some(number) => Self::Number(number),
            None => Self::Text(text),
        }
    }
}

/// The order that has a number, or had it last.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = NumberReport)]
pub(crate) struct NumberJson {
    /// The number.
    #[schema(minimum = 1, maximum = 999_999, examples(42))]
    number: u32,
    /// What it is doing; with `at`, what it was doing; with `business_date`, what it is doing now.
    state: NumberState,
    /// Its holder, or its last one; null where no order ever had it. With `business_date`, the last one of that date, or
    /// null.
    #[schema(required = true)]
    order: Option<OrderJson>,
}

impl From<NumberReport> for NumberJson {
    fn from(report: NumberReport) -> Self {
        Self { number: report.number.get(), state: report.state, order: report.order.map(OrderJson::from) }
    }
}

/// What a clean-up did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Cleanup)]
pub(crate) struct CleanupJson {
    /// Whether nothing was changed.
    dry_run: bool,
    /// The orders that were expired (with `dry_run`: that would be), oldest first.
    orders: Vec<OrderJson>,
    /// The orders that were completed, since they had been served for `served_seconds` (with `dry_run`: that would be),
    /// oldest first.
    completed: Vec<OrderJson>,
    /// Whether more are waiting: call again.
    more: bool,
}

impl CleanupJson {
    /// The answer to a clean-up.
    pub(crate) fn new(dry_run: bool, cleanup: Cleanup) -> Self {
        let json = |orders: Vec<Order>| orders.into_iter().map(OrderJson::from).collect();
        Self { dry_run, orders: json(cleanup.orders), completed: json(cleanup.completed), more: cleanup.more }
    }
}

/// Whether the process is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    #[schema(examples("ok"))]
    pub status: &'static str,
}

/// Whether the service can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(crate) struct ReadinessJson {
    /// `ready` or `not_ready`.
    #[schema(examples("ready"))]
    pub status: &'static str,
    /// What is wrong, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub reasons: Vec<String>,
    /// What is not as it should be, though everything is served: clocks that disagree, say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<String>,
}

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Says that an earlier copy of a call was served.
pub(crate) fn mark_replayed(headers: &mut HeaderMap, replayed: bool) {
    if replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
}

/// An answer with one order: its version is the `ETag`.
pub(crate) fn one_order(status: StatusCode, order: Order, headers: HeaderMap) -> Response {
    order_as::<OrderJson>(status, order, headers)
}

fn order_as<J: From<Order> + Serialize>(status: StatusCode, order: Order, mut headers: HeaderMap) -> Response {
    headers.insert(header::ETAG, etag(order.version));
    (status, headers, Json(J::from(order))).into_response()
}

/// An order as an answer to a read, on the conditions of the caller.
///
/// # Errors
/// `version_mismatch` where the order is not at the version that is wanted.
pub(crate) fn order_on_conditions<J: From<Order> + Serialize>(
    order: Order,
    conditions: &ReadConditions,
) -> Result<Response, Problem> {
    if conditions.spare(order.version)? {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(order.version))]).into_response());
    }
    Ok(order_as::<J>(StatusCode::OK, order, HeaderMap::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::testing;

    #[test]
    fn older_systems_get_back_the_table_that_they_sent() {
        for (text, json) in [
            ("5", json!(5)),
            ("-3", json!(-3)),
            ("0", json!(0)),
            ("05", json!("05")),
            ("+5", json!("+5")),
            ("5.0", json!("5.0")),
            ("T5", json!("T5")),
            ("-0", json!("-0")),
            ("9007199254740991", json!(9_007_199_254_740_991_i64)),
            ("9007199254740992", json!("9007199254740992")),
            ("99999999999999999999", json!("99999999999999999999")),
        ] {
            let mut order = testing::order();
            order.details.table_number = Some(text.to_owned());
            let [ours, theirs] = [json!(OrderJson::from(order.clone())), json!(LegacyOrderJson::from(order))];
            assert_eq!((&ours["table_number"], &theirs["table_number"]), (&json!(text), &json), "{text}");
        }
    }

    #[test]
    fn an_order_shows_every_field() {
        let order = testing::order();
        let id = order.id.to_string();
        assert_eq!(
            serde_json::to_value(OrderJson::from(order)).expect("an order is JSON"),
            json!({
                "internal_order_id": id, "restaurant_id": 7, "display_order_number": 42,
                "display_number_formatted": "0042", "number_range": "main", "number_reason": null,
                "order_number": "R7-0042", "status": "completed",
                "business_date": "2023-11-14", "daily_sequence": 5,
                "table_number": "12", "order_source": "kiosk", "order_type": "dine_in", "external_id": null,
                "customer_name": null, "note": null, "metadata": {"k": [1]}, "items": [{"name": "Soup", "quantity": 2, "note": null, "station": "cold"}],
                "created_at": "2023-11-14T22:13:20.123Z", "number_given_at": "2023-11-14T22:13:20.125Z",
                "updated_at": "2023-11-14T22:14:20.000Z",
                "released_at": "2023-11-14T22:14:20.000Z", "reopened_at": null,
                "call_count": 2, "last_called_at": "2023-11-14T22:13:50.000Z", "version": 3,
            })
        );
    }

    #[test]
    fn an_order_says_which_range_gave_its_number_and_why() {
        let shown = |order: Order| {
            let json = json!(OrderJson::from(order));
            (json["display_number_formatted"].clone(), json["number_range"].clone(), json["number_reason"].clone())
        };
        let bar = Order {
            number: "501".parse().ok(),
            format: "D{n-500:02}".parse().expect("a format"),
            range: "bar".parse().ok(),
            choice: Choice::Wished,
            ..testing::order()
        };
        assert_eq!(shown(bar), (json!("D01"), json!("bar"), json!("requested")));
        let without = Order { number: None, given_at: None, ..testing::order() };
        assert_eq!(shown(without), (json!(null), json!(null), json!(null)));
        for choice in [Choice::Reserved, Choice::ReservedIsLive, Choice::ReservedRests] {
            let reason = shown(Order { choice, ..testing::order() }).2;
            assert_eq!(reason.as_str(), choice.as_str());
        }
    }
}
