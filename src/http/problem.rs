//! Problem answers (RFC 9457), and the only place where a refusal or a failure becomes a status.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{Content, Header, Ref, RefOr, Response as ResponseDoc, ResponseBuilder, example::ExampleBuilder},
};

use super::{
    code::{Code, FaultCode, Location},
    etag::{etag, settings_etag},
};
use crate::{
    domain::{NumberState, OrderId, OrderStatus, RangeId, Refusal, SettingsFault, SettingsFaultKind, Timestamp},
    service::{Dependency, ServiceError},
};

/// The media type of every problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The most faults that one answer lists: a small request must not get a huge answer.
pub(crate) const MOST_FAULTS: usize = 50;

/// An answer that is not the one hoped for.
///
/// [`IntoResponse`] sets the status and the headers; the middleware writes the body, since only it knows the request id
/// (see [`Problem::write_body`]).
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    body: Box<ProblemBody>,
    retry_after_seconds: Option<u64>,
    etag: Option<HeaderValue>,
    allowed_methods: Option<HeaderValue>,
}

/// A problem (RFC 9457), as `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Names the kind of problem: a URI that never changes.
    #[serde(rename = "type")]
    #[schema(examples("urn:nowserving:problem:order_final"))]
    kind: String,
    /// What this kind of problem is, in a few words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong this time, and what to do about it.
    detail: String,
    /// The kind of problem, as a word.
    code: Code,
    /// Names this request; the `X-Request-Id` header carries it too.
    request_id: String,
    /// All faults of the fields and parameters, with `invalid_body` and `invalid_parameter`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<Fault>,
    #[serde(flatten)]
    extensions: Extensions,
}

/// One field or parameter at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// Where in the request it is.
    #[serde(rename = "in")]
    pub location: Location,
    /// Which one it is: `/metadata`, `/blocked_numbers/2`; empty for the whole body.
    #[schema(examples("/metadata"))]
    pub pointer: String,
    /// What is wrong with it, as a word.
    pub code: FaultCode,
    /// What is wrong with it, in words.
    pub detail: String,
}

/// What some codes add to a problem.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct Extensions {
    /// `forbidden_status`, `order_final`: what the order may become from where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub allowed: Option<Vec<OrderStatus>>,
    /// `forbidden_status`, `order_final`: where the order stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub order_status: Option<OrderStatus>,
    /// `version_mismatch` of an order: its present version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub current_version: Option<u32>,
    /// `idempotency_conflict`: the order that the key made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>, nullable = false)]
    pub internal_order_id: Option<OrderId>,
    /// `pool_exhausted`: when the next number is free; null where nothing cools.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_free_at: Option<Option<Timestamp>>,
    /// `pool_exhausted`: the range that takes the order and has no free number, nor the main one where it overflows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("main"))]
    pub range: Option<String>,
    /// `number_taken`: what the number does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<NumberState>,
    /// `number_taken`: the order that has the number, or had it last while it rests; null where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Option<Holder>>,
}

/// The order that has a number, or had it last.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Holder {
    /// Which one it is.
    #[schema(value_type = uuid::Uuid)]
    pub internal_order_id: OrderId,
    /// The number as that order shows it; null where the order is not at hand.
    #[schema(required = true, examples("D01"))]
    pub display_number_formatted: Option<String>,
}

impl From<SettingsFault> for Fault {
    fn from(fault: SettingsFault) -> Self {
        let code = match fault.kind {
            SettingsFaultKind::Duplicate => FaultCode::Duplicate,
            SettingsFaultKind::Backwards | SettingsFaultKind::BelowOne => FaultCode::OutOfRange,
            SettingsFaultKind::Empty => FaultCode::Empty,
            SettingsFaultKind::Overlap => FaultCode::Overlap,
            SettingsFaultKind::ShownAlike => FaultCode::ShownAlike,
            SettingsFaultKind::KeptForTable => FaultCode::InvalidValue,
        };
        Self::new(Location::Body, fault.pointer, code, fault.detail)
    }
}

impl Fault {
    /// A field or parameter at fault.
    pub(crate) fn new(
        location: Location,
        pointer: impl Into<String>,
        code: FaultCode,
        detail: impl Into<String>,
    ) -> Self {
        Self { location, pointer: pointer.into(), code, detail: shortened(detail.into()) }
    }
}

/// Details quote what was sent, which may be long.
fn shortened(mut detail: String) -> String {
    const MAX_BYTES: usize = 300;
    if detail.len() > MAX_BYTES {
        let cut = (0..=MAX_BYTES).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
        detail.truncate(cut);
        detail.push('…');
    }
    detail
}

impl Problem {
    /// A problem of this kind; `detail` says what is wrong this time and what to do about it.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let body = ProblemBody {
            kind: code.uri(),
            title: code.title(),
            status: code.status().as_u16(),
            detail: shortened(detail.into()),
            code,
            request_id: String::new(),
            errors: Vec::new(),
            extensions: Extensions::default(),
        };
        Self { code, body: Box::new(body), retry_after_seconds: None, etag: None, allowed_methods: None }
    }

    /// A problem whose detail is the code's own advice.
    #[must_use]
    pub(crate) fn plain(code: Code) -> Self {
        Self::new(code, code.advice())
    }

    /// Faults of the body.
    #[must_use]
    pub(crate) fn invalid_body(errors: Vec<Fault>) -> Self {
        Self::of_faults(Code::InvalidBody, errors)
    }

    /// What is wrong, for a person at a terminal: each fault with its pointer.
    pub(crate) fn in_words(&self) -> String {
        match self.body.errors.as_slice() {
            [] => self.body.detail.clone(),
            faults => {
                let words = |fault: &Fault| match fault.pointer.as_str() {
                    "" => fault.detail.clone(),
                    pointer => format!("{pointer} {}", fault.detail),
                };
                faults.iter().map(words).collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// Faults of path or query parameters.
    #[must_use]
    pub(crate) fn invalid_parameter(errors: Vec<Fault>) -> Self {
        Self::of_faults(Code::InvalidParameter, errors)
    }

    fn of_faults(code: Code, mut errors: Vec<Fault>) -> Self {
        errors.truncate(MOST_FAULTS);
        let detail = match errors.as_slice() {
            [only] if !only.pointer.is_empty() => format!("{}: {}", only.pointer, only.detail),
            [only] => only.detail.clone(),
            many => format!("{} faults: see `errors`.", many.len()),
        };
        let mut problem = Self::new(code, detail);
        problem.body.errors = errors;
        problem
    }

    /// Names the seconds after which to try again.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after_seconds = seconds;
        self
    }

    /// `method_not_allowed`, with the methods that the address has.
    #[must_use]
    pub(crate) fn other_methods(methods: &[&str]) -> Self {
        Self { allowed_methods: HeaderValue::try_from(methods.join(",")).ok(), ..Self::plain(Code::MethodNotAllowed) }
    }

    fn extended(mut self, extensions: Extensions) -> Self {
        self.body.extensions = extensions;
        self
    }

    /// The order's present version, for the `ETag` header.
    fn at_version(self, version: u32) -> Self {
        self.tagged(Some(etag(version)))
    }

    /// The present state of what was asked for, for the `ETag` header.
    fn tagged(mut self, etag: Option<HeaderValue>) -> Self {
        self.etag = etag;
        self
    }

    /// What went wrong, as a word.
    #[cfg(test)]
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What is wrong this time.
    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.body.detail
    }

    /// The fields and parameters at fault.
    #[cfg(test)]
    pub(crate) fn faults(&self) -> &[Fault] {
        &self.body.errors
    }

    /// Writes the body of an answer made from a problem, now that the request id is known.
    /// Gives the code, if it is one.
    pub(crate) fn write_body(response: &mut Response, request_id: &str) -> Option<Code> {
        let mut problem = response.extensions_mut().remove::<Self>()?;
        request_id.clone_into(&mut problem.body.request_id);
        // Strings, numbers and enums only: there is nothing in it that could fail.
        *response.body_mut() = Body::from(serde_json::to_vec(&problem.body).unwrap_or_default());
        Some(problem.code)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::with_capacity(3);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = &self.allowed_methods {
            headers.insert(header::ALLOW, methods.clone());
        }
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nowserving\""));
        }
        if let Some(etag) = &self.etag {
            headers.insert(header::ETAG, etag.clone());
        }
        (self.code.status(), headers, axum::Extension(self)).into_response()
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(refusal) => refusal.into(),
            ServiceError::Unavailable { dependency, reason, retry_after_seconds } => {
                // One line a request would drown the log just when it is needed: the layers below report the outage.
                tracing::debug!(?dependency, reason, "a request needs a server that is unreachable");
                let what = match dependency {
                    Dependency::Redis => "The store of live orders is unreachable",
                    Dependency::Ledger => "The ledger of past orders and settings is unreachable",
                    Dependency::Partition => "This restaurant is not served until its data is known to be whole",
                    Dependency::Quiet => {
                        "It was changed too often within the last seconds, and nothing was changed now"
                    }
                };
                let detail = format!("{what}; try again in {retry_after_seconds} s.");
                Self::new(Code::Unavailable, detail).retry_after(Some(retry_after_seconds))
            }
            ServiceError::OutcomeUnknown { reason, retry_after_seconds } => {
                tracing::warn!(reason, "what became of a change is not known");
                Self::new(
                    Code::OutcomeUnknown,
                    "An answer of the store of live orders was lost, and whether the change was made could not be found out: \
                     look at the order, or repeat a new one with the same Idempotency-Key.",
                )
                .retry_after(Some(retry_after_seconds))
            }
            ServiceError::DurabilityUnknown { level } => Self::new(
                Code::DurabilityUnknown,
                format!(
                    "The change was made in Redis and answers reads, but it is not known to have reached the level \
                     {level}; repeat the request, with the same Idempotency-Key, to wait for it again."
                ),
            )
            .retry_after(Some(1)),
            ServiceError::Internal(error) => {
                tracing::error!(error = format!("{error:#}"), "a request failed");
                Self::plain(Code::Internal)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PoolExhausted { restaurant, range, next_free_at, retry_after_seconds } => {
                let when = retry_after_seconds.map_or_else(
                    || "none is resting either: release orders or widen its range".to_owned(),
                    |seconds| format!("try again in {seconds} s, when the next one has rested"),
                );
                let of = range.as_ref().map_or_else(String::new, |range| format!(" in its range {range}"));
                Self::new(Code::PoolExhausted, format!("No number of restaurant {restaurant} is free{of}; {when}."))
                    .retry_after(retry_after_seconds)
                    .extended(Extensions {
                        next_free_at: Some(next_free_at),
                        range: Some(RangeId::name(range.as_ref()).to_owned()),
                        ..Extensions::default()
                    })
            }
            Refusal::NumberTaken { number, state, holder } => {
                let why = match state {
                    NumberState::Live => "another order has it",
                    NumberState::Cooling => "it rests",
                    NumberState::Blocked => "it is blocked",
                    NumberState::Reserved => "it is reserved for a table",
                    NumberState::Quarantined => "it is taken out for a while",
                    NumberState::Retiring => "it is outside of today's ranges, and still held or resting",
                    NumberState::Outside => "it is in none of the restaurant's ranges",
                    NumberState::Free => "it was taken just then",
                };
                let detail = format!("The number {number} is not free: {why}; ask for another one, or for none.");
                let holder = holder.map(|(internal_order_id, display_number_formatted)| Holder {
                    internal_order_id,
                    display_number_formatted,
                });
                let extensions = Extensions { state: Some(state), holder: Some(holder), ..Extensions::default() };
                Self::new(Code::NumberTaken, detail).extended(extensions)
            }
            Refusal::IdempotencyConflict { first } => Self::new(
                Code::IdempotencyConflict,
                format!("This Idempotency-Key made order {first} from another body; use a new key for a new order."),
            )
            .extended(Extensions { internal_order_id: Some(first), ..Extensions::default() }),
            Refusal::OrderNotFound => {
                Self::new(Code::OrderNotFound, "There is no such order; check the id or the number.")
            }
            Refusal::RestaurantNotFound(restaurant) => Self::new(
                Code::RestaurantNotFound,
                format!("Restaurant {restaurant} is not known; give it settings first with PUT."),
            ),
            Refusal::OrderFinal(order) => Self::new(
                Code::OrderFinal,
                format!(
                    "The order is {} and does not change any more; {}create a new one.",
                    order.status,
                    if order.status.may_be_reopened() { "reopen it first if that was a mistake, or " } else { "" }
                ),
            )
            .at_version(order.version)
            .extended(Extensions {
                // As long as its number rests.
                allowed: Some(if order.status.may_be_reopened() { vec![OrderStatus::Preparing] } else { Vec::new() }),
                order_status: Some(order.status),
                ..Extensions::default()
            }),
            Refusal::ForbiddenStatus { from, to } => Self::forbidden_status(from, to),
            Refusal::NotCallable { status } => {
                let allowed: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.may_be_called()).collect();
                let detail =
                    format!("An order that is {status} is not called: put it back to preparing or ready first.");
                // Nothing goes back to pending.
                let allowed = allowed.into_iter().filter(|next| status.may_become(*next)).collect();
                Self::new(Code::OrderNotCallable, detail).extended(Extensions {
                    allowed: Some(allowed),
                    order_status: Some(status),
                    ..Extensions::default()
                })
            }
            Refusal::VersionMismatch { current } => Self::new(
                Code::VersionMismatch,
                format!("The order is at version {current} now; read it again, then repeat the change."),
            )
            .at_version(current)
            .extended(Extensions { current_version: Some(current), ..Extensions::default() }),
            Refusal::SettingsChanged { present } => Self::new(
                Code::VersionMismatch,
                "The settings are others now; read them again, then repeat the change with their present ETag.",
            )
            .tagged(present.as_ref().map(settings_etag)),
            Refusal::SettingsExist { present } => Self::new(
                Code::VersionMismatch,
                "The restaurant has settings already that If-None-Match excludes; read them, then change them.",
            )
            .tagged(Some(settings_etag(&present))),
            Refusal::InvalidSettings { reason } => {
                Self::invalid_body(vec![Fault::new(Location::Body, "", FaultCode::InvalidValue, reason)])
            }
            Refusal::SettingsAtFault(faults) => Self::invalid_body(faults.into_iter().map(Fault::from).collect()),
            Refusal::NumberMovedOn => Self::new(
                Code::NumberMovedOn,
                "The number has had another holder since; it is no longer this order's to free.",
            ),
            Refusal::NumberNotAtRest => Self::new(
                Code::NumberMovedOn,
                "The number does not rest for this order any more: its rest is over, or another order has had it since; create a \
                 new order.",
            ),
            Refusal::LevelNotGiven { level, reason } => Self::new(
                Code::InvalidDurability,
                format!("The level {level} cannot be given here, and nothing was changed. {reason}."),
            ),
            Refusal::NumberBlocked { number } => Self::new(
                Code::NumberBlocked,
                format!("Number {number} is in blocked_numbers and never given; unblock it, or keep another one."),
            ),
            Refusal::TableHasNumber { table, number } => Self::new(
                Code::TableHasNumber,
                format!("Number {number} is kept for table {}; give that up first.", shortened(table)),
            ),
            Refusal::TooManyReservations { most } => Self::new(
                Code::TooManyReservations,
                format!("A restaurant may keep at most {most} numbers for tables; give up one that is not needed."),
            ),
            Refusal::NotReserved { number } => {
                Self::new(Code::NumberNotReserved, format!("Number {number} is kept for no table."))
            }
            Refusal::NumberNotInPool { number } => Self::new(
                Code::NumberNotInPool,
                format!("Number {number} is never given here: it lies outside of the ranges, or is blocked."),
            ),
            Refusal::QuarantineFull { most } => Self::new(
                Code::QuarantineFull,
                format!("At most {most} numbers of this pool may be out at a time; put one back, or block numbers."),
            ),
            Refusal::NotQuarantined { number } => {
                Self::new(Code::NumberNotQuarantined, format!("Number {number} is not taken out."))
            }
            Refusal::DateTooFar { utc } => {
                let detail = format!("must be at most a day from that of UTC, which is {utc}");
                Self::invalid_body(vec![Fault::new(Location::Body, "/date", FaultCode::OutOfRange, detail)])
            }
            Refusal::PairingNotFound => Self::plain(Code::PairingNotFound),
            Refusal::PairingUsed => Self::plain(Code::PairingUsed),
            Refusal::PairingExpired => Self::plain(Code::PairingExpired),
            Refusal::TooManyPairings { retry_after_seconds } => {
                Self::plain(Code::TooManyPairings).retry_after(Some(retry_after_seconds))
            }
            Refusal::TooManyCodes { retry_after_seconds } => {
                let detail =
                    format!("Too many codes that no screen shows were entered; try again in {retry_after_seconds} s.");
                Self::new(Code::RateLimited, detail).retry_after(Some(retry_after_seconds))
            }
            Refusal::ScreenNotFound => Self::plain(Code::ScreenNotFound),
            Refusal::NumberOutOfRange => Self::new(
                Code::NumberOutOfRange,
                "The number is outside the restaurant's range, and no order ever had it; see min_number and max_number of its \
                 settings.",
            ),
        }
    }
}

impl Problem {
    fn forbidden_status(from: OrderStatus, to: OrderStatus) -> Self {
        let allowed = from.allowed_next();
        let names: Vec<_> = allowed.iter().map(|status| status.as_str()).collect();
        let reason = if to == OrderStatus::Expired { " (only clean-up expires orders)" } else { "" };
        Self::new(
            Code::ForbiddenStatus,
            format!("An order that is {from} cannot become {to}{reason}; ask for one of: {}.", names.join(", ")),
        )
        .extended(Extensions { allowed: Some(allowed), order_status: Some(from), ..Extensions::default() })
    }
}

/// What any call may answer, since the middleware gives it.
const ANYWHERE: [Code; 9] = [
    Code::MalformedRequest,
    Code::InvalidMethodOverride,
    Code::ConditionNotHonoured,
    Code::BodyTimeout,
    Code::BodyTooLarge,
    Code::UriTooLong,
    Code::Internal,
    Code::Overloaded,
    Code::Timeout,
];

/// The documentation of the given problems and of those that any call may answer, by status.
#[must_use]
pub(crate) fn responses(codes: &[Code]) -> BTreeMap<String, RefOr<ResponseDoc>> {
    let mut by_status: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in codes.iter().chain(&ANYWHERE) {
        by_status.entry(code.status().as_u16().to_string()).or_default().push(*code);
    }
    by_status.into_iter().map(|(status, codes)| (status, RefOr::T(response(&codes)))).collect()
}

fn response(codes: &[Code]) -> ResponseDoc {
    let described: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.advice())).collect();
    let examples = codes.iter().map(|code| {
        let example = serde_json::json!({
            "type": code.uri(), "title": code.title(), "status": code.status().as_u16(), "detail": code.advice(),
            "code": code.as_str(), "request_id": "5f1c9ad0e3b24c77",
        });
        (code.as_str(), ExampleBuilder::new().summary(code.title()).value(Some(example)).build())
    });
    let content = Content::builder()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples.collect::<Vec<_>>())
        .build();
    let mut response =
        ResponseBuilder::new().description(described.join("\n\n")).content(PROBLEM_JSON, content).build();
    let mut header = |name: &str, description: &str| {
        let mut header = Header::default();
        header.description = Some(description.to_owned());
        response.headers.insert(name.to_owned(), RefOr::T(header));
    };
    let names_retry_after = |code: &Code| {
        matches!(code, Code::PoolExhausted | Code::RateLimited) || code.status() == StatusCode::SERVICE_UNAVAILABLE
    };
    if codes.iter().any(names_retry_after) {
        header("Retry-After", "Seconds after which to try again, where that is known.");
    }
    if codes.iter().any(|code| matches!(code, Code::VersionMismatch | Code::OrderFinal)) {
        header("ETag", "The present version.");
    }
    if codes.contains(&Code::Unauthenticated) {
        header("WWW-Authenticate", "`Bearer`: the scheme that is wanted.");
    }
    response
}

/// Names a handler's problems, so that they stand beside it and reach the OpenAPI document.
macro_rules! problems {
    ($(#[$doc:meta])* $name:ident: $($code:ident),* $(,)?) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                $crate::http::problem::responses(&[$($crate::http::code::Code::$code),*])
            }
        }
    };
}
pub(crate) use problems;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{domain::Order, http::testing};

    fn written(problem: Problem) -> (StatusCode, HeaderMap, Value) {
        let mut response = problem.into_response();
        Problem::write_body(&mut response, "the-request");
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, testing::block_on(testing::json_body(response)))
    }

    #[test]
    fn a_problem_is_complete() {
        let (status, headers, body) = written(Problem::invalid_body(vec![Fault::new(
            Location::Body,
            "/metadata",
            FaultCode::TooLarge,
            "has too many bytes",
        )]));
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(headers[header::CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(
            body,
            json!({
                "type": "urn:nowserving:problem:invalid_body", "title": "The body is not valid", "status": 422,
                "detail": "/metadata: has too many bytes", "code": "invalid_body", "request_id": "the-request",
                "errors": [
                    {"in": "body", "pointer": "/metadata", "code": "too_large", "detail": "has too many bytes"},
                ],
            })
        );
    }

    #[test]
    fn an_exhausted_pool_says_when_to_come_back() {
        let refusal = |seconds: Option<u64>| Refusal::PoolExhausted {
            restaurant: testing::restaurant(7),
            range: seconds.and_then(|_| "bar".parse().ok()),
            next_free_at: seconds.map(|_| Timestamp::from_unix_ms(1_700_000_000_123)),
            retry_after_seconds: seconds,
        };
        let (status, headers, body) = written(refusal(Some(90)).into());
        assert_eq!((status, &headers[header::RETRY_AFTER]), (StatusCode::CONFLICT, &HeaderValue::from(90)));
        assert_eq!(body["code"], "pool_exhausted");
        assert_eq!((&body["next_free_at"], &body["range"]), (&json!("2023-11-14T22:13:20.123Z"), &json!("bar")));

        let (_, headers, body) = written(refusal(None).into());
        assert!(!headers.contains_key(header::RETRY_AFTER));
        assert_eq!((&body["next_free_at"], &body["range"]), (&Value::Null, &json!("main")));
    }

    #[test]
    fn a_number_that_is_taken_names_its_holder() {
        let order = testing::order();
        let refusal = |state, holder| Refusal::NumberTaken { number: "42".parse().expect("a number"), state, holder };
        let holder = (order.id, order.formatted_number());
        let (status, _, body) = written(refusal(NumberState::Live, Some(holder)).into());
        assert_eq!((status.as_u16(), &body["code"], &body["state"]), (409, &json!("number_taken"), &json!("live")));
        let shown = json!({"internal_order_id": order.id.to_string(), "display_number_formatted": "0042"});
        assert_eq!(body["holder"], shown);
        let (_, _, body) = written(refusal(NumberState::Outside, None).into());
        assert_eq!((&body["state"], body.get("holder")), (&json!("outside"), Some(&Value::Null)));
    }

    #[test]
    fn refusals_name_what_a_caller_needs_next() {
        let (status, _, body) =
            written(Refusal::ForbiddenStatus { from: OrderStatus::Ready, to: OrderStatus::Expired }.into());
        assert_eq!((status.as_u16(), &body["code"]), (409, &json!("forbidden_status")));
        assert_eq!(body["allowed"], json!(["preparing", "served", "held", "completed", "cancelled"]));

        let (status, headers, body) = written(Refusal::VersionMismatch { current: 4 }.into());
        assert_eq!((status.as_u16(), &body["current_version"]), (412, &json!(4)));
        assert_eq!(headers[header::ETAG], "\"4\"");

        let (status, headers, body) = written(Refusal::OrderFinal(Box::new(testing::order())).into());
        let expected = (409, &json!("order_final"), &json!(["preparing"]));
        assert_eq!((status.as_u16(), &body["code"], &body["allowed"]), expected, "it was completed");
        assert_eq!(headers[header::ETAG], "\"3\"");
        let cancelled = Order { status: OrderStatus::Cancelled, ..testing::order() };
        let (_, _, body) = written(Refusal::OrderFinal(Box::new(cancelled)).into());
        assert_eq!(body["allowed"], json!([]));
        let (status, _, body) = written(Refusal::NumberNotAtRest.into());
        assert_eq!((status.as_u16(), &body["code"]), (409, &json!("number_moved_on")));
    }

    #[test]
    fn failures_keep_their_secrets() {
        let error = anyhow::anyhow!("postgres://user:secret@host").context("cannot read");
        let (status, _, body) = written(ServiceError::Internal(error).into());
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.to_string().contains("secret") && !body.to_string().contains("cannot read"), "{body}");

        let unreachable = ServiceError::Unavailable {
            dependency: Dependency::Redis,
            reason: "connection refused (os error 111)".into(),
            retry_after_seconds: 2,
        };
        let (status, headers, body) = written(unreachable.into());
        assert_eq!((status.as_u16(), &headers[header::RETRY_AFTER]), (503, &HeaderValue::from(2)));
        assert!(!body.to_string().contains("refused"), "{body}");
    }

    #[test]
    fn long_quotes_are_cut_at_a_character() {
        let fault = Fault::new(Location::Body, "/note", FaultCode::InvalidValue, "é".repeat(1000));
        assert!(fault.detail.len() <= 304 && fault.detail.ends_with('…'));
    }
}
