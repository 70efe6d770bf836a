//! Daemons die.

use super::faults::{Fault, Point};
use super::plan::Plan;
use super::run::play_noticed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_killed_at_random_moments() {
    play_noticed(Plan::brief(Fault::DaemonKilled).repeated(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_daemons_one_dies() {
    play_noticed(Plan::brief(Fault::DaemonKilled).with_daemons(2).repeated(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_after_the_change_and_before_the_reply() {
    play_noticed(Plan::brief(Fault::DaemonDiesAt(Point::BeforeReply)).repeated(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_after_the_commit_and_before_the_trim() {
    play_noticed(Plan::brief(Fault::DaemonDiesAt(Point::BetweenCommitAndTrim)).repeated(2)).await;
}
