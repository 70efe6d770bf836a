//! The demonstration shows what it promises: orders, full restaurants, and an alert that fires.

#[path = "../../../examples/demo/lunch.rs"]
#[allow(dead_code, reason = "the screen shows the rest")]
mod lunch;
#[path = "../../../examples/demo/rush.rs"]
mod rush;

use std::ops::ControlFlow;

use crate::support::screen::Stream;
use crate::support::{Api, keeper, prometheus};
use lunch::Lunch;

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_fires_at_lunch() {
    // It ends when the alert fires; the time is for a busy box.
    let lunch = Lunch { daemon: env!("CARGO_BIN_EXE_nowserving").into(), seconds: 240, peak: 60.0 };
    let (mut orders, mut fullest, mut fired) = (false, false, false);
    let looked = tokio::sync::OnceCell::new();
    let ended = lunch.run(|figures| {
        // What is named at the beginning is looked at meanwhile.
        if looked.get().is_none() {
            looked.set(tokio::spawn(look(figures.pages()))).expect("it was not set");
        }
        orders |= figures.orders_per_second > 1.0 && figures.live > 0.0 && figures.latency_ms > 0.0;
        fullest |= figures.fullest.first().is_some_and(|(_, full, _)| *full > 0.9) && !figures.utilization.is_empty();
        fired |= figures.firing.iter().any(|alert| alert == "NowservingPoolExhausted");
        if orders && fullest && fired { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    ended.await.unwrap_or_else(|why| panic!("{why}"));
    assert!(orders, "no figures of orders were seen");
    assert!(fullest, "no figures of full restaurants were seen");
    assert!(fired, "no alert fired");
    looked.into_inner().expect("figures were shown").await.expect("what is named is there");
}

/// The board and the kitchen that are named are there, and their restaurant calls orders of which it is known what is cooked.
async fn look(named: String) {
    let pages: Vec<&str> = named.split([' ', ',']).filter(|word| word.starts_with("http://")).collect();
    let [board, kitchen] = pages[..] else { panic!("a board and a kitchen: {named}") };
    for page in [board, kitchen] {
        let shown = Api::at(page).get("").await;
        assert_eq!(shown.status, 200, "{page}");
    }
    let (url, restaurant) = board.split_once("/board/").expect("a board");
    assert!(kitchen == format!("{url}/kitchen/{restaurant}"), "{named}");
    let mut feed = Stream::open(url, &format!("/v1/restaurants/{restaurant}/feed"), &[]).await.expect("a stream");
    assert_eq!(feed.must().await.data["restaurant"]["name"], "Central food hall");
    let call = feed.until("call").await;
    assert!(call.data["order"]["items"][0]["name"].is_string(), "{call:?}");
}
