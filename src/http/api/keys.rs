//! API keys: made, listed and revoked by admins.

use std::{fmt, num::NonZeroU32};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{
        ApiKey, KeyId, KeyName, KeyText, NewApiKey, RestaurantId, Role, Scope, Timestamp, api_key::MAX_RATE_PER_SECOND,
    },
    http::{
        SharedState,
        code::{Code, FaultCode, Location},
        edge::{
            caller::{Caller, CallerScope},
            change::to_the_end,
        },
        extract::{Body, FromQuery, InPath, JsonBody, KeyInPath, NoQuery, Query, QueryReader, Rejected, pagination},
        problem::{Fault, Problem, problems},
    },
};

const LIST_LIMIT: usize = 100;

/// An API key that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiKey)]
pub(crate) struct NewKeyRequest {
    /// What people call it.
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 100, examples("till 3, Main Street"))]
    name: Option<String>,
    /// What it may call.
    #[serde(default)]
    #[schema(value_type = Role, required = true)]
    role: Option<Role>,
    /// The restaurants that it is good for; null or absent: all.
    #[serde(default)]
    #[schema(value_type = Option<Vec<u32>>, min_items = 1, max_items = 10000, examples(7))]
    restaurants: Option<Vec<RestaurantId>>,
    /// Until when it is good; null or absent: for ever.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// How many requests each daemon takes from it in a second; null or absent: any number.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    rate_per_second: Option<u32>,
    /// Whether a key of role `screen` sees the names of customers. Other roles see them anyway.
    #[serde(default)]
    shows_names: bool,
}

impl Body for NewKeyRequest {
    const WORD_FIELDS: &'static [&'static str] = &["role"];

    fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |pointer, code, detail| faults.push(Fault::new(Location::Body, pointer, code, detail));
        match self.name.as_ref().map(|name| name.parse::<KeyName>()) {
            None => fault("/name", FaultCode::Missing, "must be given".to_owned()),
            Some(Err(error)) => fault("/name", FaultCode::InvalidValue, error.to_string()),
            Some(Ok(_)) => {}
        }
        if self.role.is_none() {
            fault("/role", FaultCode::Missing, "must be given".to_owned());
        }
        if let Some(Err(error)) = self.restaurants.clone().map(Scope::of) {
            fault("/restaurants", FaultCode::InvalidValue, error.to_string());
        }
        if self.rate_per_second.is_some_and(|rate| !(1..=MAX_RATE_PER_SECOND).contains(&rate)) {
            let detail = format!("must be from 1 to {MAX_RATE_PER_SECOND}");
            fault("/rate_per_second", FaultCode::OutOfRange, detail);
        }
    }
}

impl NewKeyRequest {
    /// What it asks for, once it has been checked.
    fn checked(self) -> Option<NewApiKey> {
        Some(NewApiKey {
            name: self.name?.parse().ok()?,
            role: self.role?,
            scope: self.restaurants.map_or(Ok(Scope::All), Scope::of).ok()?,
            expires_at: self.expires_at,
            rate_per_second: self.rate_per_second.and_then(NonZeroU32::new),
            shows_names: self.shows_names,
        })
    }
}

/// An API key. Its text is known to its holder alone.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyJson {
    /// Its number, by which logs and the audit trail call it: `key:3`.
    #[schema(value_type = u64, minimum = 1, examples(3))]
    key_id: KeyId,
    /// What people call it.
    #[schema(value_type = String)]
    name: KeyName,
    /// What it may call.
    role: Role,
    /// The restaurants that it is good for; null: all.
    #[schema(required = true)]
    restaurants: Option<Vec<u32>>,
    /// Until when it is good; null: for ever.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// How many requests each daemon takes from it in a second; null: any number.
    #[schema(required = true, value_type = Option<u32>, minimum = 1)]
    rate_per_second: Option<NonZeroU32>,
    /// Whether a key of role `screen` sees the names of customers. Other roles see them anyway.
    shows_names: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who made it: `cli`, `key:` and a number, or `api` where an earlier version asked for no key.
    created_by: String,
    /// When it was revoked; null if it was not.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Who revoked it.
    #[schema(required = true)]
    revoked_by: Option<String>,
}

impl From<ApiKey> for KeyJson {
    fn from(key: ApiKey) -> Self {
        let (revoked_at, revoked_by) = key.revoked.unzip();
        Self {
            key_id: key.id,
            restaurants: key.is.scope.listed().map(|listed| listed.iter().map(|restaurant| restaurant.get()).collect()),
            name: key.is.name,
            role: key.is.role,
            expires_at: key.is.expires_at,
            rate_per_second: key.is.rate_per_second,
            shows_names: key.is.shows_names,
            created_at: key.created_at,
            created_by: key.created_by,
            revoked_at,
            revoked_by,
        }
    }
}

/// An API key that was just made, with its text, which is never shown again.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = CreatedApiKey)]
pub(crate) struct CreatedKeyJson {
    /// The key itself, for `Authorization: Bearer`. Keep it: it cannot be told again.
    #[schema(examples("nsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))]
    key: String,
    #[serde(flatten)]
    is: KeyJson,
}

impl CreatedKeyJson {
    /// The answer to the client that has made a key.
    pub(crate) fn new(key: ApiKey, text: &KeyText) -> Self {
        Self { key: text.expose().to_owned(), is: key.into() }
    }
}

impl fmt::Debug for CreatedKeyJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKeyJson").field("is", &self.is).finish_non_exhaustive()
    }
}

/// A part of the list of keys.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ApiKeyList)]
pub(crate) struct KeyList {
    /// The keys of this part, revoked ones included, in the order in which they were made.
    keys: Vec<KeyJson>,
    /// What to send as `cursor` to get the next part; null at the end.
    #[schema(required = true, value_type = Option<String>)]
    next_cursor: Option<String>,
}

impl KeyList {
    /// These keys, and whether there are more.
    pub(crate) fn new(keys: Vec<ApiKey>, more: bool) -> Self {
        let next_cursor = keys.last().filter(|_| more).map(|key| key.id.to_string());
        Self { keys: keys.into_iter().map(KeyJson::from).collect(), next_cursor }
    }
}

problems!(CreateKeyProblems: MalformedJson, UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Make an API key
///
/// The answer shows the key; nothing will show it again. It works on every daemon at once. With a key of some
/// restaurants, only keys of some of these can be made.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "create_key",
    request_body(content = NewKeyRequest, content_type = "application/json"),
    responses((status = 201, description = "The key.", body = CreatedKeyJson), CreateKeyProblems),
)]
pub(crate) async fn create_key(
    State(state): State<SharedState>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    CallerScope(scope): CallerScope,
    JsonBody(request): JsonBody<NewKeyRequest>,
) -> Result<(StatusCode, Json<CreatedKeyJson>), Problem> {
    let new = request.checked().ok_or_else(|| Problem::plain(Code::InvalidBody))?;
    let now = state.service.keys.now()?;
    if new.expires_at.is_some_and(|at| at <= now) {
        let fault = Fault::new(Location::Body, "/expires_at", FaultCode::OutOfRange, "must be a time to come");
        return Err(Problem::invalid_body(vec![fault]));
    }
    if !scope.covers(&new.scope) {
        return Err(Problem::plain(Code::Forbidden));
    }
    let service = state.service.clone();
    let make = async move { service.keys.store().create(&new, &context.actor.unwrap_or_default()).await };
    let (key, text) = to_the_end(&state.changes, make).await?;
    Ok((StatusCode::CREATED, Json(CreatedKeyJson::new(key, &text))))
}

/// The parameters of the list of keys.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeysQuery {
    /// At most so many keys.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// The `next_cursor` of the part before.
    #[param(value_type = Option<String>)]
    cursor: Option<KeyId>,
}

impl FromQuery for KeysQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let limit = pagination::limit(query, LIST_LIMIT);
        let not_ours = |_| Rejected::invalid("is not a next_cursor of this list; start again without it");
        Some(Self { limit, cursor: query.optional("cursor", |text| text.parse().map_err(not_ours)) })
    }
}

problems!(ListKeysProblems: InvalidParameter, Unavailable);

/// List API keys
///
/// Revoked ones, too; never their text. With a key of some restaurants, those that are good for no others.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", operation_id = "list_keys",
    params(KeysQuery),
    responses((status = 200, description = "The keys.", body = KeyList), ListKeysProblems),
)]
pub(crate) async fn list_keys(
    State(state): State<SharedState>,
    Query(query): Query<KeysQuery>,
    CallerScope(scope): CallerScope,
) -> Result<Json<KeyList>, Problem> {
    let limit = u32::try_from(query.limit).unwrap_or(u32::MAX);
    let (keys, more) = state.service.keys.store().list(query.cursor, limit, &scope).await?;
    Ok(Json(KeyList::new(keys, more)))
}

problems!(ReadKeyProblems: KeyNotFound, InvalidParameter, Unavailable);

/// Read an API key
#[utoipa::path(
    get, path = "/v1/keys/{key_id}", tag = "keys", operation_id = "get_key",
    params(KeyInPath),
    responses((status = 200, description = "The key, without its text.", body = KeyJson), ReadKeyProblems),
)]
pub(crate) async fn get_key(
    State(state): State<SharedState>,
    InPath(id): InPath<KeyId>,
    _: Query<NoQuery>,
    CallerScope(scope): CallerScope,
) -> Result<Json<KeyJson>, Problem> {
    let key = state.service.keys.store().get(id, &scope).await?;
    key.map(|key| Json(key.into())).ok_or_else(|| Problem::plain(Code::KeyNotFound))
}

/// Revoke an API key
///
/// It stops at once on this daemon, and within seconds on the others. Revoking it again changes nothing.
#[utoipa::path(
    delete, path = "/v1/keys/{key_id}", tag = "keys", operation_id = "revoke_key",
    params(KeyInPath),
    responses((status = 200, description = "The key, revoked.", body = KeyJson), ReadKeyProblems),
)]
pub(crate) async fn revoke_key(
    State(state): State<SharedState>,
    InPath(id): InPath<KeyId>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    CallerScope(scope): CallerScope,
) -> Result<Json<KeyJson>, Problem> {
    let service = state.service.clone();
    let revoke = async move { service.keys.revoke(id, &scope, &context.actor.unwrap_or_default()).await };
    let revoked = to_the_end(&state.changes, revoke).await?;
    revoked.map(|key| Json(key.into())).ok_or_else(|| Problem::plain(Code::KeyNotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(request: &NewKeyRequest) -> Vec<String> {
        let mut faults = Vec::new();
        request.check(&mut faults);
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn every_fault_of_a_new_key_is_named() {
        assert_eq!(faults(&NewKeyRequest::default()), ["/name", "/role"]);
        let mut request = NewKeyRequest {
            name: Some("a\nb".to_owned()),
            role: Some(Role::Till),
            restaurants: Some(Vec::new()),
            rate_per_second: Some(0),
            expires_at: None,
            shows_names: false,
        };
        assert_eq!(faults(&request), ["/name", "/restaurants", "/rate_per_second"]);
        request = NewKeyRequest { name: Some("a".to_owned()), role: Some(Role::Till), ..NewKeyRequest::default() };
        assert_eq!(faults(&request), [] as [&str; 0]);
        assert!(request.checked().is_some());
    }
}
