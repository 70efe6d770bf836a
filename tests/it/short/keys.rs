//! API keys, against real daemons: who may call what, and how soon what is changed about keys is so everywhere.

mod admins;
mod browser;
pub mod client;
mod cookies;
mod matrix;
mod own;
mod reduced;
mod ring;
mod screens;
mod secrets;
mod start;
mod streams;
