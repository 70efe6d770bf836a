//! What runs: the stores, the daemon with its start and end, and its background tasks.

mod serve;
mod stores;
mod tasks;

pub(crate) use self::{
    serve::run,
    stores::{LedgerAlone, Stores},
};
