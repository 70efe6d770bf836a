//! Redis hangs, is full, or is restarted, and keeps what it has.

use std::time::Duration;

use super::faults::Fault;
use super::plan::Plan;
use super::run::play_noticed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs() {
    play_noticed(Plan::brief(Fault::RedisStalled).lasting(Duration::from_secs(3))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_busy() {
    play_noticed(Plan::brief(Fault::RedisSleeps).lasting(Duration::from_secs(3)).with_daemons(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full() {
    play_noticed(Plan::brief(Fault::RedisFull)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_restarted() {
    play_noticed(Plan::brief(Fault::RedisRestarted).with_daemons(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed() {
    play_noticed(Plan::brief(Fault::RedisKilled).repeated(2)).await;
}
