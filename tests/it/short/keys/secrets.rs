//! Secrets never reach a log.

use serde_json::json;

use super::browser::Browser;
use super::client::{call, call_with, create, get, ledger, made_up, make};
use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, PATIENCE, eventually_true};

#[tokio::test]
async fn no_key_is_ever_in_what_a_daemon_says() {
    for format in ["text", "json"] {
        let mut postgres = OwnPostgres::start().await;
        let mut options = DaemonOptions::shared().await;
        options.database_url = Some(postgres.create_database("ledger").await);
        options.migrate();
        let admin = make(&options, &["--role", "admin"]);
        let options = options
            .with("NOWSERVING_AUTH_MODE", "keys")
            .with("NOWSERVING_LOG_FILTER", "trace")
            .with("NOWSERVING_LOG_FORMAT", format);
        let daemon = Daemon::start(&options);
        let api = Api::at(daemon.url());
        let mut secrets = vec![admin.clone(), made_up(), made_up()];
        let new = json!({"name": "till", "role": "till", "restaurants": [7], "rate_per_second": 1});
        let made = call(&api, &admin, "POST", "/v1/keys", Some(&new)).await.ok(201);
        secrets.push(made["key"].as_str().expect("the key").to_owned());
        // A screen that waits, one that was paired, and one that made its cookie up.
        let (waiting, _) = Browser::waiting(&api, "board", 7).await;
        let (paired, _) = Browser::paired(&api, &admin, "kitchen", 7).await;
        let forged = Browser { api: api.clone(), cookie: format!("nowserving_screen={}", made_up()) };
        let browsers = [waiting, paired, forged];
        secrets.extend(browsers.iter().map(|browser| browser.key().to_owned()));
        let odd = ["Basic bm9ib2R5OmtleQ", "Bearer nsk_odd", "Digest whatever=1"];
        let use_all = async |expect_orders: bool| {
            for secret in &secrets {
                get(&api, secret, "/v1/restaurants/7/slots").await;
                get(&api, secret, "/v1/restaurants/8/slots").await;
                get(&api, secret, "/v1/orders/7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f").await;
                call(&api, secret, "POST", "/v1/keys", Some(&json!({"name": secret.len()}))).await;
                get(&api, secret, "/v1/keys/1").await;
            }
            for browser in &browsers {
                browser.get("/v1/pairings/current").await;
                browser.get("/v1/restaurants/7/orders").await;
                browser.own("PUT", "/v1/screens/self", Some(&json!({"page": "board"}))).await;
                browser.send("POST", "/v1/pairings", &[], Some(&json!({}))).await;
                browser.send("GET", "/v1/restaurants/7/orders", &[("sec-fetch-site", "cross-site")], None).await;
                browser.get("/nothing").await;
            }
            for value in odd {
                call_with(&api, Some(value), "GET", "/v1/keys", None).await;
            }
            if expect_orders {
                create(&api, &admin, 7).await;
            }
        };
        use_all(true).await;
        // A statement that fails, with the digest among its parameters.
        let mut holder = ledger(&options).await;
        let refuse = "ALTER TABLE api_keys ADD CONSTRAINT closed CHECK (name <> 'closed')";
        sqlx::raw_sql(refuse).execute(&mut holder).await.expect("a constraint");
        let closed = json!({"name": "closed", "role": "till"});
        assert_eq!(call(&api, &admin, "POST", "/v1/keys", Some(&closed)).await.status, 500);
        drop(holder);
        postgres.immediate();
        use_all(false).await;
        call(&api, &admin, "POST", "/v1/keys", Some(&new)).await.problem(503, "unavailable");
        postgres.restart().await;
        eventually_true(PATIENCE, || async { get(&api, &admin, "/v1/keys/1").await.status == 200 }).await;

        let (status, output) = daemon.terminate();
        assert!(status.success());
        assert!(output.contains("DEBUG") && output.contains("request_id"), "it said what it could");
        for secret in secrets.iter().map(String::as_str).chain(odd) {
            let bare = secret.strip_prefix("nsk_").unwrap_or(secret);
            let told: Vec<_> = output.lines().filter(|line| line.contains(bare)).collect();
            assert!(told.is_empty(), "{format}: {told:#?}");
        }
    }
}
