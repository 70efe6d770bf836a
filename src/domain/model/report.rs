//! What a rehearsal finds.

use serde::Serialize;

use crate::domain::{RangeId, Timestamp};

/// How often a number was given while another one was live that it is mistaken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Misheard {
    /// Such as 13 and 30.
    pub teen_ty: u64,
    /// Such as 24 and 42.
    pub swapped: u64,
}

/// The shortest time between two orders that had one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ShortestRest {
    /// From the end of the one to the beginning of the other.
    pub ms: i64,
    /// The number.
    pub number: u32,
    /// When it was given again.
    pub at: Timestamp,
}

/// Orders in a row that got no number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RanOut {
    /// The range that had nothing; null: the main one.
    pub range: Option<RangeId>,
    /// The first order without a number.
    pub from: Timestamp,
    /// The last one before the range had a number again.
    pub to: Timestamp,
    /// How many they were.
    pub orders: u64,
}

/// The minute in which the largest part of the pool was in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peak {
    /// When the minute began.
    pub minute: Timestamp,
    /// 1 − free ÷ capacity.
    pub utilization: f64,
    /// Numbers that were live or rested.
    pub in_use: u32,
    /// Numbers that the pool has.
    pub capacity: u32,
}

/// How many orders of a range got a number of the main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overflowed {
    /// The range.
    pub range: RangeId,
    /// The orders.
    pub orders: u64,
}

/// What is known both of a time as it was and as it would have been.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The fullest minute; null without an order.
    pub fullest_minute: Option<Peak>,
    /// The shortest rest; null where no number was given twice.
    pub shortest_rest: Option<ShortestRest>,
    /// Ranges that overflowed.
    pub overflowed: Vec<Overflowed>,
    /// Pairs of live numbers that could have been misheard.
    pub misheard: Misheard,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AsItWas {
    /// How often an order was refused since nothing was free, a repeated request included; null where that is not known.
    pub exhaustions: Option<u64>,
    /// What the numbers tell that were given.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What would have happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AsItWouldHaveBeen {
    /// Orders that got no number, since none was free.
    pub refused: u64,
    /// When there was no number, in the order of time.
    pub ran_out: Vec<RanOut>,
    /// What the numbers tell that would have been given.
    #[serde(flatten)]
    pub figures: Figures,
    /// Orders that got no number, since the one that they asked for was not free.
    pub wishes_refused: u64,
    /// Completed orders that could not be taken back: their number no longer rested for them.
    pub reopenings_refused: u64,
    /// Rests that gave way.
    pub rests_used: u64,
    /// Numbers that were passed over, since they are mistaken for live ones.
    pub passed_over: u64,
    /// Business dates with which the rings began anew.
    pub resets: u64,
}

/// A time as it was, beside what it would have been.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RehearsalReport {
    /// Orders that were replayed.
    pub orders: u64,
    /// Those that got the number that they had.
    pub same_number: u64,
    /// How often the settings changed within the time, reservations and quarantine apart.
    pub settings_changes: u64,
    /// What happened.
    pub as_it_was: AsItWas,
    /// What would have happened.
    pub as_it_would_have_been: AsItWouldHaveBeen,
}
