//! Whatever is thrown at an endpoint: no 5xx, and every 4xx is a problem.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::api::id;
use crate::support::{Api, Daemon, DaemonOptions};

const CALLS: [(&str, &str); 20] = [
    ("POST", "/v1/restaurants/{}/orders"),
    ("GET", "/v1/restaurants/{}/orders"),
    ("GET", "/v1/orders/{}"),
    ("PATCH", "/v1/orders/{}"),
    ("PATCH", "/v1/orders/ORDER"),
    ("POST", "/v1/orders/{}/release"),
    ("POST", "/v1/orders/ORDER/release"),
    ("GET", "/v1/restaurants/{}/numbers/{}"),
    ("GET", "/v1/restaurants/{}/search"),
    ("GET", "/v1/restaurants/{}/slots"),
    ("GET", "/v1/restaurants/{}"),
    ("PUT", "/v1/restaurants/{}"),
    ("POST", "/v1/restaurants/{}/cleanup"),
    ("GET", "/api/orders/lookup"),
    ("GET", "/api/orders/search"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys"),
    ("DELETE", "/v1/keys/{}"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
];

const NAMES: [&str; 35] = [
    "table_number",
    "order_source",
    "order_type",
    "external_id",
    "customer_name",
    "note",
    "metadata",
    "status",
    "immediate",
    "dry_run",
    "limit",
    "min_number",
    "max_number",
    "policy",
    "cooldown_seconds",
    "active_window_seconds",
    "blocked_numbers",
    "format",
    "cursor",
    "q",
    "at",
    "include_completed",
    "restaurant_id",
    "display_number",
    "internal_id",
    "version",
    "name",
    "role",
    "restaurants",
    "expires_at",
    "rate_per_second",
    "",
    "\0",
    "é/~",
    "a",
];

/// Texts that mean something somewhere, and texts that mean nothing.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "",
        "0",
        "1",
        "42",
        "0042",
        "-1",
        "77",
        "999999",
        "1000000",
        "2147483647",
        "2147483648",
        "9223372036854775808",
        "1e9",
        "true",
        "false",
        "null",
        "ready",
        "completed",
        "pending",
        "expired",
        "pos",
        "dine_in",
        "random",
        "lowest",
        "till",
        "{n:04}",
        "{n}",
        "{",
        "2026-11-23T02:50:41Z",
        "\0",
        "\u{feff}",
        "%",
        "_",
        "'",
        "\"",
        "\\",
        "🍕",
        "R1-0001",
        "00000000-0000-0000-0000-000000000000",
    ];
    prop_oneof![proptest::sample::select(known.to_vec()).prop_map(str::to_owned), ".{0,40}", "\\PC{0,600}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-5_i64..100).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let names = prop_oneof![proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned), text()];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((names, inner), 0..6).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// An object of known fields with whatever values.
fn object() -> impl Strategy<Value = Value> {
    vec((proptest::sample::select(NAMES.to_vec()), value()), 0..4)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn body() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        6 => object().prop_map(|value| Some(value.to_string().into_bytes())),
        2 => value().prop_map(|value| Some(value.to_string().into_bytes())),
        1 => vec(any::<u8>(), 0..200).prop_map(Some),
        // JSON that broke on its way.
        1 => (object(), any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
            let mut bytes = value.to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            Some(bytes)
        }),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let names =
        ["content-type", "idempotency-key", "if-match", "x-request-id", "accept", "expect-ct", "accept-encoding"];
    let known = [
        "application/json",
        "text/plain",
        "*",
        "\"1\"",
        "W/\"1\"",
        "\"1\", \"2\"",
        "k",
        "",
        "application/problem+json",
    ];
    let header_value = prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        vec((32_u8..=255).prop_filter("a control character", |byte| *byte != 127), 0..300),
    ];
    (any::<bool>(), vec((proptest::sample::select(names.to_vec()), header_value), 0..3)).prop_map(
        |(json, mut headers)| {
            if json {
                headers.retain(|(name, _)| *name != "content-type");
                headers.push(("content-type", b"application/json".to_vec()));
            }
            headers
        },
    )
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn path(template: &'static str) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => proptest::sample::select(vec!["77", "78", "42", "1"]).prop_map(str::to_owned),
        1 => text().prop_filter("an empty segment", |text| !text.is_empty()).prop_map(|text| encoded(&text)),
    ];
    let query = vec((proptest::sample::select(NAMES.to_vec()), text()), 0..3).prop_map(|pairs| {
        pairs.iter().map(|(name, text)| format!("{}={}", encoded(name), encoded(text))).collect::<Vec<_>>().join("&")
    });
    (part.clone(), part, query).prop_map(move |(one, two, query)| {
        let path = template.replacen("{}", &one, 1).replacen("{}", &two, 1);
        if query.is_empty() { path } else { format!("{path}?{query}") }
    })
}

async fn check(
    api: &Api,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: Option<Vec<u8>>,
) -> Result<(), TestCaseError> {
    let answer = api.try_send(method, path, headers, body).await;
    let answer = answer.map_err(|error| TestCaseError::fail(format!("no answer: {error:?}")))?;
    prop_assert!(answer.status < 500, "{}: {}", answer.status, answer.text);
    if answer.status >= 400 {
        answer.any_problem();
    }
    Ok(())
}

#[test]
fn nothing_that_is_sent_is_a_failure_of_the_service() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // A daemon of its own: it may do anything to any restaurant.
    let daemon = Daemon::start(&runtime.block_on(DaemonOptions::migrated()));
    let api = runtime.block_on(async { Api::at(daemon.url()) });
    let order = runtime.block_on(api.create(77, json!({"note": "n"})));
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    for (method, template) in CALLS {
        let cases = (path(template), headers(), body());
        let outcome = TestRunner::new(config.clone()).run(&cases, |(path, headers, body)| {
            let path = path.replace("ORDER", id(&order));
            let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
            runtime.block_on(check(&api, method, &path, &headers, body))
        });
        outcome.unwrap_or_else(|error| panic!("{method} {template}: {error}"));
    }
    // And it still works.
    runtime.block_on(async {
        for restaurant in [1077, 1] {
            api.slots(restaurant).await;
        }
        api.get("/readyz").await.ok(200);
    });
}
