//! Sentinel puts another server in the master's place. What the replicas did not have is known to the ledger, or to the
//! daemons that saw it acknowledged: nothing is lost while these live.

use std::time::Duration;

use super::faults::Fault;
use super::plan::{Level, Plan, Topology};
use super::run::play_noticed;

fn on_sentinel(fault: Fault) -> Plan {
    Plan::brief(fault).on(Topology::Sentinel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_killed() {
    play_noticed(on_sentinel(Fault::MasterKilled)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_killed_while_replicas_are_waited_for() {
    play_noticed(Plan { level: Level::Replica, ..on_sentinel(Fault::MasterKilled) }).await;
}

/// The ledger, too, has nothing of the last second: all that is known of it is with the daemons.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_behind_when_it_is_promoted() {
    let report = play_noticed(on_sentinel(Fault::StaleReplicaPromoted)).await;
    assert!(report.restated > 0, "nothing was lost that had to be said again: {report}");
    assert!(report.renumbered.is_empty(), "no number had two holders: {report}");
}

/// As long as Redis lets it by default (`min-replicas-max-lag 10`), and then some: the daemon that is alone with it must
/// not take partitions back from the other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_that_still_takes_writes() {
    play_noticed(on_sentinel(Fault::OldMasterWritable).lasting(Duration::from_secs(9))).await;
}
