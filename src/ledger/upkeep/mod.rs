//! What is kept beside orders, and what is removed in time: API keys, screens, samples of usage, months that are over.

pub(super) mod api_keys;
pub(super) mod names;
pub(super) mod retention;
pub(super) mod screen_sessions;
pub(super) mod screens;
pub(super) mod usage;
