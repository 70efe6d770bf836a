//! Keys over the API.

use serde_json::{Value, json};

use super::client::{asking, call, create, get, make};
use crate::support::api::text;
use crate::support::{Api, Daemon, DaemonOptions};

#[tokio::test]
async fn an_admin_makes_lists_reads_and_revokes_keys() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let new = json!({
        "name": "till 3", "role": "till", "restaurants": [8, 7, 7], "expires_at": "2099-01-01T00:00:00Z",
        "rate_per_second": 50,
    });
    let answer = call(&api, &admin, "POST", "/v1/keys", Some(&new)).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let made = answer.ok(201);
    assert_eq!(
        (&made["restaurants"], text(&made, "expires_at"), text(&made, "created_by"), &made["revoked_at"]),
        (&json!([7, 8]), "2099-01-01T00:00:00.000Z", "key:1", &Value::Null)
    );
    let key = text(&made, "key");
    create(&api, key, 8).await;
    // What is shown later is the same but for the key.
    let read = get(&api, &admin, "/v1/keys/2").await.ok(200);
    let mut rest = made.clone();
    rest.as_object_mut().expect("an object").remove("key");
    assert_eq!(read, rest);
    let minimal = json!({"name": "board", "role": "screen", "restaurants": null});
    call(&api, &admin, "POST", "/v1/keys", Some(&minimal)).await.ok(201);

    let mut listed = Vec::new();
    let mut path = "/v1/keys?limit=2".to_owned();
    loop {
        let page = get(&api, &admin, &path).await;
        assert!(!page.text.contains("nsk_") && !page.text.contains("digest"), "{page:?}");
        let page = page.ok(200);
        listed.extend(page["keys"].as_array().expect("keys").iter().map(|key| key["key_id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/keys?limit=2&cursor={next}");
    }
    assert_eq!(listed, [1, 2, 3]);

    let revoked = call(&api, &admin, "DELETE", "/v1/keys/2", None).await.ok(200);
    assert_eq!((text(&revoked, "revoked_by"), revoked["revoked_at"].is_string()), ("key:1", true));
    get(&api, key, "/v1/restaurants/8/slots").await.problem(401, "unauthenticated");
    for (method, id) in [("GET", "77"), ("DELETE", "77"), ("GET", "x"), ("GET", "0"), ("DELETE", "-1")] {
        call(&api, &admin, method, &format!("/v1/keys/{id}"), None).await.problem(404, "key_not_found");
    }
}

#[tokio::test]
async fn an_admin_of_some_restaurants_stays_within_them() {
    let options = asking().await;
    let chain = make(&options, &["--role", "admin"]);
    let admin = make(&options, &["--role", "admin", "--restaurants", "7,8"]);
    make(&options, &["--role", "till", "--restaurants", "8,9"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for restaurants in [json!(null), json!([9]), json!([7, 9])] {
        let new = json!({"name": "x", "role": "till", "restaurants": restaurants});
        call(&api, &admin, "POST", "/v1/keys", Some(&new)).await.problem(403, "forbidden");
    }
    call(&api, &admin, "POST", "/v1/keys", Some(&json!({"name": "x", "role": "till"}))).await.problem(403, "forbidden");
    let new = json!({"name": "x", "role": "admin", "restaurants": [8]});
    let made = call(&api, &admin, "POST", "/v1/keys", Some(&new)).await.ok(201);
    assert_eq!((&made["key_id"], text(&made, "created_by")), (&json!(4), "key:2"));

    let listed = get(&api, &admin, "/v1/keys").await.ok(200);
    let ids = listed["keys"].as_array().expect("keys").iter().map(|key| key["key_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids, [2, 4]);
    for hidden in [1, 3, 77] {
        get(&api, &admin, &format!("/v1/keys/{hidden}")).await.problem(404, "key_not_found");
        call(&api, &admin, "DELETE", &format!("/v1/keys/{hidden}"), None).await.problem(404, "key_not_found");
    }
    get(&api, &chain, "/v1/keys/3").await.ok(200);
    call(&api, &admin, "DELETE", "/v1/keys/4", None).await.ok(200);
}

#[tokio::test]
async fn every_fault_of_a_new_key_is_named() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for (new, faults) in [
        (json!({}), &["/name missing", "/role missing"][..]),
        (json!({"name": "", "role": "chef"}), &["/name invalid_value", "/role invalid_value"]),
        (json!({"name": "x\u{0}", "role": "till"}), &["/name invalid_value"]),
        (json!({"name": "x", "role": "till", "restaurants": []}), &["/restaurants invalid_value"]),
        (json!({"name": "x", "role": "till", "restaurants": [0]}), &["/restaurants/0 invalid_value"]),
        (json!({"name": "x", "role": "till", "restaurants": 7}), &["/restaurants wrong_type"]),
        (json!({"name": "x", "role": "till", "rate_per_second": 0}), &["/rate_per_second out_of_range"]),
        (json!({"name": "x", "role": "till", "expires_at": "soon"}), &["/expires_at invalid_value"]),
        (json!({"name": "x", "role": "till", "expires_at": "2099-12-31"}), &["/expires_at invalid_value"]),
        (json!({"name": "x", "role": "till", "expires_at": 4_102_444_799_i64}), &["/expires_at wrong_type"]),
        (json!({"name": "x", "role": "till", "expires_at": "2020-01-01T00:00:00Z"}), &["/expires_at out_of_range"]),
        (json!({"name": "x", "role": "till", "admin": true}), &["/admin unknown_field"]),
    ] {
        let answer = call(&api, &admin, "POST", "/v1/keys", Some(&new)).await;
        assert_eq!(answer.faults(422, "invalid_body"), faults, "{new}");
        if !matches!(faults, ["/expires_at out_of_range"]) && new.get("expires_at").is_some() {
            let form = "a time such as 2026-11-23T02:50:41.123Z";
            assert!(answer.text.contains(form), "{new}: which form is expected? {}", answer.text);
        }
    }
    assert_eq!(get(&api, &admin, "/v1/keys").await.ok(200)["keys"].as_array().map(Vec::len), Some(1));
}

/// A page, or another program that gets to a daemon without keys, must not make itself a key that outlives that.
#[tokio::test]
async fn a_daemon_that_asks_for_no_keys_makes_and_revokes_none() {
    let options = DaemonOptions::migrated().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let new = json!({"name": "backdoor", "role": "admin"});
    let own_page = [("origin", daemon.url()), ("sec-fetch-site", "same-origin")];
    let good_key = format!("Bearer {admin}");
    let with_key = [("authorization", good_key.as_str())];
    for headers in [&[][..], &own_page, &with_key, &[("host", "localhost")]] {
        for (method, path) in [
            ("POST", "/v1/keys"),
            ("POST", "/v1/keys/"),
            ("POST", "/v1/keys?x=1"),
            ("DELETE", "/v1/keys/1"),
            ("DELETE", "/v1/keys/1/"),
            ("DELETE", "/v1/keys/x"),
        ] {
            for body in [&new, &json!({})] {
                let answer = api.json_with(method, path, headers, body).await;
                let problem = answer.problem(401, "unauthenticated");
                let detail = text(&problem, "detail");
                assert!(detail.contains("`nowserving keys create") && detail.contains("keys revoke`"), "{detail}");
                assert!(answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")), "{answer:?}");
            }
        }
    }
    // A caller that may read everything may read that.
    let listed = api.get("/v1/keys").await.ok(200);
    let listed = listed["keys"].as_array().expect("keys");
    assert!(matches!(listed.as_slice(), [key] if key["key_id"] == 1 && key["revoked_at"] == Value::Null), "{listed:?}");
    api.get("/v1/keys/1").await.ok(200);
    // There is nothing else to forbid there.
    for (method, path) in [("PUT", "/v1/keys"), ("DELETE", "/v1/keys"), ("POST", "/v1/keys/1"), ("PATCH", "/v1/keys/1")]
    {
        api.json(method, path, &new).await.problem(405, "method_not_allowed");
    }
    for path in ["/v1/keys//", "/v1//keys", "/v1/%6beys", "/V1/KEYS"] {
        api.post(path, new.clone()).await.problem(404, "not_found");
    }

    let asking = Daemon::start(&options.clone().with("NOWSERVING_AUTH_MODE", "keys"));
    let api = Api::at(asking.url());
    call(&api, &admin, "POST", "/v1/keys", Some(&new)).await.ok(201);
    call(&api, &admin, "DELETE", "/v1/keys/2", None).await.ok(200);
}
