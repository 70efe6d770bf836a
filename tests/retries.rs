//! A change happens once: answers are lost while others change the same order, number or settings.

mod support;

#[path = "retries/api.rs"]
mod api;
#[path = "retries/calls.rs"]
mod calls;
#[path = "retries/fire.rs"]
mod fire;
#[path = "retries/till.rs"]
mod till;
