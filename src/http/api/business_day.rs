//! The business date of a restaurant.

use axum::{Json, extract::State, http::HeaderMap};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::views::mark_replayed;
use crate::{
    domain::{Durability, PresentDate, RestaurantId, Timestamp, business_day::is_countable},
    http::{
        SharedState,
        code::{FaultCode, Location},
        edge::{caller::Caller, change::at_level},
        extract::{AskedDurability, Body, InPath, JsonBody, LevelInHeader, NoQuery, Query, RestaurantInPath},
        problem::{Fault, Problem, problems},
    },
    service::{ChangedDate, Reach},
};

/// The business date of a restaurant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BusinessDate)]
pub(crate) struct BusinessDateJson {
    /// The date that the next order belongs to.
    #[schema(value_type = String, format = Date, examples("2026-11-30"))]
    date: NaiveDate,
    /// When it ends: an order from then on belongs to the next one.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// How many orders it has had; the next one has the place behind them.
    orders: u32,
    /// By whose clock dates begin.
    #[schema(examples("Europe/Berlin"))]
    time_zone: String,
    /// When they begin by it.
    #[schema(examples("04:00"))]
    starts_at: String,
}

impl From<PresentDate> for BusinessDateJson {
    fn from(present: PresentDate) -> Self {
        Self {
            date: present.date,
            ends_at: present.ends_at,
            orders: present.orders,
            time_zone: present.rules.zone.to_string(),
            starts_at: present.rules.starts_at.to_string(),
        }
    }
}

problems!(ReadProblems: RestaurantNotFound, InvalidParameter, Unavailable);

/// Read the business date
///
/// The date that the next order belongs to, by the restaurant's `time_zone` and `business_day.starts_at`, and how many
/// orders it has had.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/business-day", tag = "restaurants", operation_id = "get_business_day",
    params(RestaurantInPath),
    responses((status = 200, description = "The business date.", body = BusinessDateJson), ReadProblems),
)]
pub(crate) async fn get_business_day(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
) -> Result<Json<BusinessDateJson>, Problem> {
    Ok(Json(state.service.restaurants.business_date(restaurant).await?.into()))
}

/// A business date to set.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BusinessDateRequest {
    /// The date; at most a day from the one that it is by UTC.
    #[schema(required = true, nullable = false, value_type = String, format = Date, examples("2026-11-30"))]
    date: Option<NaiveDate>,
}

impl Body for BusinessDateRequest {
    fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |code, detail| faults.push(Fault::new(Location::Body, "/date", code, detail));
        match self.date {
            None => fault(FaultCode::Missing, "must be given"),
            Some(date) if !is_countable(date) => fault(FaultCode::OutOfRange, "must be at most a day from that of UTC"),
            Some(_) => {}
        }
    }
}

problems!(ChangeProblems: MalformedJson, InvalidDurability, DurabilityUnknown, OutcomeUnknown, RestaurantNotFound,
    UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Set the business date back or on
///
/// For when it turned at the wrong time: the time zone was wrong, or a long night goes on past `starts_at`. Orders belong to
/// the date from then on. An earlier date goes on until the next one begins by the restaurant's settings, a later one until
/// its own end. Orders that were made keep the date that they have.
///
/// The daily sequence goes on behind what the date has had already, so no place is given twice. Where rings begin anew with
/// each date, they do so with a later one, too. The change is an event of the kind `business_date_set`. Where it is that date
/// already, nothing changes.
#[utoipa::path(
    put, path = "/v1/restaurants/{restaurant_id}/business-day", tag = "restaurants", operation_id = "put_business_day",
    params(RestaurantInPath, LevelInHeader),
    request_body(content = BusinessDateRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The business date as it now is.", body = BusinessDateJson,
            headers(
                ("Durability" = Durability, description = "The level that the change has reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first \
                    answer of its store: the date was set then, and this is the one that now stands."),
            )),
        ChangeProblems,
    ),
)]
pub(crate) async fn put_business_day(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    level: AskedDurability,
    JsonBody(request): JsonBody<BusinessDateRequest>,
) -> Result<(HeaderMap, Json<BusinessDateJson>), Problem> {
    let date = request.date.unwrap_or_default();
    let service = state.service.clone();
    let change = async move { service.restaurants.set_business_date(restaurant, date, context).await };
    let reach = move |_: &ChangedDate| Reach::restaurant(restaurant);
    let (changed, mut headers) = at_level(&state, level, Some(restaurant), change, reach).await?;
    mark_replayed(&mut headers, changed.replayed);
    Ok((headers, Json(changed.present.into())))
}
