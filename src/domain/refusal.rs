//! Refusals: the answers "no" that are not failures.

use chrono::NaiveDate;

use super::{
    DisplayNumber, Durability, NumberState, Order, OrderId, OrderStatus, RangeId, RestaurantId, SettingsFault,
    SettingsTag, Timestamp,
};

/// A well-formed request that the state of things does not allow. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Every number of the pool is live or cooling.
    #[error("no number of restaurant {restaurant} is free")]
    PoolExhausted {
        /// The restaurant whose pool it is.
        restaurant: RestaurantId,
        /// The range that has none, nor the main one where it overflows; None: the main one.
        range: Option<RangeId>,
        /// When the next number is free; None where nothing cools.
        next_free_at: Option<Timestamp>,
        /// Seconds until then, rounded up, at least 1.
        retry_after_seconds: Option<u64>,
    },
    /// The number that was asked for is not free, and no other one is given instead.
    #[error("the number {number} is not free")]
    NumberTaken {
        /// The number.
        number: DisplayNumber,
        /// What it is doing.
        state: NumberState,
        /// The order that holds it or held it last, as far as it is known, and how its number is shown.
        holder: Option<(OrderId, Option<String>)>,
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
    /// No guest waits for the order in this status.
    #[error("an order that is {status} is not called")]
    NotCallable {
        /// The present status.
        status: OrderStatus,
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
    /// Ranges or formats do not go together.
    #[error("the settings would not go together: {}", .0.first().map_or("", |fault| fault.detail.as_str()))]
    SettingsAtFault(Vec<SettingsFault>),
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
    /// A number that is blocked is never given, to a table neither.
    #[error("number {number} is blocked")]
    NumberBlocked {
        /// The number.
        number: DisplayNumber,
    },
    /// Another number is kept for the table.
    #[error("number {number} is kept for table {table}")]
    TableHasNumber {
        /// The table.
        table: String,
        /// The number that it has.
        number: u32,
    },
    /// The restaurant has as many reservations as it may have.
    #[error("a restaurant has at most {most} reservations")]
    TooManyReservations {
        /// How many that are.
        most: usize,
    },
    /// The number is kept for no table.
    #[error("number {number} is kept for no table")]
    NotReserved {
        /// The number.
        number: DisplayNumber,
    },
    /// Only numbers that would be given can be taken out.
    #[error("number {number} is not in the pool")]
    NumberNotInPool {
        /// The number.
        number: DisplayNumber,
    },
    /// As many numbers are taken out as may be.
    #[error("at most {most} numbers of this pool may be taken out at a time")]
    QuarantineFull {
        /// How many that are.
        most: u32,
    },
    /// The number is not taken out.
    #[error("number {number} is not taken out")]
    NotQuarantined {
        /// The number.
        number: DisplayNumber,
    },
    /// A business date is more than a day from the date that it is by UTC.
    #[error("a business date must be at most a day from that of UTC, which is {utc}")]
    DateTooFar {
        /// The date by UTC.
        utc: NaiveDate,
    },
    /// No screen that is to show the restaurant has this code.
    #[error("no screen of the restaurant shows this code")]
    PairingNotFound,
    /// The code was entered before.
    #[error("the code was used before")]
    PairingUsed,
    /// The code was not entered in time.
    #[error("the code's time is over")]
    PairingExpired,
    /// As many screens wait for their code to be entered as may.
    #[error("too many screens wait to be paired")]
    TooManyPairings {
        /// Seconds until it makes sense to try again.
        retry_after_seconds: u64,
    },
    /// The caller has entered too many codes that no screen shows.
    #[error("too many wrong codes were entered")]
    TooManyCodes {
        /// Seconds until the next one is looked at.
        retry_after_seconds: u64,
    },
    /// No screen has this id.
    #[error("no such screen")]
    ScreenNotFound,
    /// The number lies outside the restaurant's range, and no order ever had it.
    #[error("the number is outside the restaurant's range, and no order ever had it")]
    NumberOutOfRange,
}
