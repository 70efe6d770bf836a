//! Pairings: how a screen gets a key without one being typed into it.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{ApiKey, BasePath, Pairing, PairingCode, PairingState, RestaurantId, Role, ScreenPage, Timestamp},
    http::{
        AppState, SharedState,
        code::{Code, FaultCode, Location},
        edge::cookie::{self, ScreenCookie},
        extract::{Body, JsonBody, NoQuery, Query},
        listen::arrival::Arrival,
        problem::{Fault, Problem, problems},
    },
};

/// What a screen is to show.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPairing)]
pub(crate) struct NewPairingRequest {
    /// The page that it shows.
    #[serde(default)]
    #[schema(value_type = ScreenPage, required = true)]
    page: Option<ScreenPage>,
    /// The restaurant that it shows. Whether there is one is not looked at.
    #[serde(default)]
    #[schema(value_type = u32, required = true, minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: Option<RestaurantId>,
}

impl Body for NewPairingRequest {
    const WORD_FIELDS: &'static [&'static str] = &["page"];

    fn check(&self, faults: &mut Vec<Fault>) {
        for (pointer, is_there) in [("/page", self.page.is_some()), ("/restaurant_id", self.restaurant_id.is_some())] {
            if !is_there {
                faults.push(Fault::new(Location::Body, pointer, FaultCode::Missing, "must be given"));
            }
        }
    }
}

/// A pairing that has begun.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Pairing)]
pub(crate) struct PairingJson {
    /// What the screen shows until an admin has entered it. Letters of either case, with or without the hyphen.
    #[schema(examples("K7F-3QX"))]
    code: String,
    /// Until when it can be entered.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl PairingJson {
    /// The answer to the screen that waits.
    pub(crate) fn new(code: &PairingCode, expires_at: Timestamp) -> Self {
        Self { code: code.to_string(), expires_at }
    }
}

/// How far a pairing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PairingState)]
pub(crate) enum PairingStateJson {
    /// The code was not entered yet.
    Waiting,
    /// The screen has its key: the cookie counts.
    Paired,
    /// The code was not entered in time, the key has been revoked since, or there is no cookie: begin anew.
    Expired,
}

/// A pairing, as it stands. Every field is always there.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = CurrentPairing)]
pub(crate) struct CurrentPairingJson {
    /// How far it has come.
    state: PairingStateJson,
    /// The code to show while it waits.
    #[schema(required = true, examples("K7F-3QX"))]
    code: Option<String>,
    /// Until when the code can be entered, while it waits.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The restaurant that the screen is to show.
    #[schema(required = true, minimum = 1, maximum = 2_147_483_647, examples(7))]
    restaurant_id: Option<u32>,
    /// What the screen's key may do: `screen` or `kitchen`, once it is paired.
    #[schema(required = true)]
    role: Option<Role>,
}

impl CurrentPairingJson {
    const EXPIRED: Self =
        Self { state: PairingStateJson::Expired, code: None, expires_at: None, restaurant_id: None, role: None };

    /// What is known of it.
    pub(crate) fn new(pairing: Pairing) -> Self {
        let restaurant_id = Some(pairing.restaurant.get());
        match pairing.state {
            PairingState::Waiting => Self {
                state: PairingStateJson::Waiting,
                code: Some(pairing.code.to_string()),
                expires_at: Some(pairing.expires_at),
                restaurant_id,
                role: None,
            },
            PairingState::Paired(role) => {
                Self { state: PairingStateJson::Paired, restaurant_id, role: Some(role), ..Self::EXPIRED }
            }
            PairingState::Over => Self { restaurant_id, ..Self::EXPIRED },
        }
    }
}

problems!(BeginPairingProblems: MalformedJson, CrossOriginRequest, PairingNotNeeded, UnsupportedMediaType, InvalidBody,
    InvalidParameter, TooManyPairings, Unavailable);

/// Begin the pairing of a screen
///
/// For a page that got a 401: it shows the code, which an admin enters within ten minutes (`POST /v1/screens`). The answer
/// sets the cookie `nowserving_screen`, whose text becomes an API key when the code is entered. Nothing shows that text
/// again. A pairing that the same browser had begun before ends.
#[utoipa::path(
    post, path = "/v1/pairings", tag = "screens", operation_id = "begin_pairing",
    request_body(content = NewPairingRequest, content_type = "application/json"),
    responses((status = 201, description = "The code.", body = PairingJson), BeginPairingProblems),
)]
pub(crate) async fn begin_pairing(
    State(state): State<SharedState>,
    _: Query<NoQuery>,
    cookie: Option<Extension<ScreenCookie>>,
    arrival: Option<Extension<Arrival>>,
    base_path: Option<Extension<BasePath>>,
    JsonBody(request): JsonBody<NewPairingRequest>,
) -> Result<(StatusCode, HeaderMap, Json<PairingJson>), Problem> {
    needed(&state)?;
    let (Some(page), Some(restaurant)) = (request.page, request.restaurant_id) else {
        return Err(Problem::plain(Code::InvalidBody));
    };
    let arrival = arrival.map(|Extension(arrival)| arrival);
    let before = cookie.map(|Extension(cookie)| cookie.key().digest());
    let client = arrival.and_then(|arrival| arrival.client);
    let (key, code, expires_at) = state.service.screens.begin_pairing(page, restaurant, client, before).await?;
    let mut headers = HeaderMap::new();
    let cookie = cookie::set(&key, base_path.as_ref().map(|Extension(path)| path), arrival.as_ref());
    headers.insert(header::SET_COOKIE, cookie.ok_or_else(|| Problem::plain(Code::Internal))?);
    Ok((StatusCode::CREATED, headers, Json(PairingJson::new(&code, expires_at))))
}

problems!(CurrentPairingProblems: PairingNotNeeded, InvalidParameter, Unavailable);

/// See how far a pairing has come
///
/// That of the request's cookie. To be asked every two seconds while the code is shown.
#[utoipa::path(
    get, path = "/v1/pairings/current", tag = "screens", operation_id = "get_current_pairing",
    responses((status = 200, description = "The pairing.", body = CurrentPairingJson), CurrentPairingProblems),
)]
pub(crate) async fn current_pairing(
    State(state): State<SharedState>,
    _: Query<NoQuery>,
    cookie: Option<Extension<ScreenCookie>>,
) -> Result<Json<CurrentPairingJson>, Problem> {
    needed(&state)?;
    let Some(Extension(cookie)) = cookie else { return Ok(Json(CurrentPairingJson::EXPIRED)) };
    let digest = cookie.key().digest();
    // A screen that was paired long ago is known by its key alone.
    let held = state.service.keys.ring().find(&digest);
    let now = state.service.keys.now()?;
    if let Some(key) = held.as_ref().map(|held| held.key()).filter(|key| counts_in_a_cookie(key, now)) {
        let key = &key.is;
        let (restaurant, role) = (key.scope.only(), key.role);
        return Ok(Json(CurrentPairingJson {
            state: PairingStateJson::Paired,
            restaurant_id: restaurant.map(RestaurantId::get),
            role: Some(role),
            ..CurrentPairingJson::EXPIRED
        }));
    }
    let pairing = state.service.screens.pairing(&digest).await?;
    Ok(Json(pairing.map_or(CurrentPairingJson::EXPIRED, CurrentPairingJson::new)))
}

fn counts_in_a_cookie(key: &ApiKey, now: Timestamp) -> bool {
    matches!(key.is.role, Role::Screen | Role::Kitchen) && key.is_good_at(now)
}

/// Where no keys are asked for, a screen has nothing to wait for.
fn needed(state: &AppState) -> Result<(), Problem> {
    if state.keys_required { Ok(()) } else { Err(Problem::plain(Code::PairingNotNeeded)) }
}
