//! What a partition goes through on Redis's side before it is open: looked at, fenced off, built anew.

mod append_only;
pub(super) mod opening;
pub(super) mod rebuilding;
