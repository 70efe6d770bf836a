//! The kitchen.

use serde_json::json;

use super::world::{World, card};
use crate::support::browser::{by_hook, key};
use crate::support::{PATIENCE, api, eventually_true};

#[tokio::test(flavor = "multi_thread")]
async fn a_cook_bumps_by_touch_and_takes_it_back() {
    let world = World::start().await;
    let items = json!([{ "name": "Dal", "quantity": 2, "note": "mild", "station": "stove" }, { "name": "Naan" }]);
    let order = world.order(12, json!({ "items": items, "order_type": "takeaway" })).await;
    world.show("/kitchen/7").await;
    world.browser.until(&card(&order, "[data-status=pending]")).await;
    let text = world.browser.value(&format!("{}.innerText", card(&order, ""))).await;
    for words in ["12", "just in", "Take away", "2 ×", "Dal", "mild", "Naan"] {
        assert!(text.as_str().is_some_and(|text| text.contains(words)), "no {words} in {text}");
    }
    for (status, next) in [("preparing", "ready"), ("ready", "served")] {
        world.bump(&order).await;
        world.browser.until(&card(&order, &format!("[data-status={status}] .bump[data-to={next}]"))).await;
        assert_eq!(world.now(&order).await["status"], status);
    }
    assert_eq!(world.now(&order).await["call_count"], 1);
    // Back, and on again.
    world.browser.click("[data-hook=undo]").await;
    world.browser.until(&card(&order, "[data-status=preparing]")).await;
    assert_eq!(world.now(&order).await["status"], "preparing");
    for status in ["ready", "served"] {
        world.bump(&order).await;
        eventually_true(PATIENCE, || async { world.now(&order).await["status"] == status }).await;
        let of_status = format!("!{0} || {0}.dataset.status === '{status}'", card(&order, ""));
        world.browser.until(&of_status).await;
    }
    // It has left the cards; the drawer has it for longer than the bar.
    world.browser.until(&format!("!{}", card(&order, ""))).await;
    world.browser.click("[data-hook=drawer-button]").await;
    world.browser.click(&format!("[data-hook=served] [data-order=\"{}\"] button", api::id(&order))).await;
    world.browser.until(&card(&order, "[data-status=preparing]")).await;
    world.browser.press(key::ESCAPE).await;
    world.browser.until(&format!("{}.hidden", by_hook("drawer"))).await;
    world.check("a kitchen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bump_bar_needs_digits_and_enter() {
    let world = World::start().await;
    let [first, second] = [world.order(12, json!({})).await, world.order(137, json!({})).await];
    world.show("/kitchen/7").await;
    world.browser.until(&card(&second, "")).await;
    world.browser.press("137").await;
    world.browser.until(&format!("{}.dataset.typed === '137'", by_hook("typed"))).await;
    world.browser.press(key::ENTER).await;
    world.browser.run("window.typedAt = performance.now();").await;
    world.browser.until(&card(&second, "[data-status=preparing]")).await;
    world.browser.press("99").await;
    world.browser.press(key::ENTER).await;
    world.browser.until(&format!("{}.innerText === 'There is no order 99 here'", by_hook("message"))).await;
    // The first card is marked from the start; the arrows move the mark.
    world.browser.press(key::ENTER).await;
    world.browser.until(&card(&first, "[data-status=preparing]")).await;
    world.browser.press(key::RIGHT).await;
    world.browser.until(&format!("document.activeElement === {}", card(&second, " .bump"))).await;
    world.browser.until("performance.now() > typedAt + 750").await;
    world.browser.press(key::ENTER).await;
    world.browser.until(&card(&second, "[data-status=ready]")).await;
    world.browser.press(key::BACKSPACE).await;
    world.browser.until(&card(&second, "[data-status=preparing]")).await;
    assert_eq!(world.now(&first).await["status"], "preparing");
}

/// A bump waits for the network, and arrives once.
#[tokio::test(flavor = "multi_thread")]
async fn a_bump_without_network_arrives_once() {
    let world = World::start().await;
    let order = world.order(12, json!({})).await;
    world.show("/kitchen/7").await;
    world.browser.until(&card(&order, "[data-status=pending]")).await;
    world.network.refuse();
    world.bump(&order).await;
    world.browser.until(&card(&order, "[data-queued=yes]")).await;
    assert_eq!(world.browser.text("queue").await, "1 waiting for the network");
    assert_eq!(world.now(&order).await["status"], "pending");
    // It outlives the page, which is there again once there is a network.
    world.network.heal();
    world.browser.until(&card(&order, "[data-status=preparing][data-queued=no]")).await;
    // The answer is lost, and the bump with it, as far as the browser knows.
    world.browser.until(&format!("{}.hidden", by_hook("queue"))).await;
    world.network.lose_answers();
    world.bump(&order).await;
    eventually_true(PATIENCE, || async { world.now(&order).await["status"] == "ready" }).await;
    world.browser.until(&card(&order, "[data-queued=yes]")).await;
    world.network.heal();
    world.browser.until(&card(&order, "[data-status=ready][data-queued=no]")).await;
    world.browser.until(&format!("{}.hidden", by_hook("queue"))).await;
    let now = world.now(&order).await;
    assert_eq!((&now["status"], &now["call_count"]), (&json!("ready"), &json!(1)));
    let events = world.api.get(&format!("/v1/orders/{}/events", api::id(&order))).await.ok(200);
    let kinds: Vec<_> =
        events["events"].as_array().expect("events").iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["created", "changed", "called"], "{events:#}");
}

/// Two kitchens: one is without network, the other one was quicker.
#[tokio::test(flavor = "multi_thread")]
async fn a_bump_of_what_has_changed_shows_what_it_is_now() {
    let world = World::start().await;
    let order = world.order(12, json!({})).await;
    world.show("/kitchen/7").await;
    world.browser.until(&card(&order, "[data-status=pending]")).await;
    world.network.refuse();
    world.bump(&order).await;
    world.browser.until(&card(&order, "[data-queued=yes]")).await;
    world.call(&order, None).await;
    world.network.heal();
    let told = "0012 was changed elsewhere. It is now: Ready.";
    world.browser.until(&format!("{}.innerText === '{told}'", by_hook("message"))).await;
    world.browser.until(&card(&order, "[data-status=ready][data-queued=no]")).await;
    assert_eq!(world.now(&order).await["status"], "ready");
}
