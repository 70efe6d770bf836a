//! Orders: created, changed, released and read.

pub(super) mod audit;
pub(super) mod backfill;
mod calls;
pub(super) mod numbers;
mod old_numbers;
mod reopen;
pub(super) mod search;

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Dependency, Levels, Page, Restaurants, ServiceError, tally::Tallies, trail};
use crate::{
    allocator::{Allocated, Allocator, Changed, LivePage, OrderUpdate, Recycled},
    config::AdmissionSettings,
    domain::{
        Context, DisplayNumber, IdempotencyDigest, Metadata, NumberState, Order, OrderDetails, OrderId, OrderItem,
        OrderSource, OrderStatus, OrderType, RangeId, Refusal, RestaurantId, Scope, Timestamp,
    },
    ledger::Ledger,
    metrics::{self, AllocationOutcome},
    telemetry,
};

/// How often a change is built anew when another one came between reading and writing.
const CHANGE_ATTEMPTS: usize = 8;

/// An order that was created, now or by an earlier call with the same `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Created {
    /// The order as it now stands.
    pub order: Order,
    /// Whether an earlier call created it.
    pub replayed: bool,
}

/// A new order, as it is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NewOrder {
    /// What it holds.
    pub details: OrderDetails,
    /// The number that it gets, or none.
    pub requested_number: Option<DisplayNumber>,
}

/// An order after a change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChangedOrder {
    /// The order as it now stands.
    pub order: Order,
    /// Whether the change had been made before, by the same call: the first answer of Redis was lost.
    pub replayed: bool,
}

impl From<Order> for ChangedOrder {
    fn from(order: Order) -> Self {
        Self { order, replayed: false }
    }
}

/// What a caller wants changed. The outer `None` leaves a field alone; `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OrderChange {
    pub status: Option<OrderStatus>,
    pub table_number: Option<Option<String>>,
    pub order_source: Option<Option<OrderSource>>,
    pub order_type: Option<Option<OrderType>>,
    pub external_id: Option<Option<String>>,
    pub customer_name: Option<Option<String>>,
    pub note: Option<Option<String>>,
    pub metadata: Option<Option<Metadata>>,
    /// Whether an order that has ended stays so: it is not reopened, as it is else where it is to be `preparing`.
    pub keeps_final: bool,
    pub items: Option<Option<Vec<OrderItem>>>,
}

/// A part of a list of orders.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OrderPage {
    /// The orders of this page.
    pub orders: Vec<Order>,
    /// Where the next page begins; None at the end.
    pub next: Option<OrderId>,
}

/// Orders: created, changed, released and read. Cheap to clone.
#[derive(Clone)]
pub struct Orders {
    allocator: Allocator,
    ledger: Ledger,
    admission: AdmissionSettings,
    /// The restaurants whose orders the caller may see.
    scope: Scope,
    restaurants: Restaurants,
    levels: Levels,
    /// What this daemon did for each restaurant since its last sample.
    tallies: Arc<Tallies>,
}

impl Orders {
    pub(super) fn new(
        restaurants: Restaurants,
        ledger: Ledger,
        admission: AdmissionSettings,
        levels: Levels,
        tallies: Arc<Tallies>,
    ) -> Self {
        let allocator = restaurants.allocator().clone();
        Self { allocator, ledger, admission, scope: Scope::All, restaurants, levels, tallies }
    }

    /// The same for a caller that may see the orders of these restaurants only: an id that leads to another one's is as
    /// one that no order has.
    #[must_use]
    pub(crate) fn within(&self, scope: &Scope) -> Self {
        Self { scope: scope.clone(), ..self.clone() }
    }

    /// Creates an order and gives it a number; with an idempotency key, the same order as an earlier call with that key.
    ///
    /// # Errors
    /// Refused when the pool is exhausted, the number asked for is not free, the key was used with another body, or the
    /// restaurant is unknown and `auto_provision` is off. Unavailable when Redis is unreachable or the ledger is too far behind.
    pub(crate) async fn create(
        &self,
        restaurant: RestaurantId,
        new: NewOrder,
        idempotency_key: Option<&str>,
        context: Context,
    ) -> Result<Created, ServiceError> {
        let result = self.allocate(restaurant, &new, idempotency_key, &context).await;
        match &result {
            Ok(Created { replayed: false, .. }) => self.tallies.allocated(restaurant),
            Err(ServiceError::Refused(Refusal::PoolExhausted { .. })) => self.tallies.exhausted(restaurant),
            _ => {}
        }
        metrics::allocation(match &result {
            Ok(Created { replayed: false, .. }) => AllocationOutcome::Allocated,
            Ok(Created { replayed: true, .. }) => AllocationOutcome::Replayed,
            Err(ServiceError::Refused(Refusal::PoolExhausted { .. })) => AllocationOutcome::Exhausted,
            Err(ServiceError::Refused(Refusal::NumberTaken { .. })) => AllocationOutcome::Taken,
            Err(ServiceError::Refused(_)) => AllocationOutcome::Refused,
            Err(
                ServiceError::Unavailable { .. }
                | ServiceError::OutcomeUnknown { .. }
                | ServiceError::DurabilityUnknown { .. },
            ) => AllocationOutcome::Unavailable,
            Err(ServiceError::Internal(_)) => AllocationOutcome::Failed,
        });
        result
    }

    async fn allocate(
        &self,
        restaurant: RestaurantId,
        new: &NewOrder,
        idempotency_key: Option<&str>,
        context: &Context,
    ) -> Result<Created, ServiceError> {
        self.check_backlog()?;
        let digest = idempotency_key.map(|key| digest(key, new));
        let NewOrder { details, requested_number } = new;
        for _ in 0..2 {
            match self.allocator.allocate_wished(restaurant, details, *requested_number, digest, context).await? {
                Allocated::New(order) => {
                    trail::order("created", &order, context);
                    return Ok(Created { order, replayed: false });
                }
                Allocated::Replayed { id, body } => {
                    if digest.is_some_and(|digest| digest.body != body) {
                        return Err(Refusal::IdempotencyConflict { first: id }.into());
                    }
                    let order = Box::pin(self.get(id.as_uuid())).await?;
                    return Ok(Created { order, replayed: true });
                }
                Allocated::Exhausted { next_free_at, now, range } => {
                    return Err(exhausted(restaurant, range, next_free_at, now).into());
                }
                Allocated::Taken { state, holder } => {
                    return Err(Box::pin(self.number_taken(*requested_number, state, holder)).await);
                }
                Allocated::Unprovisioned => Box::pin(self.restaurants.provision(restaurant, context)).await?,
            }
        }
        Err(ServiceError::Internal(anyhow::anyhow!("restaurant {restaurant} has no settings after it was given some")))
    }

    /// Why the number that was asked for is not given.
    async fn number_taken(
        &self,
        number: Option<DisplayNumber>,
        state: NumberState,
        holder: Option<OrderId>,
    ) -> ServiceError {
        let Some(number) = number else {
            return ServiceError::Internal(anyhow::anyhow!("no number was asked for, and one is {state:?}"));
        };
        // One that is blocked, say, has no holder, though an order may have had it once.
        let is_held = matches!(state, NumberState::Live | NumberState::Cooling | NumberState::Retiring);
        let holder = holder.filter(|order| is_held && self.scope.has(order.restaurant()));
        let shown = match holder {
            // The answer is the same without.
            Some(order) => self.find(order).await.ok().and_then(|order| order.formatted_number()),
            None => None,
        };
        Refusal::NumberTaken { number, state, holder: holder.map(|order| (order, shown)) }.into()
    }

    /// New orders wait when too many events wait for the ledger; all that gives numbers back goes on.
    fn check_backlog(&self) -> Result<(), ServiceError> {
        if let Some(waiting) = self.allocator.undurable_events_past(self.admission.outbox_limit) {
            return Err(ServiceError::Unavailable {
                dependency: Dependency::Ledger,
                reason: format!("{waiting} events wait to be written, the limit is {}", self.admission.outbox_limit),
                retry_after_seconds: 5,
            });
        }
        let (remembered, room) = self.allocator.remembered_size();
        if room > 0 && remembered >= room {
            return Err(ServiceError::Unavailable {
                dependency: Dependency::Ledger,
                reason: format!(
                    "{remembered} orders wait to be written, and this daemon remembers at most {room} of them"
                ),
                retry_after_seconds: 5,
            });
        }
        let Some((used, maxmemory)) = self.allocator.fullest() else { return Ok(()) };
        let limit = self.admission.memory_limit(maxmemory);
        if limit == 0 || used < limit {
            return Ok(());
        }
        Err(ServiceError::Unavailable {
            dependency: Dependency::Redis,
            reason: format!("it uses {} MiB of memory, the limit is {} MiB", used >> 20, limit >> 20),
            retry_after_seconds: 5,
        })
    }

    /// One order, live or finished, by its id or by the UUID under which it was imported.
    ///
    /// # Errors
    /// Refused when there is none. Unavailable when it may be where no server answers.
    pub(crate) async fn get(&self, id: Uuid) -> Result<Order, ServiceError> {
        let id = self.resolve(id).await?;
        let order = self.find(id).await?;
        telemetry::name_order(&order);
        Ok(order)
    }

    /// The restaurant of an order that a request names; None where no order has this id. An id of ours tells by itself.
    ///
    /// # Errors
    /// Unavailable when it is another system's UUID and the ledger is unreachable.
    pub(crate) async fn restaurant_of(&self, id: Uuid) -> Result<Option<RestaurantId>, ServiceError> {
        match OrderId::try_from(id) {
            Ok(id) => Ok(Some(id.restaurant())),
            Err(_) => Ok(self.ledger.by_alias(id).await?.map(OrderId::restaurant)),
        }
    }

    /// The id of an order that may be named by a foreign UUID.
    pub(super) async fn resolve(&self, id: Uuid) -> Result<OrderId, ServiceError> {
        match OrderId::try_from(id) {
            Ok(id) => Ok(id),
            Err(_) => Ok(self.alias(id).await?.ok_or(Refusal::OrderNotFound)?),
        }
    }

    /// The order that another system knows by this UUID, if the caller may see it.
    async fn alias(&self, id: Uuid) -> Result<Option<OrderId>, ServiceError> {
        Ok(self.ledger.by_alias(id).await?.filter(|ours| self.scope.has(ours.restaurant())))
    }

    async fn find(&self, id: OrderId) -> Result<Order, ServiceError> {
        if let Some(order) = self.allocator.order(id).await? {
            return Ok(order);
        }
        self.find_in_ledger(id).await
    }

    /// An order that Redis does not have.
    async fn find_in_ledger(&self, id: OrderId) -> Result<Order, ServiceError> {
        match self.absent(id).await? {
            Absent::Final(order) | Absent::Back(order) => Ok(*order),
            Absent::Alias(ours) => match self.allocator.order(ours).await? {
                Some(order) => Ok(order),
                None => match self.absent(ours).await? {
                    Absent::Final(order) | Absent::Back(order) => Ok(*order),
                    Absent::Alias(_) => Err(Refusal::OrderNotFound.into()),
                },
            },
        }
    }

    /// What it means that Redis does not have an order: it is durable and final, or this is another system's UUID that
    /// looks like one of ours, or there is none. Or it had ended, and is reopened just now.
    async fn absent(&self, id: OrderId) -> Result<Absent, ServiceError> {
        let found = self.ledger.order(id).await?;
        if found.as_ref().is_none_or(|order| order.status.is_live())
            && let Some(order) = self.allocator.order(id).await?
        {
            return Ok(Absent::Back(Box::new(order)));
        }
        let Some(order) = found else {
            if self.allocator.remembers(id) {
                // It was acknowledged, and lost: it comes back when its number does, or another one for it.
                return Err(ServiceError::Unavailable {
                    dependency: Dependency::Partition,
                    reason: format!("order {id} was lost by Redis and waits to be said again"),
                    retry_after_seconds: 5,
                });
            }
            let ours = self.alias(id.as_uuid()).await?.filter(|ours| *ours != id);
            return Ok(Absent::Alias(ours.ok_or(Refusal::OrderNotFound)?));
        };
        if order.status.is_live() {
            // Redis lets go of an order only when its end is durable.
            return Err(ServiceError::Unavailable {
                dependency: Dependency::Redis,
                reason: format!("it does not hold the live order {id}"),
                retry_after_seconds: 5,
            });
        }
        Ok(Absent::Final(Box::new(order)))
    }

    /// Changes an order's status, its details or both. With `if_match`, only that version of it. A completed order that is to
    /// be `preparing` is reopened.
    ///
    /// # Errors
    /// Refused when there is no such order, it is final, the status may not follow, or the version is another one.
    pub(crate) async fn change(
        &self,
        id: Uuid,
        change: OrderChange,
        if_match: Option<u32>,
        context: Context,
    ) -> Result<ChangedOrder, ServiceError> {
        let mut id = self.resolve(id).await?;
        for _ in 0..CHANGE_ATTEMPTS {
            let (expected_version, rewritten, before) = match self.prepare(id, &change, if_match).await? {
                Prepared::Unchanged(order) => return Ok(order.into()),
                Prepared::Ended(order) => match self.change_final(order, &change, if_match, &context).await? {
                    Some(changed) => return Ok(changed),
                    None => continue,
                },
                Prepared::Rewrite { order, before } => (Some(order.version), Some(order), before),
                Prepared::StatusOnly => (if_match, None, Map::new()),
            };
            // True of the version that the update is bound to, and so of the change if it is made.
            let context = Context { before, ..context.clone() };
            let mut ended = None;
            let update = OrderUpdate {
                status: change.status,
                expected_version,
                rewritten: rewritten.as_ref(),
                context: &context,
            };
            let changed = match change.status {
                Some(status) if status.is_final() => self.allocator.release(id, update, false, false).await?,
                _ => self.allocator.transition(id, update).await?,
            };
            match changed {
                Changed::Done(order) => {
                    trail::order(if order.status.is_final() { "released" } else { "changed" }, &order, &context);
                    count_release(&change, &order);
                    return Ok(order.into());
                }
                Changed::Replayed { order, version } => return Ok(replayed(order, version)),
                Changed::Final(order) => ended = Some(order),
                Changed::Absent => match self.absent(id).await? {
                    Absent::Final(order) => ended = Some(*order),
                    Absent::Alias(ours) => id = ours,
                    Absent::Back(_) => {}
                },
                Changed::Forbidden(order) => return Err(forbidden(&order, change.status)),
                Changed::Version(order) if if_match.is_some() => {
                    return Err(Refusal::VersionMismatch { current: order.version }.into());
                }
                // Others changed it since it was read: the change is built anew on what is there now.
                Changed::Version(_) => {}
            }
            if let Some(order) = ended
                && let Some(changed) = self.change_final(order, &change, if_match, &context).await?
            {
                return Ok(changed);
            }
        }
        Err(contended(id))
    }

    /// Reads the order where the change depends on what it holds.
    async fn prepare(
        &self,
        id: OrderId,
        change: &OrderChange,
        if_match: Option<u32>,
    ) -> Result<Prepared, ServiceError> {
        let status_alone = change.only_status();
        // No caller may make an order `expired`, and the script would: such a request needs a look at the order.
        if status_alone && change.status.is_some_and(|status| status != OrderStatus::Expired) {
            return Ok(Prepared::StatusOnly);
        }
        let mut order = self.find(id).await?;
        if order.status.is_final() {
            return Ok(Prepared::Ended(order));
        }
        if if_match.is_some_and(|version| version != order.version) {
            return Err(Refusal::VersionMismatch { current: order.version }.into());
        }
        if change.status.is_some_and(|next| next != order.status && !order.status.may_become(next)) {
            return Err(forbidden(&order, change.status));
        }
        let details = change.applied_to(&order.details);
        if details == order.details {
            return Ok(match change.status {
                Some(status) if status != order.status => Prepared::StatusOnly,
                _ => Prepared::Unchanged(order),
            });
        }
        let before = details.changed_since(&order.details);
        order.details = details;
        Ok(Prepared::Rewrite { order, before })
    }

    /// Completes an order unless it is final already. With `immediate` its number does not rest, nor go on resting. With
    /// `if_match`, only that version of it.
    ///
    /// # Errors
    /// Refused when there is no such order, the version is another one, or with `immediate` when its number has had
    /// another holder since.
    pub(crate) async fn release(
        &self,
        id: Uuid,
        immediate: bool,
        if_match: Option<u32>,
        context: Context,
    ) -> Result<ChangedOrder, ServiceError> {
        let mut id = self.resolve(id).await?;
        let update = || OrderUpdate {
            status: Some(OrderStatus::Completed),
            expected_version: if_match,
            rewritten: None,
            context: &context,
        };
        let (order, in_redis) = loop {
            match self.allocator.release(id, update(), immediate, false).await? {
                Changed::Done(order) => {
                    trail::order("released", &order, &context);
                    metrics::released(order.status.as_str());
                    return Ok(order.into());
                }
                Changed::Replayed { order, version } => return Ok(replayed(order, version)),
                Changed::Final(order) => break (order, true),
                Changed::Absent => match self.absent(id).await? {
                    Absent::Final(order) => break (*order, false),
                    // Aliases name orders of ours only, so this happens once.
                    Absent::Alias(ours) => id = ours,
                    Absent::Back(_) => {}
                },
                Changed::Version(order) => return Err(Refusal::VersionMismatch { current: order.version }.into()),
                Changed::Forbidden(order) => {
                    return Err(ServiceError::Internal(anyhow::anyhow!("order {} refused its release", order.id)));
                }
            }
        };
        if if_match.is_some_and(|version| version != order.version) {
            return Err(Refusal::VersionMismatch { current: order.version }.into());
        }
        if immediate {
            self.end_rest(&order, in_redis, &context).await?;
        }
        Ok(order.into())
    }

    async fn end_rest(&self, order: &Order, in_redis: bool, context: &Context) -> Result<(), ServiceError> {
        // Imported orders that never had a number here have none to free.
        let Some(number) = order.number else { return Ok(()) };
        // Redis knows until when the numbers of its orders rest; of the others the ledger does.
        let free_at = if in_redis { None } else { self.ledger.rest_of(order).await? };
        let recycled = self.allocator.recycle(order, free_at, context).await?;
        if recycled == Recycled::Freed {
            trail::order("recycled", order, context);
        }
        if matches!(recycled, Recycled::Freed | Recycled::Replayed) {
            return Ok(());
        }
        // The rest is over, or was ended before. Numbers outside the pool never show up among the free ones: there the
        // script cannot tell that from a number that another order has had since.
        let seen = self.allocator.inspect(order.restaurant(), number).await?;
        let (state, last) = seen.map_or((None, None), |seen| (seen.state, seen.order));
        let is_held = matches!(state, Some(NumberState::Live | NumberState::Cooling | NumberState::Retiring));
        if recycled == Recycled::MovedOn && is_held {
            return Err(Refusal::NumberMovedOn.into());
        }
        let last = match last {
            Some(last) => Some(last),
            None => self.ledger.last_holder(order.restaurant(), number).await?,
        };
        if last.is_none_or(|last| last.id == order.id) { Ok(()) } else { Err(Refusal::NumberMovedOn.into()) }
    }

    /// The live orders of a restaurant, oldest first. No `statuses` means all.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable.
    pub(crate) async fn live(
        &self,
        restaurant: RestaurantId,
        statuses: &[OrderStatus],
        page: Page,
    ) -> Result<OrderPage, ServiceError> {
        // One more, to know whether there is a next page.
        let limit = page.limit.saturating_add(1);
        let page_of = LivePage { restaurant, statuses: statuses.to_vec(), after: page.after, limit };
        let orders = self.allocator.live_page(page_of).await?;
        Ok(OrderPage::cut(orders.iter().cloned(), page.limit))
    }
}

impl OrderPage {
    /// The first `limit` orders, and where to go on if there are more.
    pub(super) fn cut(orders: impl Iterator<Item = Order>, limit: usize) -> Self {
        let mut orders: Vec<Order> = orders.take(limit.saturating_add(1)).collect();
        let more = orders.len() > limit;
        orders.truncate(limit);
        let next = orders.last().filter(|_| more).map(|order| order.id);
        Self { orders, next }
    }
}

/// Why Redis does not have an order that a caller named.
enum Absent {
    /// It has ended, and the ledger has it.
    Final(Box<Order>),
    /// It is another system's UUID for this one.
    Alias(OrderId),
    /// It has it after all: it was reopened while it was looked for.
    Back(Box<Order>),
}

/// A change, ready for Redis.
enum Prepared {
    /// Nothing is left to do.
    Unchanged(Order),
    /// It has ended.
    Ended(Order),
    /// The script can do it without knowing the details.
    StatusOnly,
    /// The order with its new details, to be written over the version it was read at, and what the changed ones held there.
    Rewrite { order: Order, before: Map<String, Value> },
}

impl OrderChange {
    pub(crate) fn only_status(&self) -> bool {
        *self == Self { status: self.status, keeps_final: self.keeps_final, ..Self::default() }
    }

    fn applied_to(&self, details: &OrderDetails) -> OrderDetails {
        fn pick<T: Clone>(change: &Option<Option<T>>, present: &Option<T>) -> Option<T> {
            change.clone().unwrap_or_else(|| present.clone())
        }
        OrderDetails {
            table_number: pick(&self.table_number, &details.table_number),
            order_source: pick(&self.order_source, &details.order_source),
            order_type: pick(&self.order_type, &details.order_type),
            external_id: pick(&self.external_id, &details.external_id),
            customer_name: pick(&self.customer_name, &details.customer_name),
            note: pick(&self.note, &details.note),
            metadata: pick(&self.metadata, &details.metadata),
            items: pick(&self.items, &details.items),
        }
    }
}

/// The change found another version each time that it was built.
fn contended(id: OrderId) -> ServiceError {
    ServiceError::Unavailable {
        dependency: Dependency::Redis,
        reason: format!("order {id} is being changed by others all the time"),
        retry_after_seconds: 1,
    }
}

fn forbidden(order: &Order, to: Option<OrderStatus>) -> ServiceError {
    Refusal::ForbiddenStatus { from: order.status, to: to.unwrap_or(order.status) }.into()
}

/// The change was made by the first copy of the call; what came of others since is in the order, too.
fn replayed(order: Order, version: u32) -> ChangedOrder {
    tracing::debug!(internal_order_id = %order.id, version, "the answer to a change was lost, and is given again");
    ChangedOrder { order, replayed: true }
}

fn count_release(change: &OrderChange, order: &Order) {
    if change.status.is_some_and(OrderStatus::is_final) {
        metrics::released(order.status.as_str());
    }
}

fn exhausted(
    restaurant: RestaurantId,
    range: Option<RangeId>,
    next_free_at: Option<Timestamp>,
    now: Timestamp,
) -> Refusal {
    let retry_after_seconds = next_free_at.map(|at| {
        let wait_ms = (at.unix_ms() - now.unix_ms()).max(0).cast_unsigned();
        wait_ms.div_ceil(1000).max(1)
    });
    Refusal::PoolExhausted { restaurant, range, next_free_at, retry_after_seconds }
}

/// Digests of a key, and of a body as canonical JSON: fields in one order, whatever order they were sent in.
fn digest(key: &str, new: &NewOrder) -> IdempotencyDigest {
    let half = |bytes: &[u8]| {
        let whole: [u8; 32] = Sha256::digest(bytes).into();
        *whole.first_chunk::<16>().expect("SHA-256 has 32 bytes")
    };
    // Objects are ordered by key, in `metadata` too: serde_json keeps them in a BTreeMap.
    let mut body = serde_json::to_vec(&new.details).expect("details are plain JSON");
    // A body that asks for no number has the digest that it always had.
    if let Some(number) = new.requested_number {
        body.extend_from_slice(format!("{number}").as_bytes());
    }
    IdempotencyDigest { key: half(key.as_bytes()), body: half(&body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_compared_as_json() {
        let details =
            |text: &str| NewOrder { details: serde_json::from_str(text).expect("well-formed"), requested_number: None };
        let a = details(r#"{"note": "x", "metadata": {"b": 1, "a": {"d": 2, "c": 3}}}"#);
        let b = details(r#"{"metadata": {"a": {"c": 3, "d": 2}, "b": 1}, "note": "x", "table_number": null}"#);
        assert_eq!(digest("k", &a), digest("k", &b));
        assert_ne!(digest("k", &a).body, digest("k", &details(r#"{"note": "y"}"#)).body);
        assert_ne!(digest("k", &a).key, digest("l", &a).key);
        let asks_for = |number: &str| NewOrder { requested_number: number.parse().ok(), ..a.clone() };
        assert_eq!(digest("k", &asks_for("42")), digest("k", &asks_for("0042")));
        assert_ne!(digest("k", &asks_for("42")).body, digest("k", &asks_for("43")).body);
        assert_ne!(digest("k", &asks_for("42")).body, digest("k", &a).body);
    }
}
