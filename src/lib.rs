//! `nowserving`: order numbers for restaurants.
//!
//! An order gets two names: a UUID that systems keep for ever, and a short number that a person can call out. This
//! crate is the daemon that gives them. How an order flows through it:
//!
//! ```text
//! POST /v1/restaurants/7/orders
//!   → http        parses into domain types
//!   → service     the use case
//!   → allocator   one Lua call: pick a number, record the order, append to the outbox    (Redis, atomic)
//!   ← 201
//!         ⋮
//!   outbox → write_behind → ledger: one transaction a batch                              (Postgres)
//! ```
//!
//! Imports point down: `main → cli → app → http → service → {allocator, ledger} → {config, metrics} → domain`;
//! `write_behind` sits beside `service`, `local` beside the stores that it runs; `telemetry` (traces) is just above
//! `config`, and `failpoint`, of debug builds only, is below all. SQL is only in `ledger`, keys and scripts only in
//! `allocator`, HTTP only in `http`.

pub mod allocator;
mod app;
pub mod cli;
pub(crate) mod clock;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod ledger;
pub mod local;
pub mod metrics;
pub mod service;
pub(crate) mod telemetry;
pub mod write_behind;
