//! What a rebuild asks: how far each partition is written, which daemons run and what they agree on, and the image of a
//! partition.

pub(super) mod agreement;
pub(super) mod daemons;
pub(super) mod progress;
pub(super) mod rebuild;
