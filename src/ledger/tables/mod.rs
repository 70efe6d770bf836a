//! What tables hold, row by row: how an order, a restaurant and its settings are laid out, and the months that exist.

pub(super) mod business_dates;
pub(super) mod legacy_numbers;
pub(super) mod months;
pub(super) mod orders;
pub(super) mod restaurants;
pub(super) mod rows;
