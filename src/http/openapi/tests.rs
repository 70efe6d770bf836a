use std::collections::BTreeSet;

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::{
        Beat, EventCursor, EventPosition, KeyText, NumberState, OrderStatus, Pairing, PairingCode, PairingState,
        PartitionId, PoolOccupancy, PoolSettings, RangeOccupancy, RecordedEvent, Refusal, Screen, ScreenPage,
        ScreenSession, TimeZone, Timestamp,
        usage::{Occupancy, RankedRestaurant, Tally, Turnover, UsageFigures, UsageRanking, UsageSeries, UsageSpan},
    },
    http::{
        api::{
            keys::{CreatedKeyJson, KeyJson, KeyList},
            pairings::{CurrentPairingJson, PairingJson},
            screens::{ScreenJson, ScreenList, SessionList},
            usage::{RestaurantUsageJson, TopJson},
            views::{CleanupJson, EventList, Health, LegacyOrders, NumberJson, OrderJson, OrderList, ReadinessJson},
        },
        problem::{PROBLEM_JSON, Problem},
        testing,
    },
    service::{Cleanup, EventPage, NumberReport, OrderPage, Ranking, RestaurantUsage, ScreenPart},
};

fn document() -> Value {
    serde_json::to_value(openapi()).expect("the document is JSON")
}

/// Each operation, with its method and path.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("a path item").iter();
        item.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone()))
    });
    operations.collect()
}

#[test]
fn it_names_the_problems_behind_which_something_may_have_changed() {
    let description = document()["info"]["description"].as_str().expect("a text").to_owned();
    let (_, sentence) = description.split_once("has changed nothing, ").expect("the sentence is there");
    let (excepted, _) = sentence.split_once(" excepted").expect("it has exceptions");
    let named: BTreeSet<&str> = excepted.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, BTreeSet::from(["internal", "durability_unknown", "outcome_unknown", "timeout"]));
}

#[test]
fn it_is_openapi_3_1_with_every_call() {
    let document = document();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let calls: BTreeSet<_> = operations(&document).into_iter().map(|(call, _)| call).collect();
    let expected = [
        "DELETE /v1/keys/{key_id}",
        "DELETE /v1/screens/{screen_id}",
        "GET /v1/pairings/current",
        "GET /v1/restaurants/{restaurant_id}/screen-sessions",
        "GET /v1/screens",
        "GET /v1/screens/{screen_id}",
        "POST /v1/pairings",
        "POST /v1/screens",
        "PUT /v1/screens/self",
        "DELETE /v1/restaurants/{restaurant_id}/numbers/{number}/quarantine",
        "DELETE /v1/restaurants/{restaurant_id}/reservations/{number}",
        "GET /v1/restaurants/{restaurant_id}/reservations",
        "GET /v1/restaurants/{restaurant_id}/reservations/{number}",
        "PUT /v1/restaurants/{restaurant_id}/numbers/{number}/quarantine",
        "PUT /v1/restaurants/{restaurant_id}/reservations/{number}",
        "GET /api/orders/lookup",
        "GET /api/orders/search",
        "GET /healthz",
        "GET /metrics",
        "GET /readyz",
        "GET /v1/keys",
        "GET /v1/keys/{key_id}",
        "GET /v1/orders/{internal_order_id}",
        "GET /v1/orders/{internal_order_id}/events",
        "GET /v1/restaurants/{restaurant_id}",
        "GET /v1/restaurants/{restaurant_id}/business-day",
        "PUT /v1/restaurants/{restaurant_id}/business-day",
        "GET /v1/restaurants/{restaurant_id}/events",
        "GET /v1/restaurants/{restaurant_id}/numbers/{number}",
        "GET /v1/restaurants/{restaurant_id}/orders",
        "GET /v1/restaurants/{restaurant_id}/search",
        "GET /v1/restaurants/{restaurant_id}/slots",
        "GET /v1/restaurants/{restaurant_id}/usage",
        "GET /v1/restaurants/{restaurant_id}/feed",
        "GET /v1/feed",
        "GET /v1/usage/top",
        "PATCH /v1/orders/{internal_order_id}",
        "POST /v1/keys",
        "POST /v1/orders/{internal_order_id}/calls",
        "POST /v1/orders/{internal_order_id}/release",
        "POST /v1/orders/{internal_order_id}/reopen",
        "POST /v1/orders/{internal_order_id}/status",
        "POST /v1/restaurants/{restaurant_id}/cleanup",
        "POST /v1/restaurants/{restaurant_id}/orders",
        "PATCH /v1/restaurants/{restaurant_id}",
        "PUT /v1/restaurants/{restaurant_id}",
    ];
    assert_eq!(calls, expected.into_iter().map(str::to_owned).collect());
}

#[test]
fn every_code_is_documented() {
    let document = document();
    let description = document["info"]["description"].as_str().expect("a description");
    let names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(document["components"]["schemas"]["Code"]["enum"], json!(names));
    // These two belong to no operation.
    let anywhere = [Code::NotFound, Code::MethodNotAllowed];
    let text = document["paths"].to_string();
    for code in Code::ALL {
        assert!(description.contains(&format!("| `{}` |", code.as_str())), "{code:?}");
        assert!(anywhere.contains(code) || text.contains(&format!("`{}`:", code.as_str())), "{code:?} is never given");
    }
}

#[test]
fn every_route_documents_its_problems() {
    for (call, operation) in operations(&document()) {
        assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{call}");
        let responses = operation["responses"].as_object().expect("responses");
        let problems = responses.iter().filter(|(status, _)| status.starts_with(['4', '5']));
        for (status, response) in problems {
            let bare = status == "431" || (call == "GET /readyz" && status == "503");
            assert!(bare || response["content"][PROBLEM_JSON]["schema"].is_object(), "{call} {status}");
        }
        assert!(responses.contains_key("500") && responses.contains_key("413"), "{call}");
        let takes_body = operation.get("requestBody").is_some();
        assert_eq!(takes_body, responses.contains_key("415"), "{call}");
        let takes_parameters = operation.get("parameters").is_some();
        assert!(!takes_parameters || responses.contains_key("422"), "{call}");
    }
}

#[test]
fn bodies_say_whether_they_may_be_absent() {
    let document = document();
    for (call, operation) in operations(&document) {
        let Some(body) = operation.get("requestBody") else { continue };
        let must = call.starts_with("PUT")
            || call.starts_with("PATCH")
            || ["POST /v1/keys", "POST /v1/pairings", "POST /v1/screens"].contains(&call.as_str())
            || call.ends_with("/status");
        assert_eq!(body["required"] == json!(true), must, "{call}");
        assert!(body["content"]["application/json"]["schema"]["$ref"].is_string(), "{call}: {body}");
    }
    let change = &document["components"]["schemas"]["OrderChange"];
    assert!(!change.to_string().contains("default"), "absent is not null: {change}");
    assert_eq!(change["required"], Value::Null);
}

/// The calls that need no key.
const OPEN: [&str; 4] = ["GET /healthz", "GET /readyz", "GET /v1/pairings/current", "POST /v1/pairings"];

/// Whether screens may make a call, and so with a cookie.
fn is_of_screens(operation: &Value) -> bool {
    let roles = operation["x-roles"].as_array().into_iter().flatten();
    roles.filter_map(Value::as_str).any(|role| ["kitchen", "screen"].contains(&role))
}

#[test]
fn every_call_says_who_may_make_it() {
    let document = document();
    let scheme = &document["components"]["securitySchemes"]["api_key"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    for (call, operation) in operations(&document) {
        let open = OPEN.contains(&call.as_str());
        let roles = operation["x-roles"].as_array().cloned().unwrap_or_default();
        let security = match (open, is_of_screens(&operation)) {
            (true, _) => json!([]),
            (_, true) => json!([{"api_key": []}, {"screen_cookie": []}]),
            _ => json!([{"api_key": []}]),
        };
        assert_eq!(operation["security"], security, "{call}");
        assert_eq!(roles.contains(&json!("admin")), !open && call != "PUT /v1/screens/self", "{call}");
        for status in ["401", "403", "429"] {
            let begins = call == "POST /v1/pairings" && status != "401";
            assert_eq!(operation["responses"].get(status).is_some(), !open || begins, "{call} {status}");
        }
        let always =
            ["POST /v1/keys", "DELETE /v1/keys/{key_id}", "POST /v1/screens", "DELETE /v1/screens/{screen_id}"];
        let always = always.contains(&call.as_str());
        let says = operation["description"].as_str().is_some_and(|text| text.contains("where no keys are asked for"));
        assert_eq!(says, always, "{call}");
    }
}

#[test]
fn every_call_says_how_a_strangers_page_is_kept_out() {
    for (call, operation) in operations(&document()) {
        let says = |status: &str, code: &str| {
            let response = &operation["responses"][status];
            let described = response["description"].as_str().is_some_and(|text| text.contains(&format!("`{code}`:")));
            assert_eq!(described, response["content"][PROBLEM_JSON]["examples"].get(code).is_some(), "{call} {code}");
            described
        };
        let probe = ["GET /healthz", "GET /readyz"].contains(&call.as_str());
        assert_eq!(says("421", "misdirected_request"), !probe, "{call}");
        // A stream would take the place of a screen.
        let is_kept_out = !call.starts_with("GET ") || is_of_screens(&operation) || call.ends_with("/feed");
        assert_eq!(says("403", "cross_origin_request"), is_kept_out, "{call}");
        assert_eq!(says("403", "forbidden"), !OPEN.contains(&call.as_str()), "{call}");
        assert!(says("400", "malformed_request"), "{call}");
    }
}

/// Every `{parameter}` of a path is documented, and every name only once.
#[test]
fn every_parameter_is_documented_once() {
    for (call, operation) in operations(&document()) {
        let empty = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&empty);
        let names: Vec<_> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{call}: {names:?}");
        for parameter in call.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            assert!(names.contains(&parameter), "{call}: {parameter}");
        }
        for parameter in parameters {
            assert!(parameter["description"].is_string(), "{call}: {}", parameter["name"]);
            let name = parameter["name"].as_str();
            let in_path = ["restaurant_id", "number", "internal_order_id", "key_id", "screen_id", "q"];
            let required = name.is_some_and(|name| in_path.contains(&name)) && call != "GET /v1/screens";
            // With a key of one restaurant the older calls need not name it.
            let required = required && (!call.starts_with("GET /api/orders/") || name == Some("q"));
            // A business date alone is enough to search for.
            let required = required && !(call == "GET /v1/restaurants/{restaurant_id}/search" && name == Some("q"));
            assert_eq!(parameter["required"], json!(required), "{call}: {}", parameter["name"]);
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                if let (true, Some(target)) = (key == "$ref", value.as_str()) {
                    found.insert(target.to_owned());
                }
                references(value, found);
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let (document, mut found) = (document(), BTreeSet::new());
    references(&document, &mut found);
    for target in found {
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
    }
}

#[test]
fn answers_are_as_documented() {
    let order = testing::order();
    let mut live = order.clone();
    (live.status, live.released_at, live.number) = (OrderStatus::Ready, None, None);
    let report = |order| NumberReport { number: "42".parse().expect("a number"), state: NumberState::Cooling, order };
    let usage = PoolOccupancy {
        capacity: 9999,
        free: 9998,
        live: 1,
        cooling: 0,
        blocked: 0,
        reserved: 0,
        quarantined: 0,
        retiring: 0,
        utilization: 0.0001,
        next_free_at: None,
        oldest_live_at: Some(Timestamp::from_unix_ms(1_700_000_000_123)),
        ranges: Vec::new(),
    };
    let bar = RangeOccupancy { id: "bar".to_owned(), capacity: 100, free: 98, live: 1, cooling: 1, utilization: 0.02 };
    let by_range = PoolOccupancy { ranges: vec![bar], ..usage.clone() };
    let position = EventPosition { at: Timestamp::from_unix_ms(1_700_000_000_123), generation: 1, sequence: 9 };
    let changed = RecordedEvent {
        position,
        partition: PartitionId::new(3),
        kind: "changed".to_owned(),
        restaurant: order.restaurant(),
        order: Some(order.id),
        number: order.number,
        status_before: Some(OrderStatus::Pending),
        status_after: Some(OrderStatus::Ready),
        version: Some(2),
        actor: Some("api".to_owned()),
        request_id: Some("till-7".to_owned()),
        detail: Some(json!({"changes": {"note": ["old", null]}})),
    };
    let configured = RecordedEvent {
        kind: "configured".to_owned(),
        order: None,
        number: None,
        status_before: None,
        status_after: None,
        actor: None,
        request_id: None,
        detail: None,
        ..changed.clone()
    };
    let rested = RecordedEvent { kind: "restated".to_owned(), version: None, ..configured.clone() };
    let cursor = EventCursor { restaurant: order.restaurant(), position };
    let all = EventPage { events: vec![changed, configured, rested], next: None, complete_up_to: None };
    let part = EventPage { next: Some(cursor), complete_up_to: Some(position.at), ..all.clone() };
    let text = KeyText::of([7; 32]);
    let code: PairingCode = "K7F-3QX".parse().expect("a code");
    let pairing =
        |state| Pairing { code: code.clone(), restaurant: order.restaurant(), expires_at: position.at, state };
    let session = ScreenSession {
        id: order.id.as_uuid(),
        screen: testing::api_key().id,
        name: "a board".to_owned(),
        page: Some(ScreenPage::Board),
        daemon: order.id.as_uuid(),
        begun_at: position.at,
        last_seen_at: position.at,
        ended_at: None,
    };
    let sessions = ScreenPart { found: vec![session], more: true };
    let samples = [
        ("ApiKey", sample(&KeyJson::from(testing::api_key()))),
        ("CreatedApiKey", sample(&CreatedKeyJson::new(testing::api_key(), &text))),
        ("ApiKeyList", sample(&KeyList::new(vec![testing::api_key()], true))),
        ("ApiKeyList", sample(&KeyList::new(Vec::new(), false))),
        ("Screen", sample(&ScreenJson::from(screen(false)))),
        ("Screen", sample(&ScreenJson::from(screen(true)))),
        ("ScreenList", sample(&ScreenList::from(ScreenPart { found: vec![screen(true)], more: true }))),
        ("ScreenSessionList", sample(&SessionList::from(sessions))),
        ("Pairing", sample(&PairingJson::new(&code, position.at))),
        ("CurrentPairing", sample(&CurrentPairingJson::new(pairing(PairingState::Waiting)))),
        ("CurrentPairing", sample(&CurrentPairingJson::new(pairing(PairingState::Paired(Role::Screen))))),
        ("CurrentPairing", sample(&CurrentPairingJson::new(pairing(PairingState::Over)))),
        ("EventList", sample(&EventList::from(all))),
        ("EventList", sample(&EventList::from(part))),
        ("Order", sample(&OrderJson::from(order.clone()))),
        ("Order", sample(&OrderJson::from(live.clone()))),
        ("OrderList", sample(&OrderList::from(OrderPage { orders: vec![order.clone()], next: Some(order.id) }))),
        ("OrderList", sample(&OrderList::from(OrderPage { orders: vec![live], next: None }))),
        ("LegacyOrders", sample(&LegacyOrders { orders: vec![order.clone().into()] })),
        ("NumberReport", sample(&NumberJson::from(report(Some(order.clone()))))),
        ("NumberReport", sample(&NumberJson::from(report(None)))),
        ("Cleanup", sample(&CleanupJson::new(true, Cleanup { orders: vec![order], ..Cleanup::default() }))),
        ("PoolUsage", sample(&usage)),
        ("PoolUsage", sample(&by_range)),
        ("PoolSettings", sample(&PoolSettings::default())),
        ("RestaurantUsage", sample(&restaurant_usage(usage.clone(), None))),
        ("RestaurantUsage", sample(&restaurant_usage(usage, Some(12.5)))),
        ("UsageTop", sample(&usage_top(None))),
        ("UsageTop", sample(&usage_top(Some(Timestamp::from_unix_ms(1_700_000_000_123))))),
        ("Health", sample(&Health { status: "ok" })),
        ("Readiness", sample(&ReadinessJson { status: "ready", reasons: Vec::new(), warnings: Vec::new() })),
        (
            "Readiness",
            sample(&ReadinessJson {
                status: "not_ready",
                reasons: vec!["Redis is unreachable".into()],
                warnings: vec!["a clock is wrong".into()],
            }),
        ),
    ];
    let document = document();
    for (name, sample) in samples {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        check(&document, &schema, &sample, name);
    }
}

/// One that was here, or never was.
fn screen(was_here: bool) -> Screen {
    let beat =
        Beat { page: ScreenPage::Kitchen, station: Some("grill".into()), sound: true, stale: false, position: None };
    let seen = was_here.then(|| (Timestamp::from_unix_ms(1_700_000_000_123), beat));
    Screen { key: testing::api_key(), restaurant: testing::restaurant(7), seen, is_stale: !was_here }
}

/// With figures, or without any where there is no forecast.
fn restaurant_usage(present: PoolOccupancy, exhaustion_minutes: Option<f64>) -> RestaurantUsageJson {
    let (at, restaurant) = (Timestamp::from_unix_ms(1_700_000_000_123), testing::restaurant(7));
    let figures = UsageFigures {
        samples: 2,
        live_mean: Some(1.5),
        live_peak: Some(2),
        cooling_mean: Some(0.5),
        cooling_peak: Some(1),
        free_least: Some(9996),
        utilization_mean: Some(0.0002),
        utilization_peak: Some(0.0003),
        allocations: 3,
        exhaustions: 0,
    };
    let figures = exhaustion_minutes.map_or_else(UsageFigures::default, |_| figures);
    let series = UsageSeries { steps: vec![(at, figures)], hours_of_day: vec![(22, figures)] };
    let turnover = Turnover::of(figures.allocations, present.capacity, 86_400_000);
    let usage = RestaurantUsage { present, exhaustion_minutes, series, total: figures, turnover };
    let span = UsageSpan::new(None, Some(at), None, TimeZone::UTC, at, at).expect("a day by hours");
    RestaurantUsageJson::new(restaurant, &span, usage)
}

fn usage_top(as_of: Option<Timestamp>) -> TopJson {
    let restaurant = testing::restaurant(7);
    let occupancy = as_of.map(|_| Occupancy { restaurant, free: 1, live: 2, cooling: 3 });
    let ranked = RankedRestaurant { restaurant, occupancy, tally: Tally { allocations: 4, exhaustions: 5 } };
    TopJson::new(UsageRanking::Exhaustions, Ranking { as_of, restaurants: vec![ranked] })
}

#[test]
fn problems_are_as_documented() {
    let document = document();
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    let order = testing::order();
    let refusals = [
        Refusal::PoolExhausted {
            restaurant: order.restaurant(),
            range: "bar".parse().ok(),
            next_free_at: None,
            retry_after_seconds: None,
        },
        Refusal::NumberTaken {
            number: "42".parse().expect("a number"),
            state: NumberState::Live,
            holder: Some((order.id, order.formatted_number())),
        },
        Refusal::NumberTaken { number: "42".parse().expect("a number"), state: NumberState::Blocked, holder: None },
        Refusal::IdempotencyConflict { first: order.id },
        Refusal::ForbiddenStatus { from: OrderStatus::Ready, to: OrderStatus::Expired },
        Refusal::VersionMismatch { current: 3 },
        Refusal::OrderFinal(Box::new(order)),
    ];
    for problem in refusals.into_iter().map(Problem::from).chain(Code::ALL.iter().copied().map(Problem::plain)) {
        let name = problem.code().as_str();
        let mut response = problem.into_response();
        Problem::write_body(&mut response, "r1");
        check(&document, &schema, &testing::block_on(testing::json_body(response)), name);
    }
    let responses = operations(&document).into_iter().flat_map(|(_, operation)| {
        operation["responses"].as_object().expect("responses").values().cloned().collect::<Vec<_>>()
    });
    for example in responses.filter_map(|response| response["content"][PROBLEM_JSON]["examples"].as_object().cloned()) {
        example.iter().for_each(|(name, example)| check(&document, &schema, &example["value"], name));
    }
}

fn sample(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("a sample is JSON")
}

/// As much of JSON Schema as the document uses; every property of a sample must be documented.
fn check(document: &Value, schema: &Value, sample: &Value, at: &str) {
    let mut known = BTreeSet::new();
    assert!(fits(document, schema, sample, at, &mut known), "{at}: {sample} is not {schema}");
    let names: BTreeSet<_> = sample.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    assert!(names.is_subset(&known), "{at}: {:?} are not documented", &names - &known);
}

fn fits(document: &Value, schema: &Value, sample: &Value, at: &str, known: &mut BTreeSet<String>) -> bool {
    if let Some(target) = schema["$ref"].as_str() {
        let target = document.pointer(target.trim_start_matches('#')).expect(target);
        return fits(document, target, sample, at, known);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().all(|schema| fits(document, schema, sample, at, known));
    }
    if let Some(one) = schema["oneOf"].as_array() {
        return one.iter().filter(|schema| fits(document, schema, sample, at, known)).count() == 1;
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return true,
    };
    let kind = match sample {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = schema["enum"].as_array().is_none_or(|values| values.contains(sample));
    let bound = |name: &str| schema[name].as_f64().zip(sample.as_f64());
    let bounded = bound("minimum").is_none_or(|(min, n)| n >= min) && bound("maximum").is_none_or(|(max, n)| n <= max);
    if !kinds.contains(&kind) || !allowed || !bounded {
        return false;
    }
    if let Some(items) = sample.as_array() {
        items.iter().for_each(|item| check(document, &schema["items"], item, at));
    }
    if let (Some(fields), true) = (sample.as_object(), schema["additionalProperties"].is_object()) {
        known.extend(fields.keys().cloned());
    }
    if let (Some(fields), Some(properties)) = (sample.as_object(), schema["properties"].as_object()) {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        required.for_each(|name| assert!(fields.contains_key(name), "{at}: {name} is missing"));
        for (name, property) in properties {
            known.insert(name.clone());
            if let Some(value) = fields.get(name) {
                check(document, property, value, &format!("{at}/{name}"));
            }
        }
    }
    true
}

#[tokio::test]
async fn the_documentation_needs_no_internet() {
    use axum::body::Body;

    use crate::http::testing::{behind_the_edge, request, send, text};

    let app = behind_the_edge(page(), testing::settings());
    let get = async |path: &str| {
        let response = send(&app, request("GET", path).body(Body::empty())).await;
        (response.status().as_u16(), text(response).await)
    };
    let (status, html) = get("/docs/").await;
    assert_eq!(status, 200);
    let page = send(&app, request("GET", "/docs/").body(Body::empty())).await;
    assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], "frame-ancestors 'none'");
    for link in html.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")) {
        assert!(!link.contains("://"), "{link}");
        assert_eq!(get(&format!("/docs/{}", link.trim_start_matches("./"))).await.0, 200, "{link}");
    }
    let (_, initializer) = get("/docs/swagger-initializer.js").await;
    assert!(
        initializer.contains(r#""../openapi.json""#) && initializer.contains(r#""validatorUrl": "none""#),
        "{initializer}"
    );
    let (status, missing) = get("/docs/nothing.js").await;
    assert_eq!(status, 404);
    assert!(missing.contains("not_found"), "{missing}");
}

#[test]
fn the_document_says_where_its_calls_are() {
    let document = |prefix: Option<&str>| -> Value {
        let prefix = prefix.map(|prefix| BasePath::parse(prefix).expect("a base path"));
        serde_json::from_slice(&document_under(prefix)).expect("the document is JSON")
    };
    let (here, under) = (document(None), document(Some("/shop/orders")));
    assert_eq!(here, serde_json::to_value(openapi()).expect("the document is JSON"));
    assert_eq!((&here["servers"][0]["url"], &under["servers"][0]["url"]), (&json!("/"), &json!("/shop/orders")));
    let without_servers = |mut document: Value| {
        document["servers"][0]["url"] = Value::Null;
        document
    };
    assert_eq!(without_servers(here), without_servers(under));
}

/// What a caller may put into it must be a type of its own in other languages, not an object without fields.
#[test]
fn objects_of_any_fields_say_so() {
    fn check(position: &str, value: &Value) {
        let is_object = value["type"] == "object" || value["type"] == json!(["object", "null"]);
        if is_object && !position.ends_with("/examples") {
            let fields =
                ["properties", "additionalProperties", "allOf"].into_iter().any(|name| value.get(name).is_some());
            assert!(fields, "{position} is an object that says nothing of its fields: {value}");
        }
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, inner)| check(&format!("{position}/{name}"), inner))
            }
            Value::Array(items) => items.iter().for_each(|inner| check(position, inner)),
            _ => {}
        }
    }
    check("", &document());
    assert!(document()["info"].get("license").is_none(), "one without a name is not valid");
}

/// A default would be sent by clients in some languages, and would have to be sent in others.
#[test]
fn defaults_of_requests_are_told_in_words() {
    let document = document();
    for (call, operation) in operations(&document) {
        for content in operation["requestBody"]["content"].as_object().into_iter().flat_map(|content| content.values())
        {
            let schema = content["schema"]["$ref"].as_str().and_then(|name| document.pointer(&name[1..]));
            let schema = schema.unwrap_or_else(|| panic!("{call} has no schema"));
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                assert_eq!(property.get("default"), None, "{call} {name}");
            }
        }
    }
    let schemas = &document["components"]["schemas"];
    let (asked, answered) = (&schemas["PoolSettingsRequest"], &schemas["PoolSettings"]);
    assert_eq!((&asked["required"], &answered["properties"]["max_number"]["default"]), (&Value::Null, &json!(9999)));
    let fields = |schema: &Value| schema["properties"].as_object().expect("fields").len();
    assert_eq!(answered["required"].as_array().map(Vec::len), Some(fields(asked)));
    for (name, default) in [("max_number", "`9999`."), ("policy", "`sequential`."), ("blocked_numbers", "`[]`.")] {
        let told = asked["properties"][name]["description"].as_str().expect("a text");
        assert!(told.ends_with(&format!("By default {default}")), "{told}");
    }
    let blocked = &answered["properties"]["blocked_numbers"];
    assert!(
        blocked["default"].is_null() && blocked["description"].as_str().is_some_and(|told| told.ends_with("`[]`."))
    );
    assert_eq!(schemas["ReleaseRequest"]["properties"]["immediate"]["default"], Value::Null);
}

#[test]
fn no_default_is_null() {
    fn check(position: &str, value: &Value) {
        assert!(value.get("default") != Some(&Value::Null), "{position} has null as its default");
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, inner)| check(&format!("{position}/{name}"), inner))
            }
            Value::Array(items) => items.iter().for_each(|inner| check(position, inner)),
            _ => {}
        }
    }
    check("", &document());
}
