//! The scripts that requests and the daemon's own work call for a pool, by how many of its numbers are held.

use nowserving::domain::SelectionPolicy;

use super::{
    ALIKE, References, at_most,
    filled::{FILLS, LONG_REST, Layout, POLICIES, Pools},
    matrix::Matrix,
    micros, reference,
};
use crate::{
    Plan,
    pools::Rig,
    report::{Axis, Bound, Plot, Report, Series, Target},
    rounds::Spread,
};

/// Allocations are measured in each round, the other scripts in each of so many: some of them take a thousand times as
/// long.
const OTHERS_EVERY: usize = 8;

pub async fn measure(rig: &Rig, plan: &Plan, report: &mut Report) {
    let mut pools = Vec::new();
    for layout in Layout::ALL {
        for fill in FILLS {
            let first = ALIKE * pools.len();
            pools.push(Pools::fill(rig, first..first + ALIKE, layout, fill, LONG_REST, plan.seed).await);
        }
    }
    let (mut lines, mut others) = (Layout::ALL.map(|layout| (layout, Vec::new())), Matrix::default());
    for policy in POLICIES {
        let mut references = References::default();
        for alike in &mut pools {
            alike.open(policy).await;
        }
        for round in 0..plan.size(40, 200) {
            for alike in &mut pools {
                let made = alike.round_of_allocations().await;
                if round % OTHERS_EVERY == 0 {
                    alike.round_of_others(made).await;
                } else {
                    alike.end(&made, true).await;
                }
            }
            references.measure(rig).await;
        }
        for ((layout, series), pools) in lines.iter_mut().zip(pools.chunks_mut(FILLS.len())) {
            let fills: Vec<Spread> = pools.iter_mut().map(Pools::take_allocations).collect();
            series.push(report_allocations(policy, *layout, &fills, &references, report));
            for (fill, alike) in FILLS.into_iter().zip(pools) {
                others.add(policy, *layout, fill, &mut alike.rows, &references.empty_script());
            }
        }
        references.report(&format!("rounds of {}", policy.as_str()), report);
    }
    for (layout, series) in lines {
        report.plots.push(Plot {
            group: super::GROUP,
            title: format!("Redis time of allocate by fill, {} pool", layout.as_str()),
            x: Axis::linear("% of the numbers held"),
            y: Axis::linear("µs"),
            series,
        });
    }
    others.report("the other scripts", report);
}

/// A figure for each fill, and one for how the fullest compares with the emptiest; the line that they make.
fn report_allocations(
    policy: SelectionPolicy,
    layout: Layout,
    fills: &[Spread],
    references: &References,
    report: &mut Report,
) -> Series {
    let (policy, layout) = (policy.as_str(), layout.as_str());
    for (fill, spread) in FILLS.into_iter().zip(fills) {
        let name = format!("allocate, {policy}, {layout}, {fill} % full");
        report.figure(micros(&name, *spread, references.empty_script(), at_most(20.0)));
    }
    let [emptiest, .., fullest] = fills else { unreachable!("there are five") };
    report.figure(micros(
        &format!("allocate, {policy}, {layout}, 99.9 % full beside 1 %"),
        *fullest,
        reference("the same at 1 % full", *emptiest),
        Target::ratio(Bound::AtMost(1.25)),
    ));
    let points = FILLS.into_iter().zip(fills.iter().map(|spread| spread.median)).collect();
    Series { name: policy.to_owned(), points }
}
