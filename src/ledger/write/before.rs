//! What was there before a change that does not say so itself: the settings of a restaurant, and orders that are said again.
//! It is read in the transaction that writes the change, by the only daemon that writes the partition.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use uuid::Uuid;

use crate::{
    domain::{Event, EventKind, Order, OrderId, PoolSettings, RestaurantId, SettingsChange},
    ledger::{
        LedgerError,
        db::session::Session,
        tables::{
            restaurants::settings_within,
            rows::{into_orders, select_orders},
        },
    },
};

/// What a change found.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ledger) enum Before<'a> {
    /// The change says it itself, or it is not known: what came before it is not in the ledger.
    Unsaid,
    /// These settings; None where it gave the restaurant its first ones.
    Settings(Option<Cow<'a, PoolSettings>>),
    /// This state of the order.
    Order(Cow<'a, Order>),
}

/// The state of things, as events go by.
#[derive(Debug, Default)]
pub(super) struct State<'a> {
    settings: HashMap<RestaurantId, Cow<'a, SettingsChange>>,
    /// None where the ledger does not have the order.
    orders: HashMap<OrderId, Option<Cow<'a, Order>>>,
}

impl<'a> State<'a> {
    /// The state before these events, as far as they need it. Usually none does, and nothing is read.
    pub(in crate::ledger) async fn before(
        connection: &mut Session<'_>,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<Self, LedgerError> {
        let (mut restaurants, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            match &event.kind {
                EventKind::Configured(change) => drop(restaurants.insert(change.restaurant)),
                EventKind::Restated { order, .. } => drop(ids.insert(order.id)),
                _ => {}
            }
        }
        let mut state = Self::default();
        if !restaurants.is_empty() {
            let restaurants: Vec<RestaurantId> = restaurants.into_iter().collect();
            for change in settings_within(connection, &restaurants).await? {
                state.settings.insert(change.restaurant, Cow::Owned(change));
            }
        }
        if !ids.is_empty() {
            let uuids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
            state.orders.extend(ids.into_iter().map(|id| (id, None)));
            let rows = select_orders!("FROM orders AS o WHERE o.internal_order_id = ANY($1)", &uuids);
            for order in into_orders(rows.fetch_all(connection).await?)? {
                state.orders.insert(order.id, Some(Cow::Owned(order)));
            }
        }
        Ok(state)
    }

    /// Goes on to what is after an event; answers with what it found.
    pub(super) fn pass(&mut self, event: &'a Event) -> Before<'a> {
        match (&event.kind, event.order()) {
            (EventKind::Configured(change), _) => self.pass_settings(change),
            (_, Some(order)) => self.pass_order(order, matches!(event.kind, EventKind::Restated { .. })),
            (_, None) => Before::Unsaid,
        }
    }

    fn pass_settings(&mut self, change: &'a SettingsChange) -> Before<'a> {
        let known = self.settings.get(&change.restaurant);
        let before = match known {
            _ if change.version == 1 => Before::Settings(None),
            Some(known) if known.version + 1 == change.version => Before::Settings(Some(match known {
                Cow::Borrowed(known) => Cow::Borrowed(&known.settings),
                Cow::Owned(known) => Cow::Owned(known.settings.clone()),
            })),
            // The change before it was dead-lettered, or this one is said again.
            _ => Before::Unsaid,
        };
        if known.is_none_or(|known| known.version < change.version) {
            self.settings.insert(change.restaurant, Cow::Borrowed(change));
        }
        before
    }

    fn pass_order(&mut self, order: &'a Order, is_said_again: bool) -> Before<'a> {
        let Some(known) = self.orders.get_mut(&order.id) else { return Before::Unsaid };
        if known.as_ref().is_some_and(|known| known.stage() > order.stage()) {
            return Before::Unsaid;
        }
        match known.replace(Cow::Borrowed(order)) {
            Some(before) if is_said_again => Before::Order(before),
            _ => Before::Unsaid,
        }
    }
}
