//! Folding: many events in, one row a key out. Pure.

use std::collections::{HashMap, hash_map::Entry};

use uuid::Uuid;

use crate::domain::{
    DateChange, DisplayNumber, Event, EventKind, IdempotencyDigest, NumberAfter, Order, OrderId, RestaurantId, Rests,
    SettingsChange, Timestamp,
};

/// What a series of events comes to.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Folded<'a> {
    /// The newest version of each order, by id.
    pub orders: Vec<FoldedOrder<'a>>,
    /// What happened to each number, by restaurant and number.
    pub slots: Vec<(SlotKey, Vec<SlotChange>)>,
    /// The newest settings of each restaurant, by restaurant.
    pub settings: Vec<(&'a SettingsChange, Timestamp)>,
    /// The business date of each restaurant that was set last, by restaurant.
    pub dates: Vec<(&'a DateChange, Timestamp)>,
    /// Foreign UUIDs of imported orders.
    pub aliases: Vec<(Uuid, OrderId)>,
}

/// The newest version of an order.
#[derive(Debug)]
pub(in crate::ledger) struct FoldedOrder<'a> {
    pub order: &'a Order,
    pub idempotency: Option<&'a IdempotencyDigest>,
}

/// A number of a restaurant.
pub(super) type SlotKey = (RestaurantId, DisplayNumber);

/// What happens to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum SlotChange {
    /// It is given to an order.
    Take { order: OrderId, at: Timestamp },
    /// It was free and is put to rest, though no order has given it back.
    Skip { at: Timestamp, until: Timestamp },
    /// The order ends, and it rests.
    Rest { order: OrderId, at: Timestamp, until: Timestamp },
    /// The order, its holder or last holder, lets it go.
    Free { order: OrderId },
    /// The order does not hold it, if it ever did: it rests until then, or is free. Another one's number stays what it is.
    Leave { order: OrderId, at: Timestamp, until: Option<Timestamp> },
}

/// The row of a number that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotRow {
    /// Its holder or last holder; None where it was put to rest without one.
    pub order: Option<OrderId>,
    pub allocated_at: Timestamp,
    /// Set while it rests; None while the order is live.
    pub until: Option<Timestamp>,
}

/// Two orders that claim one number at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Collision {
    /// The restaurant whose number it is.
    pub restaurant: RestaurantId,
    /// The number that both claim.
    pub number: DisplayNumber,
    /// The order whose change did not fit; it was not written to `display_order_slots`.
    pub order: OrderId,
    /// The order that the ledger has as the holder.
    pub other: OrderId,
}

/// Folds events in order.
pub(in crate::ledger) fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Folded<'a> {
    let mut orders: HashMap<OrderId, FoldedOrder<'a>> = HashMap::new();
    let mut slots: HashMap<SlotKey, Vec<SlotChange>> = HashMap::new();
    let mut settings: HashMap<RestaurantId, (&SettingsChange, Timestamp)> = HashMap::new();
    let mut dates: HashMap<RestaurantId, (&DateChange, Timestamp)> = HashMap::new();
    let mut aliases = Vec::new();
    for event in events {
        if let Some(order) = event.order() {
            fold_order(&mut orders, order, &event.kind);
        }
        for (key, change) in slot_changes(event) {
            slots.entry(key).or_default().push(change);
        }
        match (&event.kind, event.context.foreign_id) {
            (EventKind::Configured(change), _) => fold_settings(&mut settings, change, event.at),
            (EventKind::Dated(change), _) => drop(dates.insert(change.restaurant, (change, event.at))),
            (EventKind::Imported { order }, Some(foreign_id)) => aliases.push((foreign_id, order.id)),
            _ => {}
        }
    }
    let mut folded = Folded {
        orders: orders.into_values().collect(),
        slots: slots.into_iter().collect(),
        settings: settings.into_values().collect(),
        dates: dates.into_values().collect(),
        aliases,
    };
    // In the order of the keys: kind to the indexes, and two writers never wait for each other crosswise.
    folded.orders.sort_unstable_by_key(|folded| folded.order.id);
    folded.slots.sort_unstable_by_key(|(key, _)| *key);
    folded.settings.sort_unstable_by_key(|(change, _)| change.restaurant);
    folded.dates.sort_unstable_by_key(|(change, _)| change.restaurant);
    folded.aliases.sort_unstable();
    folded.aliases.dedup_by_key(|(foreign_id, _)| *foreign_id);
    folded
}

fn fold_order<'a>(orders: &mut HashMap<OrderId, FoldedOrder<'a>>, order: &'a Order, kind: &'a EventKind) {
    let digest = match kind {
        EventKind::Created { idempotency, .. }
        | EventKind::Restated { idempotency, .. }
        | EventKind::Renumbered { idempotency, .. } => idempotency.as_ref(),
        _ => None,
    };
    match orders.entry(order.id) {
        Entry::Vacant(vacant) => {
            vacant.insert(FoldedOrder { order, idempotency: digest });
        }
        Entry::Occupied(mut occupied) => {
            let folded = occupied.get_mut();
            folded.idempotency = folded.idempotency.or(digest);
            if folded.order.stage() < order.stage() {
                folded.order = order;
            }
        }
    }
}

fn fold_settings<'a>(
    settings: &mut HashMap<RestaurantId, (&'a SettingsChange, Timestamp)>,
    change: &'a SettingsChange,
    at: Timestamp,
) {
    let newest = settings.entry(change.restaurant).or_insert((change, at));
    if newest.0.version < change.version {
        *newest = (change, at);
    }
}

fn slot_changes(event: &Event) -> Vec<(SlotKey, SlotChange)> {
    match &event.kind {
        EventKind::Renumbered { order, previous, .. } => {
            let change = SlotChange::Leave { order: order.id, at: given(order), until: None };
            let left = ((order.restaurant(), *previous), change);
            std::iter::once(left).chain(slot_change(event)).collect()
        }
        EventKind::Rested(Rests { restaurant, numbers, until, .. }) => {
            let change = SlotChange::Skip { at: event.at, until: *until };
            numbers.iter().map(|number| ((*restaurant, *number), change)).collect()
        }
        _ => slot_change(event).into_iter().collect(),
    }
}

/// When an order's number was given to it.
fn given(order: &Order) -> Timestamp {
    order.given_at.unwrap_or_else(|| order.created_at())
}

fn slot_change(event: &Event) -> Option<(SlotKey, SlotChange)> {
    let order = event.order()?;
    let key = (order.restaurant(), order.number?);
    let (order, at) = (order.id, given(order));
    let change = match &event.kind {
        EventKind::Restated { number: Some(NumberAfter::Cooling(until)), .. } => {
            SlotChange::Leave { order, at, until: Some(*until) }
        }
        EventKind::Restated { number: Some(NumberAfter::Free), .. } => SlotChange::Leave { order, at, until: None },
        EventKind::Restated { number: None, .. } | EventKind::Renumbered { .. } => SlotChange::Take { order, at },
        // A reopened order was given its number when it was created; it rested for this one since, and for no other.
        EventKind::Created { .. } | EventKind::Imported { .. } | EventKind::Reopened { .. } => {
            SlotChange::Take { order, at }
        }
        EventKind::Released { number: NumberAfter::Cooling(until), .. } => {
            SlotChange::Rest { order, at, until: *until }
        }
        EventKind::Released { number: NumberAfter::Free, .. } | EventKind::Recycled { .. } => {
            SlotChange::Free { order }
        }
        EventKind::Changed { .. }
        | EventKind::Called { .. }
        | EventKind::Rested(_)
        | EventKind::Configured(_)
        | EventKind::Dated(_) => return None,
    };
    Some((key, change))
}

impl SlotChange {
    pub(in crate::ledger) fn order(self) -> Option<OrderId> {
        match self {
            Self::Take { order, .. } | Self::Rest { order, .. } | Self::Free { order } | Self::Leave { order, .. } => {
                Some(order)
            }
            Self::Skip { .. } => None,
        }
    }

    /// The row that must be there if nothing is wrong, before this change is made.
    fn assumed_row(self) -> Option<SlotRow> {
        match self {
            Self::Take { .. } | Self::Skip { .. } => None,
            Self::Rest { order, at, .. } | Self::Leave { order, at, .. } => {
                Some(SlotRow { order: Some(order), allocated_at: at, until: None })
            }
            Self::Free { order } => {
                Some(SlotRow { order: Some(order), allocated_at: Timestamp::from_unix_ms(0), until: None })
            }
        }
    }

    /// Makes the change to a row, if it fits: a live order's number is touched by that order only, and a resting one is
    /// freed by its last holder only.
    ///
    /// # Errors
    /// The order that stands in the way; None where that is a rest which no order has left.
    fn apply(self, row: Option<SlotRow>) -> Result<Option<SlotRow>, Option<OrderId>> {
        let other = row.filter(|row| row.order != self.order());
        let held = |order, allocated_at, until| Ok(Some(SlotRow { order: Some(order), allocated_at, until }));
        match (self, other) {
            // An order that had it later, and was lost with the one before, leaves it to the longer rest.
            (Self::Leave { order, at, until: Some(until) }, Some(SlotRow { until: Some(rests), .. }))
                if rests < until =>
            {
                held(order, at, Some(until))
            }
            // What is known of the number stays, but that it rests for so long.
            (Self::Skip { .. }, Some(SlotRow { until: None, .. })) | (Self::Leave { .. }, Some(_)) => Ok(row),
            (Self::Skip { at, until }, _) => Ok(Some(SlotRow { order: None, allocated_at: at, until: Some(until) })),
            (Self::Leave { order, at, until: Some(until) }, None) => held(order, at, Some(until)),
            (Self::Leave { until: None, .. }, None) => Ok(None),
            (Self::Take { .. } | Self::Rest { .. }, Some(SlotRow { order, until: None, .. }))
            | (Self::Free { .. }, Some(SlotRow { order, .. })) => Err(order),
            (Self::Take { order, at }, _) => held(order, at, None),
            (Self::Rest { order, at, until }, _) => held(order, at, Some(until)),
            (Self::Free { .. }, None) => Ok(None),
        }
    }
}

/// Makes the changes one after the other, beginning with this row. A change that does not fit is left out, and
/// reported.
pub(super) fn replay(
    (restaurant, number): SlotKey,
    mut row: Option<SlotRow>,
    changes: &[SlotChange],
) -> (Option<SlotRow>, Vec<Collision>) {
    let mut collisions = Vec::new();
    for change in changes {
        match change.apply(row) {
            Ok(next) => row = next,
            // No other order has a number that rests without an order: there is no collision to report.
            Err(other) => collisions.extend(change.order().zip(other).map(|(order, other)| Collision {
                restaurant,
                number,
                order,
                other,
            })),
        }
    }
    (row, collisions)
}

/// What to do with the row of one number, as long as the database holds what must be there. The guard is exact: where
/// it lets a row pass, the changes come to the same as from the assumed one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SlotPlan {
    /// Delete the row first.
    pub delete: bool,
    /// Then write this one.
    pub write: Option<SlotRow>,
    /// A row of this order may be replaced or deleted,
    pub holder: Option<OrderId>,
    /// and so may any that rests, if set.
    pub any_resting: bool,
    /// Changes that do not fit each other, whatever the database holds.
    pub collisions: Vec<Collision>,
}

/// Plans the changes of one number, of which there is at least one; None if there is none.
pub(super) fn plan(key: SlotKey, changes: &[SlotChange]) -> Option<SlotPlan> {
    let first = *changes.first()?;
    let (write, collisions) = replay(key, first.assumed_row(), changes);
    let any_resting = !matches!(first, SlotChange::Free { .. } | SlotChange::Leave { .. });
    // ON CONFLICT can compare the old row with the new one only, so another holder's row is deleted before.
    let replaces = write.is_some_and(|row| row.order == first.order()) && any_resting;
    Some(SlotPlan { delete: !replaces, write, holder: first.order(), any_resting, collisions })
}
