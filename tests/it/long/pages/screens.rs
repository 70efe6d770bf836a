//! Screens with keys: pairing, revocation, where they were; and pages of others.

use serde_json::{Value, json};

use super::world::{IS_LIVE, World, on_board};
use crate::support::browser::by_hook;
use crate::support::{Api, Browser, DaemonOptions, PATIENCE, api, eventually};

const IS_PAIRING: &str = "document.documentElement.dataset.link === 'pairing'";

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_is_paired_shows_orders_and_is_revoked() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys");
    let made = options.run("keys", &["create", "--name", "a test's", "--role", "admin"]);
    let admin = made.stdout.trim().to_owned();
    let mut world = World::with(options, Browser::start().await).await;
    world.api = Api::with_key(world.daemon.url(), &admin);
    let order = world.order(12, json!({ "customer_name": "José" })).await;

    world.browser.open(&world.url("/board/7")).await;
    world.browser.until(IS_PAIRING).await;
    let code = world.browser.text("code").await;
    assert!(world.browser.text("notice").await.contains("Pair this screen"));
    let paired = world.options.run("screens", &["pair", &code, "--restaurant", "7", "--name", "Board at the door"]);
    assert!(paired.status.success(), "{paired:?}");
    world.browser.until(IS_LIVE).await;
    world.browser.until(&on_board("preparing-numbers", &order)).await;
    assert!(!world.browser.value("document.body.innerText").await.as_str().expect("text").contains("José"));

    // It says that it is here, and where it was is known afterwards.
    let screen = eventually(PATIENCE, || async {
        let screens = world.api.get("/v1/screens?restaurant_id=7").await.ok(200);
        screens["screens"].as_array()?.iter().find(|screen| screen["last_seen_at"].is_string()).cloned()
    })
    .await;
    assert_eq!((&screen["name"], &screen["page"]), (&json!("Board at the door"), &json!("board")));
    let sessions = async || {
        let found = world.api.get("/v1/restaurants/7/screen-sessions").await.ok(200);
        found["sessions"].as_array().expect("sessions").clone()
    };
    let session = eventually(PATIENCE, || async { sessions().await.first().cloned() }).await;
    assert_eq!((&session["screen_id"], &session["ended_at"]), (&screen["screen_id"], &Value::Null));

    let revoked = world.options.run("screens", &["revoke", &screen["screen_id"].to_string()]);
    assert!(revoked.status.success(), "{revoked:?}");
    world.browser.until(IS_PAIRING).await;
    assert!(world.browser.value(&format!("{}.hidden", by_hook("main"))).await == true, "it still shows orders");
    let next = world.browser.until(&format!("{0} && {0}.innerText", by_hook("code"))).await;
    assert_ne!(next, json!(code));
    let ended = eventually(PATIENCE, || async { sessions().await.into_iter().find(|one| one["ended_at"].is_string()) });
    assert_eq!(ended.await["session_id"], session["session_id"]);
}

/// A page of somebody else cannot bump in the name of a paired kitchen, nor read what it reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_has_no_use_of_the_cookie() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys");
    let made = options.run("keys", &["create", "--name", "a test's", "--role", "admin"]);
    let admin = made.stdout.trim().to_owned();
    let mut world = World::with(options.clone(), Browser::start().await).await;
    world.api = Api::with_key(world.daemon.url(), &admin);
    let order = world.order(12, json!({})).await;
    world.browser.open(&world.url("/kitchen/7")).await;
    world.browser.until(IS_PAIRING).await;
    let code = world.browser.text("code").await;
    world.options.run("screens", &["pair", &code, "--restaurant", "7", "--role", "kitchen"]);
    world.browser.until(IS_LIVE).await;

    // Another port of the same machine: the cookie goes along, and only the origin tells that it is not ours.
    let own = world.url("");
    let status = format!("{own}/v1/orders/{}/status", api::id(&order));
    let send = format!(
        "fetch('{status}', {{ method: 'POST', credentials: 'include', mode: 'no-cors', body: '{{\"status\":\"ready\"}}' }})
         .then(() => fetch('{own}/v1/restaurants/7/orders', {{ credentials: 'include' }}))
         .then(() => done('read'), (error) => done(String(error)))"
    );
    let stranger = World::with(options, Browser::start().await).await;
    world.browser.open(&stranger.url("/board/7")).await;
    assert_eq!(world.browser.run_async(&send).await, "TypeError: Failed to fetch");
    assert_eq!(world.now(&order).await["status"], "pending");
}
