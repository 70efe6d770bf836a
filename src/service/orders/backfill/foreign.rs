//! Orders as another system knows them, and what becomes of them here.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    allocator::NamesThere,
    domain::{
        BusinessDay, DisplayNumber, NumberFormat, Order, OrderDetails, OrderId, OrderStatus, RestaurantId, Timestamp,
        shown_number,
    },
    ledger::{ForeignKey, ImportedOrder},
};

/// The system that orders come from where none is named: earlier versions knew no other.
pub(crate) const DEFAULT_SOURCE: &str = "default";

/// An order as another system knows it, ready to be taken over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForeignOrder {
    /// Its id here: that of its row (see [`back_filled_id`]), until it is known which one it has.
    pub id: OrderId,
    /// Its id there, in one spelling: for a UUID, lower case with hyphens.
    pub key: String,
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// When it was made, as its row says.
    pub created_at: Timestamp,
    /// The UUID under which the other system knows it.
    pub foreign_id: Option<Uuid>,
    /// The number it had there.
    pub number: Option<DisplayNumber>,
    /// How that number was shown, where there is a format for it.
    pub format: NumberFormat,
    /// What its guest holds in hand: the number as it was shown.
    pub shown_number: Option<String>,
    /// What the other system called it.
    pub legacy_number: Option<String>,
    /// Its place in a business date there.
    pub business_day: Option<BusinessDay>,
    /// Where it stands.
    pub status: OrderStatus,
    /// What is known of it.
    pub details: OrderDetails,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended, if its status is final.
    pub released_at: Timestamp,
    /// It takes the place of one that an import took, and that is gone.
    pub replaces: bool,
}

/// What an import is, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The system that the orders come from, as its operator calls it.
    pub source: String,
    /// What is done about orders that are here already.
    pub again: Again,
    /// Nothing is written.
    pub trial: bool,
}

/// What is done about orders that are here already and that their rows have otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It is said.
    Leave,
    /// Live ones take over what the rows say.
    Update,
    /// All that this source's imports took are as the rows say, word for word.
    Replace,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackFilled {
    /// It is live here now.
    Live {
        /// Whether it kept its number. In a trial: whether it asks for one.
        own_number: bool,
        /// Its number there, as it was shown, and the one it has here instead. None in a trial.
        renamed: Option<(String, String)>,
        /// Whether it is older than its restaurant's active window: the next clean-up expires it.
        overdue: bool,
        /// Whether it had been taken as one that had ended.
        replaces: bool,
    },
    /// It is in the ledger now.
    Finished,
    /// It was here before.
    Known(Known),
    /// It was here before, and has the row's values of these fields now.
    Updated(Vec<String>),
    /// An import had taken it, and it has been taken again: these fields have other values now.
    Replaced(Vec<String>),
    /// It cannot be taken.
    Refused(BackFillRefusal),
}

/// How an order that was here before, and is left as it is, is not as its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// It has ended there, but here it has not.
    pub still_live: bool,
    /// What the row has otherwise.
    pub differs: Vec<String>,
    /// It came from another system: this one.
    pub other_source: Option<String>,
}

/// Why an order cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BackFillRefusal {
    /// Every number of the restaurant is live or cooling.
    #[error("no number of restaurant {0} is free")]
    PoolExhausted(RestaurantId),
    /// The restaurant has no settings, and may not get any.
    #[error("restaurant {0} has no settings, and auto_provision is off")]
    RestaurantUnknown(RestaurantId),
    /// The ledger will not store it.
    #[error("{0}")]
    Content(String),
}

/// Some orders, and what has become of those that are done with: after a failure the rest can be tried again.
#[derive(Debug)]
pub(crate) struct BackFillBatch {
    pub(super) orders: Vec<ForeignOrder>,
    outcomes: Vec<Option<BackFilled>>,
}

impl BackFillBatch {
    /// Orders of which nothing is known yet; no two may be the same.
    #[must_use]
    pub(crate) fn new(orders: Vec<ForeignOrder>) -> Self {
        let outcomes = vec![None; orders.len()];
        Self { orders, outcomes }
    }

    /// The orders as they were given, each with what became of it; None: nothing yet.
    pub(crate) fn into_orders(self) -> impl Iterator<Item = (ForeignOrder, Option<BackFilled>)> {
        self.orders.into_iter().zip(self.outcomes)
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = (usize, &ForeignOrder)> {
        let undone = self.outcomes.iter().map(Option::is_none);
        self.orders.iter().enumerate().zip(undone).filter_map(|(order, undone)| undone.then_some(order))
    }

    pub(super) fn settle(&mut self, outcomes: impl IntoIterator<Item = (usize, BackFilled)>) {
        for (at, outcome) in outcomes {
            self.outcomes[at] = Some(outcome);
        }
    }
}

/// The id that an order of a row gets where none is recorded for it; that of the runs of earlier versions.
///
/// `foreign_id` is the other system's id in its canonical form: for a UUID, lower case with hyphens.
#[must_use]
pub(crate) fn back_filled_id(created_at: Timestamp, restaurant: RestaurantId, foreign_id: &str) -> OrderId {
    id_of(created_at, restaurant, &format!("{restaurant}/{foreign_id}"))
}

fn id_of(created_at: Timestamp, restaurant: RestaurantId, name: &str) -> OrderId {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let bits = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    OrderId::new(created_at, restaurant, bits)
}

impl ForeignOrder {
    /// The id that it gets here, unless one is recorded for it. Orders of two systems may be called the same and be made at
    /// the same time: the ids of named systems differ. So does each further attempt, for an id that another order has.
    pub(super) fn id_from(&self, source: &str, attempt: u32) -> OrderId {
        let (created_at, restaurant) = (self.created_at, self.restaurant);
        if source == DEFAULT_SOURCE && attempt == 0 {
            return back_filled_id(created_at, restaurant, &self.key);
        }
        id_of(created_at, restaurant, &format!("{source}\0{attempt}\0{restaurant}/{}", self.key))
    }

    /// Its ids there as earlier versions had them: they took a fraction of nothing for a part of a number.
    pub(super) fn earlier_keys(&self) -> Vec<String> {
        let is_number = self.key.bytes().all(|digit| digit.is_ascii_digit());
        std::iter::once(self.key.clone()).chain(is_number.then(|| format!("{}.0", self.key))).collect()
    }

    /// Whether an earlier version gave this id to an order of this name, at whatever time it was thought to be made.
    pub(super) fn is_earlier(&self, id: OrderId) -> bool {
        self.earlier_keys().iter().any(|key| back_filled_id(id.created_at(), self.restaurant, key) == id)
    }

    /// The ids that it had if an earlier version took this very row.
    pub(super) fn earlier_ids(&self) -> Vec<OrderId> {
        self.earlier_keys().iter().map(|key| back_filled_id(self.created_at, self.restaurant, key)).collect()
    }

    pub(super) fn foreign_key(&self) -> ForeignKey {
        ForeignKey::new(self.restaurant, &self.key)
    }

    /// What it was called there and is not here, if it has this number in this format here.
    pub(super) fn old_number(&self, number: Option<DisplayNumber>, format: &NumberFormat) -> Option<String> {
        self.shown_number.as_deref().and_then(|shown| shown_number::old_name(shown, number, format))
    }

    /// What is recorded of the number in its guest's hand, and which number that is. Of an open order, always: it may get
    /// another one. Of one that has ended, where it does not show it just so.
    pub(super) fn shown_there(&self) -> Option<(String, Option<DisplayNumber>)> {
        let number = self.number.filter(|_| self.status.is_final());
        self.shown_beside(number, &self.format)
    }

    /// The same for an order that has this number in this format here.
    pub(super) fn shown_beside(
        &self,
        number: Option<DisplayNumber>,
        format: &NumberFormat,
    ) -> Option<(String, Option<DisplayNumber>)> {
        let shown = self.old_number(number, format)?;
        let restaurant = self.restaurant.to_string();
        let number = shown_number::read(&shown, &[&restaurant]).ok().or(self.number);
        Some((shown, number))
    }

    /// The names that it keeps as a live order: with its own number, and with another one.
    pub(super) fn names<'a>(&'a self, old: &'a [Option<String>; 2]) -> [NamesThere<'a>; 2] {
        old.each_ref().map(|old| NamesThere {
            legacy_number: self.legacy_number.as_deref().filter(|legacy| old.as_deref() != Some(*legacy)),
            old_number: old.as_deref(),
        })
    }

    /// The order as the ledger keeps it, with this id.
    pub(super) fn as_finished(&self, id: OrderId) -> ImportedOrder {
        let old_number = self.old_number(self.number, &self.format);
        // An id that was recorded for another spelling of its row may be later by a fraction of a second.
        let released_at = self.released_at.max(id.created_at());
        let order = Order {
            id,
            // Not held here, so it does not rest here either: it is history.
            number: self.number,
            given_at: self.number.map(|_| id.created_at()),
            cooldown_seconds: 0,
            format: self.format.clone(),
            range: None,
            choice: crate::domain::Choice::Next,
            business_day: self.business_day,
            legacy_number: self.legacy_number.clone().filter(|legacy| Some(legacy) != old_number.as_ref()),
            old_number,
            status: self.status,
            details: self.details.clone(),
            updated_at: self.updated_at.max(released_at),
            released_at: Some(released_at),
            reopening: None,
            calls: None,
            version: 1,
            sequence: 0,
        };
        ImportedOrder { order, foreign_id: self.foreign_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_foreign_order_never_changes() {
        // Another value here doubles every order of every deployment that runs its back-fill again.
        let restaurant = RestaurantId::new(7).expect("valid");
        let at = Timestamp::from_unix_ms(1_795_402_241_123);
        let id = |foreign_id| back_filled_id(at, restaurant, foreign_id).to_string();
        assert_eq!(id("4711"), PINNED);
        assert_ne!(id("4711"), id("4712"));
    }

    const PINNED: &str = "01a20650-1463-8000-8000-3c70bc77c91b";
}
