//! Clocks are set while tills work, one at a time or all of them by and by: numbers rest as long as they should, keys expire
//! when they should, and neither clean-up nor a retention takes what is new.

use super::faults::{DAY, Fault, HOUR};
use super::plan::Plan;
use super::run::{play, play_noticed};
use super::world::ClockOf;

/// One clock is set ahead, put right, set back, and put right.
fn plan(of: ClockOf, ahead: i64, behind: i64) -> Plan {
    let mut plan = Plan::brief(Fault::ClockSet { of, ahead_seconds: ahead }).with_daemons(2).repeated(2);
    plan.steps[1].fault = Fault::ClockSet { of, ahead_seconds: -behind };
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_daemon() {
    play(plan(ClockOf::Daemon, 400 * DAY, 5 * HOUR)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_redis() {
    play(plan(ClockOf::Redis, 90, 90)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_redis_by_as_much_as_calls_may_take() {
    play(plan(ClockOf::Redis, 5, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_postgres() {
    play(plan(ClockOf::Postgres, 400 * DAY, 5 * HOUR)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_postgres_when_redis_loses_its_data() {
    play_noticed(Plan::brief(Fault::FlushedWhilePostgresIsAhead)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_that_drift_apart() {
    play(Plan::brief(Fault::ClocksDrift).with_daemons(2).repeated(2)).await;
}
