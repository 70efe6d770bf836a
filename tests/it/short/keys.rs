//! API keys, against real daemons: who may call what, and how soon what is changed about keys is so everywhere.

mod admins;
mod client;
mod matrix;
mod ring;
mod secrets;
mod start;
