//! Who may call what: one table of every call, from which requests are judged and the OpenAPI document is written.
//!
//! Nothing is allowed that does not stand here. A new route needs a row, or a test fails and no client can call it.

use axum::http::Method;

use crate::domain::Role::{self, Admin, Kitchen, Metrics, Screen, Till};

/// One call, and who may make it.
#[derive(Debug)]
pub(crate) struct Rule {
    method: &'static str,
    route: &'static str,
    /// The roles that may make it; where there are none, no client needs a key.
    pub roles: &'static [Role],
    /// What a key of some restaurants must have among them.
    pub subject: Subject,
    /// Whether it needs a key even where no keys are asked for, so that no client can make the call there.
    pub never_without_key: bool,
}

/// How a call says which restaurant it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// It is about no restaurant: any key with the role may call it.
    None,
    /// About the whole chain: only for keys of all restaurants.
    WholeChain,
    /// `{restaurant_id}` in the path.
    Restaurant,
    /// That of the order that `{internal_order_id}` in the path names.
    Order,
    /// That of the order, or the restaurant, in the query string of the older look-up; else the key's only one.
    LegacyLookup,
    /// `restaurant_id` in the query string of the older search; else the key's only one.
    LegacySearch,
}

const WITHOUT_KEY: &[Role] = &[];
const ADMINS: &[Role] = &[Admin];
const TILLS: &[Role] = &[Admin, Till];
/// What a kitchen may say of an order besides is for the handlers to see: see [`Role::may_set`].
const KITCHENS: &[Role] = &[Admin, Till, Kitchen];
const SHOWING: &[Role] = &[Kitchen, Screen];
const SCREENS: &[Role] = &[Admin, Till, Kitchen, Screen];
const METRICS: &[Role] = &[Admin, Metrics];
const USAGE: &[Role] = &[Admin, Till, Metrics];

const fn row(method: &'static str, route: &'static str, roles: &'static [Role], subject: Subject) -> Rule {
    Rule { method, route, roles, subject, never_without_key: false }
}

/// A call by which a client that reaches a daemon without keys could keep the way in for later, or lock others out.
const fn never_without_key(rule: Rule) -> Rule {
    Rule { never_without_key: true, ..rule }
}

/// Every call.
const RULES: &[Rule] = &[
    row("POST", "/v1/restaurants/{restaurant_id}/orders", TILLS, Subject::Restaurant),
    row("GET", "/v1/orders/{internal_order_id}", SCREENS, Subject::Order),
    row("PATCH", "/v1/orders/{internal_order_id}", TILLS, Subject::Order),
    row("POST", "/v1/orders/{internal_order_id}/release", TILLS, Subject::Order),
    row("POST", "/v1/orders/{internal_order_id}/reopen", TILLS, Subject::Order),
    row("POST", "/v1/orders/{internal_order_id}/status", KITCHENS, Subject::Order),
    row("POST", "/v1/orders/{internal_order_id}/calls", KITCHENS, Subject::Order),
    row("GET", "/v1/orders/{internal_order_id}/events", TILLS, Subject::Order),
    row("GET", "/v1/restaurants/{restaurant_id}/orders", SCREENS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/numbers/{number}", SCREENS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/search", TILLS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/slots", SCREENS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/events", TILLS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/usage", USAGE, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/feed", SCREENS, Subject::Restaurant),
    row("GET", "/v1/feed", ADMINS, Subject::WholeChain),
    row("GET", "/v1/usage/top", METRICS, Subject::WholeChain),
    row("GET", "/v1/restaurants/{restaurant_id}", SCREENS, Subject::Restaurant),
    row("PUT", "/v1/restaurants/{restaurant_id}", ADMINS, Subject::Restaurant),
    row("PATCH", "/v1/restaurants/{restaurant_id}", ADMINS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/reservations", SCREENS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/reservations/{number}", SCREENS, Subject::Restaurant),
    row("PUT", "/v1/restaurants/{restaurant_id}/reservations/{number}", ADMINS, Subject::Restaurant),
    row("DELETE", "/v1/restaurants/{restaurant_id}/reservations/{number}", ADMINS, Subject::Restaurant),
    row("PUT", "/v1/restaurants/{restaurant_id}/numbers/{number}/quarantine", TILLS, Subject::Restaurant),
    row("DELETE", "/v1/restaurants/{restaurant_id}/numbers/{number}/quarantine", TILLS, Subject::Restaurant),
    row("GET", "/v1/restaurants/{restaurant_id}/business-day", SCREENS, Subject::Restaurant),
    row("PUT", "/v1/restaurants/{restaurant_id}/business-day", ADMINS, Subject::Restaurant),
    row("POST", "/v1/restaurants/{restaurant_id}/cleanup", ADMINS, Subject::Restaurant),
    row("GET", "/api/orders/lookup", TILLS, Subject::LegacyLookup),
    row("GET", "/api/orders/search", TILLS, Subject::LegacySearch),
    // An admin of some restaurants sees, makes and revokes keys of these: the handlers see to it.
    never_without_key(row("POST", "/v1/keys", ADMINS, Subject::None)),
    row("GET", "/v1/keys", ADMINS, Subject::None),
    row("GET", "/v1/keys/{key_id}", ADMINS, Subject::None),
    never_without_key(row("DELETE", "/v1/keys/{key_id}", ADMINS, Subject::None)),
    // A screen has no key before it is paired. As with keys, an admin of some restaurants pairs, sees and revokes screens of
    // these.
    row("POST", "/v1/pairings", WITHOUT_KEY, Subject::None),
    row("GET", "/v1/pairings/current", WITHOUT_KEY, Subject::None),
    never_without_key(row("POST", "/v1/screens", ADMINS, Subject::None)),
    row("GET", "/v1/screens", ADMINS, Subject::None),
    row("GET", "/v1/screens/{screen_id}", ADMINS, Subject::None),
    never_without_key(row("DELETE", "/v1/screens/{screen_id}", ADMINS, Subject::None)),
    row("PUT", "/v1/screens/self", SHOWING, Subject::None),
    row("GET", "/v1/restaurants/{restaurant_id}/screen-sessions", ADMINS, Subject::Restaurant),
    row("GET", "/metrics", METRICS, Subject::WholeChain),
    row("GET", "/healthz", WITHOUT_KEY, Subject::None),
    row("GET", "/readyz", WITHOUT_KEY, Subject::None),
    row("GET", "/openapi.json", WITHOUT_KEY, Subject::None),
    row("GET", "/docs", WITHOUT_KEY, Subject::None),
    row("GET", "/docs/", WITHOUT_KEY, Subject::None),
    row("GET", "/docs/{*rest}", WITHOUT_KEY, Subject::None),
    // Pages hold no data: what they show they ask for, as others do.
    row("GET", "/", WITHOUT_KEY, Subject::None),
    row("GET", "/board/{restaurant_id}", WITHOUT_KEY, Subject::Restaurant),
    row("GET", "/kitchen/{restaurant_id}", WITHOUT_KEY, Subject::Restaurant),
    row("GET", "/assets/{hash}/{*file}", WITHOUT_KEY, Subject::None),
    row("GET", "/voice/{language}/{file}", WITHOUT_KEY, Subject::None),
];

/// What the table says of a request.
#[derive(Debug)]
pub(crate) enum Access {
    /// This is its row.
    Rule(&'static Rule),
    /// The route is there, but with these methods only.
    OtherMethods(Vec<&'static str>),
    /// The route is not there.
    Unlisted,
}

/// Looks up a request by its method and its route's template.
pub(crate) fn find(method: &Method, route: &str) -> Access {
    // A HEAD is a GET whose body is left out.
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut of_route = RULES.iter().filter(|rule| rule.route == route);
    if let Some(rule) = of_route.clone().find(|rule| rule.method == method) {
        return Access::Rule(rule);
    }
    if of_route.clone().next().is_none() {
        return Access::Unlisted;
    }
    let mut methods: Vec<_> = of_route.by_ref().map(|rule| rule.method).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    Access::OtherMethods(methods)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::{listen::prefix::BEGINNINGS, openapi};

    fn rule(method: &Method, route: &str) -> &'static Rule {
        match find(method, route) {
            Access::Rule(rule) => rule,
            other => panic!("{method} {route}: {other:?}"),
        }
    }

    #[test]
    fn every_call_has_one_row() {
        let calls: BTreeSet<_> = RULES.iter().map(|rule| (rule.method, rule.route)).collect();
        assert_eq!(calls.len(), RULES.len());
        let document = serde_json::to_value(openapi()).expect("the document is JSON");
        for (path, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("a path item").keys() {
                let method = method.to_uppercase();
                assert!(calls.contains(&(method.as_str(), path.as_str())), "{method} {path} has no row");
            }
        }
    }

    /// Behind a proxy a path is told from its prefix by its beginning.
    #[test]
    fn every_path_has_a_known_beginning() {
        for rule in RULES {
            let is_start = rule.route == "/";
            assert!(is_start || BEGINNINGS.iter().any(|beginning| rule.route.starts_with(beginning)), "{rule:?}");
        }
        for beginning in BEGINNINGS {
            assert!(RULES.iter().any(|rule| rule.route.starts_with(beginning)), "{beginning}");
        }
    }

    #[test]
    fn admins_may_do_all_that_needs_a_key() {
        for rule in RULES {
            // An admin is no screen.
            let is_of_screens = rule.route == "/v1/screens/self";
            assert_eq!(rule.roles.is_empty() || rule.roles.contains(&Admin), !is_of_screens, "{rule:?}");
            let service = ["/healthz", "/readyz", "/openapi.json", "/docs", "/v1/pairings"];
            let pages = ["/board/", "/kitchen/", "/assets/", "/voice/"];
            let open = service.iter().chain(&pages).any(|open| rule.route.starts_with(open)) || rule.route == "/";
            assert_eq!(rule.roles.is_empty(), open, "{rule:?}");
        }
    }

    #[test]
    fn a_call_about_a_restaurant_is_checked_against_it() {
        for rule in RULES {
            let expected = match rule.route {
                route if route.contains("{restaurant_id}") => Subject::Restaurant,
                route if route.contains("{internal_order_id}") => Subject::Order,
                "/api/orders/lookup" => Subject::LegacyLookup,
                "/api/orders/search" => Subject::LegacySearch,
                "/metrics" | "/v1/usage/top" | "/v1/feed" => Subject::WholeChain,
                _ => Subject::None,
            };
            assert_eq!(rule.subject, expected, "{rule:?}");
        }
    }

    /// No other call changes who may do what.
    #[test]
    fn keys_are_changed_with_a_key_only() {
        for rule in RULES {
            let of_keys = rule.route.starts_with("/v1/keys") || rule.route.starts_with("/v1/screens");
            let changes_keys = of_keys && ["POST", "DELETE"].contains(&rule.method);
            assert_eq!(rule.never_without_key, changes_keys, "{rule:?}");
            assert!(!rule.never_without_key || rule.roles == ADMINS, "{rule:?}");
        }
    }

    #[test]
    fn boards_do_not_see_the_past_and_metrics_see_no_order() {
        for route in ["search", "events"] {
            let route = format!("/v1/restaurants/{{restaurant_id}}/{route}");
            let roles = rule(&Method::GET, &route).roles;
            assert!(!roles.contains(&Screen) && !roles.contains(&Kitchen), "{route}");
        }
        let reads = RULES.iter().filter(|rule| rule.roles.contains(&Metrics)).map(|rule| rule.route);
        let reads: Vec<_> = reads.collect();
        assert_eq!(reads, ["/v1/restaurants/{restaurant_id}/usage", "/v1/usage/top", "/metrics"]);
    }

    #[test]
    fn what_is_not_listed_is_not_found() {
        assert!(matches!(find(&Method::GET, "/v1/secrets"), Access::Unlisted));
        assert_eq!(rule(&Method::HEAD, "/metrics").roles, METRICS);
        let Access::OtherMethods(methods) = find(&Method::DELETE, "/v1/orders/{internal_order_id}") else {
            panic!("no order can be deleted");
        };
        assert_eq!(methods, ["GET", "PATCH", "HEAD"]);
    }
}
