//! A restaurant: its live orders, numbers, search, pool, settings and clean-up.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::NaiveDate;
use utoipa::IntoParams;

use super::views::{CleanupJson, NumberJson, OrderList, mark_replayed};
use crate::{
    domain::{
        Durability, OrderStatus, PoolOccupancy, PoolSettings, Refusal, RestaurantId, SearchQuery, SettingsPatch,
        SpecialNumbers, Timestamp, WrittenNumber,
    },
    http::{
        AppState, SharedState,
        code::{Code, FaultCode, Location},
        edge::{
            caller::{Caller, CallerSight},
            change::at_level,
        },
        etag::settings_etag,
        extract::{
            AskedDurability, CleanupRequest, FromQuery, InPath, JsonBody, LevelInHeader, MaybeJsonBody, NoQuery,
            NumberInPath, Query, QueryReader, Rejected, RestaurantInPath, SettingsChangeInHeader, SettingsConditions,
            SettingsReadInHeader, boolean, business_date, instant,
            pagination::{self, PageQuery},
            search_text, word,
        },
        problem::{Fault, Problem, problems},
    },
    service::{ChangedSettings, PresentSettings, Reach, ServiceError, Wanted, When},
};

const LIST_LIMIT: usize = 100;
const SEARCH_LIMIT: usize = 20;
const CLEANUP_LIMIT: u32 = 100;

/// The parameters of the kitchen screen.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveQuery {
    /// Only orders that stand so; repeat it, or put commas between several. Only live statuses can be found here.
    #[param(rename = "status", value_type = Option<Vec<OrderStatus>>)]
    statuses: Vec<OrderStatus>,
    /// At most so many orders.
    #[param(rename = "limit", value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    page: PageQuery,
    /// The `next_cursor` of the part before.
    #[param(value_type = Option<String>)]
    #[expect(dead_code, reason = "only its documentation is used: it is read with the page")]
    cursor: (),
}

impl FromQuery for LiveQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let statuses = query.list("status", live_status);
        Some(Self { statuses, page: PageQuery::read(query, LIST_LIMIT), cursor: () })
    }
}

fn live_status(text: &str) -> Result<OrderStatus, Rejected> {
    if word(text, &OrderStatus::ALL, OrderStatus::as_str).is_ok_and(OrderStatus::is_final) {
        return Err(Rejected::invalid("orders that have ended are not in this list; use search"));
    }
    let live: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.is_live()).collect();
    word(text, &live, OrderStatus::as_str)
}

problems!(ListProblems: RestaurantNotFound, InvalidParameter, Unavailable);

/// List live orders
///
/// The kitchen screen: oldest first. A key of role `screen` sees the fields that a board shows to all guests; the others are
/// null.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/orders", tag = "orders", operation_id = "list_orders",
    params(RestaurantInPath, LiveQuery),
    responses((status = 200, description = "The orders.", body = OrderList), ListProblems),
)]
pub(crate) async fn list_orders(
    State(state): State<SharedState>,
    CallerSight(sight): CallerSight,
    InPath(restaurant): InPath<RestaurantId>,
    Query(query): Query<LiveQuery>,
) -> Result<Json<OrderList>, Problem> {
    let page = query.page.of(restaurant)?;
    let mut found = state.service.orders.live(restaurant, &query.statuses, page).await?;
    found.orders = sight.sees_all(found.orders);
    Ok(Json(found.into()))
}

/// The parameters of a number.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NumberQuery {
    /// The order that had it then, instead of now: RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The last order of this business date that had it, such as `2026-11-30`; never with `at`.
    #[param(value_type = Option<String>, format = Date)]
    business_date: Option<NaiveDate>,
}

impl FromQuery for NumberQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let (at, business_date) = (query.optional("at", instant), query.optional("business_date", business_date));
        if at.is_some() && business_date.is_some() {
            query.fault("business_date", FaultCode::InvalidValue, "must be alone: leave out at, or this");
        }
        Some(Self { at, business_date })
    }
}

problems!(NumberProblems: RestaurantNotFound, NumberOutOfRange, InvalidParameter, Unavailable);

/// Look up a number
///
/// The order that has it now, or had it last; with `at`, the one that had it then; with `business_date`, the last one of
/// that date that had it (search for the number and the date to see all). Also for a number outside of today's range, if an
/// order ever had it. A key of role `screen` sees the fields of the order that a board shows to all guests; the others are
/// null.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/numbers/{number}", tag = "numbers", operation_id = "get_number",
    params(RestaurantInPath, NumberInPath, NumberQuery),
    responses((status = 200, description = "The number.", body = NumberJson), NumberProblems),
)]
pub(crate) async fn get_number(
    State(state): State<SharedState>,
    CallerSight(sight): CallerSight,
    InPath(restaurant): InPath<RestaurantId>,
    InPath(written): InPath<WrittenNumber>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<NumberJson>, Problem> {
    let orders = &state.service.orders;
    let number = orders.number_written(restaurant, &written).await?.ok_or_else(|| not_shown(&written))?;
    let when = match (query.at, query.business_date) {
        (_, Some(date)) => When::On(date),
        (Some(at), None) => When::At(at),
        (None, None) => When::Now,
    };
    let mut report = orders.number(restaurant, number, when).await?;
    report.order = report.order.map(|order| sight.sees(order));
    Ok(Json(report.into()))
}

/// Why a text is no number of a restaurant.
pub(super) fn not_shown(written: &WrittenNumber) -> Problem {
    if written.is_bare() {
        return Problem::plain(Code::NumberOutOfRange);
    }
    let detail = "is no number that the restaurant shows, now or before: give its digits, such as 42";
    Problem::invalid_parameter(vec![Fault::new(Location::Path, "/number", FaultCode::InvalidValue, detail)])
}

/// The parameters of a search.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// A number or what was shown of it, as people write it: `42`, `#42`, `４２`, `A-042`, `a 42`, `R7-42`. A UUID or at
    /// least its first eight digits; an external id, a table, or a part of a customer's name. Names are found without
    /// regard to case, diacritics and the form of letters: `jose` finds José. Fewer than three characters find a name by its
    /// beginning.
    ///
    /// May be left out with `business_date`: then all orders of the date are found.
    #[param(value_type = Option<String>, min_length = 1, max_length = 128)]
    q: Option<SearchQuery>,
    /// Only orders of this business date, such as `2026-11-30`. An order of which no date is known, since it is older or was
    /// imported, counts by when it was created.
    #[param(value_type = Option<String>, format = Date)]
    business_date: Option<NaiveDate>,
    /// Whether orders that have ended are searched too. By default they are where a `business_date` is given, and else not.
    #[param(value_type = Option<bool>)]
    include_completed: bool,
    /// At most so many orders.
    #[param(rename = "limit", value_type = Option<u32>, minimum = 1, maximum = 1000, default = 20)]
    page: PageQuery,
    /// The `next_cursor` of the part before.
    #[param(value_type = Option<String>)]
    #[expect(dead_code, reason = "only its documentation is used: it is read with the page")]
    cursor: (),
}

impl FromQuery for SearchParams {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let has_date = query.has("business_date");
        let business_date = query.optional("business_date", business_date);
        let q = if has_date { query.optional("q", search_text) } else { query.required("q", search_text) };
        let include_completed = query.optional("include_completed", boolean).unwrap_or(has_date);
        let page = PageQuery::read(query, SEARCH_LIMIT);
        // A fault that was found refuses the request, whatever is made of the rest.
        Some(Self { q, business_date, include_completed, page, cursor: () })
    }
}

/// Search orders
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/search", tag = "orders", operation_id = "search_orders",
    params(RestaurantInPath, SearchParams),
    responses((status = 200, description = "The orders found.", body = OrderList), ListProblems),
)]
pub(crate) async fn search_orders(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    Query(query): Query<SearchParams>,
) -> Result<Json<OrderList>, Problem> {
    let page = query.page.of(restaurant)?;
    let orders = &state.service.orders;
    let span = match query.business_date {
        Some(date) => Some(orders.date_span(restaurant, date).await?),
        None => None,
    };
    let wanted = match (&query.q, &span) {
        (Some(text), span) => Wanted::Text(text, span.as_ref()),
        (None, Some(span)) => Wanted::Date(span),
        // Refused when the query was read.
        (None, None) => return Err(Problem::plain(Code::Internal)),
    };
    Ok(Json(orders.search(restaurant, wanted, query.include_completed, page).await?.into()))
}

/// See how full the pool is
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/slots", tag = "numbers", operation_id = "get_slots",
    params(RestaurantInPath),
    responses((status = 200, description = "The pool at this instant.", body = PoolOccupancy), ListProblems),
)]
pub(crate) async fn get_slots(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
) -> Result<Json<PoolOccupancy>, Problem> {
    Ok(Json(state.service.restaurants.occupancy(restaurant).await?))
}

problems!(SettingsReadProblems: InvalidIfMatch, RestaurantNotFound, VersionMismatch, InvalidParameter, Unavailable);

/// Read a restaurant's settings
///
/// A restaurant that was given none yet has the defaults, if it gets them with its first order.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}", tag = "restaurants", operation_id = "get_restaurant",
    params(RestaurantInPath, SettingsReadInHeader),
    responses(
        (status = 200, description = "The settings.", body = PoolSettings,
            headers(("ETag" = String, description = "Names these settings, for `If-Match`."))),
        (status = 304, description = "The settings are among those that `If-None-Match` names.",
            headers(("ETag" = String, description = "Names these settings, for `If-Match`."))),
        SettingsReadProblems,
    ),
)]
pub(crate) async fn get_restaurant(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
    SettingsConditions(precondition): SettingsConditions,
) -> Result<Response, Problem> {
    let present = state.service.restaurants.settings(restaurant).await?;
    if !precondition.is_matched_by(Some(&present.tag)) {
        return Err(Refusal::SettingsChanged { present: Some(present.tag) }.into());
    }
    if precondition.is_excluded_by(Some(&present.tag)) {
        let etag = [(header::ETAG, settings_etag(&present.tag))];
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    Ok(these_settings(present, HeaderMap::new()))
}

/// An answer with settings: what names them is the `ETag`.
fn these_settings(mut present: PresentSettings, mut headers: HeaderMap) -> Response {
    headers.insert(header::ETAG, settings_etag(&present.tag));
    // There are calls of their own for these.
    present.settings.special = SpecialNumbers::default();
    (headers, Json(present.settings)).into_response()
}

problems!(SettingsProblems: MalformedJson, InvalidIfMatch, InvalidDurability, DurabilityUnknown, OutcomeUnknown,
    VersionMismatch, UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Replace a restaurant's settings
///
/// Missing fields take their defaults; `PATCH` leaves them as they are. Holds for numbers given from then on; live orders
/// keep theirs.
///
/// With `If-Match`, managers do not undo each other's changes. After a `durability_unknown` the change has been made:
/// repeat it without `If-Match`, which names the settings before it.
#[utoipa::path(
    put, path = "/v1/restaurants/{restaurant_id}", tag = "restaurants", operation_id = "put_restaurant",
    params(
        RestaurantInPath,
        SettingsChangeInHeader,
        LevelInHeader,
    ),
    request_body(content = PoolSettings, content_type = "application/json"),
    responses(
        (status = 200, description = "The settings as they now are.", body = PoolSettings,
            headers(
                ("ETag" = String, description = "Names these settings, for `If-Match`."),
                ("Durability" = Durability, description = "The level that they have reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first \
                    answer of its store: the settings were put then, and these are those that now stand."),
            )),
        SettingsProblems,
    ),
)]
pub(crate) async fn put_restaurant(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    SettingsConditions(precondition): SettingsConditions,
    level: AskedDurability,
    JsonBody(settings): JsonBody<PoolSettings>,
) -> Result<Response, Problem> {
    let service = state.service.clone();
    let change = async move { service.restaurants.configure(restaurant, settings, &precondition, context).await };
    settings_changed_by(change, &state, level, restaurant).await
}

/// Makes a change of settings, and answers with them once they are as durable as was asked for.
async fn settings_changed_by(
    change: impl Future<Output = Result<ChangedSettings, ServiceError>> + Send + 'static,
    state: &AppState,
    level: AskedDurability,
    restaurant: RestaurantId,
) -> Result<Response, Problem> {
    let reach = move |_: &ChangedSettings| Reach::restaurant(restaurant);
    let (changed, mut headers) = at_level(state, level, Some(restaurant), change, reach).await?;
    mark_replayed(&mut headers, changed.replayed);
    Ok(these_settings(changed.present, headers))
}

problems!(SettingsPatchProblems: MalformedJson, InvalidIfMatch, InvalidDurability, DurabilityUnknown, OutcomeUnknown,
    RestaurantNotFound, VersionMismatch, UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Change some of a restaurant's settings
///
/// A merge patch (RFC 7396): only the fields that are given change, and `null` puts a field back to its default. The
/// settings are changed as they are at that moment, also where others change them at the same time, and must go together
/// afterwards. Where nothing changes, the settings keep their `ETag`.
///
/// A restaurant that was given no settings yet is changed from the defaults, if it gets them with its first order.
#[utoipa::path(
    patch, path = "/v1/restaurants/{restaurant_id}", tag = "restaurants", operation_id = "patch_restaurant",
    params(
        RestaurantInPath,
        SettingsChangeInHeader,
        LevelInHeader,
    ),
    request_body(content(
        (SettingsPatch = "application/json"),
        (SettingsPatch = "application/merge-patch+json"),
    )),
    responses(
        (status = 200, description = "The settings as they now are.", body = PoolSettings,
            headers(
                ("ETag" = String, description = "Names these settings, for `If-Match`."),
                ("Durability" = Durability, description = "The level that they have reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first \
                    answer of its store: the change was made then, and these settings are those that now stand."),
            )),
        SettingsPatchProblems,
    ),
)]
pub(crate) async fn patch_restaurant(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    SettingsConditions(precondition): SettingsConditions,
    level: AskedDurability,
    JsonBody(patch): JsonBody<SettingsPatch>,
) -> Result<Response, Problem> {
    let service = state.service.clone();
    let change = async move { service.restaurants.amend(restaurant, &patch, &precondition, context).await };
    settings_changed_by(change, &state, level, restaurant).await
}

/// The parameters of a clean-up; its body may give them too.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CleanupQuery {
    /// As in the body. It is a dry run if either says so.
    #[param(value_type = Option<bool>, default = false)]
    dry_run: bool,
    /// As in the body, which goes before.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

impl FromQuery for CleanupQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let dry_run = query.optional("dry_run", boolean).unwrap_or(false);
        Some(Self { dry_run, limit: pagination::limit(query, CLEANUP_LIMIT as usize) })
    }
}

problems!(CleanupProblems: MalformedJson, InvalidDurability, DurabilityUnknown, OutcomeUnknown, RestaurantNotFound, UnsupportedMediaType, InvalidBody, InvalidParameter,
    Unavailable);

/// Expire old orders
///
/// Expires live orders that are older than the restaurant's active window, and completes those that are `served` and were
/// not changed for `served_seconds`, a bounded number a call. A background loop does the same.
#[utoipa::path(
    post, path = "/v1/restaurants/{restaurant_id}/cleanup", tag = "restaurants", operation_id = "clean_up",
    params(
        RestaurantInPath,
        CleanupQuery,
        LevelInHeader,
    ),
    request_body(content = Option<CleanupRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "What was ended, or would be.", body = CleanupJson,
            headers(("Durability" = Durability, description = "The level that it has reached; `memory` for a dry run."))),
        CleanupProblems,
    ),
)]
pub(crate) async fn clean_up(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    Query(query): Query<CleanupQuery>,
    Caller(context): Caller,
    level: AskedDurability,
    MaybeJsonBody(body): MaybeJsonBody<CleanupRequest>,
) -> Result<(HeaderMap, Json<CleanupJson>), Problem> {
    let dry_run = body.dry_run || query.dry_run;
    let limit = body.limit.map_or(query.limit, |limit| limit as usize);
    let service = state.service.clone();
    let change = async move { service.restaurants.cleanup(restaurant, dry_run, limit, context).await };
    // A dry run changes nothing that could be made durable.
    let level = if dry_run { AskedDurability(Some(Durability::Memory)) } else { level };
    let (cleanup, headers) =
        at_level(&state, level, Some(restaurant), change, move |_| Reach::restaurant(restaurant)).await?;
    Ok((headers, Json(CleanupJson::new(dry_run, cleanup))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_any_offset() {
        let ms = |text: &str| instant(text).map(Timestamp::unix_ms).ok();
        assert_eq!(ms("2023-11-14T22:13:20.123Z"), Some(1_700_000_000_123));
        assert_eq!(ms("2023-11-14T23:13:20.123+01:00"), Some(1_700_000_000_123));
        assert_eq!(ms("2023-11-14T23:13:20.123 01:00"), Some(1_700_000_000_123));
        for bad in [
            "",
            "now",
            "2023-11-14",
            "1700000000",
            "2023-11-14T22:13:20",
            "2023-13-14T22:13:20Z",
            "é".repeat(20).as_str(),
        ] {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn search_texts_are_neither_blank_nor_endless() {
        assert_eq!(search_text(" 0042 "), search_text("0042"));
        assert!(search_text("   ").is_err());
        assert!(search_text(&"é".repeat(128)).is_ok());
        assert!(search_text(&"é".repeat(129)).is_err());
    }

    #[test]
    fn only_live_statuses_are_listed() {
        assert_eq!(live_status("ready"), Ok(OrderStatus::Ready));
        assert_eq!(live_status("Served"), Ok(OrderStatus::Served));
        assert!(live_status("COMPLETED").is_err_and(|rejected| rejected != live_status("eaten").expect_err("none")));
        assert!(live_status("completed").is_err());
        assert!(live_status("eaten").is_err());
    }
}
