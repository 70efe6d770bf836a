//! Path parameters.

use std::borrow::Cow;

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    domain::{KeyId, RestaurantId, WrittenNumber, written_number::is_negative},
    http::{
        code::{Code, FaultCode, Location},
        problem::{Fault, Problem},
    },
};

/// A parameter of the path, as a domain type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InPath<T>(pub T);

/// The documentation of `{restaurant_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct RestaurantInPath {
    /// The restaurant, as the chain numbers it.
    #[param(minimum = 1, maximum = 2_147_483_647, example = 7)]
    restaurant_id: u32,
}

/// The documentation of `{internal_order_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct OrderInPath {
    /// The order's id, or the foreign UUID under which it was imported. Anything else is an `order_not_found`.
    internal_order_id: Uuid,
}

/// The documentation of `{key_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct KeyInPath {
    /// The key's number. Anything else is a `key_not_found`.
    #[param(minimum = 1, example = 3)]
    key_id: u64,
}

/// The documentation of `{screen_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct ScreenInPath {
    /// The screen's number, which is that of its key. Anything else is a `screen_not_found`.
    #[param(minimum = 1, example = 3)]
    screen_id: u64,
}

/// The number of a screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScreenId(pub KeyId);

/// A parameter of the path whose text alone says whether it is good.
pub(crate) trait FromPath: Sized {
    /// Its name in the route.
    const NAME: &'static str;

    /// Reads its text.
    fn from_path(text: &str) -> Option<Self>;
}

impl FromPath for RestaurantId {
    const NAME: &'static str = "restaurant_id";

    fn from_path(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromPath for Uuid {
    const NAME: &'static str = "internal_order_id";

    fn from_path(text: &str) -> Option<Self> {
        Self::try_parse(text).ok()
    }
}

impl FromPath for KeyId {
    const NAME: &'static str = "key_id";

    fn from_path(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromPath for ScreenId {
    const NAME: &'static str = "screen_id";

    fn from_path(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// What [`InPath`] finds, for those that have to know before the handler does.
pub(crate) fn in_path<T: FromPath>(parts: &Parts) -> Option<T> {
    parameter(parts, T::NAME).and_then(|text| T::from_path(&text))
}

/// The documentation of `{number}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct NumberInPath {
    /// The display number, as people write it: `42`, `0042`, `#42`, `４２`, or as it is shown (`A-042`, `R7-0042`).
    #[param(min_length = 1, max_length = 64, example = "0042")]
    number: String,
}

impl<S: Sync> FromRequestParts<S> for InPath<RestaurantId> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        in_path(parts).map(Self).ok_or_else(|| {
            Problem::invalid_parameter(vec![Fault::new(
                Location::Path,
                "/restaurant_id",
                FaultCode::InvalidValue,
                "must be a whole number from 1 to 2147483647",
            )])
        })
    }
}

/// An id that is no UUID names no order: 404, like any other id that no order has.
impl<S: Sync> FromRequestParts<S> for InPath<Uuid> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        in_path(parts).map(Self).ok_or_else(|| {
            Problem::new(Code::OrderNotFound, "There is no such order: an internal_order_id is a UUID; check it.")
        })
    }
}

/// An id that is no number names no key.
impl<S: Sync> FromRequestParts<S> for InPath<KeyId> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        in_path(parts).map(Self).ok_or_else(|| Problem::plain(Code::KeyNotFound))
    }
}

/// An id that is no number names no screen.
impl<S: Sync> FromRequestParts<S> for InPath<ScreenId> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        in_path(parts).map(Self).ok_or_else(|| Problem::plain(Code::ScreenNotFound))
    }
}

/// A number below zero is outside of every range, 404; a text without digits is no number, 422.
impl<S: Sync> FromRequestParts<S> for InPath<WrittenNumber> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parameter(parts, "number").unwrap_or_default();
        WrittenNumber::parse(&text).map(Self).map_err(|error| {
            if is_negative(&text) {
                return Problem::plain(Code::NumberOutOfRange);
            }
            let fault = Fault::new(Location::Path, "/number", FaultCode::InvalidValue, format!("{error}"));
            Problem::invalid_parameter(vec![fault])
        })
    }
}

/// The text of a path parameter; None where it is not UTF-8 once decoded.
///
/// Read from the path itself, each parameter alone: axum's own extractors refuse all of them when one is not UTF-8, and
/// do not say which.
fn parameter<'a>(parts: &'a Parts, name: &str) -> Option<Cow<'a, str>> {
    let template = parts.extensions.get::<MatchedPath>()?.as_str().split('/');
    let wanted = |segment: &str| segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) == Some(name);
    let (_, text) = template.zip(parts.uri.path().split('/')).find(|(segment, _)| wanted(segment))?;
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};

    use super::*;
    use crate::http::testing::{self, json_body, request, send};

    async fn answer(path: &str) -> (u16, String) {
        let routes = Router::new()
            .route(
                "/r/{restaurant_id}/{number}",
                get(|InPath(id): InPath<RestaurantId>, InPath(number): InPath<WrittenNumber>| async move {
                    format!("{id} {}", number.as_str())
                }),
            )
            .route("/o/{internal_order_id}", get(|InPath(id): InPath<Uuid>| async move { id.to_string() }));
        let app = testing::behind_the_edge(routes, testing::settings());
        let response = send(&app, request("GET", path).body(Body::empty())).await;
        let status = response.status().as_u16();
        if status == 200 {
            return (status, testing::text(response).await);
        }
        let body = json_body(response).await;
        (status, format!("{} {}", body["code"].as_str().unwrap_or_default(), body["errors"][0]["pointer"]))
    }

    #[tokio::test]
    async fn good_paths_become_domain_types() {
        assert_eq!(answer("/r/7/0042").await, (200, "7 42".into()));
        assert_eq!(answer("/r/2147483647/999999").await, (200, "2147483647 999999".into()));
        for written in ["%EF%BC%94%EF%BC%92", "%D9%A4%D9%A2", "%2342", "No.%2042", "%E2%84%9642", "42%20", "+42"] {
            assert_eq!(answer(&format!("/r/7/{written}")).await, (200, "7 42".into()), "{written}");
        }
        assert_eq!(answer("/r/7/A-042").await, (200, "7 a42".into()));
        assert_eq!(
            answer("/o/7F0C2A5E-3b1d-4c8f-9a6e-1d2b3c4d5e6f").await,
            (200, "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f".into())
        );
    }

    #[tokio::test]
    async fn bad_restaurants_are_named() {
        for bad in ["0", "-1", "2147483648", "99999999999999999999", "seven", "1.0", "%31%00", "%ff", "%zz", "7%20"] {
            let expected = (422, "invalid_parameter \"/restaurant_id\"".into());
            assert_eq!(answer(&format!("/r/{bad}/1")).await, expected, "{bad}");
        }
    }

    #[tokio::test]
    async fn ids_that_are_no_uuids_are_not_found() {
        for bad in ["42", "%ff", "%00", "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6g", "null"] {
            assert_eq!(answer(&format!("/o/{bad}")).await, (404, "order_not_found null".into()), "{bad}");
        }
    }

    #[tokio::test]
    async fn texts_without_a_number_are_named() {
        for bad in ["-1", "-42", "%E2%88%9242"] {
            assert_eq!(answer(&format!("/r/7/{bad}")).await, (404, "number_out_of_range null".into()), "{bad}");
        }
        for bad in ["forty", "%00", "%ff", "-", "%23"] {
            assert_eq!(answer(&format!("/r/7/{bad}")).await, (422, "invalid_parameter \"/number\"".into()), "{bad}");
        }
    }
}
