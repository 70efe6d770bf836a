//! A restaurant's pool as the ledger knows it: what a rebuild of Redis loads.

use std::collections::HashMap;

use super::{DateImage, DisplayNumber, IdempotencyDigest, Order, OrderId, RangeId, SettingsChange, Timestamp};

/// All that is known of a restaurant, to be loaded into an empty pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolImage {
    /// Its settings.
    pub settings: SettingsChange,
    /// Its live orders.
    pub live: Vec<Order>,
    /// Its resting numbers, and when each is free again.
    pub cooling: Vec<(Timestamp, DisplayNumber)>,
    /// Of those, where rests give way, the ones that rest with another cooldown than the settings have: which one, s.
    pub odd_cooldowns: HashMap<DisplayNumber, u32>,
    /// The numbers that the rings gave last, by range (None: the main one), as far as they are known.
    pub last_given: Vec<(Option<RangeId>, DisplayNumber)>,
    /// Its business date.
    pub business_day: DateImage,
    /// The idempotency keys within the window, and the orders they made.
    pub keys: Vec<(IdempotencyDigest, OrderId)>,
}
