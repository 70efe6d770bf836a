//! Postgres goes away in every manner: orders go on.

use super::faults::Fault;
use super::plan::Plan;
use super::run::play;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stopped_and_started() {
    play(Plan::brief(Fault::PostgresStopped)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_crashes() {
    play(Plan::brief(Fault::PostgresKilled).with_daemons(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_postgres_that_are_cut_and_lose_answers() {
    let mut plan = Plan::brief(Fault::PostgresCut).repeated(2);
    plan.steps[1].fault = Fault::PostgresAnswersLost;
    play(plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_to_postgres() {
    play(Plan::brief(Fault::PostgresBlackhole)).await;
}
