//! Numbers that are kept for tables, and numbers that are taken out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, request::Parts},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{restaurants::not_shown, views::mark_replayed};
use crate::{
    domain::{Context, DisplayNumber, Durability, Quarantine, Refusal, RestaurantId, WrittenNumber},
    http::{
        SharedState,
        edge::{caller::Caller, change::at_level},
        extract::{
            AskedDurability, InPath, JsonBody, LevelInHeader, NoQuery, NumberInPath, Query, ReservationRequest,
            RestaurantInPath,
        },
        problem::{Problem, problems},
    },
    service::{ChangedSettings, Reach, Service, ServiceError},
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

/// What every call that changes what is special about a number reads of its request, besides the body.
pub(crate) struct NumberCall {
    state: SharedState,
    restaurant: RestaurantId,
    written: WrittenNumber,
    context: Context,
    level: AskedDurability,
}

impl FromRequestParts<SharedState> for NumberCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, Problem> {
        let InPath(restaurant) = InPath::<RestaurantId>::from_request_parts(parts, state).await?;
        let InPath(written) = InPath::<WrittenNumber>::from_request_parts(parts, state).await?;
        Query::<NoQuery>::from_request_parts(parts, state).await?;
        let Ok(Caller(context)) = Caller::from_request_parts(parts, state).await;
        let level = AskedDurability::from_request_parts(parts, state).await?;
        Ok(Self { state: state.clone(), restaurant, written, context, level })
    }
}

impl NumberCall {
    /// Makes a change, and gives the number and the headers of the answer once it is as durable as was asked for.
    async fn make<F>(
        self,
        change: impl FnOnce(Arc<Service>, RestaurantId, DisplayNumber, Context) -> F,
    ) -> Result<(DisplayNumber, HeaderMap), Problem>
    where
        F: Future<Output = Result<ChangedSettings, ServiceError>> + Send + 'static,
    {
        let Self { state, restaurant, written, context, level } = self;
        let number = number_of(&state, restaurant, &written).await?;
        let change = change(state.service.clone(), restaurant, number, context);
        let reach = move |_: &ChangedSettings| Reach::restaurant(restaurant);
        let (changed, mut headers) = at_level(&state, level, Some(restaurant), change, reach).await?;
        mark_replayed(&mut headers, changed.replayed);
        Ok((number, headers))
    }
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
/// still be called, such an order gets an ordinary number, and says why in `number_reason`. A table has one number.
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
    call: NumberCall,
    JsonBody(body): JsonBody<ReservationRequest>,
) -> Result<(HeaderMap, Json<Reservation>), Problem> {
    let ReservationRequest { table_number } = body;
    let table = table_number.clone();
    let reserve = move |service: Arc<Service>, restaurant, number, context| async move {
        service.restaurants.reserve(restaurant, number, &table, context).await
    };
    let (number, headers) = call.make(reserve).await?;
    Ok((headers, Json(Reservation { number: number.get(), table_number })))
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
pub(crate) async fn delete_reservation(call: NumberCall) -> Result<(StatusCode, HeaderMap), Problem> {
    let give_up = move |service: Arc<Service>, restaurant, number, context| async move {
        service.restaurants.give_up_reservation(restaurant, number, context).await
    };
    let (_, headers) = call.make(give_up).await?;
    Ok((StatusCode::NO_CONTENT, headers))
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
    call: NumberCall,
    JsonBody(quarantine): JsonBody<Quarantine>,
) -> Result<(HeaderMap, Json<Quarantine>), Problem> {
    let taken_out = quarantine.clone();
    let take_out = move |service: Arc<Service>, restaurant, number, context| async move {
        service.restaurants.take_out(restaurant, number, &taken_out, context).await
    };
    let (_, headers) = call.make(take_out).await?;
    Ok((headers, Json(quarantine)))
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
pub(crate) async fn delete_quarantine(call: NumberCall) -> Result<(StatusCode, HeaderMap), Problem> {
    let put_back = move |service: Arc<Service>, restaurant, number, context| async move {
        service.restaurants.put_back(restaurant, number, context).await
    };
    let (_, headers) = call.make(put_back).await?;
    Ok((StatusCode::NO_CONTENT, headers))
}
