//! Whether screens make an allocation dearer: CPU time of daemon and Redis, in turns on deployments that are alike but
//! for their screens.

use super::{GROUP, SCREENS, restaurants, screens::Screens};
use crate::{
    Plan,
    deployment::Deployment,
    multiples::{Driven, RESTAURANTS, Request},
    report::{Bound, Figure, Report, Target},
};

pub async fn measure(plan: &Plan, report: &mut Report) {
    // The last one's screens show a quarter of the orders.
    let first = [None, Some(1), Some(1 + RESTAURANTS)];
    let mut sides = Vec::new();
    for first in first {
        let deployment = Deployment::start(Driven::settings()).await;
        let driven = Driven::start(deployment, plan.size(10_000, 40_000)).await;
        let screens = match first {
            Some(first) => Some(Screens::open(&driven.deployment.host(), restaurants(first, SCREENS)).await),
            None => None,
        };
        sides.push((driven, screens, Vec::new()));
    }
    for _ in 0..plan.size(5, 7) {
        for (driven, _, rounds) in &mut sides {
            let cost = driven.window(Request::Allocate).await;
            rounds.push(cost.daemon + cost.redis);
        }
    }
    let [without, idle, busy] = [0, 1, 2].map(|at| sides[at].2.clone());
    let target = Target::ratio(Bound::AtMost(1.05));
    for (name, rounds, target) in
        [("1,000 idle screens", idle, target), ("1,000 screens that show a quarter of the orders", busy, target)]
    {
        let name = format!("CPU of an allocation, daemon and Redis, {name}");
        report.figure(Figure::of_rounds(GROUP, name, "µs", &rounds, ("without screens", &without), target));
    }
    for (_, screens, _) in sides {
        if let Some(screens) = screens {
            screens.close().await;
        }
    }
}
