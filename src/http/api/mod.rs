//! The resources: a file each, with its handlers and what they take and give.

pub(super) mod audit;
pub(super) mod business_day;
pub(super) mod feed;
pub(super) mod health;
pub(super) mod keys;
pub(super) mod legacy;
pub(super) mod orders;
pub(super) mod pairings;
pub(super) mod restaurants;
pub(super) mod screens;
pub(super) mod special;
pub(super) mod usage;
pub(super) mod views;
