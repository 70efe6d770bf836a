//! Conditional requests (RFC 9110, 13): one table of which call honours which condition.
//!
//! A condition guards a change, or a read, against what its sender does not know. One that was ignored would be taken for
//! one that held, so it is refused. On calls that only read, three conditions ask for less than the whole answer: to give
//! all of it is right by the RFC, and browsers send these by themselves.

use axum::http::{HeaderMap, Method};

use super::access::{self, Access};
use crate::http::{code::Code, problem::Problem};

/// A condition, by the header field that states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Match,
    NoneMatch,
    UnmodifiedSince,
    ModifiedSince,
    Range,
}

impl Condition {
    /// Every condition.
    pub(crate) const ALL: [Self; 5] =
        [Self::Match, Self::NoneMatch, Self::UnmodifiedSince, Self::ModifiedSince, Self::Range];

    /// The name of its field.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Match => "If-Match",
            Self::NoneMatch => "If-None-Match",
            Self::UnmodifiedSince => "If-Unmodified-Since",
            Self::ModifiedSince => "If-Modified-Since",
            Self::Range => "If-Range",
        }
    }

    /// Whether it may be passed over where nothing is changed.
    const fn only_spares_an_answer(self) -> bool {
        matches!(self, Self::NoneMatch | Self::ModifiedSince | Self::Range)
    }
}

const OF_A_READ: &[Condition] = &[Condition::Match, Condition::NoneMatch];
const OF_A_CHANGE: &[Condition] = &[Condition::Match];

/// `If-None-Match: *` is for a restaurant that has no settings of its own yet.
const OF_SETTINGS: &[Condition] = &[Condition::Match, Condition::NoneMatch];

/// The calls that honour conditions, and which: their handlers take them. Whatever is not here is refused.
const HONOURED: &[(&str, &str, &[Condition])] = &[
    ("GET", "/v1/orders/{internal_order_id}", OF_A_READ),
    ("GET", "/api/orders/lookup", OF_A_READ),
    ("GET", "/v1/restaurants/{restaurant_id}", OF_A_READ),
    ("PUT", "/v1/restaurants/{restaurant_id}", OF_SETTINGS),
    ("PATCH", "/v1/restaurants/{restaurant_id}", OF_SETTINGS),
    ("PATCH", "/v1/orders/{internal_order_id}", OF_A_CHANGE),
    ("POST", "/v1/orders/{internal_order_id}/status", OF_A_CHANGE),
    ("POST", "/v1/orders/{internal_order_id}/release", OF_A_CHANGE),
    ("POST", "/v1/orders/{internal_order_id}/reopen", OF_A_CHANGE),
    ("POST", "/v1/orders/{internal_order_id}/calls", OF_A_CHANGE),
];

/// The conditions that a call honours.
fn honoured(method: &Method, route: &str) -> &'static [Condition] {
    // A HEAD is a GET whose body is left out.
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    HONOURED.iter().find(|(of, at, _)| (*of, *at) == (method, route)).map_or(&[], |(_, _, conditions)| *conditions)
}

/// Refuses a condition that the call does not honour.
///
/// # Errors
/// `condition_not_honoured`.
pub(crate) fn check(method: &Method, route: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let mut sent = Condition::ALL.into_iter().filter(|condition| headers.contains_key(condition.name()));
    let refused = sent.find(|condition| {
        let passed_over = method.is_safe() && condition.only_spares_an_answer();
        !passed_over && !honoured(method, route).contains(condition)
    });
    match refused {
        // That there is no such call says more.
        Some(condition) if matches!(access::find(method, route), Access::Rule(_)) => Err(refusal(condition, method)),
        _ => Ok(()),
    }
}

fn refusal(refused: Condition, method: &Method) -> Problem {
    let calls = HONOURED
        .iter()
        .filter(|(of, _, conditions)| conditions.contains(&Condition::Match) && (*of == "GET") == method.is_safe());
    let calls: Vec<_> = calls.map(|(of, at, _)| format!("{of} {}", shortened(at))).collect();
    let detail =
        format!("{} is not honoured here; leave it out. If-Match is honoured by {}.", refused.name(), calls.join(", "));
    Problem::new(Code::ConditionNotHonoured, detail)
}

/// A path whose parameters take little room: a detail has only so much of it.
fn shortened(path: &str) -> String {
    path.replace("internal_order_id", "id").replace("restaurant_id", "id")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Condition::*, *};
    use crate::http::openapi;

    fn headers(conditions: &[Condition]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for condition in conditions {
            let name = axum::http::HeaderName::from_bytes(condition.name().as_bytes()).expect("a name");
            headers.insert(name, axum::http::HeaderValue::from_static("\"3\""));
        }
        headers
    }

    fn is_refused(method: &str, route: &str, conditions: &[Condition]) -> bool {
        let checked = check(&method.parse().expect("a method"), route, &headers(conditions));
        checked.map_err(|problem| assert_eq!(problem.code(), Code::ConditionNotHonoured)).is_err()
    }

    /// A new call that changes something either declares and honours If-Match, or refuses it by itself.
    #[test]
    fn each_call_honours_what_it_documents_and_refuses_the_rest() {
        let document = serde_json::to_value(openapi()).expect("the document is JSON");
        let mut honouring = BTreeSet::new();
        for (route, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("a path item") {
                let method = method.to_uppercase();
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let says = operation["responses"]["400"]["description"].as_str().unwrap_or_default();
                assert!(says.contains("`condition_not_honoured`"), "{method} {route}");
                for condition in Condition::ALL {
                    let is_documented = parameters.iter().any(|parameter| parameter["name"] == condition.name());
                    let may_be_passed_over = method == "GET" && condition.only_spares_an_answer();
                    let expected = !is_documented && !may_be_passed_over;
                    assert_eq!(is_refused(&method, route, &[condition]), expected, "{method} {route} {condition:?}");
                    let is_honoured = honoured(&method.parse().expect("a method"), route).contains(&condition);
                    assert_eq!(is_documented, is_honoured, "{method} {route} {condition:?}");
                    if is_honoured {
                        honouring.insert((method.clone(), route.clone()));
                    }
                }
            }
        }
        assert_eq!(honouring.len(), HONOURED.len(), "each row is a call: {honouring:?}");
    }

    #[test]
    fn one_of_several_conditions_is_enough_to_refuse() {
        let order = "/v1/orders/{internal_order_id}";
        assert!(!is_refused("PATCH", order, &[Match]));
        assert!(is_refused("PATCH", order, &[Match, UnmodifiedSince]));
        assert!(!is_refused("HEAD", order, &[Match, NoneMatch, ModifiedSince, Range]));
        assert!(is_refused("HEAD", order, &[NoneMatch, UnmodifiedSince]));
        assert!(is_refused("GET", "/v1/restaurants/{restaurant_id}/slots", &[Match]));
        assert!(!is_refused("PATCH", order, &[]));
    }

    #[test]
    fn what_is_no_call_is_refused_as_that() {
        for (method, route) in [("DELETE", "/v1/orders/{internal_order_id}"), ("POST", "unmatched"), ("PUT", "/v1/x")] {
            assert!(!is_refused(method, route, &Condition::ALL), "{method} {route}");
        }
    }

    #[test]
    fn a_refusal_names_the_calls_that_honour_if_match() {
        let problem = refusal(NoneMatch, &Method::POST);
        let detail = problem.detail();
        for said in ["If-None-Match is not honoured here", "PATCH /v1/orders/{id}", "/reopen,", "/calls."] {
            assert!(detail.contains(said), "{said}: {detail}");
        }
        assert!(!detail.contains("GET"), "{detail}");
    }
}
