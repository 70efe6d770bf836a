//! API keys, against real daemons: who may call what, and how soon what is changed about keys is so everywhere.

mod admins;
pub mod client;
mod matrix;
mod own;
mod ring;
mod secrets;
mod start;
