//! Numbers that are kept for tables, and numbers that are taken out.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{restaurants::not_shown, views::mark_replayed};
use crate::{
    domain::{DisplayNumber, Durability, Quarantine, Refusal, RestaurantId, WrittenNumber},
    http::{
        SharedState,
        code::{FaultCode, Location},
        edge::{caller::Caller, change::at_level},
        extract::{
            AskedDurability, Body, InPath, JsonBody, LevelInHeader, NoQuery, NumberInPath, Query, RestaurantInPath,
        },
        problem::{Fault, Problem, problems},
    },
    service::{ChangedSettings, Reach},
};

/// A number that is kept for a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Reservation {
    /// The number.
    #[schema(minimum = 1, maximum = 999_999, examples(7))]
    number: u32,
    /// The table.
    #[schema(examples("12"))]
    table_number: String,
}

/// The numbers that are kept for tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Reservations {
    /// In the order of their numbers.
    reservations: Vec<Reservation>,
}

/// For which table a number is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReservationRequest {
    /// The table, as orders name it: 1 to 32 characters.
    #[schema(min_length = 1, max_length = 32)]
    table_number: String,
}

impl Body for ReservationRequest {
    fn check(&self, faults: &mut Vec<Fault>) {
        text_of(&self.table_number, 32, "/table_number", faults);
    }
}

impl Body for Quarantine {
    fn check(&self, faults: &mut Vec<Fault>) {
        text_of(&self.reason, 200, "/reason", faults);
    }
}

/// Notes a text that is empty, too long, or not to be stored.
fn text_of(text: &str, most: usize, pointer: &str, faults: &mut Vec<Fault>) {
    let characters = text.chars().count();
    let detail = if text.trim().is_empty() || characters > most {
        format!("must be 1 to {most} characters, and not blank")
    } else if text.contains('\0') {
        "must not contain a NUL character".to_owned()
    } else {
        return;
    };
    faults.push(Fault::new(Location::Body, pointer, FaultCode::InvalidValue, detail));
}

problems!(SpecialReadProblems: RestaurantNotFound, NumberNotReserved, NumberOutOfRange, InvalidParameter, Unavailable);
problems!(ReservationsProblems: RestaurantNotFound, InvalidParameter, Unavailable);
problems!(ReserveProblems: MalformedJson, InvalidDurability, DurabilityUnknown, OutcomeUnknown, RestaurantNotFound,
    NumberOutOfRange, TableHasNumber, NumberBlocked, TooManyReservations, UnsupportedMediaType, InvalidBody,
    InvalidParameter, Unavailable);
problems!(GiveUpProblems: InvalidDurability, DurabilityUnknown, OutcomeUnknown, RestaurantNotFound, NumberOutOfRange,
    NumberNotReserved, InvalidParameter, Unavailable);
problems!(TakeOutProblems: MalformedJson, InvalidDurability, DurabilityUnknown, OutcomeUnknown, RestaurantNotFound,
    NumberOutOfRange, NumberNotInPool, QuarantineFull, UnsupportedMediaType, InvalidBody, InvalidParameter,
    Unavailable);
problems!(PutBackProblems: InvalidDurability, DurabilityUnknown, OutcomeUnknown, RestaurantNotFound, NumberOutOfRange,
    NumberNotQuarantined, InvalidParameter, Unavailable);

async fn number_of(
    state: &SharedState,
    restaurant: RestaurantId,
    written: &WrittenNumber,
) -> Result<DisplayNumber, Problem> {
    let found = state.service.orders.number_written(restaurant, written).await?;
    found.ok_or_else(|| not_shown(written))
}

/// List the numbers that are kept for tables
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/reservations", tag = "numbers", operation_id = "list_reservations",
    params(RestaurantInPath),
    responses((status = 200, description = "The reservations.", body = Reservations), ReservationsProblems),
)]
pub(crate) async fn list_reservations(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
) -> Result<Json<Reservations>, Problem> {
    let reservations = state.service.restaurants.reservations(restaurant).await?;
    let reservation = |(number, table_number)| Reservation { number, table_number };
    Ok(Json(Reservations { reservations: reservations.into_iter().map(reservation).collect() }))
}

/// Read for which table a number is kept
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/reservations/{number}", tag = "numbers",
    operation_id = "get_reservation",
    params(RestaurantInPath, NumberInPath),
    responses((status = 200, description = "The reservation.", body = Reservation), SpecialReadProblems),
)]
pub(crate) async fn get_reservation(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    InPath(written): InPath<WrittenNumber>,
    _: Query<NoQuery>,
) -> Result<Json<Reservation>, Problem> {
    let number = number_of(&state, restaurant, &written).await?;
    let mut reservations = state.service.restaurants.reservations(restaurant).await?;
    let table_number = reservations.remove(&number.get()).ok_or(Refusal::NotReserved { number })?;
    Ok(Json(Reservation { number: number.get(), table_number }))
}

/// Keep a number for a table
///
/// Orders for that table (`table_number`) get it, and no others do. Where it is held, or rests after a guest who might
/// still be called, such an order gets an ordinary number, and says why in `number_choice`. A table has one number.
#[utoipa::path(
    put, path = "/v1/restaurants/{restaurant_id}/reservations/{number}", tag = "numbers",
    operation_id = "put_reservation",
    params(RestaurantInPath, NumberInPath, LevelInHeader),
    request_body(content = ReservationRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "It is kept.", body = Reservation, headers(
            ("Durability" = Durability, description = "The level that it has reached."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first answer \
                of its store: it was kept then."),
        )),
        ReserveProblems,
    ),
)]
pub(crate) async fn put_reservation(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    InPath(written): InPath<WrittenNumber>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    level: AskedDurability,
    JsonBody(ReservationRequest { table_number }): JsonBody<ReservationRequest>,
) -> Result<(HeaderMap, Json<Reservation>), Problem> {
    let number = number_of(&state, restaurant, &written).await?;
    let (service, table) = (state.service.clone(), table_number.clone());
    let change = async move { service.restaurants.reserve(restaurant, number, &table, context).await };
    let changed = at_level(&state, level, Some(restaurant), change, move |_| Reach::restaurant(restaurant)).await?;
    Ok((headers_of(changed), Json(Reservation { number: number.get(), table_number })))
}

/// Keep a number for a table no longer
///
/// An order that has it keeps it.
#[utoipa::path(
    delete, path = "/v1/restaurants/{restaurant_id}/reservations/{number}", tag = "numbers",
    operation_id = "delete_reservation",
    params(RestaurantInPath, NumberInPath, LevelInHeader),
    responses(
        (status = 204, description = "It is kept no longer.", headers(
            ("Durability" = Durability, description = "The level that it has reached."),
        )),
        GiveUpProblems,
    ),
)]
pub(crate) async fn delete_reservation(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    InPath(written): InPath<WrittenNumber>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    level: AskedDurability,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let number = number_of(&state, restaurant, &written).await?;
    let service = state.service.clone();
    let change = async move { service.restaurants.give_up_reservation(restaurant, number, context).await };
    let changed = at_level(&state, level, Some(restaurant), change, move |_| Reach::restaurant(restaurant)).await?;
    Ok((StatusCode::NO_CONTENT, headers_of(changed)))
}

/// Take a number out for a while
///
/// No order gets it until then. Where an order has it, that begins when the order has ended. At most a twentieth of
/// a pool may be out, one number at least.
#[utoipa::path(
    put, path = "/v1/restaurants/{restaurant_id}/numbers/{number}/quarantine", tag = "numbers",
    operation_id = "put_quarantine",
    params(RestaurantInPath, NumberInPath, LevelInHeader),
    request_body(content = Quarantine, content_type = "application/json"),
    responses(
        (status = 200, description = "It is out, or will be.", body = Quarantine, headers(
            ("Durability" = Durability, description = "The level that it has reached."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first answer \
                of its store: it was taken out then."),
        )),
        TakeOutProblems,
    ),
)]
pub(crate) async fn put_quarantine(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    InPath(written): InPath<WrittenNumber>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    level: AskedDurability,
    JsonBody(quarantine): JsonBody<Quarantine>,
) -> Result<(HeaderMap, Json<Quarantine>), Problem> {
    let number = number_of(&state, restaurant, &written).await?;
    let (service, taken_out) = (state.service.clone(), quarantine.clone());
    let change = async move { service.restaurants.take_out(restaurant, number, &taken_out, context).await };
    let changed = at_level(&state, level, Some(restaurant), change, move |_| Reach::restaurant(restaurant)).await?;
    Ok((headers_of(changed), Json(quarantine)))
}

/// Put a number back that was taken out
///
/// It is free, or rests on as long as it does by itself.
#[utoipa::path(
    delete, path = "/v1/restaurants/{restaurant_id}/numbers/{number}/quarantine", tag = "numbers",
    operation_id = "delete_quarantine",
    params(RestaurantInPath, NumberInPath, LevelInHeader),
    responses(
        (status = 204, description = "It is back.", headers(
            ("Durability" = Durability, description = "The level that it has reached."),
        )),
        PutBackProblems,
    ),
)]
pub(crate) async fn delete_quarantine(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    InPath(written): InPath<WrittenNumber>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    level: AskedDurability,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let number = number_of(&state, restaurant, &written).await?;
    let service = state.service.clone();
    let change = async move { service.restaurants.put_back(restaurant, number, context).await };
    let changed = at_level(&state, level, Some(restaurant), change, move |_| Reach::restaurant(restaurant)).await?;
    Ok((StatusCode::NO_CONTENT, headers_of(changed)))
}

fn headers_of((changed, mut headers): (ChangedSettings, HeaderMap)) -> HeaderMap {
    mark_replayed(&mut headers, changed.replayed);
    headers
}
