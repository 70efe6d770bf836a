//! Bodies as clients make them.

use serde_json::json;

use super::{JSON, api, raw, restaurant};
use crate::support::Api;
use crate::support::api::{Answer, id};

const MARK: &[u8] = b"\xef\xbb\xbf";

async fn send(api: &Api, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    api.send(method, path, &[("content-type", b"application/json; charset=utf-8")], Some(body.into())).await
}

fn marked(body: &str) -> Vec<u8> {
    [MARK, body.as_bytes()].concat()
}

/// .NET, PowerShell and editors put a byte order mark before what they send.
#[tokio::test]
async fn a_byte_order_mark_is_passed_over() {
    let (api, restaurant) = (api().await, restaurant());
    let pool = format!("/v1/restaurants/{restaurant}");
    send(&api, "PUT", &pool, marked(r#"{"max_number": 50}"#)).await.ok(200);
    let order = send(&api, "POST", &format!("{pool}/orders"), marked(r#"{"customer_name": "Ada"}"#)).await.ok(201);
    assert_eq!(order["customer_name"], "Ada");
    let order = format!("/v1/orders/{}", id(&order));
    assert_eq!(send(&api, "PATCH", &order, marked(r#"{"note": "x"}"#)).await.ok(200)["note"], "x");
    send(&api, "POST", &format!("{order}/status"), marked(r#"{"status": "ready"}"#)).await.ok(200);
    send(&api, "POST", &format!("{order}/release"), marked("{}")).await.ok(200);
    send(&api, "POST", &format!("{pool}/cleanup"), marked(r#"{"dry_run": true}"#)).await.ok(200);
    // A mark and nothing behind it is no body; two are one too many.
    send(&api, "POST", &format!("{pool}/orders"), marked("")).await.ok(201);
    send(&api, "PATCH", &order, marked("")).await.problem(400, "malformed_json");
    send(&api, "POST", &format!("{pool}/orders"), marked("\u{feff}{}")).await.problem(400, "malformed_json");
    // It is passed over before a body only.
    let kept = json!({"note": "\u{feff}x"}).to_string();
    assert_eq!(send(&api, "POST", &format!("{pool}/orders"), kept).await.ok(201)["note"], "\u{feff}x");
}

#[tokio::test]
async fn other_encodings_are_refused_by_name() {
    let (api, restaurant) = (api().await, restaurant());
    let orders = format!("/v1/restaurants/{restaurant}/orders");
    let text = r#"{"customer_name": "Zoë"}"#;
    let utf_16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for text in [text.to_owned(), format!("\u{feff}{text}")] {
        for body in [utf_16(&text, u16::to_le_bytes), utf_16(&text, u16::to_be_bytes)] {
            let problem = send(&api, "POST", &orders, body).await.problem(400, "malformed_json");
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("UTF-16")), "{problem}");
        }
    }
    let latin = text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect::<Vec<u8>>();
    send(&api, "POST", &orders, latin.clone()).await.problem(400, "malformed_json");
    for (declared, body) in [("iso-8859-1", latin), ("utf-16", utf_16(text, u16::to_le_bytes))] {
        let kind = format!("application/json; charset={declared}");
        let answer = api.send("POST", &orders, &[("content-type", kind.as_bytes())], Some(body)).await;
        let problem = answer.problem(415, "unsupported_media_type");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(declared)), "{problem}");
    }
    for declared in ["utf-8", "UTF8", "\"utf-8\"", "us-ascii"] {
        let kind = format!("application/json;charset={declared}");
        api.send("POST", &orders, &[("content-type", kind.as_bytes())], Some(b"{}".to_vec())).await.ok(201);
    }
    assert_eq!(api.live(restaurant).await.len(), 4);
}

/// A till cuts a text after so many units of UTF-16, through the middle of an emoji.
#[tokio::test]
async fn half_a_character_is_a_fault_that_names_its_field() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({"note": "n"})).await;
    let orders = format!("/v1/restaurants/{restaurant}/orders");
    let path = format!("/v1/orders/{}", id(&order));
    for (method, path) in [("POST", &orders), ("PATCH", &path)] {
        for (body, fault) in [
            (r#"{"customer_name": "Ana \ud83c"}"#, "/customer_name"),
            (r#"{"customer_name": "\udf55 Ana"}"#, "/customer_name"),
            (r#"{"note": "\uD83C\u0020\uDF55"}"#, "/note"),
            (r#"{"external_id": "x\ud83c\ud83c\udf55"}"#, "/external_id"),
            (r#"{"metadata": {"guest": {"names": ["Bo", "Ana \ud83c"]}}}"#, "/metadata/guest/names/1"),
            (r#"{"metadata": {"a\udf55": {"b": 1}}}"#, "/metadata/a\u{fffd}"),
        ] {
            let answer = send(&api, method, path, body).await;
            assert_eq!(answer.faults(422, "invalid_body"), [format!("{fault} invalid_value")], "{method} {body}");
            let detail = answer.value()["errors"][0]["detail"].clone();
            assert!(detail.as_str().is_some_and(|detail| detail.contains("half of a character")), "{detail}");
        }
        // All faults at once, as ever.
        let faults = send(&api, method, path, r#"{"note": "\ud83c", "table_number": 5.5, "tabel": 1}"#).await;
        let expected = ["/note invalid_value", "/tabel unknown_field", "/table_number wrong_type"];
        assert_eq!(faults.faults(422, "invalid_body"), expected);
    }
    let key = r#"{"policy": "lowest\ud83c"}"#;
    let faults = send(&api, "PUT", &format!("/v1/restaurants/{restaurant}"), key).await.faults(422, "invalid_body");
    assert_eq!(faults, ["/policy invalid_value"]);
    assert_eq!(api.live(restaurant).await, [order], "nothing was made or changed");
    let whole = send(&api, "POST", &orders, r#"{"customer_name": "Ana \ud83c\udf55"}"#).await.ok(201);
    assert_eq!(whole["customer_name"], "Ana 🍕");
}

#[tokio::test]
async fn null_is_no_body_where_none_is_needed() {
    let (api, restaurant) = (api().await, restaurant());
    let pool = format!("/v1/restaurants/{restaurant}");
    let order = send(&api, "POST", &format!("{pool}/orders"), "null").await.ok(201);
    let order = format!("/v1/orders/{}", id(&order));
    send(&api, "POST", &format!("{pool}/cleanup"), " null ").await.ok(200);
    for (method, path) in [("PATCH", order.clone()), ("POST", format!("{order}/status")), ("PUT", pool.clone())] {
        assert_eq!(send(&api, method, &path, "null").await.faults(422, "invalid_body"), [" wrong_type"], "{path}");
    }
    assert_eq!(send(&api, "POST", &format!("{order}/release"), "null").await.ok(200)["status"], "completed");
    for body in ["nul", "null null", "[null]", "\"null\""] {
        let answer = send(&api, "POST", &format!("{pool}/orders"), body).await;
        assert!([400, 422].contains(&answer.status), "{body}: {answer:?}");
    }
    // With the same key as no body: it is the same request.
    let keyed: [(&str, &[u8]); 2] = [("content-type", b"application/json"), ("idempotency-key", b"k")];
    let first = api.send("POST", &format!("{pool}/orders"), &keyed, None).await.ok(201);
    let again = api.send("POST", &format!("{pool}/orders"), &keyed, Some(b"null".to_vec())).await;
    assert_eq!((again.header("idempotent-replayed"), id(&again.ok(201))), (Some("true"), id(&first)));
}

#[tokio::test]
async fn bodies_of_another_kind_are_refused_with_a_reason() {
    let (api, restaurant) = (api().await, restaurant());
    let pool = format!("/v1/restaurants/{restaurant}");
    api.configure(restaurant, json!({"max_number": 50})).await;
    let order = api.create(restaurant, json!({})).await;
    let order_path = format!("/v1/orders/{}", id(&order));
    let orders = format!("{pool}/orders");
    for (method, path, fields, body, said) in [
        ("POST", &orders, &["Content-Type: application/json", "Content-Encoding: gzip"][..], &b"\x1f\x8b"[..], "gzip"),
        ("POST", &orders, &["Content-Type: application/json", "Content-Encoding: br"], b"{}", "Content-Encoding br"),
        ("PATCH", &order_path, &["Content-Type: application/json-patch+json"], b"[]", "merge-patch"),
        ("PUT", &pool, &["Content-Type: application/merge-patch+json"], b"{}", "PATCH"),
        ("POST", &orders, &["Content-Type: application/x-www-form-urlencoded"], b"note=x", "application/json"),
        ("POST", &orders, &["Content-Type: multipart/form-data; boundary=x"], b"--x--", "application/json"),
        ("POST", &orders, &["Content-Type: application/json", "Content-Type: text/plain"], b"{}", "application/json"),
    ] {
        let (status, _, problem) = raw(&api, &format!("{method} {path}"), fields, body).await;
        assert_eq!((status, &problem["code"]), (415, &json!("unsupported_media_type")), "{fields:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{fields:?}: {problem}");
    }
    let merge: [(&str, &[u8]); 1] = [("content-type", b"application/merge-patch+json")];
    let patched = api.send("PATCH", &order_path, &merge, Some(br#"{"note": "x"}"#.to_vec())).await.ok(200);
    assert_eq!(patched["note"], "x");
    assert_eq!(api.get(&pool).await.ok(200)["max_number"], 50, "PUT has set nothing back");
    // What says that it is packed in nothing is not packed; without a body there is nothing to be said of it.
    assert_eq!(raw(&api, &format!("POST {orders}"), &[JSON, "Content-Encoding: identity"], b"{}").await.0, 201);
    assert_eq!(raw(&api, &format!("POST {orders}"), &[JSON, "Content-Encoding: gzip"], b"").await.0, 201);
}

/// What looks nearly right is neither guessed at nor a failure of the service.
#[tokio::test]
async fn values_of_another_type_are_named() {
    let (api, restaurant) = (api().await, restaurant());
    let pool = format!("/v1/restaurants/{restaurant}");
    for (path, body, faults) in [
        ("", json!({"min_number": "1"}), vec!["/min_number wrong_type"]),
        ("", json!({"max_number": 50.0}), vec!["/max_number wrong_type"]),
        ("", json!({"cooldown_seconds": "4h"}), vec!["/cooldown_seconds wrong_type"]),
        ("/orders", json!({"table_number": 12.0}), vec!["/table_number wrong_type"]),
        ("/orders", json!({"metadata": "{\"a\":1}"}), vec!["/metadata wrong_type"]),
        ("/cleanup", json!({"dry_run": "true"}), vec!["/dry_run wrong_type"]),
        ("/cleanup", json!({"limit": "5"}), vec!["/limit wrong_type"]),
    ] {
        let method = if path.is_empty() { "PUT" } else { "POST" };
        let answer = api.json(method, &format!("{pool}{path}"), &body).await;
        assert_eq!(answer.faults(422, "invalid_body"), faults, "{body}");
    }
    // Whatever a client would rather have: what it gets says what it is.
    for accept in ["application/xml", "text/html, image/gif, *; q=.2", "application/json;q=0", "nonsense"] {
        let answer = api.send("POST", &format!("{pool}/orders"), &[("accept", accept.as_bytes())], None).await;
        answer.ok(201);
    }
    let spaced = api.get(&format!("{pool}/search?q=Ana+Mar%C3%ADa%20")).await.ok(200);
    assert_eq!(spaced["orders"], json!([]));
    api.get(&format!("{pool}/orders?limit=5&limit=5")).await.problem(422, "invalid_parameter");
    api.get(&format!("{pool}/orders?LIMIT=5")).await.problem(422, "invalid_parameter");
    let escaped: String = restaurant.to_string().bytes().map(|digit| format!("%{digit:02X}")).collect();
    assert_eq!(raw(&api, &format!("GET /v1/restaurants/{escaped}/slots"), &[], b"").await.0, 200);
}
