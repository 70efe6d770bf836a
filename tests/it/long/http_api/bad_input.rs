//! Bad input: a clear 4xx with a stable code, and nothing changed.

use serde_json::{Value, json};

use super::world::{api, restaurant};
use crate::support::Api;
use crate::support::api::{Answer, Wire, id};

/// A restaurant with an order, and all that can be seen of it.
struct Scene {
    api: Api,
    restaurant: u32,
    order: String,
}

impl Scene {
    async fn new() -> Self {
        let (api, restaurant) = (api().await, restaurant());
        api.configure(restaurant, json!({"max_number": 50})).await;
        let order = api.create(restaurant, json!({"note": "n"})).await;
        let ended = api.create(restaurant, json!({})).await;
        api.release(id(&ended), false).await.ok(200);
        Self { order: id(&order).to_owned(), api, restaurant }
    }

    /// The calls that read a body, and whether it may be absent.
    fn bodies(&self) -> [(&'static str, String, bool); 6] {
        let (restaurant, order) = (self.restaurant, &self.order);
        [
            ("POST", format!("/v1/restaurants/{restaurant}/orders"), true),
            ("PATCH", format!("/v1/orders/{order}"), false),
            ("POST", format!("/v1/orders/{order}/release"), true),
            ("PUT", format!("/v1/restaurants/{restaurant}"), false),
            ("PATCH", format!("/v1/restaurants/{restaurant}"), false),
            ("POST", format!("/v1/restaurants/{restaurant}/cleanup"), true),
        ]
    }

    /// The bytes that a body may have there: settings may be a long list, and orders may have many items.
    fn most_bytes(&self, path: &str) -> usize {
        if path.ends_with("/release") || path.ends_with("/cleanup") { 16 * 1024 } else { 128 * 1024 }
    }

    async fn seen(&self) -> [Value; 3] {
        let path = format!("/v1/restaurants/{}", self.restaurant);
        [
            self.api.slots(self.restaurant).await,
            self.api.get(&path).await.ok(200),
            self.api.get(&format!("{path}/orders")).await.ok(200),
        ]
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.api.send(method, path, &[("content-type", b"application/json")], Some(body.into())).await
    }
}

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    let scene = Scene::new().await;
    let before = scene.seen().await;
    let mut bodies: Vec<Vec<u8>> = [
        "{",
        "}",
        "nonsense",
        "{\"note\": \"x\"",
        "{'note': 'x'}",
        "{\"note\": \"x\",}",
        "{\"note\": 01}",
        "{} {}",
        "\u{feff}\u{feff}{}",
        "{\"note\": \"\\x\"}",
        "{\"note\": NaN}",
        "{\"note\": 1e999}",
        "{\"note\": -1e999}",
        "\0",
        " ",
        "{\"note\": \"\u{1}\"}",
        "{\"a\": tru}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    bodies.push(b"{\"note\": \"\xff\xfe\"}".to_vec());
    bodies.push(b"\xc3\x28".to_vec());
    bodies.push("[".repeat(10_000).into());
    bodies.push(["[".repeat(5_000), "]".repeat(5_000)].concat().into());
    bodies.push("{\"metadata\":".repeat(1_000).into());
    bodies.push(["{\"metadata\":{\"a\":", &"[".repeat(5_000), &"]".repeat(5_000), "}}"].concat().into());
    for (method, path, _) in scene.bodies() {
        for body in &bodies {
            scene.send(method, &path, body.clone()).await.problem(400, "malformed_json");
        }
    }
    assert_eq!(scene.seen().await, before);
}

#[tokio::test]
async fn thousands_of_levels_are_refused_within_the_limit_of_the_body() {
    let scene = Scene::new().await;
    let before = scene.seen().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = ["{\"metadata\":{\"a\":", &open.repeat(70_000), "1", &close.repeat(70_000), "}}"].concat();
        for (method, path, _) in scene.bodies() {
            let answer = scene.send(method, &path, deep.clone()).await;
            // 140 KB are too many bytes; what is left of it is too deep.
            answer.problem(413, "body_too_large");
            let left = deep[..scene.most_bytes(&path)].to_owned();
            scene.send(method, &path, left).await.problem(400, "malformed_json");
        }
    }
    assert_eq!(scene.seen().await, before);
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let scene = Scene::new().await;
    let before = scene.seen().await;
    let orders = format!("/v1/restaurants/{}/orders", scene.restaurant);
    let order = format!("/v1/orders/{}", scene.order);
    for (method, path) in [("POST", &orders), ("PATCH", &order)] {
        for (body, faults) in [
            (r#"{"table_number": 12.5}"#, vec!["/table_number wrong_type"]),
            (r#"{"table_number": ["1"]}"#, vec!["/table_number wrong_type"]),
            (r#"{"table_number": {"a": 1}}"#, vec!["/table_number wrong_type"]),
            (r#"{"customer_name": true}"#, vec!["/customer_name wrong_type"]),
            (r#"{"order_source": 1}"#, vec!["/order_source wrong_type"]),
            (r#"{"order_type": {"dine_in": null}}"#, vec!["/order_type wrong_type"]),
            (r#"{"order_type": "DINE-IN"}"#, vec!["/order_type invalid_value"]),
            (r#"{"items": {"name": "x"}}"#, vec!["/items wrong_type"]),
            (r#"{"items": ["x"]}"#, vec!["/items/0 wrong_type"]),
            (r#"{"items": [{"name": "x"}, ["x", 1, null, null]]}"#, vec!["/items/1 wrong_type"]),
            (r#"{"items": [{"quantity": 1}]}"#, vec!["/items/0/name missing"]),
            (r#"{"items": [{"name": "x", "price": 1}]}"#, vec!["/items/0/price unknown_field"]),
            (r#"{"items": [{"name": "x", "quantity": "2"}]}"#, vec!["/items/0/quantity wrong_type"]),
            (r#"{"items": [{"name": "x", "quantity": -1}]}"#, vec!["/items/0/quantity out_of_range"]),
            (r#"{"items": [{"name": "x", "quantity": 0}]}"#, vec!["/items/0/quantity out_of_range"]),
            (r#"{"items": [{"name": "x", "quantity": 1000}]}"#, vec!["/items/0/quantity out_of_range"]),
            (
                r#"{"items": [{"name": " "}, {"name": "x", "note": "\u0000"}]}"#,
                vec!["/items/0/name invalid_value", "/items/1/note nul_character"],
            ),
            (r#"{"items": [{"name": "x", "name": "y"}]}"#, vec!["/items/0/name duplicate"]),
            (r#"{"metadata": [1]}"#, vec!["/metadata wrong_type"]),
            (r#"{"metadata": "{}"}"#, vec!["/metadata wrong_type"]),
            (r#"{"note": "a\u0000b"}"#, vec!["/note nul_character"]),
            (r#"{"table_number": "\u0000"}"#, vec!["/table_number nul_character"]),
            (r#"{"metadata": {"a": ["\u0000"]}}"#, vec!["/metadata nul_character"]),
            (r#"{"metadata": {"\u0000": 1}}"#, vec!["/metadata nul_character"]),
            (r#"{"metadata": {"n": 1e300}}"#, vec!["/metadata/n out_of_range"]),
            (r#"{"metadata": {"n": 123456789012345678901234567890}}"#, vec!["/metadata/n out_of_range"]),
            (r#"{"metadata": {"n": -99999999999999999999}}"#, vec!["/metadata/n out_of_range"]),
            (r#"{"note": 123456789012345678901234567890}"#, vec!["/note out_of_range"]),
            (r#"{"notes": "x"}"#, vec!["/notes unknown_field"]),
            (r#"{"internal_order_id": "x"}"#, vec!["/internal_order_id unknown_field"]),
            (r#"{"display_order_number": 42}"#, vec!["/display_order_number unknown_field"]),
            (r#"{"a/b~c": 1}"#, vec!["/a~1b~0c unknown_field"]),
            (r#"{"": 1}"#, vec!["/ unknown_field"]),
            (r#"{"note": "a", "note": "b"}"#, vec!["/note duplicate"]),
            (r#"{"metadata": {"k": 1, "k": 2}}"#, vec!["/metadata/k duplicate"]),
            (
                r#"{"table_number": true, "order_source": "fax", "note": "\u0000", "x": 1, "metadata": {"a": 1, "a": 2}}"#,
                vec![
                    "/metadata/a duplicate",
                    "/note nul_character",
                    "/order_source invalid_value",
                    "/table_number wrong_type",
                    "/x unknown_field",
                ],
            ),
            ("[]", vec![" wrong_type"]),
            ("\"{}\"", vec![" wrong_type"]),
            ("42", vec![" wrong_type"]),
        ] {
            assert_eq!(scene.send(method, path, body).await.faults(422, "invalid_body"), faults, "{method} {body}");
        }
    }
    for (body, faults) in [
        ("null", vec![" wrong_type"]),
        (r#"{"status": "done"}"#, vec!["/status invalid_value"]),
        (r#"{"status": 5}"#, vec!["/status wrong_type"]),
        (r#"{"status": ["ready"]}"#, vec!["/status wrong_type"]),
        (r#"{"status": {"ready": null}}"#, vec!["/status wrong_type"]),
        (r#"{"version": 2}"#, vec!["/version unknown_field"]),
        (r#"{"status": "ready", "note": 5}"#, vec!["/note wrong_type"]),
    ] {
        assert_eq!(scene.send("PATCH", &order, body).await.faults(422, "invalid_body"), faults, "{body}");
    }
    let release = format!("{order}/release");
    for (body, faults) in [
        (r#"{"immediate": "true"}"#, vec!["/immediate wrong_type"]),
        (r#"{"immediate": 1}"#, vec!["/immediate wrong_type"]),
        (r#"{"immediate": null}"#, vec!["/immediate wrong_type"]),
        (r#"{"now": true}"#, vec!["/now unknown_field"]),
        ("[]", vec![" wrong_type"]),
    ] {
        assert_eq!(scene.send("POST", &release, body).await.faults(422, "invalid_body"), faults, "{body}");
    }
    assert_eq!(scene.seen().await, before);
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let scene = Scene::new().await;
    let before = scene.seen().await;
    for (method, path, optional) in scene.bodies() {
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "", "\u{e9}", "*/*"]
        {
            let headers: [(&str, &[u8]); 1] = [("content-type", kind.as_bytes())];
            let answer = scene.api.send(method, &path, &headers, Some(b"{}".to_vec())).await;
            answer.problem(415, "unsupported_media_type");
        }
        scene.api.send(method, &path, &[], Some(b"{}".to_vec())).await.problem(415, "unsupported_media_type");
        if !optional {
            scene.api.send(method, &path, &[], None).await.problem(400, "malformed_json");
        }
    }
    assert_eq!(scene.seen().await, before);
    let orders = format!("/v1/restaurants/{}/orders", scene.restaurant);
    for kind in ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/vnd.till+json"]
    {
        let headers: [(&str, &[u8]); 1] = [("content-type", kind.as_bytes())];
        scene.api.send("POST", &orders, &headers, Some(b"{}".to_vec())).await.ok(201);
    }
}

#[tokio::test]
async fn a_body_has_at_most_16_kib_and_orders_and_settings_128() {
    let scene = Scene::new().await;
    let before = scene.seen().await;
    for (method, path, _) in scene.bodies() {
        let most = scene.most_bytes(&path);
        for bytes in [most + 1, 200_000, 3_000_000] {
            let body = format!("{{\"note\":\"{}\"}}", "x".repeat(bytes - 11));
            assert_eq!(body.len(), bytes);
            scene.send(method, &path, body).await.problem(413, "body_too_large");
        }
        // In chunks, so that nobody knows the size beforehand.
        let mut wire = Wire::to(&scene.api).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        wire.write(head.as_bytes()).await;
        for _ in 0..=most / 1024 {
            wire.write(format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes()).await;
        }
        wire.write(b"2\r\n{}\r\n0\r\n\r\n").await;
        let (status, _, body) = wire.read().await;
        assert!(status == 413 && body.contains("body_too_large"), "{status} {body}");
    }
    assert_eq!(scene.seen().await, before);
    // 128 KiB itself is read: here there is only air in it.
    let orders = format!("/v1/restaurants/{}/orders", scene.restaurant);
    let body = format!("{{{}}}", " ".repeat(128 * 1024 - 2));
    scene.send("POST", &orders, body).await.ok(201);
}

#[tokio::test]
async fn a_connection_goes_on_after_bad_input() {
    let scene = Scene::new().await;
    let before = scene.seen().await;
    let orders = format!("/v1/restaurants/{}/orders", scene.restaurant);
    let request = |method: &str, path: &str, more: &str, body: &[u8]| {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{more}\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let json = "content-type: application/json\r\n";
    let mut wire = Wire::to(&scene.api).await;
    for (bad, expected) in [
        (request("POST", &orders, json, b"{"), 400),
        (request("POST", &orders, json, b"\xff\xff"), 400),
        (request("POST", &orders, json, &b"[".repeat(10_000)), 400),
        (request("POST", &orders, "", b"{}"), 415),
        (request("POST", &orders, json, b"[1]"), 422),
        (request("POST", &orders, "idempotency-key: \r\n", b""), 400),
        (request("GET", "/v1/restaurants/-1/slots", "", b""), 422),
        (request("GET", "/v1/restaurants/%00/slots", "", b""), 422),
        (request("GET", "/v1/orders/%ff", "", b""), 404),
        (request("GET", &format!("/v1/orders/{}", "x".repeat(9000)), "", b""), 414),
        (request("DELETE", "/v1/orders/42", "", b"{}"), 405),
        (request("GET", "/nothing", "content-type: a/b\r\n", b"a body that nobody reads"), 404),
        (request("PATCH", "/v1/orders/42", json, b"{}"), 404),
    ] {
        wire.write(&bad).await;
        let (status, head, body) = wire.read().await;
        assert_eq!(status, expected, "{head}{body}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
        wire.write(&request("GET", "/healthz", "", b"")).await;
        assert_eq!(wire.read().await.0, 200, "the same connection answers the next request");
    }
    assert_eq!(scene.seen().await, before);
    // Where a connection is given up, the answer says so, and comes whole.
    for bad in [
        request("POST", &orders, json, &b" ".repeat(1_000_000)),
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
    ] {
        let mut wire = Wire::to(&scene.api).await;
        wire.write(&bad).await;
        let (status, head, body) = wire.read().await;
        assert!((400..500).contains(&status) && head.contains("connection: close"), "{status} {head}");
        assert!(head.contains("content-type: application/problem+json") && body.ends_with('}'), "{head}{body}");
    }
    assert_eq!(scene.seen().await, before);
}

#[tokio::test]
async fn unknown_parameters_are_refused_where_none_are_known() {
    let scene = Scene::new().await;
    let before = scene.seen().await;
    let (restaurant, order) = (scene.restaurant, &scene.order);
    for (method, path) in [
        ("POST", format!("/v1/restaurants/{restaurant}/orders")),
        ("GET", format!("/v1/orders/{order}")),
        ("PATCH", format!("/v1/orders/{order}")),
        ("POST", format!("/v1/orders/{order}/release")),
        ("GET", format!("/v1/restaurants/{restaurant}/numbers/1")),
        ("GET", format!("/v1/restaurants/{restaurant}/slots")),
        ("GET", format!("/v1/restaurants/{restaurant}")),
        ("PUT", format!("/v1/restaurants/{restaurant}")),
        ("POST", format!("/v1/restaurants/{restaurant}/cleanup")),
    ] {
        let answer = scene.api.json(method, &format!("{path}?a=1&%00=2"), &json!({})).await;
        let faults = answer.faults(422, "invalid_parameter");
        assert_eq!(faults, ["/\0 unknown_parameter", "/a unknown_parameter"], "{method} {path}");
    }
    assert_eq!(scene.seen().await, before);
}

#[tokio::test]
async fn a_refusal_does_not_grow_with_what_is_refused() {
    let scene = Scene::new().await;
    let many: Value = (0..1000).map(|at| (format!("field {at}"), json!(at))).collect();
    let orders = format!("/v1/restaurants/{}/orders", scene.restaurant);
    let answer = scene.api.post(&orders, many).await;
    let problem = answer.problem(422, "invalid_body");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(50));
    assert!(answer.text.len() < 32 * 1024, "{} bytes", answer.text.len());
}
