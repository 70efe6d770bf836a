//! Connections are cut, half-open, slow, or lose what was said on them.

use std::time::Duration;

use super::faults::Fault;
use super::plan::Plan;
use super::run::{play, play_noticed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_the_tills_that_get_lost() {
    play_noticed(Plan::brief(Fault::AnswersLost)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tills_that_are_cut_off() {
    play_noticed(Plan::brief(Fault::TillsCut).with_daemons(2).repeated(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tills_on_half_open_connections() {
    play_noticed(Plan::brief(Fault::TillsBlackhole).lasting(Duration::from_secs(3))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_redis_that_are_cut_and_refused() {
    let mut plan = Plan::brief(Fault::RedisCut).repeated(2);
    plan.steps[1].fault = Fault::RedisRefuses;
    play_noticed(plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_far_away() {
    play(Plan::brief(Fault::RedisDelayed { ms: 30 })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_to_redis() {
    play_noticed(Plan::brief(Fault::RedisBlackhole).lasting(Duration::from_secs(3))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_redis_that_get_lost() {
    play_noticed(Plan::brief(Fault::RedisAnswersLost).with_daemons(2)).await;
}
