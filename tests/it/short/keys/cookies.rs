//! The cookie of a screen: what it is good for, and which pages may use it.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde_json::json;

use super::browser::{Browser, OWN};
use super::client::{asking, create, get, made_up, make};
use super::matrix::{RESTAURANT, ROLES_OF, calls, is_admitted, requests};
use crate::support::api::{Answer, id};
use crate::support::{Api, Daemon, DaemonOptions};

/// What browsers say of requests that are not of a page of the service: those that may change something, and those that only
/// read.
const FOREIGN: [&[(&str, &str)]; 5] = [
    &[("origin", "https://evil.example")],
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site")],
    &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
    &[("origin", "null")],
];

/// Every call that screens, kitchens or others may make, with the cookie of each: from a page of the service as with the key in
/// the header, from other pages not at all.
#[tokio::test]
async fn every_call_with_a_cookie_is_for_its_roles_and_for_own_pages_only() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = create(&api, &admin, RESTAURANT).await;
    let roles_of: BTreeMap<_, _> = ROLES_OF.into_iter().collect();
    let mut browsers = BTreeMap::new();
    for role in ["kitchen", "screen"] {
        for (place, restaurant) in [("here", RESTAURANT), ("elsewhere", RESTAURANT + 1)] {
            let (browser, _) = Browser::paired(&api, &admin, role, restaurant).await;
            assert!(is_admitted(&browser.get(&format!("/v1/restaurants/{restaurant}/slots")).await), "{role}");
            browsers.insert((role, place), browser);
        }
    }
    let own: &[(&str, &str)] = &[OWN];
    let silent: &[(&str, &str)] = &[];
    let mut checks = Vec::new();
    for call in calls(&api).await {
        let roles = roles_of[call.as_str()];
        for ((role, place), browser) in &browsers {
            let about_one =
                call.contains("{restaurant_id}") || call.contains("{internal_order_id}") || call.contains("/api/");
            let may = roles.is_empty() || roles.contains(role) && (*place == "here" || !about_one);
            for request in requests(&call, id(&order)) {
                let changes = request.0 != "GET";
                let who = format!("{role} of {place}: {call}");
                checks.push((browser, who.clone(), request.clone(), own, if may { "admitted" } else { "forbidden" }));
                let foreign = if roles.is_empty() && !changes { "admitted" } else { "cross_origin_request" };
                for lines in FOREIGN {
                    checks.push((browser, who.clone(), request.clone(), lines, foreign));
                }
                // A browser that says nothing reads as before, and changes nothing.
                let told = if changes {
                    "cross_origin_request"
                } else if may {
                    "admitted"
                } else {
                    "forbidden"
                };
                checks.push((browser, who, request, silent, told));
            }
        }
    }
    let count = stream::iter(checks)
        .map(|(browser, who, (method, path, body), lines, expected)| async move {
            let answer = browser.send(&method, &path, lines, body.as_ref()).await;
            match expected {
                "admitted" => assert!(is_admitted(&answer), "{who} {lines:?}: {answer:?}"),
                code => {
                    assert_eq!(answer.any_problem()["code"], code, "{who} {lines:?}: {answer:?}");
                    assert_eq!(answer.status, 403, "{who}: {answer:?}");
                }
            }
            assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{answer:?}");
        })
        .buffer_unordered(48)
        .count()
        .await;
    assert!(count > 500, "{count}");
    // Nothing of it has changed anything, but that the kitchen called the order.
    let order = get(&api, &admin, &format!("/v1/orders/{}", id(&order))).await.ok(200);
    let calls = order["call_count"].as_u64().expect("a count");
    assert_eq!((&order["status"], &order["version"]), (&json!("ready"), &json!(1 + calls)));
}

fn code(answer: &Answer) -> String {
    answer.any_problem()["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn a_header_goes_before_the_cookie() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let till = make(&options, &["--role", "till", "--restaurants", "7"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (screen, _) = Browser::paired(&api, &admin, "screen", 7).await;
    let bearer = |key: &str| format!("Bearer {key}");
    let orders = "/v1/restaurants/7/orders";
    // With the till's key it may create, from whatever client.
    let with_till = bearer(&till);
    screen.send("POST", orders, &[("authorization", &with_till)], Some(&json!({}))).await.ok(201);
    // A bad one is not made good by the cookie.
    for bad in [bearer(&made_up()), "Basic bm9ib2R5".to_owned(), bearer("nsk_half")] {
        let answer = screen.send("GET", orders, &[("authorization", &bad), OWN], None).await;
        answer.problem(401, "unauthenticated");
    }
    screen.get(orders).await.ok(200);
}

#[tokio::test]
async fn what_is_no_key_of_a_screen_is_none_in_a_cookie() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let till = make(&options, &["--role", "till"]);
    let screen = make(&options, &["--role", "screen", "--restaurants", "7"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let with = |value: &str| Browser { api: api.clone(), cookie: format!("nowserving_screen={value}") };
    let path = "/v1/restaurants/7/orders";
    for key in [&admin, &till] {
        with(key).get(path).await.problem(403, "forbidden");
    }
    for bad in ["", "nsk_half", "x", &made_up(), &format!("{screen}x")] {
        with(bad).get(path).await.problem(401, "unauthenticated");
    }
    // One that was made by the command is as good as one that was paired.
    with(&screen).get(path).await.ok(200);
    let others = format!("a=b; nowserving_screen={screen}; theme=dark");
    Browser { api: api.clone(), cookie: others }.get(path).await.ok(200);
}

/// Pages of allowed origins use keys of their own.
#[tokio::test]
async fn an_allowed_origin_cannot_use_the_cookie() {
    let kiosk = "http://kiosk.example:3000";
    let options = asking().await.with("NOWSERVING_HTTP_ALLOWED_ORIGINS", kiosk);
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (kitchen, _) = Browser::paired(&api, &admin, "kitchen", 7).await;
    let order = create(&api, &admin, 7).await;
    let status = format!("/v1/orders/{}/status", id(&order));
    let ready = json!({"status": "ready"});
    let pairing = json!({"page": "board", "restaurant_id": 7});
    for site in ["cross-site", "same-site"] {
        let lines = [("origin", kiosk), ("sec-fetch-site", site)];
        for (method, path, body) in [
            ("GET", "/v1/restaurants/7/orders", None),
            ("POST", status.as_str(), Some(&ready)),
            ("PUT", "/v1/screens/self", Some(&pairing)),
            ("POST", "/v1/pairings", Some(&pairing)),
        ] {
            let answer = kitchen.send(method, path, &lines, body).await;
            answer.problem(403, "cross_origin_request");
            assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer:?}");
            assert_eq!(answer.header("set-cookie"), None, "{answer:?}");
        }
        // Nor begin a pairing, whose cookie would take the place of the screen's own.
        let begun = api.json_with("POST", "/v1/pairings", &lines, &pairing).await;
        begun.problem(403, "cross_origin_request");
        assert_eq!(begun.header("set-cookie"), None, "{begun:?}");
        let with_key = [("authorization", format!("Bearer {admin}")), ("origin", kiosk.to_owned())];
        let with_key = with_key.each_ref().map(|(name, value)| (*name, value.as_str()));
        kitchen.send("GET", "/v1/restaurants/7/orders", &with_key, None).await.ok(200);
    }
    let pre = [("origin", kiosk), ("access-control-request-method", "POST")];
    let preflight = kitchen.send("OPTIONS", &status, &pre, None).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-credentials")), (204, None), "{preflight:?}");
}

#[tokio::test]
async fn a_cookie_opens_no_other_door() {
    // Names are checked where there is a list of them, and where no keys are asked for.
    let options = asking().await.with("NOWSERVING_HTTP_HOSTS", "shop.example");
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (kitchen, _) = Browser::paired(&api, &admin, "kitchen", 7).await;
    let (path, here) = ("/v1/screens/self", json!({"page": "kitchen"}));
    let evil = [("host", "evil.example"), ("origin", "http://evil.example")];
    for (host, expected) in [("evil.example", 421), ("shop.example", 204)] {
        let origin = format!("http://{host}");
        let answer = kitchen.send("PUT", path, &[("host", host), ("origin", &origin)], Some(&here)).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    let keyless = Daemon::start(&DaemonOptions { ..options.clone().with("NOWSERVING_AUTH_MODE", "none") });
    let there = kitchen.at(&Api::at(keyless.url()));
    assert_eq!(there.send("PUT", path, &evil, Some(&here)).await.status, 421);
    assert_eq!(
        code(&there.send("PUT", path, &[("sec-fetch-site", "cross-site")], Some(&here)).await),
        "cross_origin_request"
    );
    // The cookie is of no use there, and does no harm.
    let answer = there.own("PUT", path, Some(&here)).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (204, None), "{answer:?}");
    there.get("/v1/restaurants/7/orders").await.ok(200);
}

#[tokio::test]
async fn behind_a_proxy_the_cookie_is_for_its_scheme_and_path() {
    let options = asking().await.with("NOWSERVING_HTTP_TRUSTED_PROXIES", "127.0.0.0/8");
    make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let body = json!({"page": "board", "restaurant_id": 7});
    let proxied =
        [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/shop/orders")];
    let named = [("x-forwarded-host", "shop.example"), ("origin", "https://shop.example")];
    let lines = [&proxied[..], &named].concat();
    let begun = api.json_with("POST", "/v1/pairings", &lines, &body).await;
    begun.ok(201);
    let set = begun.header("set-cookie").expect("a cookie");
    for attribute in ["Secure", "Path=/shop/orders/", "HttpOnly", "SameSite=Strict"] {
        assert!(set.split("; ").any(|found| found == attribute), "{set}");
    }
    // The page of the proxy's plain port is another origin.
    let plain = [("x-forwarded-host", "shop.example"), ("origin", "http://shop.example")];
    let refused = api.json_with("POST", "/v1/pairings", &[&proxied[..], &plain].concat(), &body).await;
    refused.problem(403, "cross_origin_request");
}
