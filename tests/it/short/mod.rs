//! The other subjects.

mod alerts;
mod allocator;
mod backfill;
mod dashboards;
mod dead_letters;
mod doctor;
mod durability;
mod fuzz;
mod idle;
mod keys;
mod ledger;
mod listening;
mod lists;
mod lua_house;
mod memory;
mod migrations;
mod odd_data;
mod pgbouncer;
mod pool_model;
mod postgres_tls;
mod readme;
mod rebuilding;
mod retries;
