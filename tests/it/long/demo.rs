//! The demonstration shows what it promises: orders, full restaurants, and an alert that fires.

#[path = "../../../examples/demo/lunch.rs"]
#[allow(dead_code, reason = "the screen shows the rest")]
mod lunch;
#[path = "../../../examples/demo/rush.rs"]
mod rush;

use std::ops::ControlFlow;

use crate::support::{keeper, prometheus};
use lunch::Lunch;

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_fires_at_lunch() {
    // It ends when the alert fires; the time is for a busy box.
    let lunch = Lunch { daemon: env!("CARGO_BIN_EXE_nowserving").into(), seconds: 240, peak: 60.0 };
    let (mut orders, mut fullest, mut fired) = (false, false, false);
    let ended = lunch.run(|figures| {
        orders |= figures.orders_per_second > 1.0 && figures.live > 0.0 && figures.latency_ms > 0.0;
        fullest |= figures.fullest.first().is_some_and(|(_, full, _)| *full > 0.9) && !figures.utilization.is_empty();
        fired |= figures.firing.iter().any(|alert| alert == "NowservingPoolExhausted");
        if orders && fullest && fired { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    ended.await.unwrap_or_else(|why| panic!("{why}"));
    assert!(orders, "no figures of orders were seen");
    assert!(fullest, "no figures of full restaurants were seen");
    assert!(fired, "no alert fired");
}
