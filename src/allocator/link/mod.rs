//! The way to Redis: which server is a master of what, connections that are dialled, proved and lent, and each master's
//! clock. Knows nothing of orders and pools.

pub(super) mod clock;
pub(super) mod connection;
pub(super) mod dial;
pub(super) mod health;
pub(super) mod message;
pub(super) mod proof;
pub(super) mod pulse;
pub(super) mod scout;
pub(super) mod server;
pub(super) mod topology;
