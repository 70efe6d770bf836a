//! `metadata`: what is accepted comes back the same, live and long after.

use serde_json::json;

use super::world::{api, findings, in_ledger, left_redis, restaurant};
use crate::support::{Answer, Api, PATIENCE, api::id, eventually_true};

/// What is sent, and what it is from then on.
const ODD: [(&str, &str); 9] = [
    (
        r#"{"b":1e16,"a":12345678901234567.0,"":-1e17}"#,
        r#"{"":-100000000000000000,"a":12345678901234568,"b":10000000000000000}"#,
    ),
    (r#"{"zero":[0,-0,-0.0,0.000,0e9,-0e-9]}"#, r#"{"zero":[0,0,0,0,0,0]}"#),
    (r#"{"one":[1,1.0,1.000,10e-1,0.1e1,1E+0]}"#, r#"{"one":[1,1,1,1,1,1]}"#),
    (
        r#"{"edge":[9007199254740993,9223372036854775808.0,18446744073709551615,-9223372036854775808,18446744073709549568.0]}"#,
        r#"{"edge":[9007199254740993,9223372036854775808,18446744073709551615,-9223372036854775808,18446744073709549568]}"#,
    ),
    (
        r#"{"tiny":[1e-7,5e-324,1e-320,-2.2250738585072014e-308],"price":12.10}"#,
        r#"{"price":12.1,"tiny":[1e-7,5e-324,1e-320,-2.2250738585072014e-308]}"#,
    ),
    (
        r#"{"pi":3.14159265358979323846264338327950288,"near":0.1000000000000000055}"#,
        r#"{"near":0.1,"pi":3.141592653589793}"#,
    ),
    (
        r#"{"text":["1.0","\\u0000","\u00e9","\ud83c\udf2e","\u0001"]}"#,
        r#"{"text":["1.0","\\u0000","é","🌮","\u0001"]}"#,
    ),
    (r#"{"bb":1,"a":2,"ab":{"z":null,"é":[],"":{}}}"#, r#"{"a":2,"ab":{"":{},"z":null,"é":[]},"bb":1}"#),
    (r#"{}"#, r#"{}"#),
];

/// Sends a body to the letter, so that each number keeps its spelling.
async fn send(api: &Api, method: &str, path: &str, headers: &[(&str, &[u8])], body: String) -> Answer {
    let headers = [&[("content-type", b"application/json".as_slice())], headers].concat();
    api.send(method, path, &headers, Some(body.into_bytes())).await
}

/// The metadata of an answer, to the letter.
#[track_caller]
fn metadata(answer: &Answer) -> &str {
    let (_, rest) = answer.text.split_once(r#""metadata":"#).unwrap_or_else(|| panic!("{answer:?}"));
    let (metadata, _) = rest.split_once(r#","items""#).unwrap_or_else(|| panic!("{answer:?}"));
    metadata
}

#[tokio::test]
async fn what_was_accepted_is_what_is_read_live_and_ended() {
    let (api, restaurant) = (api().await, restaurant());
    let orders = format!("/v1/restaurants/{restaurant}/orders");
    let deepest = format!(r#"{{"k":{}{}}}"#, "[".repeat(99), "]".repeat(99));
    let cases = ODD.into_iter().chain([(deepest.as_str(), deepest.as_str())]);
    let mut ended = Vec::new();
    for (sent, kept) in cases {
        let made = send(&api, "POST", &orders, &[], format!(r#"{{"metadata":{sent}}}"#)).await;
        let changed = api.create(restaurant, json!({"metadata": {"a": 1.5}})).await;
        let path = format!("/v1/orders/{}", id(&changed));
        for again in [false, true] {
            let answer = send(&api, "PATCH", &path, &[], format!(r#"{{"metadata":{sent}}}"#)).await;
            assert_eq!((answer.ok(200)["version"].as_u64(), metadata(&answer)), (Some(2), kept), "again: {again}");
        }
        for id in [id(&made.ok(201)), id(&changed)] {
            let live = api.order(id).await;
            assert_eq!((live.status, metadata(&live)), (200, kept), "{sent}");
            ended.push((id.to_owned(), sent, kept));
        }
    }
    eventually_true(PATIENCE, || async {
        let (behind, findings) = findings(restaurant).await;
        assert_eq!(findings, Vec::<String>::new());
        behind == 0
    })
    .await;
    let mut last = json!(null);
    for (id, ..) in &ended {
        last = api.release(id, false).await.ok(200);
    }
    eventually_true(PATIENCE, || async { findings(restaurant).await == (0, Vec::new()) }).await;
    for (id, sent, kept) in &ended {
        assert_eq!(in_ledger(id).await.to_string(), *kept, "{sent}");
    }

    left_redis(&last).await;
    for (id, sent, kept) in &ended {
        let read = api.order(id).await;
        assert_eq!((read.status, metadata(&read)), (200, *kept), "{sent}");
        // It is what it is said to be.
        let path = format!("/v1/orders/{id}");
        let again = send(&api, "PATCH", &path, &[], format!(r#"{{"metadata":{sent}}}"#)).await;
        assert_eq!((again.status, metadata(&again)), (200, *kept), "{sent}");
        assert_eq!(api.get(&format!("{path}/events")).await.status, 200, "{sent}");
    }
}

#[tokio::test]
async fn one_body_in_two_spellings_is_one_request() {
    let (api, restaurant) = (api().await, restaurant());
    let path = format!("/v1/restaurants/{restaurant}/orders");
    let headers: [(&str, &[u8]); 1] = [("idempotency-key", b"k")];
    let create =
        async |metadata: &str| send(&api, "POST", &path, &headers, format!(r#"{{"metadata":{metadata}}}"#)).await;
    let first = create(r#"{"a":1e2,"b":[-0.0]}"#).await.ok(201);
    for same in [r#"{"b":[0],"a":100}"#, r#"{"a":100.0,"b":[0e1]}"#] {
        let again = create(same).await;
        assert_eq!((again.ok(201), again.header("idempotent-replayed")), (first.clone(), Some("true")));
    }
    create(r#"{"a":100.5,"b":[0]}"#).await.problem(422, "idempotency_conflict");
}

#[tokio::test]
async fn what_would_come_back_as_something_else_is_refused() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let doors =
        [("POST", format!("/v1/restaurants/{restaurant}/orders")), ("PATCH", format!("/v1/orders/{}", id(&order)))];
    let nested = |levels: usize| format!(r#"{{"k":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    for (method, path) in &doors {
        let send = async |metadata: &str| send(&api, method, path, &[], format!(r#"{{"metadata":{metadata}}}"#)).await;
        for (metadata, fault) in [
            (r#"{"k":18446744073709551616}"#, "/metadata/k out_of_range"),
            (r#"{"k":[89014103211118510720]}"#, "/metadata/k/0 out_of_range"),
            (r#"{"k":-9223372036854775809}"#, "/metadata/k out_of_range"),
            (r#"{"k":1e300}"#, "/metadata/k out_of_range"),
            (r#"{"k":1,"k":1}"#, "/metadata/k duplicate"),
            (r#"{"k":"\u0000"}"#, "/metadata nul_character"),
            (r#"{"\u0000":1}"#, "/metadata nul_character"),
            (r#"{"k":"\ud800"}"#, "/metadata/k invalid_value"),
            (r#"{"\udc00":1}"#, "/metadata/\u{fffd} invalid_value"),
            (&nested(101), "/metadata invalid_value"),
            (&nested(126), "/metadata invalid_value"),
            (&format!(r#"{{"k":[{}]}}"#, ["1e17"; 108].join(",")), "/metadata too_large"),
        ] {
            assert_eq!(send(metadata).await.faults(422, "invalid_body"), [fault], "{method} {metadata}");
        }
        for malformed in [r#"{"k":1e999}"#, r#"{"k":-1e999}"#, r#"{"k":"\ud80"}"#, &nested(127)] {
            send(malformed).await.problem(400, "malformed_json");
        }
    }
    assert_eq!(api.live(restaurant).await, [order], "nothing was made or changed");
}
