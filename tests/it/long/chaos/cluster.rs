//! A cluster of three masters loses one of them, moves slots, and cuts its clients.

use std::time::Duration;

use super::faults::Fault;
use super::plan::{Plan, Topology};
use super::run::{play, play_noticed};

fn on_cluster(fault: Fault) -> Plan {
    Plan::brief(fault).on(Topology::Cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_masters_is_killed() {
    play_noticed(on_cluster(Fault::MasterKilled)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_there_and_back() {
    play_noticed(on_cluster(Fault::SlotMoved)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_cut_under_two_hundred_requests() {
    let plan = on_cluster(Fault::ClientsKilled).lasting(Duration::from_secs(1));
    play(Plan { crowd: 200, ..plan }).await;
}
