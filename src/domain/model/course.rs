//! One course of things: a pool, who holds what there, and the numbers as guests see them.

use std::collections::{BTreeMap, HashMap};

use super::{
    pool_model::{Giving, PoolModel, Rest},
    report::{Figures, Misheard, Overflowed, Peak, ShortestRest},
};
use crate::domain::{Avoid, Choice, DisplayNumber, OrderId, PoolSettings, RangeId, Timestamp};

const MINUTE_MS: i64 = 60_000;

/// The number of an order.
#[derive(Debug, Clone, Copy)]
struct Held {
    number: u32,
    choice: Choice,
    cooldown_seconds: u32,
    /// When the number is free, in ms, while it rests for the order.
    free_at: Option<i64>,
}

/// What happened, or would have happened.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) model: PoolModel,
    orders: HashMap<OrderId, Held>,
    /// Numbers without a holder, each with the ms in which its last order ended.
    released: HashMap<u32, i64>,
    fullest: Option<Peak>,
    shortest: Option<ShortestRest>,
    overflowed: BTreeMap<RangeId, u64>,
    misheard: Misheard,
}

impl Course {
    pub(super) fn new(settings: PoolSettings, seed: &[u8], now: Timestamp) -> Self {
        Self {
            model: PoolModel::new(settings, seed, now),
            orders: HashMap::new(),
            released: HashMap::new(),
            fullest: None,
            shortest: None,
            overflowed: BTreeMap::new(),
            misheard: Misheard::default(),
        }
    }

    /// What was counted so far does not count.
    pub(super) fn count_anew(&mut self) {
        (self.fullest, self.shortest, self.misheard) = (None, None, Misheard::default());
        self.overflowed.clear();
    }

    pub(super) fn knows(&self, order: OrderId) -> bool {
        self.orders.contains_key(&order)
    }

    /// An order gets the number that was chosen for it.
    pub(super) fn give(&mut self, giving: &Giving, order: OrderId, cooldown_seconds: u32, at: Timestamp) {
        let number = giving.number;
        if let Some(released) = self.released.remove(&number) {
            let ms = at.unix_ms() - released;
            if self.shortest.is_none_or(|shortest| ms < shortest.ms) {
                self.shortest = Some(ShortestRest { ms, number, at });
            }
        }
        self.count_misheard(number);
        if let Some(range) = &giving.overflowed {
            *self.overflowed.entry(range.clone()).or_default() += 1;
        }
        self.model.give(giving, order);
        self.orders.insert(order, Held { number, choice: giving.choice, cooldown_seconds, free_at: None });
        let (in_use, capacity) = self.model.in_use(at);
        let utilization = f64::from(in_use) / f64::from(capacity.max(1));
        if self.fullest.is_none_or(|fullest| utilization > fullest.utilization) {
            let minute = Timestamp::from_unix_ms(at.unix_ms() - at.unix_ms() % MINUTE_MS);
            self.fullest = Some(Peak { minute, utilization, in_use, capacity });
        }
    }

    /// The number is live from now on.
    fn count_misheard(&mut self, number: u32) {
        for way in Avoid::ALL {
            if way.mistaken_for(number).is_some_and(|other| self.model.holder(other).is_some()) {
                match way {
                    Avoid::TeenTy => self.misheard.teen_ty += 1,
                    Avoid::Swapped => self.misheard.swapped += 1,
                }
            }
        }
    }

    pub(super) fn release(&mut self, order: OrderId, at: Timestamp, immediate: bool, completed: bool) {
        let Some(held) = self.orders.get_mut(&order) else { return };
        let number = held.number;
        if self.model.holder(number) != Some(order) {
            return;
        }
        let since = at.unix_ms();
        let rests = !immediate && held.cooldown_seconds > 0;
        let free_at = rests.then_some(since + i64::from(held.cooldown_seconds) * 1000);
        let leaves_table = held.choice == Choice::Reserved && !completed;
        self.model.release(number, Rest { since, free_at, leaves_table }, at);
        self.model.forget(number, order);
        held.free_at = self.model.free_at(number);
        self.released.insert(number, since);
    }

    /// Takes an order back, with its number; false where that does not rest for it. An order that got no number has none to
    /// take back, and nothing is refused to it.
    pub(super) fn reopen(&mut self, order: OrderId, at: Timestamp) -> bool {
        let Some(held) = self.orders.get_mut(&order) else { return true };
        let number = held.number;
        let rests = held.free_at.is_some_and(|free_at| free_at > at.unix_ms());
        if !rests || self.model.holder(number).is_some() || self.model.free_at(number) != held.free_at {
            return false;
        }
        held.free_at = None;
        self.model.reopen(number, order);
        self.released.remove(&number);
        self.count_misheard(number);
        true
    }

    pub(super) fn recycle(&mut self, order: OrderId, at: Timestamp) {
        let Some(held) = self.orders.get_mut(&order) else { return };
        if let Some(free_at) = held.free_at.take() {
            self.model.recycle(held.number, free_at, at);
        }
    }

    /// Puts numbers to rest without an order, those that are free.
    pub(super) fn rest(&mut self, numbers: &[DisplayNumber], at: Timestamp, until: Timestamp) {
        for number in numbers.iter().map(|number| number.get()) {
            if self.model.is_free(number) {
                self.model.rest(number, at.unix_ms(), until.unix_ms());
            }
        }
    }

    pub(super) fn figures(self) -> Figures {
        Figures {
            fullest_minute: self.fullest,
            shortest_rest: self.shortest,
            overflowed: self.overflowed.into_iter().map(|(range, orders)| Overflowed { range, orders }).collect(),
            misheard: self.misheard,
        }
    }
}
