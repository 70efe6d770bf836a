//! The HTTP API, sentence by sentence, against one real daemon on real servers. Each test has restaurants of its own.

mod bad_input;
mod blocked;
mod business_day;
mod calls;
mod cleanup;
mod create;
mod idempotency;
mod items;
mod kitchen;
mod legacy;
mod lifecycle;
mod managers;
mod metadata;
mod numbers;
mod operations;
mod outside;
mod pool;
mod ranges;
mod reopen;
mod retired;
mod search;
mod settings;
mod special;
mod world;
