//! The feed: how long a screen waits for a change that was acknowledged, what an idle screen takes, and whether screens
//! make orders dearer. The screens are plain sockets on a thread of their own, so that they cost little beside what is
//! measured.

mod cost;
mod delay;
mod idle;
mod screens;

use crate::{Plan, report::Report};

const GROUP: &str = "feed";
/// Screens of the delays and of the costs: two for each restaurant, a board and a kitchen's.
const SCREENS: u64 = 1_000;
const PER_RESTAURANT: u64 = 2;

pub async fn measure(plan: &Plan, report: &mut Report) {
    delay::measure(plan, report).await;
    idle::measure(plan, report).await;
    cost::measure(plan, report).await;
}

/// Whose feed each of so many screens follows, if the first restaurant is this one.
fn restaurants(first: u64, screens: u64) -> impl Iterator<Item = u64> {
    (0..screens).map(move |n| first + n / PER_RESTAURANT)
}
