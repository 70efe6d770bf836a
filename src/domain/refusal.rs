//! Refusals: the answers "no" that are not failures.

use chrono::NaiveDate;

use super::{Durability, Order, OrderId, OrderStatus, RestaurantId, SettingsTag, Timestamp};

/// A well-formed request that the state of things does not allow. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Every number of the pool is live or cooling.
    #[error("no number of restaurant {restaurant} is free")]
    PoolExhausted {
        /// The restaurant whose pool it is.
        restaurant: RestaurantId,
        /// When the next number is free; None where nothing cools.
        next_free_at: Option<Timestamp>,
        /// Seconds until then, rounded up, at least 1.
        retry_after_seconds: Option<u64>,
    },
    /// The idempotency key was used before, with another body.
    #[error("this Idempotency-Key was used with another body, for order {first}")]
    IdempotencyConflict {
        /// The order that the key made.
        first: OrderId,
    },
    /// No order has this id.
    #[error("no such order")]
    OrderNotFound,
    /// The restaurant is unknown, and unknown ones are not provisioned.
    #[error("restaurant {0} is not known, and auto_provision is off: give it settings first")]
    RestaurantNotFound(RestaurantId),
    /// The order has ended.
    #[error("the order is {}: a final order does not change", .0.status)]
    OrderFinal(Box<Order>),
    /// The status may not follow the present one.
    #[error("an order that is {from} cannot become {to}")]
    ForbiddenStatus {
        /// The present status.
        from: OrderStatus,
        /// The one asked for.
        to: OrderStatus,
    },
    /// `If-Match` named another version.
    #[error("the order is at version {current} now")]
    VersionMismatch {
        /// The present version.
        current: u32,
    },
    /// `If-Match` named other settings.
    #[error("the settings have changed since")]
    SettingsChanged {
        /// The present ones; None where there are none.
        present: Option<SettingsTag>,
    },
    /// `If-None-Match` named these settings, or whichever the restaurant has.
    #[error("the restaurant has these settings already")]
    SettingsExist {
        /// The present ones.
        present: SettingsTag,
    },
    /// Settings that are right each by itself do not go together.
    #[error("the settings would not go together: {reason}")]
    InvalidSettings {
        /// What is wrong.
        reason: String,
    },
    /// The number has had another holder since.
    #[error("the number has had another holder since")]
    NumberMovedOn,
    /// An order cannot be reopened: its number does not rest for it.
    #[error("the number does not rest for this order: its rest is over, or another order has had it since")]
    NumberNotAtRest,
    /// The servers of this deployment cannot give the durability level that was asked for.
    #[error("durability level {level} cannot be given: {reason}")]
    LevelNotGiven {
        /// The level that was asked for, or the default one.
        level: Durability,
        /// Why not, and what would have to be set.
        reason: String,
    },
    /// A business date is more than a day from the date that it is by UTC.
    #[error("a business date must be at most a day from that of UTC, which is {utc}")]
    DateTooFar {
        /// The date by UTC.
        utc: NaiveDate,
    },
    /// The number lies outside the restaurant's range, and no order ever had it.
    #[error("the number is outside the restaurant's range, and no order ever had it")]
    NumberOutOfRange,
}
