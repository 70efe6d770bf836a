//! Redis loses data. What the ledger has, or a daemon remembers, comes back; nothing is given twice.

use super::faults::Fault;
use super::plan::Plan;
use super::run::play_noticed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_only_file_cut_at_random_offsets() {
    play_noticed(Plan::brief(Fault::AppendOnlyFileCut).repeated(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_flushed() {
    play_noticed(Plan::brief(Fault::Flushed).with_daemons(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_redis_in_place_of_the_old() {
    play_noticed(Plan::brief(Fault::RedisReplaced)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_put_back_to_an_older_copy() {
    play_noticed(Plan::brief(Fault::RedisFellBack).with_daemons(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_of_everything() {
    play_noticed(Plan::brief(Fault::PowerLost)).await;
}
