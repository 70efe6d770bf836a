//! Never twice, never lost, shown under faults: tills drive many restaurants through the HTTP API while a seeded plan
//! kills, cuts, stalls and robs what the daemons stand on; then a checker holds all that was said against both stores.
//!
//! Each fault has a short test of its own, and `soak` mixes them. A run prints its seed; `NOWSERVING_CHAOS_SEED` and
//! `NOWSERVING_CHAOS_SECONDS` play a soak again, as `make chaos SEED=… SECONDS=…` does.

mod checker;
mod checker_tests;
mod clocks;
mod cluster;
mod daemons;
mod failover;
mod faults;
mod guest;
mod history;
mod ledger;
mod lives;
mod load;
mod lost_data;
mod network;
mod once;
mod places;
mod plan;
mod pools;
mod redis_faults;
mod run;
mod screens;
mod servers;
mod soak;
mod special;
mod stores;
mod world;
