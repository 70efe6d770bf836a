//! The board.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{IS_LIVE, RESTAURANT, World, on_board};
use crate::support::api::text;
use crate::support::browser::by_hook;
use crate::support::{Browser, DaemonOptions};

const NONE_READY: &str = "Nothing is ready yet";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_on_the_board_and_is_heard() {
    let world = World::start().await;
    world.api.configure(RESTAURANT, json!({ "name": "Zur Post", "max_calls": 2 })).await;
    world.show("/board/7").await;
    world.browser.until(&format!("{}.innerText === 'Zur Post'", by_hook("restaurant"))).await;
    assert_eq!(world.browser.text("none-ready").await, NONE_READY);
    assert!(world.browser.text("sound").await.contains("Sound is off"));
    world.listen().await;

    let order = world.order(42, json!({ "customer_name": "José" })).await;
    world.browser.until(&on_board("preparing-numbers", &order)).await;
    world.call(&order, Some("Counter 2")).await;
    world.browser.until(&on_board("hero", &order)).await;
    assert_eq!(world.said(1).await, [said("0042", "chime order 40 2 4 2")]);
    world.browser.until(&format!("{}.textContent === 'Order 0042 is ready: Counter 2.'", by_hook("status"))).await;
    let hero = world.browser.text("hero").await;
    assert!(hero.contains("42") && hero.contains("Counter 2"), "{hero}");

    // The newest one stands alone and biggest; a repeat always sounds, and makes the first one the newest again.
    let long = world.order(137, json!({})).await;
    world.call(&long, None).await;
    world.browser.until(&on_board("hero", &long)).await;
    world.browser.until(&on_board("ready-numbers", &order)).await;
    world.call(&order, None).await;
    world.browser.until(&on_board("hero", &order)).await;
    let calls =
        [said("0042", "chime order 40 2 4 2"), said("0137", "chime order 1 3 7"), said("0042", "chime order 40 2 4 2")];
    assert_eq!(world.said(3).await, calls);
    // It was called as often as it may be.
    world.browser.until(&on_board("strip-numbers", &order)).await;
    for served in [&order, &long] {
        world.to(served, "served").await;
    }
    world.browser.until(&format!("{}.innerText === '{NONE_READY}'", by_hook("none-ready"))).await;
    world.browser.until(&format!("{}.hidden", by_hook("strip"))).await;
    world.check("a board").await;
    let complaints = world.browser.log("browser").await;
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// A number that was mistyped looks like a restaurant without orders.
#[tokio::test(flavor = "multi_thread")]
async fn a_restaurant_without_orders_asks_for_its_number_to_be_checked() {
    let world = World::start().await;
    for page in ["/kitchen/7", "/board/7"] {
        world.show(page).await;
        world.browser.until("document.querySelector('[data-says=unused]')").await;
        let words = world.browser.text("notice").await;
        assert!(words.contains("Restaurant 7 has had no orders yet") && words.contains("Check the number"), "{words}");
    }
    let order = world.order(42, json!({})).await;
    world.browser.until(&on_board("preparing-numbers", &order)).await;
    world.to(&order, "cancelled").await;
    // From here on it is a restaurant with nothing to do.
    world.browser.until(&format!("{}.innerText === '{NONE_READY}'", by_hook("none-ready"))).await;
}

/// A stream that breaks off goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_board_comes_back_and_says_what_was_called_meanwhile() {
    let world = World::start().await;
    let order = world.order(12, json!({})).await;
    world.show("/board/7").await;
    world.listen().await;
    world.browser.until(&on_board("preparing-numbers", &order)).await;
    world.network.refuse();
    world.browser.until("document.documentElement.dataset.link === 'away'").await;
    world.call(&order, None).await;
    let before = told(&world.browser.events().await).pop().expect("a snapshot");
    world.network.heal();
    world.browser.until(&on_board("hero", &order)).await;
    assert_eq!(world.said(1).await, [said("0012", "chime order 12 1 2")]);
    let events = world.browser.events().await;
    let last = events.iter().find_map(|event| event["params"]["headers"]["Last-Event-ID"].as_str());
    assert_eq!(last, Some(before.1.as_str()), "{events:#?}");
    let names: Vec<_> = told(&events).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["order", "call"], "what was missed, and nothing else");
}

/// Half-open, as a network is whose cable was pulled: no end reaches the browser.
#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_hears_nothing_says_so_and_keeps_what_it_knew() {
    let world = World::start().await;
    let (ready, empty) = (world.order(12, json!({})).await, by_hook("none-ready"));
    world.call(&ready, None).await;
    let coming = world.order(13, json!({})).await;
    world.show("/board/7").await;
    world.browser.until(&on_board("hero", &ready)).await;
    world.listen().await;
    assert!(world.browser.value(&format!("{}.hidden", by_hook("stale"))).await == true);
    world.network.blackhole();
    // What happens now does not reach it.
    world.to(&ready, "served").await;
    world.call(&coming, None).await;
    let stale = format!("document.documentElement.dataset.fresh === 'no' && {}.innerText", by_hook("stale"));
    let words = world.browser.until_within(Duration::from_secs(60), &stale).await;
    let time = words.as_str().and_then(|words| words.strip_prefix("Not up to date since ")).expect("since when");
    assert!(time.len() == 5 && time.as_bytes()[2] == b':', "{time}");
    assert_eq!(world.browser.text("freshness").await, words.as_str().expect("words"));
    for (list, order) in [("hero", &ready), ("preparing-numbers", &coming)] {
        assert!(!world.browser.value(&on_board(list, order)).await.is_null(), "it forgot what it knew");
    }
    assert_eq!(world.browser.value(&format!("{empty}.innerText")).await, "");
    world.network.heal();
    world.browser.until(&on_board("hero", &coming)).await;
    world.browser.until("document.documentElement.dataset.fresh === 'yes'").await;
    assert!(world.browser.value(&format!("{}.hidden", by_hook("stale"))).await == true);
    assert_eq!(world.said(1).await, [said("0013", "chime order 13 1 3")]);
}

/// Two tabs of a browser share one stream, and one of them speaks.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_tabs_one_speaks() {
    // A kiosk browser needs no touch.
    let browser = Browser::start_with(1280, 720, &["--autoplay-policy=no-user-gesture-required"]).await;
    let world = World::with(DaemonOptions::migrated().await, browser).await;
    world.show("/board/7").await;
    let first = world.browser.tab().await;
    world.browser.until("document.documentElement.dataset.sound === 'on'").await;
    world.note_what_is_said().await;
    world.browser.events().await;
    let second = world.browser.open_tab(&world.url("/board/7")).await;
    world.browser.until(IS_LIVE).await;
    world.browser.until("document.documentElement.dataset.sound === 'elsewhere'").await;
    world.note_what_is_said().await;
    let order = world.order(8, json!({})).await;
    world.call(&order, None).await;
    let events = world.browser.events().await;
    let asks_for_feed =
        |event: &Value| event["params"]["request"]["url"].as_str().is_some_and(|url| url.ends_with("/feed"));
    assert!(!events.iter().any(asks_for_feed), "the second tab has a stream of its own: {events:#?}");
    for (tab, speaks) in [(&second, false), (&first, true)] {
        world.browser.switch_to(tab).await;
        world.browser.until(&on_board("hero", &order)).await;
        assert_eq!(world.said(1).await, [("0008".to_owned(), "chime order 8".to_owned(), speaks)]);
    }
    // The one that is left takes over.
    world.browser.close_tab().await;
    world.browser.switch_to(&second).await;
    world.browser.until("document.documentElement.dataset.sound === 'on'").await;
    let next = world.order(9, json!({})).await;
    world.call(&next, None).await;
    world.browser.until(&on_board("hero", &next)).await;
    assert_eq!(world.said(2).await[1], said("0009", "chime order 9"));
}

fn said(number: &str, clips: &str) -> (String, String, bool) {
    (number.to_owned(), clips.to_owned(), true)
}

/// The names and ids of the events of the feed that reached the page, but for heartbeats.
fn told(events: &[Value]) -> Vec<(String, String)> {
    let told = events.iter().filter(|event| event["method"] == "Network.eventSourceMessageReceived");
    let told = told.map(|event| &event["params"]).filter(|event| event["eventName"] != "heartbeat");
    told.map(|event| (text(event, "eventName").to_owned(), text(event, "eventId").to_owned())).collect()
}
