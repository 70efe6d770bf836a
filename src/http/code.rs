//! The stable codes of problem answers: one table that feeds the answers, the OpenAPI document and the book.

use std::fmt::Write as _;

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Declares [`Code`] and its table from one list, so that no row can be forgotten.
macro_rules! codes {
    ($($variant:ident = $status:ident, $name:literal, $title:literal, $advice:literal;)*) => {
        /// What went wrong, as a word that clients may rely on: it never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
        #[schema(rename_all = "snake_case")]
        pub enum Code {
            $(#[doc = $advice] $variant,)*
        }

        impl Code {
            /// Every code, by status.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        status: StatusCode::$status,
                        name: $name,
                        title: $title,
                        advice: $advice,
                    },)*
                }
            }
        }
    };
}

struct Row {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    advice: &'static str,
}

codes! {
    MalformedJson = BAD_REQUEST, "malformed_json", "The body is not JSON",
        "Send one JSON object in UTF-8, nested at most 127 levels deep.";
    MalformedRequest = BAD_REQUEST, "malformed_request", "The request could not be read",
        "Send the request again, whole.";
    InvalidMethodOverride = BAD_REQUEST, "invalid_method_override", "The method override is not valid",
        "Send X-HTTP-Method-Override with POST only, and with one of PATCH, PUT and DELETE, or leave it out.";
    ConditionNotHonoured = BAD_REQUEST, "condition_not_honoured", "This call does not honour that condition",
        "Leave the condition out, or use a call that has it among its header fields in /docs.";
    InvalidIdempotencyKey = BAD_REQUEST, "invalid_idempotency_key", "The Idempotency-Key is not valid",
        "Send one Idempotency-Key of 1 to 255 visible ASCII characters, or none.";
    InvalidIfMatch = BAD_REQUEST, "invalid_if_match", "The If-Match header is not valid",
        "Send If-Match as the ETag was given, such as \"3\", as a list of those, or as *; weak tags never match.";
    InvalidDurability = BAD_REQUEST, "invalid_durability", "The Durability is not valid",
        "Send one Durability of memory, fsync, replica or ledger that this deployment's servers can give, or none.";
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "A valid API key is needed",
        "Send the header Authorization: Bearer and an API key that is neither expired nor revoked.";
    Forbidden = FORBIDDEN, "forbidden", "The API key is not for this",
        "Use a key whose role allows this call, and whose restaurants include this one.";
    CrossOriginRequest = FORBIDDEN, "cross_origin_request", "A web page of another origin may not change anything",
        "Send it from no web page, or from one of this service itself or of an origin in http.allowed_origins; a proxy in \
         between must pass on Host, or be among http.trusted_proxies and send X-Forwarded-Host and X-Forwarded-Proto.";
    NotFound = NOT_FOUND, "not_found", "There is nothing at this address",
        "See /docs for the calls that exist.";
    OrderNotFound = NOT_FOUND, "order_not_found", "No such order",
        "Check the order id or the number.";
    RestaurantNotFound = NOT_FOUND, "restaurant_not_found", "No such restaurant",
        "Give the restaurant settings first: PUT /v1/restaurants/{restaurant_id}.";
    NumberOutOfRange = NOT_FOUND, "number_out_of_range", "The restaurant has no such number",
        "Ask for a number between min_number and max_number of the restaurant's settings, or one that an order had before.";
    NumberNotReserved = NOT_FOUND, "number_not_reserved", "The number is kept for no table",
        "See GET /v1/restaurants/{restaurant_id}/reservations for those that are.";
    NumberNotQuarantined = NOT_FOUND, "number_not_quarantined", "The number is not taken out",
        "Do nothing: the number is in the pool as others are.";
    KeyNotFound = NOT_FOUND, "key_not_found", "No such API key",
        "See GET /v1/keys for the keys that there are.";
    ScreenNotFound = NOT_FOUND, "screen_not_found", "No such screen",
        "See GET /v1/screens for the screens that there are.";
    PairingNotFound = NOT_FOUND, "pairing_not_found", "No screen shows this code",
        "Compare the code, and the restaurant, with what the screen shows.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "This method does not exist here",
        "Use one of the methods that the Allow header names.";
    BodyTimeout = REQUEST_TIMEOUT, "body_timeout", "The body did not arrive in time",
        "Send the whole body promptly.";
    OrderFinal = CONFLICT, "order_final", "The order is final",
        "Leave the order as it is, reopen it if it was completed by mistake, or create a new one: a final order does not \
         change.";
    ForbiddenStatus = CONFLICT, "forbidden_status", "The order cannot go to this status",
        "Ask for one of the statuses in `allowed`.";
    OrderNotCallable = CONFLICT, "order_not_callable", "The order is not called in this status",
        "Put the order back to one of the statuses in `allowed` first, if its guest still waits for it.";
    NumberMovedOn = CONFLICT, "number_moved_on", "The number is no longer this order's",
        "Do nothing: the number is no longer this order's to free. Where the order was to be reopened, create a new one.";
    TableHasNumber = CONFLICT, "table_has_number", "Another number is kept for that table",
        "Give up the reservation of the number that the answer names first: a table has one number.";
    TooManyReservations = CONFLICT, "too_many_reservations", "No more numbers can be kept for tables",
        "Give up reservations that are not needed any more.";
    QuarantineFull = CONFLICT, "quarantine_full", "No more numbers can be taken out",
        "Put numbers back first, or block them in the restaurant's settings if they are not to be given at all.";
    PoolExhausted = CONFLICT, "pool_exhausted", "No number is free",
        "Try again after Retry-After where it is given, release orders, or widen the range that `range` names.";
    NumberTaken = CONFLICT, "number_taken", "The number that was asked for is not free",
        "Ask for another number, or for none: `state` says what the number does, `holder` which order has it or had it last.";
    PairingUsed = CONFLICT, "pairing_used", "The code was used before",
        "Look at the screen: where it still shows a code, enter that one.";
    PairingNotNeeded = CONFLICT, "pairing_not_needed", "Screens need no pairing here",
        "Open the screen's page as it is: this service asks for no API keys.";
    PairingExpired = GONE, "pairing_expired", "The code's time is over",
        "Enter the code that the screen shows now: each is good for ten minutes.";
    VersionMismatch = PRECONDITION_FAILED, "version_mismatch", "It has changed since",
        "Read it again, then repeat the change with its present ETag.";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large",
        "Send less; the limit is 16 KiB, unless this service is configured otherwise, and 128 KiB for orders and for the \
         settings of a restaurant.";
    UriTooLong = URI_TOO_LONG, "uri_too_long", "The address is too long",
        "Send at most 8 KiB of path and query.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is not declared as JSON that can be read",
        "Send the header Content-Type: application/json, and the body in UTF-8 and without a Content-Encoding.";
    MisdirectedRequest = MISDIRECTED_REQUEST, "misdirected_request", "This service does not go by that name",
        "Call it localhost or by its own address, or add the name to the setting http.hosts (NOWSERVING_HTTP_HOSTS).";
    InvalidBody = UNPROCESSABLE_ENTITY, "invalid_body", "The body is not valid",
        "Correct the fields listed in `errors`.";
    InvalidParameter = UNPROCESSABLE_ENTITY, "invalid_parameter", "A parameter is not valid",
        "Correct the path or query parameters listed in `errors`.";
    NumberBlocked = UNPROCESSABLE_ENTITY, "number_blocked", "The number is blocked",
        "Take the number out of blocked_numbers in the restaurant's settings, or keep another one for the table.";
    NumberNotInPool = UNPROCESSABLE_ENTITY, "number_not_in_pool", "The number is not in the pool",
        "Take out only numbers that lie in a range of the restaurant and are not blocked.";
    IdempotencyConflict = UNPROCESSABLE_ENTITY, "idempotency_conflict", "The Idempotency-Key was used before",
        "Use a new Idempotency-Key for another body.";
    RateLimited = TOO_MANY_REQUESTS, "rate_limited", "The API key is used too often",
        "Try again after Retry-After seconds, and send fewer requests a second with this key.";
    TooManyPairings = TOO_MANY_REQUESTS, "too_many_pairings", "Too many screens wait to be paired",
        "Try again after Retry-After seconds, and enter the codes of the screens that wait.";
    Internal = INTERNAL_SERVER_ERROR, "internal", "Something went wrong here",
        "Report the request_id to those who run this service.";
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "The service cannot do this right now",
        "Try again after Retry-After seconds.";
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "More is asked of the service than it can do",
        "Try again after Retry-After seconds: nothing was changed.";
    TooManyStreams = SERVICE_UNAVAILABLE, "too_many_streams", "This daemon has no room for another stream",
        "Try again after Retry-After seconds, or ask another daemon; http.max_streams says how many there may be.";
    DurabilityUnknown = SERVICE_UNAVAILABLE, "durability_unknown", "The change was made, but may not be as durable as asked",
        "Repeat the request after Retry-After seconds, with the same Idempotency-Key and without If-Match: the change was \
         made and answers reads, and the repeat waits for its level again.";
    OutcomeUnknown = SERVICE_UNAVAILABLE, "outcome_unknown", "Whether the change was made is not known",
        "Look after Retry-After seconds whether the change was made, or repeat a new order with the same Idempotency-Key: an \
         answer of the store was lost.";
    Timeout = SERVICE_UNAVAILABLE, "timeout", "The service took too long",
        "Try again after Retry-After seconds; a change may have happened, so repeat it with the same \
         Idempotency-Key or look first.";
}

impl Code {
    /// The word itself.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The status that goes with it.
    #[must_use]
    pub(crate) const fn status(self) -> StatusCode {
        self.row().status
    }

    /// What it means, the same at every occurrence.
    #[must_use]
    pub(crate) const fn title(self) -> &'static str {
        self.row().title
    }

    /// What the caller can do about it.
    #[must_use]
    pub(crate) const fn advice(self) -> &'static str {
        self.row().advice
    }

    /// The `type` of its problems: a URI that never changes.
    #[must_use]
    pub(crate) fn uri(self) -> String {
        format!("urn:nowserving:problem:{}", self.as_str())
    }

    /// Whether what was asked may have been done all the same, wholly or in part. Behind any other code nothing has
    /// changed.
    #[must_use]
    pub(crate) const fn may_have_changed(self) -> bool {
        matches!(self, Self::Internal | Self::DurabilityUnknown | Self::OutcomeUnknown | Self::Timeout)
    }

    /// Those behind which something may have changed, as words of a sentence.
    #[must_use]
    pub(crate) fn that_may_have_changed() -> String {
        let codes = Self::ALL.iter().filter(|code| code.may_have_changed());
        let mut words: Vec<_> = codes.map(|code| format!("`{}`", code.as_str())).collect();
        match words.pop() {
            Some(last) if !words.is_empty() => format!("{} and {last}", words.join(", ")),
            last => last.unwrap_or_default(),
        }
    }

    /// All codes as a Markdown table, for the OpenAPI document and `docs/reference/errors.md`.
    #[must_use]
    pub fn markdown_table() -> String {
        let mut table = String::from("| status | `code` | what to do |\n|---|---|---|\n");
        for code in Self::ALL {
            // Writing to a String cannot fail.
            let _ = writeln!(table, "| {} | `{}` | {} |", code.status().as_u16(), code.as_str(), code.advice());
        }
        table
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where in a request the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Location {
    /// In the JSON body: `pointer` is a JSON pointer (RFC 6901) into it.
    Body,
    /// In the path: `pointer` is `/` and the parameter's name.
    Path,
    /// In the query string: `pointer` is `/` and the parameter's name.
    Query,
}

/// What is wrong with one field or parameter, as a word that clients may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultCode {
    /// It is needed and not there.
    Missing,
    /// There is no such field.
    UnknownField,
    /// There is no such query parameter.
    UnknownParameter,
    /// It is there twice.
    Duplicate,
    /// Another JSON type is expected.
    WrongType,
    /// A text has too many characters, or a list too many elements.
    TooLong,
    /// It takes too many bytes.
    TooLarge,
    /// A number is too small or too large.
    OutOfRange,
    /// A text holds U+0000.
    NulCharacter,
    /// A range has numbers of another one.
    Overlap,
    /// Every number of a range is blocked.
    Empty,
    /// Two numbers would be shown as the same text.
    ShownAlike,
    /// The value is not one of those allowed, or does not have the right form.
    InvalidValue,
}

impl FaultCode {
    /// Whether other fields decide, too: such a fault means nothing while one of those is missing.
    #[must_use]
    pub(crate) const fn is_between_fields(self) -> bool {
        matches!(self, Self::Overlap | Self::Empty | Self::ShownAlike)
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn the_schema_lists_every_code_by_its_name() {
        let schema = serde_json::to_value(Code::schema()).expect("a schema is JSON");
        let names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(schema["enum"], serde_json::json!(names));
    }

    #[test]
    fn codes_are_errors_in_order_of_status() {
        assert!(Code::ALL.iter().all(|code| code.status().is_client_error() || code.status().is_server_error()));
        assert!(Code::ALL.iter().all(|code| code.advice().ends_with('.') && !code.title().ends_with('.')));
        assert_eq!(Code::markdown_table().lines().count(), Code::ALL.len() + 2);
    }
}
