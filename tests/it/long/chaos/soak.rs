//! All faults mixed: for a while with a seed of its own in `make test`, and for as long as one likes in `make chaos`.

use std::time::Duration;

use super::faults::Fault;
use super::plan::{Level, Plan, Topology};
use super::run::play;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let number = |name: &str| given(name).map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text}")));
    let seed = number("NOWSERVING_CHAOS_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let seconds = number("NOWSERVING_CHAOS_SECONDS").unwrap_or(20);
    // A part of their names, as `Redis,DaemonKilled`: a seed plays the same again with the same faults only.
    let chosen = given("NOWSERVING_CHAOS_FAULTS").unwrap_or_default();
    let is_chosen = |fault: &&Fault| chosen.split(',').any(|name| format!("{fault:?}").contains(name));
    let name = given("NOWSERVING_CHAOS_TOPOLOGY").unwrap_or_else(|| Topology::default().name().to_owned());
    let topology = Topology::ALL.into_iter().find(|topology| topology.name() == name);
    let topology = topology.unwrap_or_else(|| panic!("topology {name}"));
    let can_be = |fault: &&Fault| fault.concerns(topology) && fault.can_be_mixed() && is_chosen(fault);
    let faults: Vec<Fault> = Fault::ALL.iter().filter(can_be).copied().collect();
    assert!(!faults.is_empty(), "no fault is called {chosen}");
    let name = given("NOWSERVING_CHAOS_LEVEL").unwrap_or_else(|| Level::default().name().to_owned());
    let level = Level::ALL.into_iter().find(|level| level.name() == name).unwrap_or_else(|| panic!("level {name}"));
    play(Plan { level, topology, ..Plan::mixed(seed, Duration::from_secs(seconds), &faults) }).await;
}
