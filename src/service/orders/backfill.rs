//! Back-fill: orders that another system made get their two names.
//!
//! Sent again, an order finds itself: which order a row became is recorded before the order is there (`identity`). Then Redis
//! is asked for it, and the ledger, which has all that Redis no longer holds. An order that neither has is taken over; one
//! that is here may be brought to what its row says (`again`).

mod again;
mod foreign;
mod identity;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

pub(crate) use self::foreign::{
    Again, BackFillBatch, BackFillRefusal, BackFilled, DEFAULT_SOURCE, ForeignOrder, Import, Known, back_filled_id,
};
use crate::{
    allocator::{Restored, active_since},
    domain::{Context, NumberState, Order, OrderId, PoolSettings, RestaurantId},
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

/// Which orders are taken live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Those whose own number is free. The others are left, so that none of them gets a number that another one of the
    /// orders to come has a right to.
    Own,
    /// All: those without a number, or with one that is taken, get the next one.
    Any,
}

/// How live orders are taken.
#[derive(Debug, Clone, Copy)]
struct How {
    numbers: Numbers,
    trial: bool,
    /// When it was looked up what is here.
    looked_at: Instant,
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
        import: &Import,
    ) -> Result<(), ServiceError> {
        let looked_at = Instant::now();
        let standings = self.identify(batch, import).await?;
        // Redis lets go of an order only when the ledger has it, so it is asked first.
        let in_redis = self.held_in_redis(batch).await?;
        self.settle_known(batch, &standings, in_redis, import).await?;
        let how = How { numbers, trial: import.trial, looked_at };
        self.take_live(batch, how).await?;
        self.take_finished(batch, import.trial).await
    }

    /// The orders of a batch that Redis has.
    async fn held_in_redis(&self, batch: &BackFillBatch) -> Result<HashMap<usize, Order>, ServiceError> {
        let asked = stream::iter(batch.pending().map(|(at, order)| (at, order.id)).collect::<Vec<_>>());
        let found: Vec<(usize, Option<Order>)> = asked
            .map(|(at, id)| async move { Ok::<_, ServiceError>((at, self.allocator.order(id).await?)) })
            .buffer_unordered(READS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().filter_map(|(at, order)| Some((at, order?))).collect())
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
                How { trial: true, .. } => self.live_as(order, &settings, None).map(Some),
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
            return Ok(BackFilled::Known(Known::default()));
        }
        let context = Context { foreign_id: order.foreign_id, ..Context::of(ACTOR) };
        let format = order.number.map_or(&settings.format, |number| settings.format_of(number));
        let old = [order.old_number(order.number, format), order.shown_number.clone()];
        let (names, details) = (order.names(&old), &order.details);
        let place = (order.number, order.business_day);
        let restored = self.allocator.restore_named(order.id, place, order.status, names, details, &context);
        Ok(match restored.await? {
            Restored::New(taken) => {
                trail::order("imported", &taken, &context);
                self.live_as(order, settings, Some(&taken))?
            }
            Restored::Exists(_) => BackFilled::Known(Known::default()),
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
        taken: Option<&Order>,
    ) -> Result<BackFilled, ServiceError> {
        let now = self.allocator.now()?;
        let another = taken.filter(|taken| taken.number != order.number);
        Ok(BackFilled::Live {
            own_number: order.number.is_some() && another.is_none(),
            renamed: another.and_then(|taken| order.shown_number.clone().zip(taken.formatted_number())),
            overdue: order.id.created_at() < active_since(settings, now),
            replaces: order.replaces,
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
            let orders: Vec<ImportedOrder> =
                part.iter().map(|at| &batch.orders[*at]).map(|order| order.as_finished(order.id)).collect();
            match (self.ledger.import_finished(orders, self.allocator.now()?).await, part.as_slice()) {
                (Ok(new), _) => {
                    let new: HashSet<OrderId> = new.into_iter().collect();
                    let outcome = |at: usize| match new.contains(&batch.orders[at].id) {
                        true => BackFilled::Finished,
                        false => BackFilled::Known(Known::default()),
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
