//! Screens: paired, listed and revoked by admins; and what they say of themselves.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    domain::{
        BasePath, Beat, KeyId, KeyName, NewScreen, PairingCode, Refusal, RestaurantId, Role, Screen, ScreenPage,
        ScreenSession, SessionCursor, TimeZone, Timestamp, api_key::BadKeyName, screen::NoPairingCode,
    },
    http::{
        SharedState,
        code::{Code, FaultCode, Location},
        edge::{
            caller::{Caller, CallerKey, CallerOrders, CallerScope},
            change::to_the_end,
            cookie::{self, ScreenCookie},
        },
        extract::{
            Body, FromQuery, InPath, JsonBody, NoQuery, Query, QueryReader, Rejected, RestaurantInPath, ScreenId,
            ScreenInPath, moment, pagination,
        },
        listen::arrival::Arrival,
        problem::{Fault, Problem, problems},
    },
    service::{Page, ScreenPart},
};

const LIST_LIMIT: usize = 100;

/// How far back sessions are shown where no time is given.
const SESSIONS_OF_MS: i64 = 24 * 3_600_000;

const MAX_STATION_CHARACTERS: usize = 40;
const MAX_POSITION_CHARACTERS: usize = 64;

/// A screen that is to be paired.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewScreen)]
pub(crate) struct NewScreenRequest {
    /// The code that it shows. Case and hyphens make no difference.
    #[serde(default)]
    #[schema(value_type = String, required = true, examples("K7F-3QX"))]
    code: Option<String>,
    /// The restaurant that it is to show: the one that it shows the code for.
    #[serde(default)]
    #[schema(value_type = u32, required = true, minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: Option<RestaurantId>,
    /// `screen`: it shows orders to guests. `kitchen`: it sees all of an order, and says how far it is.
    #[serde(default)]
    #[schema(value_type = Role, required = true)]
    role: Option<Role>,
    /// What people call it.
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 100, examples("Board at the door"))]
    name: Option<String>,
    /// Whether a screen of role `screen` sees the names of customers. A kitchen sees them anyway.
    #[serde(default)]
    shows_names: bool,
}

impl Body for NewScreenRequest {
    const WORD_FIELDS: &'static [&'static str] = &["role"];

    fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |pointer, code, detail| faults.push(Fault::new(Location::Body, pointer, code, detail));
        let missing = || "must be given".to_owned();
        match self.code.as_ref().map(|code| code.parse::<PairingCode>()) {
            None => fault("/code", FaultCode::Missing, missing()),
            Some(Err(NoPairingCode)) => fault("/code", FaultCode::InvalidValue, NoPairingCode.to_string()),
            Some(Ok(_)) => {}
        }
        if self.restaurant_id.is_none() {
            fault("/restaurant_id", FaultCode::Missing, missing());
        }
        match self.role {
            None => fault("/role", FaultCode::Missing, missing()),
            Some(Role::Screen | Role::Kitchen) => {}
            Some(_) => fault("/role", FaultCode::InvalidValue, "must be one of: screen, kitchen".to_owned()),
        }
        match self.name.as_ref().map(|name| name.parse::<KeyName>()) {
            None => fault("/name", FaultCode::Missing, missing()),
            Some(Err(BadKeyName)) => fault("/name", FaultCode::InvalidValue, BadKeyName.to_string()),
            Some(Ok(_)) => {}
        }
    }
}

impl NewScreenRequest {
    /// What it asks for, once it has been checked.
    fn checked(self) -> Option<(PairingCode, NewScreen)> {
        let new = NewScreen {
            name: self.name?.parse().ok()?,
            restaurant: self.restaurant_id?,
            is_kitchen: self.role? == Role::Kitchen,
            shows_names: self.shows_names,
        };
        Some((self.code?.parse().ok()?, new))
    }
}

/// A screen. Every field is always there; what it says of itself is null before it was here.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Screen)]
pub(crate) struct ScreenJson {
    /// Its number, which is that of its API key: logs and the audit trail call it `key:3`.
    #[schema(value_type = u64, minimum = 1, examples(3))]
    screen_id: KeyId,
    /// The restaurant that it shows.
    #[schema(minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: u32,
    /// `screen` or `kitchen`.
    role: Role,
    /// What people call it.
    #[schema(value_type = String)]
    name: KeyName,
    /// Whether a screen of role `screen` sees the names of customers.
    shows_names: bool,
    /// When it was paired.
    #[schema(value_type = String, format = DateTime)]
    paired_at: Timestamp,
    /// Who paired it: `cli`, or `key:` and a number.
    paired_by: String,
    /// When it was revoked; null if it was not.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Who revoked it.
    #[schema(required = true)]
    revoked_by: Option<String>,
    /// When it was here last.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
    /// What it shows.
    #[schema(required = true)]
    page: Option<ScreenPage>,
    /// The station whose orders it shows; null: those of all.
    #[schema(required = true, examples("grill"))]
    station: Option<String>,
    /// Whether it can be heard.
    #[schema(required = true)]
    sound: Option<bool>,
    /// The event of the feed that it has seen last.
    #[schema(required = true, examples("3-1207"))]
    position: Option<String>,
    /// Whether it says that it is not up to date, or was not here in the last 90 seconds.
    stale: bool,
}

impl From<Screen> for ScreenJson {
    fn from(screen: Screen) -> Self {
        let (revoked_at, revoked_by) = screen.key.revoked.unzip();
        let (last_seen_at, beat) = screen.seen.unzip();
        let (page, sound) = (beat.as_ref().map(|beat| beat.page), beat.as_ref().map(|beat| beat.sound));
        let (station, position) = beat.map(|beat| (beat.station, beat.position)).unwrap_or_default();
        Self {
            screen_id: screen.key.id,
            restaurant_id: screen.restaurant.get(),
            role: screen.key.is.role,
            name: screen.key.is.name,
            shows_names: screen.key.is.shows_names,
            paired_at: screen.key.created_at,
            paired_by: screen.key.created_by,
            revoked_at,
            revoked_by,
            last_seen_at,
            page,
            station,
            sound,
            position,
            stale: screen.is_stale,
        }
    }
}

/// A part of the list of screens.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ScreenList {
    /// The screens of this part, in the order in which they were paired.
    screens: Vec<ScreenJson>,
    /// What to send as `cursor` to get the next part; null at the end.
    #[schema(required = true, value_type = Option<String>)]
    next_cursor: Option<String>,
}

impl From<ScreenPart<Screen>> for ScreenList {
    fn from(ScreenPart { found, more }: ScreenPart<Screen>) -> Self {
        let next_cursor = found.last().filter(|_| more).map(|screen| screen.key.id.to_string());
        Self { screens: found.into_iter().map(ScreenJson::from).collect(), next_cursor }
    }
}

problems!(PairScreenProblems: MalformedJson, UnsupportedMediaType, InvalidBody, InvalidParameter, PairingNotFound,
    PairingUsed, PairingExpired, Unavailable);

/// Pair a screen
///
/// Makes the text that a waiting screen has into an API key for one restaurant. The screen notices within seconds. With a
/// key of some restaurants, only screens of some of these can be paired. Twenty wrong codes within ten minutes are a
/// `rate_limited`.
#[utoipa::path(
    post, path = "/v1/screens", tag = "screens", operation_id = "pair_screen",
    request_body(content = NewScreenRequest, content_type = "application/json"),
    responses((status = 201, description = "The screen.", body = ScreenJson), PairScreenProblems),
)]
pub(crate) async fn pair_screen(
    State(state): State<SharedState>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    CallerScope(scope): CallerScope,
    JsonBody(request): JsonBody<NewScreenRequest>,
) -> Result<(StatusCode, Json<ScreenJson>), Problem> {
    let (code, new) = request.checked().ok_or_else(|| Problem::plain(Code::InvalidBody))?;
    if !scope.has(new.restaurant) {
        return Err(Problem::plain(Code::Forbidden));
    }
    let service = state.service.clone();
    let pair = async move { service.screens.pair(&code, &new, &context.actor.unwrap_or_default()).await };
    let screen = to_the_end(&state.changes, pair).await?;
    Ok((StatusCode::CREATED, Json(screen.into())))
}

/// The parameters of the list of screens.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ScreensQuery {
    /// Only screens of this restaurant.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 2_147_483_647)]
    restaurant_id: Option<RestaurantId>,
    /// At most so many screens.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// The `next_cursor` of the part before.
    #[param(value_type = Option<String>)]
    cursor: Option<KeyId>,
}

impl FromQuery for ScreensQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let restaurant = |text: &str| text.parse().map_err(|_| Rejected::invalid("must be a whole number from 1"));
        let restaurant_id = query.optional("restaurant_id", restaurant);
        let limit = pagination::limit(query, LIST_LIMIT);
        let not_ours = |_| Rejected::invalid("is not a next_cursor of this list; start again without it");
        let cursor = query.optional("cursor", |text| text.parse().map_err(not_ours));
        Some(Self { restaurant_id, limit, cursor })
    }
}

problems!(ListScreensProblems: InvalidParameter, Unavailable);

/// List screens
///
/// Those that were paired and not revoked, with what they say of themselves. With a key of some restaurants, the screens of
/// these.
#[utoipa::path(
    get, path = "/v1/screens", tag = "screens", operation_id = "list_screens",
    params(ScreensQuery),
    responses((status = 200, description = "The screens.", body = ScreenList), ListScreensProblems),
)]
pub(crate) async fn list_screens(
    State(state): State<SharedState>,
    Query(query): Query<ScreensQuery>,
    CallerScope(scope): CallerScope,
) -> Result<Json<ScreenList>, Problem> {
    let limit = u32::try_from(query.limit).unwrap_or(u32::MAX);
    Ok(Json(state.service.screens.store().list(query.cursor, limit, &scope, query.restaurant_id).await?.into()))
}

problems!(ReadScreenProblems: ScreenNotFound, InvalidParameter, Unavailable);

/// Read a screen
///
/// A revoked one, too.
#[utoipa::path(
    get, path = "/v1/screens/{screen_id}", tag = "screens", operation_id = "get_screen",
    params(ScreenInPath),
    responses((status = 200, description = "The screen.", body = ScreenJson), ReadScreenProblems),
)]
pub(crate) async fn get_screen(
    State(state): State<SharedState>,
    InPath(ScreenId(id)): InPath<ScreenId>,
    _: Query<NoQuery>,
    CallerScope(scope): CallerScope,
) -> Result<Json<ScreenJson>, Problem> {
    Ok(Json(state.service.screens.store().get(id, &scope).await?.into()))
}

/// Revoke a screen
///
/// Revokes its API key: it is turned away at once by this daemon, and within seconds by the others. Revoking it again
/// changes nothing.
#[utoipa::path(
    delete, path = "/v1/screens/{screen_id}", tag = "screens", operation_id = "revoke_screen",
    params(ScreenInPath),
    responses((status = 200, description = "The screen, revoked.", body = ScreenJson), ReadScreenProblems),
)]
pub(crate) async fn revoke_screen(
    State(state): State<SharedState>,
    InPath(ScreenId(id)): InPath<ScreenId>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    CallerScope(scope): CallerScope,
) -> Result<Json<ScreenJson>, Problem> {
    let service = state.service.clone();
    let revoke = async move { service.screens.revoke(id, &scope, &context.actor.unwrap_or_default()).await };
    Ok(Json(to_the_end(&state.changes, revoke).await?.into()))
}

/// What a screen says of itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScreenReport)]
pub(crate) struct BeatRequest {
    /// What it shows.
    #[serde(default)]
    #[schema(value_type = ScreenPage, required = true)]
    page: Option<ScreenPage>,
    /// The station whose orders it shows; null or absent: those of all.
    #[serde(default)]
    #[schema(max_length = 40, examples("grill"))]
    station: Option<String>,
    /// Whether it can be heard.
    #[serde(default)]
    sound: bool,
    /// Whether what it shows is not up to date.
    #[serde(default)]
    stale: bool,
    /// The id of the feed's event that it has seen last; null or absent: none.
    #[serde(default)]
    #[schema(max_length = 64, examples("3-1207"))]
    position: Option<String>,
}

impl Body for BeatRequest {
    const WORD_FIELDS: &'static [&'static str] = &["page"];

    fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |pointer, code, detail: String| faults.push(Fault::new(Location::Body, pointer, code, detail));
        if self.page.is_none() {
            fault("/page", FaultCode::Missing, "must be given".to_owned());
        }
        for (pointer, text, most) in [
            ("/station", &self.station, MAX_STATION_CHARACTERS),
            ("/position", &self.position, MAX_POSITION_CHARACTERS),
        ] {
            let text = text.as_deref().unwrap_or_default();
            if text.chars().count() > most {
                fault(pointer, FaultCode::TooLong, format!("must have at most {most} characters"));
            }
            if text.chars().any(char::is_control) {
                fault(pointer, FaultCode::InvalidValue, "must have no control characters".to_owned());
            }
        }
    }
}

problems!(BeatProblems: MalformedJson, UnsupportedMediaType, InvalidBody, InvalidParameter);

/// Say that a screen is here
///
/// And what it shows; to be sent at the start of a page and every 30 seconds. Seen in the list of screens some seconds
/// later. The answer sets the cookie anew, if the request had it, so that browsers keep it. Where no keys are asked for,
/// nothing is recorded.
#[utoipa::path(
    put, path = "/v1/screens/self", tag = "screens", operation_id = "report_screen",
    request_body(content = BeatRequest, content_type = "application/json"),
    responses((status = 204, description = "It was heard."), BeatProblems),
)]
pub(crate) async fn report_screen(
    State(state): State<SharedState>,
    _: Query<NoQuery>,
    CallerKey(key): CallerKey,
    cookie: Option<Extension<ScreenCookie>>,
    arrival: Option<Extension<Arrival>>,
    base_path: Option<Extension<BasePath>>,
    JsonBody(request): JsonBody<BeatRequest>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let BeatRequest { page, station, sound, stale, position } = request;
    let page = page.ok_or_else(|| Problem::plain(Code::InvalidBody))?;
    if let Some(key) = key {
        state.service.screens.beat(key.id, Beat { page, station, sound, stale, position });
    }
    let mut headers = HeaderMap::new();
    if let Some(Extension(cookie)) = cookie {
        let (path, arrival) = (base_path.as_ref().map(|it| &it.0), arrival.as_ref().map(|it| &it.0));
        headers.extend(cookie::set(cookie.key(), path, arrival).map(|cookie| (header::SET_COOKIE, cookie)));
    }
    Ok((StatusCode::NO_CONTENT, headers))
}

/// A time during which a screen showed the restaurant.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ScreenSession)]
pub(crate) struct SessionJson {
    /// Tells it from others.
    session_id: Uuid,
    /// The screen.
    #[schema(value_type = u64, minimum = 1, examples(3))]
    screen_id: KeyId,
    /// What people call the screen.
    name: String,
    /// What it showed, if it said so.
    #[schema(required = true)]
    page: Option<ScreenPage>,
    /// The daemon that it was connected to: another one for each start of a daemon.
    daemon: Uuid,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    begun_at: Timestamp,
    /// When its daemon said last that it was connected.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// When it ended; null while it is connected.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

/// A part of a list of sessions.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ScreenSessionList)]
pub(crate) struct SessionList {
    /// The sessions of this part, by when they began.
    sessions: Vec<SessionJson>,
    /// What to send as `cursor` to get the next part; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

impl From<ScreenPart<ScreenSession>> for SessionList {
    fn from(ScreenPart { found, more }: ScreenPart<ScreenSession>) -> Self {
        let cursor = |last: &ScreenSession| SessionCursor { begun_at: last.begun_at, id: last.id }.to_string();
        let next_cursor = found.last().filter(|_| more).map(cursor);
        let json = |session: ScreenSession| SessionJson {
            session_id: session.id,
            screen_id: session.screen,
            name: session.name,
            page: session.page,
            daemon: session.daemon,
            begun_at: session.begun_at,
            last_seen_at: session.last_seen_at,
            ended_at: session.ended_at,
        };
        Self { sessions: found.into_iter().map(json).collect(), next_cursor }
    }
}

/// Which sessions are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionsQuery {
    /// Those that were there at this instant or later: RFC 3339, or a date for the first instant of that day in UTC. By
    /// default, a day before `to`.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Those that had begun before this instant: RFC 3339, or a date for the end of that day in UTC. By default, now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Those that were there while this order had its number; never with `from` or `to`. Its id, or the foreign UUID under
    /// which it was imported.
    #[param(value_type = Option<Uuid>)]
    order: Option<Uuid>,
    /// At most so many sessions.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// The `next_cursor` of the part before.
    #[param(value_type = Option<String>)]
    cursor: Option<SessionCursor>,
}

impl FromQuery for SessionsQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let from = query.optional("from", moment).map(|from| from.begin(TimeZone::UTC));
        let to = query.optional("to", moment).map(|to| to.end(TimeZone::UTC));
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            query.fault("to", FaultCode::InvalidValue, "must be later than from");
        }
        let uuid = |text: &str| Uuid::try_parse(text).map_err(|_| Rejected::invalid("must be a UUID"));
        let order = query.optional("order", uuid);
        if order.is_some() && (from.is_some() || to.is_some()) {
            query.fault("order", FaultCode::InvalidValue, "must be without from and to");
        }
        let not_ours = |_| Rejected::invalid("is not a next_cursor of this list; start again without it");
        let limit = pagination::limit(query, LIST_LIMIT);
        Some(Self { from, to, order, limit, cursor: query.optional("cursor", |text| text.parse().map_err(not_ours)) })
    }
}

problems!(SessionsProblems: OrderNotFound, InvalidParameter, Unavailable);

/// List the screens of a restaurant by time
///
/// Which screens were connected when, the oldest first: as long as it is one of these, what the feed said was on it. A
/// session that goes on for more than six hours goes on in the next one.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/screen-sessions", tag = "screens",
    operation_id = "list_screen_sessions",
    params(RestaurantInPath, SessionsQuery),
    responses((status = 200, description = "The sessions.", body = SessionList), SessionsProblems),
)]
pub(crate) async fn list_sessions(
    State(state): State<SharedState>,
    CallerOrders(orders): CallerOrders,
    InPath(restaurant): InPath<RestaurantId>,
    Query(query): Query<SessionsQuery>,
) -> Result<Json<SessionList>, Problem> {
    let SessionsQuery { from, to, order, limit, cursor } = query;
    let now = state.service.keys.now()?;
    let (from, to) = match order {
        Some(id) => {
            let order = orders.get(id).await?;
            if order.restaurant() != restaurant {
                return Err(Refusal::OrderNotFound.into());
            }
            (Some(order.given_at.unwrap_or(order.created_at())), order.released_at)
        }
        None => (from, to),
    };
    // What has begun by now.
    let to = to.unwrap_or(now.plus_ms(1));
    let from = from.unwrap_or(to.plus_ms(-SESSIONS_OF_MS));
    let page = Page { limit, after: cursor };
    Ok(Json(state.service.screens.sessions(restaurant, from, to, page).await?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(request: &impl Body) -> Vec<String> {
        let mut faults = Vec::new();
        request.check(&mut faults);
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn every_fault_of_a_new_screen_is_named() {
        assert_eq!(faults(&NewScreenRequest::default()), ["/code", "/restaurant_id", "/role", "/name"]);
        let request = NewScreenRequest {
            code: Some("K7F3Q".to_owned()),
            restaurant_id: RestaurantId::new(7).ok(),
            role: Some(Role::Admin),
            name: Some(String::new()),
            shows_names: false,
        };
        assert_eq!(faults(&request), ["/code", "/role", "/name"]);
        let (code, role, name) = (Some("k7f-3qx".to_owned()), Some(Role::Kitchen), Some("a".to_owned()));
        let request = NewScreenRequest { code, role, name, ..request };
        assert!(faults(&request).is_empty() && request.checked().is_some_and(|(_, new)| new.is_kitchen));
    }

    #[test]
    fn what_a_screen_says_has_bounds() {
        assert_eq!(faults(&BeatRequest::default()), ["/page"]);
        let of = |station: &str| BeatRequest {
            page: Some(ScreenPage::Kitchen),
            station: Some(station.to_owned()),
            position: Some(station.to_owned()),
            ..BeatRequest::default()
        };
        assert!(faults(&of(&"é".repeat(40))).is_empty());
        assert_eq!(faults(&of(&"é".repeat(65))), ["/station", "/position"]);
        assert_eq!(faults(&of("a\nb")), ["/station", "/position"]);
    }
}
