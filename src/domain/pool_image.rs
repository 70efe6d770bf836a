//! A restaurant's pool as the ledger knows it: what a rebuild of Redis loads.

use super::{DisplayNumber, IdempotencyDigest, Order, OrderId, SettingsChange, Timestamp};

/// All that is known of a restaurant, to be loaded into an empty pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolImage {
    /// Its settings.
    pub settings: SettingsChange,
    /// Its live orders.
    pub live: Vec<Order>,
    /// Its resting numbers, and when each is free again.
    pub cooling: Vec<(Timestamp, DisplayNumber)>,
    /// The number that was given last, as far as it is known.
    pub last_given: Option<DisplayNumber>,
    /// The idempotency keys within the window, and the orders they made.
    pub keys: Vec<(IdempotencyDigest, OrderId)>,
}
