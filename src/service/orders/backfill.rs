//! Back-fill: orders that another system made get their two names.
//!
//! Sent again, an order finds itself: its id follows from when and where it was made and from its old id. Redis is asked
//! first, then the ledger, which has all that Redis no longer holds; only then is an order taken over.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    allocator::{Restored, active_since},
    domain::{
        Context, DisplayNumber, NumberFormat, NumberState, Order, OrderDetails, OrderId, OrderStatus, PoolSettings,
        RestaurantId, Timestamp,
    },
    ledger::{ForeignError, ForeignTable, ImportedOrder, LedgerError},
    service::{Orders, ServiceError, trail},
};

/// Who the audit log says took the orders over.
const ACTOR: &str = "backfill";

/// Calls of Redis that are under way at once: enough to keep it busy, few enough to leave room for the tills.
const READS_AT_ONCE: usize = 64;
const RESTAURANTS_AT_ONCE: usize = 16;

/// What was looked up longer ago than this is looked up again before an order is made live. In between another run could
/// have taken it over, and it could have come and gone: finished orders stay in Redis for longer than this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// An order as another system knows it, ready to be taken over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForeignOrder {
    /// Its id here (see [`back_filled_id`]).
    pub id: OrderId,
    /// The UUID under which the other system knows it.
    pub foreign_id: Option<Uuid>,
    /// The number it had there.
    pub number: Option<DisplayNumber>,
    /// How that number was shown.
    pub format: NumberFormat,
    /// What the other system called it.
    pub legacy_number: Option<String>,
    /// Where it stands.
    pub status: OrderStatus,
    /// What is known of it.
    pub details: OrderDetails,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended, if its status is final.
    pub released_at: Timestamp,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackFilled {
    /// It is live here now.
    Live {
        /// Whether it kept its number. In a trial: whether it asks for one.
        own_number: bool,
        /// Whether it is older than its restaurant's active window: the next clean-up expires it.
        overdue: bool,
    },
    /// It is in the ledger now.
    Finished,
    /// It was here before.
    Known {
        /// It has ended there, but here it has not.
        still_live: bool,
    },
    /// It cannot be taken.
    Refused(BackFillRefusal),
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

/// Which orders are taken live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Those whose own number is free. The others are left, so that none of them gets a number that another one of the
    /// orders to come has a right to.
    Own,
    /// All: those without a number, or with one that is taken, get the next one.
    Any,
}

/// Some orders, and what has become of those that are done with: after a failure the rest can be tried again.
#[derive(Debug)]
pub(crate) struct BackFillBatch {
    orders: Vec<ForeignOrder>,
    outcomes: Vec<Option<BackFilled>>,
}

/// How live orders are taken.
#[derive(Debug, Clone, Copy)]
struct How {
    numbers: Numbers,
    trial: bool,
    /// When it was looked up what is here.
    looked_at: Instant,
}

/// The id under which a foreign order is kept here; always the same one.
///
/// `foreign_id` is the other system's id in its canonical form: for a UUID, lower case with hyphens.
#[must_use]
pub(crate) fn back_filled_id(created_at: Timestamp, restaurant: RestaurantId, foreign_id: &str) -> OrderId {
    let digest: [u8; 32] = Sha256::digest(format!("{restaurant}/{foreign_id}")).into();
    let bits = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    OrderId::new(created_at, restaurant, bits)
}

impl BackFillBatch {
    /// Orders of which nothing is known yet; no two may have the same id.
    #[must_use]
    pub(crate) fn new(orders: Vec<ForeignOrder>) -> Self {
        let outcomes = vec![None; orders.len()];
        Self { orders, outcomes }
    }

    /// The orders as they were given, each with what became of it; None: nothing yet.
    pub(crate) fn into_orders(self) -> impl Iterator<Item = (ForeignOrder, Option<BackFilled>)> {
        self.orders.into_iter().zip(self.outcomes)
    }

    fn pending(&self) -> impl Iterator<Item = (usize, &ForeignOrder)> {
        let undone = self.outcomes.iter().map(Option::is_none);
        self.orders.iter().enumerate().zip(undone).filter_map(|(order, undone)| undone.then_some(order))
    }

    fn settle(&mut self, outcomes: impl IntoIterator<Item = (usize, BackFilled)>) {
        for (at, outcome) in outcomes {
            self.outcomes[at] = Some(outcome);
        }
    }
}

impl Orders {
    /// Takes over the orders of a batch that are not done with. Open ones get a number, earlier ones first; finished ones
    /// go straight into the ledger. In a trial nothing is written.
    ///
    /// # Errors
    /// Unavailable when a server is unreachable: the batch knows what is done, and the call may be repeated.
    pub(crate) async fn back_fill(
        &self,
        batch: &mut BackFillBatch,
        numbers: Numbers,
        trial: bool,
    ) -> Result<(), ServiceError> {
        let looked_at = Instant::now();
        let known = self.known(batch).await?;
        batch.settle(known);
        let how = How { numbers, trial, looked_at };
        self.take_live(batch, how).await?;
        self.take_finished(batch, trial).await
    }

    /// The orders that are here already. Redis lets go of an order only when the ledger has it, so it is asked first.
    async fn known(&self, batch: &BackFillBatch) -> Result<Vec<(usize, BackFilled)>, ServiceError> {
        let in_redis: Vec<(usize, Option<Order>)> =
            stream::iter(batch.pending().map(|(at, order)| (at, order.id)).collect::<Vec<_>>())
                .map(|(at, id)| async move { Ok::<_, ServiceError>((at, self.allocator.order(id).await?)) })
                .buffer_unordered(READS_AT_ONCE)
                .try_collect()
                .await?;
        let (ids, aliases): (Vec<Uuid>, Vec<Option<Uuid>>) =
            batch.pending().map(|(_, order)| (order.id.as_uuid(), order.foreign_id)).unzip();
        let aliases: Vec<Uuid> = aliases.into_iter().flatten().collect();
        let in_ledger = self.ledger.known_imports(&ids, &aliases).await?;
        let from_redis = in_redis.into_iter().filter_map(|(at, order)| {
            let still_live = order?.status.is_live() && batch.orders[at].status.is_final();
            Some((at, BackFilled::Known { still_live }))
        });
        let here = |order: &ForeignOrder| {
            in_ledger.contains(&order.id.as_uuid()) || order.foreign_id.is_some_and(|id| in_ledger.contains(&id))
        };
        let from_ledger = batch
            .pending()
            .filter(|(_, order)| here(order))
            .map(|(at, _)| (at, BackFilled::Known { still_live: false }));
        // Redis has the last word.
        Ok(from_ledger.chain(from_redis).collect())
    }

    async fn take_live(&self, batch: &mut BackFillBatch, how: How) -> Result<(), ServiceError> {
        let mut by_restaurant: BTreeMap<RestaurantId, Vec<(usize, &ForeignOrder)>> = BTreeMap::new();
        for (at, order) in batch.pending().filter(|(_, order)| order.status.is_live()) {
            by_restaurant.entry(order.id.restaurant()).or_default().push((at, order));
        }
        // One restaurant's orders go one after the other, so that it does not depend on luck which order gets which
        // number.
        let mut groups = stream::iter(by_restaurant)
            .map(|(restaurant, mut orders)| {
                orders.sort_by_key(|(_, order)| order.id);
                self.take_live_of(restaurant, orders, how)
            })
            .buffer_unordered(RESTAURANTS_AT_ONCE);
        let (mut taken, mut failure) = (Vec::new(), None);
        while let Some((outcomes, result)) = groups.next().await {
            taken.extend(outcomes);
            failure = failure.or(result.err());
        }
        drop(groups);
        batch.settle(taken);
        failure.map_or(Ok(()), Err)
    }

    /// Answers with what was done, also if not all of it could be.
    async fn take_live_of(
        &self,
        restaurant: RestaurantId,
        orders: Vec<(usize, &ForeignOrder)>,
        how: How,
    ) -> (Vec<(usize, BackFilled)>, Result<(), ServiceError>) {
        let settings = match self.settings_for_back_fill(restaurant, how.trial).await {
            Ok(settings) => settings,
            Err(ServiceError::Refused(_)) => {
                let refused = BackFilled::Refused(BackFillRefusal::RestaurantUnknown(restaurant));
                return (orders.into_iter().map(|(at, _)| (at, refused.clone())).collect(), Ok(()));
            }
            Err(error) => return (Vec::new(), Err(error)),
        };
        let mut outcomes = Vec::with_capacity(orders.len());
        for (at, order) in orders {
            let outcome = match how {
                How { trial: true, .. } => self.live_as(order, &settings, order.number).map(Some),
                How { numbers: Numbers::Own, .. } => self.restore_as_it_was(order, &settings, how.looked_at).await,
                How { .. } => self.restore(order, &settings, how.looked_at).await.map(Some),
            };
            match outcome {
                Ok(outcome) => outcomes.extend(outcome.map(|outcome| (at, outcome))),
                Err(error) => return (outcomes, Err(error)),
            }
        }
        (outcomes, Ok(()))
    }

    async fn settings_for_back_fill(
        &self,
        restaurant: RestaurantId,
        trial: bool,
    ) -> Result<PoolSettings, ServiceError> {
        if let Some(stored) = self.allocator.settings(restaurant).await? {
            return Ok(stored.settings);
        }
        let settings = self.restaurants.default_settings(restaurant)?;
        if !trial {
            self.restaurants.provision(restaurant, &Context::of(ACTOR)).await?;
        }
        Ok(settings)
    }

    /// None: its number is not free, or it has none.
    async fn restore_as_it_was(
        &self,
        order: &ForeignOrder,
        settings: &PoolSettings,
        looked_at: Instant,
    ) -> Result<Option<BackFilled>, ServiceError> {
        let Some(number) = order.number else { return Ok(None) };
        let seen = self.allocator.inspect(order.id.restaurant(), number).await?;
        if seen.is_none_or(|seen| seen.state != Some(NumberState::Free)) {
            return Ok(None);
        }
        self.restore(order, settings, looked_at).await.map(Some)
    }

    async fn restore(
        &self,
        order: &ForeignOrder,
        settings: &PoolSettings,
        looked_at: Instant,
    ) -> Result<BackFilled, ServiceError> {
        if looked_at.elapsed() > LOOK_AGAIN_AFTER && self.came_and_went(order).await? {
            return Ok(BackFilled::Known { still_live: false });
        }
        let context = Context { foreign_id: order.foreign_id, ..Context::of(ACTOR) };
        let legacy_number = order.legacy_number.as_deref();
        let restored =
            self.allocator.restore(order.id, order.number, order.status, legacy_number, &order.details, &context);
        Ok(match restored.await? {
            Restored::New(taken) => {
                trail::order("imported", &taken, &context);
                self.live_as(order, settings, taken.number)?
            }
            Restored::Exists(_) => BackFilled::Known { still_live: false },
            Restored::Exhausted { .. } => BackFilled::Refused(BackFillRefusal::PoolExhausted(order.id.restaurant())),
            Restored::Unprovisioned => {
                return Err(ServiceError::Internal(anyhow::anyhow!(
                    "restaurant {} has no settings after it was given some",
                    order.id.restaurant()
                )));
            }
        })
    }

    async fn came_and_went(&self, order: &ForeignOrder) -> Result<bool, ServiceError> {
        // An order that is in Redis is recognized by the script itself.
        Ok(self.allocator.order(order.id).await?.is_none() && self.ledger.order(order.id).await?.is_some())
    }

    fn live_as(
        &self,
        order: &ForeignOrder,
        settings: &PoolSettings,
        given: Option<DisplayNumber>,
    ) -> Result<BackFilled, ServiceError> {
        let now = self.allocator.now()?;
        Ok(BackFilled::Live {
            own_number: order.number.is_some() && order.number == given,
            overdue: order.id.created_at() < active_since(settings, now),
        })
    }

    async fn take_finished(&self, batch: &mut BackFillBatch, trial: bool) -> Result<(), ServiceError> {
        let finished: Vec<usize> =
            batch.pending().filter(|(_, order)| order.status.is_final()).map(|(at, _)| at).collect();
        if trial {
            batch.settle(finished.into_iter().map(|at| (at, BackFilled::Finished)));
            return Ok(());
        }
        // All at once; where the ledger refuses content, in halves of halves until the orders at fault stand alone.
        let mut waiting = vec![finished];
        while let Some(mut part) = waiting.pop() {
            let orders: Vec<ImportedOrder> = part.iter().map(|at| batch.orders[*at].as_finished()).collect();
            match (self.ledger.import_finished(orders, self.allocator.now()?).await, part.as_slice()) {
                (Ok(new), _) => {
                    let new: HashSet<OrderId> = new.into_iter().collect();
                    let outcome = |at: usize| match new.contains(&batch.orders[at].id) {
                        true => BackFilled::Finished,
                        false => BackFilled::Known { still_live: false },
                    };
                    let outcomes: Vec<(usize, BackFilled)> = part.iter().map(|at| (*at, outcome(*at))).collect();
                    batch.settle(outcomes);
                }
                (Err(LedgerError::Content { reason, .. }), [at]) => {
                    batch.settle([(*at, BackFilled::Refused(BackFillRefusal::Content(reason)))]);
                }
                (Err(LedgerError::Content { .. }), _) => {
                    let second = part.split_off(part.len() / 2);
                    waiting.extend([second, part]);
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Opens a table of orders of another system: in the ledger's database, or where the URL leads.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn foreign_table(&self, url: Option<&str>, table: &str) -> Result<ForeignTable, ForeignError> {
        self.ledger.foreign_table(url, table).await
    }

    /// As [`Orders::events_waiting`], without a look at the ledger.
    pub(crate) fn events_seen_waiting(&self) -> u64 {
        self.allocator.undurable_events()
    }

    /// How many events wait in Redis to be written into the ledger, as far as this process has seen.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn events_waiting(&self) -> Result<u64, ServiceError> {
        for progress in self.ledger.progress().await? {
            let generation = progress.generation.unwrap_or_default();
            self.allocator.made_durable(progress.partition, generation, progress.sequence);
        }
        Ok(self.allocator.undurable_events())
    }
}

impl ForeignOrder {
    fn as_finished(&self) -> ImportedOrder {
        let order = Order {
            id: self.id,
            // Not held here, so it does not rest here either: it is history.
            number: self.number,
            given_at: self.number.map(|_| self.id.created_at()),
            cooldown_seconds: 0,
            format: self.format.clone(),
            legacy_number: self.legacy_number.clone(),
            status: self.status,
            details: self.details.clone(),
            updated_at: self.updated_at,
            released_at: Some(self.released_at),
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
