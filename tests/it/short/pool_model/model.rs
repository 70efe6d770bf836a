//! The model of a restaurant in Redis: the pool as `domain::model` has it, and around it what only the scripts know: the
//! orders themselves, their versions, the events, the keys of calls.

use std::collections::BTreeMap;

use nowserving::domain::{
    Choice, DisplayNumber, Order, OrderId, OrderStatus, PoolSettings, RestaurantId, Timestamp,
    model::{Giving, PoolModel, Rest},
};

pub struct Model {
    pub pool: PoolModel,
    /// Of the settings.
    pub version: u32,
    /// Events so far.
    pub sequence: u64,
    pub live: BTreeMap<OrderId, Order>,
    pub kept: BTreeMap<OrderId, Order>,
    /// Idempotency key → the order it made, and the body.
    pub keys: BTreeMap<u8, (OrderId, u8)>,
}

/// What ending a number's rest must answer.
#[derive(Debug, PartialEq, Eq)]
pub enum RecycledNumber {
    /// It is free, and was not before: an event.
    Now,
    /// It has no rest to end.
    Already,
    /// Another order has or had it.
    MovedOn,
}

impl Model {
    /// A restaurant that has just got its first settings.
    pub fn new(settings: PoolSettings, seed: &str, now: Timestamp) -> Self {
        Self {
            pool: PoolModel::new(settings, seed.as_bytes(), now),
            version: 1,
            sequence: 1,
            live: BTreeMap::new(),
            kept: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    pub fn settings(&self) -> &PoolSettings {
        self.pool.settings()
    }

    pub fn configure(&mut self, settings: PoolSettings, now: Timestamp) {
        self.pool.configure(settings, now);
        self.version += 1;
        self.sequence += 1;
    }

    /// Lets time pass, where Redis has no clock of its own: what lies back lies further back.
    pub fn pass(&mut self, ms: i64) {
        self.pool.pass(ms);
        for calls in self.live.values_mut().filter_map(|order| order.calls.as_mut()) {
            calls.last_at = calls.last_at.plus_ms(-ms);
        }
    }

    pub fn give(&mut self, giving: &Giving, order: Order) {
        self.pool.give(giving, order.id);
        self.hold(order);
    }

    fn hold(&mut self, order: Order) {
        self.sequence += 1;
        self.live.insert(order.id, order);
    }

    pub fn change(&mut self, order: Order) {
        self.sequence += 1;
        self.live.insert(order.id, order);
    }

    pub fn release(&mut self, order: Order, immediate: bool, now: Timestamp) {
        self.sequence += 1;
        self.live.remove(&order.id);
        let since = order.released_at.expect("released").unix_ms();
        let rests = !immediate && order.cooldown_seconds > 0;
        let free_at = order.cooling_until().filter(|_| rests).map(Timestamp::unix_ms);
        let leaves_table = order.choice == Choice::Reserved && order.status != OrderStatus::Completed;
        self.pool.release(number_of(&order), Rest { since, free_at, leaves_table }, now);
        self.kept.insert(order.id, order);
    }

    pub fn recycle(&mut self, order: &Order, now: Timestamp) -> RecycledNumber {
        let number = number_of(order);
        let holder = self.pool.last_holder(number);
        if holder.is_some_and(|id| id != order.id) {
            return RecycledNumber::MovedOn;
        }
        let Some(free_at) = order.cooling_until().map(Timestamp::unix_ms) else { return RecycledNumber::MovedOn };
        let is_last_holder = holder.is_some();
        if self.pool.recycle(number, free_at, now) {
            self.sequence += 1;
            return RecycledNumber::Now;
        }
        if is_last_holder || self.pool.is_free(number) { RecycledNumber::Already } else { RecycledNumber::MovedOn }
    }

    /// Whether the number of a finished order still rests for it.
    pub fn rests_for(&self, order: &Order, now: i64) -> bool {
        let number = number_of(order);
        let is_last_holder = self.pool.last_holder(number).is_none_or(|holder| holder == order.id);
        let free_at = order.cooling_until().map_or(0, Timestamp::unix_ms);
        is_last_holder && free_at > now && self.pool.free_at(number) == Some(free_at)
    }

    /// Takes the order back, as it is then, with its number.
    pub fn reopen(&mut self, order: Order) {
        self.pool.reopen(number_of(&order), order.id);
        self.kept.remove(&order.id);
        self.hold(order);
    }

    /// Lets go of finished orders that the ledger holds; answers with how many went.
    pub fn retire(&mut self, durable: u64, ids: &[OrderId]) -> u32 {
        let mut gone = 0;
        for id in ids {
            if self.kept.get(id).is_some_and(|order| order.sequence <= durable) {
                let order = self.kept.remove(id).expect("just seen");
                self.pool.forget(number_of(&order), *id);
                gone += 1;
            }
        }
        gone
    }

    pub fn last_order(&self, number: u32) -> Option<&Order> {
        let id = self.pool.last_holder(number)?;
        self.live.get(&id).or_else(|| self.kept.get(&id))
    }

    /// The order that a call would make of `order`, apart from its times.
    pub fn changed(&self, order: &Order, status: OrderStatus, now: Timestamp) -> Order {
        Order {
            status,
            version: order.version + 1,
            sequence: self.sequence + 1,
            updated_at: now,
            released_at: status.is_final().then_some(now),
            ..order.clone()
        }
    }
}

pub fn number_of(order: &Order) -> u32 {
    order.number.map(DisplayNumber::get).expect("orders in Redis have a number")
}

/// The restaurant of every model: each has a namespace of its own.
pub fn restaurant() -> RestaurantId {
    RestaurantId::new(7).expect("in range")
}
