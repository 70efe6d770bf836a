//! What a rehearsal replays: the events of a restaurant, as far as numbers are concerned, and the pool that they began with.

use chrono::NaiveDate;

use crate::domain::{Choice, DisplayNumber, OrderId, OrderSource, OrderType, PoolSettings, RangeId, Timestamp};

/// Something that happened in a restaurant.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// The number of the event in its partition; the random policy draws by it.
    pub sequence: u64,
    /// What it was.
    pub what: What,
}

/// What happened, as far as numbers are concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// An order was created or taken over, and got a number.
    Given(MadeOrder),
    /// An order ended.
    Released {
        /// The order.
        order: OrderId,
        /// Its number was free at once.
        immediate: bool,
        /// It was completed; else cancelled or expired.
        completed: bool,
    },
    /// An order was taken back, with its number.
    Reopened(OrderId),
    /// The rest of an order's number was ended.
    Recycled(OrderId),
    /// Numbers were put to rest without an order.
    Rested {
        /// The numbers.
        numbers: Vec<DisplayNumber>,
        /// Until when they rest.
        until: Timestamp,
    },
    /// The restaurant got these settings.
    Configured(Box<PoolSettings>),
    /// The business date was set by hand.
    DateSet(SetDate),
}

/// An order as it was when it got its number.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeOrder {
    /// The order.
    pub order: OrderId,
    /// The number that it got.
    pub number: DisplayNumber,
    /// The range that gave it; None: the main one.
    pub range: Option<RangeId>,
    /// How its number was chosen.
    pub choice: Choice,
    /// How the guest gets the food.
    pub order_type: Option<OrderType>,
    /// The channel that it came in by.
    pub order_source: Option<OrderSource>,
    /// The table.
    pub table: Option<String>,
    /// Seconds that its number rests after its end.
    pub cooldown_seconds: u32,
    /// It was created elsewhere, and taken over live.
    pub is_taken_over: bool,
}

/// A business date that was set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetDate {
    /// The date.
    pub date: NaiveDate,
    /// When it ends.
    pub ends: Timestamp,
}

/// A number that a ring gave last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGiven {
    /// The range that gave it; None: the main one.
    pub range: Option<RangeId>,
    /// The number.
    pub number: DisplayNumber,
    /// The business date of its order.
    pub date: Option<NaiveDate>,
}

/// The last order before a rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastOrder {
    /// When it got its number.
    pub at: Timestamp,
    /// Its business date.
    pub date: Option<NaiveDate>,
    /// No order is known of an earlier date.
    pub is_of_first_date: bool,
}

/// The pool as it was when a rehearsal begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StartingPool {
    /// The settings that it had.
    pub settings: PoolSettings,
    /// In order, what had happened to the orders that hold a number then, or whose number rests; and which numbers rest
    /// without one.
    pub before: Vec<Happening>,
    /// The numbers that the rings gave last, one of each range.
    pub last_given: Vec<LastGiven>,
    /// The last order, however its number was chosen.
    pub last_order: Option<LastOrder>,
    /// The business date that was set by hand last, and when.
    pub date_set: Option<(Timestamp, SetDate)>,
}
