//! The model: what a pool is, written as plainly as possible.
//!
//! It knows which numbers are held, by which order or until when; every other number of the pool is free. Nothing is counted,
//! cached or kept in runs, so there is little to get wrong.

use std::collections::{BTreeMap, BTreeSet};

use nowserving::domain::{
    NumberState, Order, OrderId, OrderStatus, PoolOccupancy, PoolSettings, RestaurantId, SelectionPolicy, Timestamp,
};

/// A number at rest, and the instant (ms) at which it is free again.
pub type Resting = (i64, u32);

pub struct Model {
    pub settings: PoolSettings,
    pub version: u32,
    /// Where a sequential pool goes on; 0 for other policies.
    pub cursor: u32,
    /// Events so far.
    pub sequence: u64,
    /// Orders of the business date so far.
    pub of_date: u32,
    seed: &'static str,
    pub live: BTreeMap<OrderId, Order>,
    pub kept: BTreeMap<OrderId, Order>,
    /// In the order in which they will be free again.
    pub cooling: Vec<Resting>,
    /// Number → its holder, or its last holder while that one is kept.
    pub holders: BTreeMap<u32, OrderId>,
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
    pub fn new(settings: PoolSettings, sequence: u64, seed: &'static str) -> Self {
        let mut model = Self {
            settings: PoolSettings::default(),
            version: 0,
            cursor: 0,
            sequence,
            of_date: 0,
            seed,
            live: BTreeMap::new(),
            kept: BTreeMap::new(),
            cooling: Vec::new(),
            holders: BTreeMap::new(),
            keys: BTreeMap::new(),
        };
        model.configure(settings);
        model
    }

    /// New settings. The ring goes on where it was, if it can.
    pub fn configure(&mut self, settings: PoolSettings) {
        let goes_on =
            self.version > 0 && self.settings.policy == SelectionPolicy::Sequential && settings.in_range(self.cursor);
        self.cursor = match settings.policy {
            SelectionPolicy::Sequential if goes_on => self.cursor,
            SelectionPolicy::Sequential => settings.min_number,
            SelectionPolicy::Lowest | SelectionPolicy::Random => 0,
        };
        self.settings = settings;
        self.version += 1;
        self.sequence += 1;
    }

    pub fn is_free(&self, number: u32) -> bool {
        self.settings.contains(number) && self.live_order(number).is_none() && self.rest_of(number).is_none()
    }

    pub fn free_numbers(&self) -> BTreeSet<u32> {
        (self.settings.min_number..=self.settings.max_number).filter(|n| self.is_free(*n)).collect()
    }

    fn live_order(&self, number: u32) -> Option<&Order> {
        self.live.values().find(|order| number_of(order) == number)
    }

    fn rest_of(&self, number: u32) -> Option<Resting> {
        self.cooling.iter().copied().find(|(_, resting)| *resting == number)
    }

    /// The number that the next order gets; None when nothing is free.
    pub fn choose(&self) -> Option<u32> {
        let next = match self.settings.policy {
            SelectionPolicy::Sequential => self.free_from(self.cursor),
            SelectionPolicy::Lowest => None,
            SelectionPolicy::Random => self.free_at_or_before(self.draw()),
        };
        next.or_else(|| self.free_from(self.settings.min_number))
    }

    /// The number itself, or the first one of the free numbers in a row that come before it.
    fn free_at_or_before(&self, number: u32) -> Option<u32> {
        if self.is_free(number) {
            return Some(number);
        }
        let last = (self.settings.min_number..number).rev().find(|n| self.is_free(*n))?;
        (self.settings.min_number..=last).rev().take_while(|n| self.is_free(*n)).last()
    }

    fn free_from(&self, from: u32) -> Option<u32> {
        (from..=self.settings.max_number).find(|number| self.is_free(*number))
    }

    /// The number that the random policy asks for first: a keyed hash of the next sequence.
    fn draw(&self) -> u32 {
        let text = format!("{}{}", self.seed, self.sequence + 1);
        let sha1 = redis::Script::new(&text).get_hash().to_owned();
        let bits = u64::from_str_radix(&sha1[..13], 16).expect("hexadecimal digits");
        let span = self.settings.max_number - self.settings.min_number + 1;
        self.settings.min_number + u32::try_from(bits % u64::from(span)).expect("below span")
    }

    /// Takes back numbers whose rest is over: two, and more only if nothing at all is free then.
    pub fn settle(&mut self, now: i64) {
        let over = self.cooling.iter().take_while(|(free_at, _)| *free_at <= now).count();
        self.cooling.drain(..over.min(2));
        if self.choose().is_none() {
            self.settle_all(now);
        }
    }

    /// Takes back every number whose rest is over.
    pub fn settle_all(&mut self, now: i64) {
        self.cooling.retain(|(free_at, _)| *free_at > now);
    }

    pub fn hold(&mut self, order: Order, moves_the_ring: bool) {
        if moves_the_ring && self.settings.policy == SelectionPolicy::Sequential {
            self.cursor = number_of(&order) + 1;
        }
        self.sequence += 1;
        self.holders.insert(number_of(&order), order.id);
        self.live.insert(order.id, order);
    }

    pub fn change(&mut self, order: Order) {
        self.sequence += 1;
        self.live.insert(order.id, order);
    }

    pub fn release(&mut self, order: Order, immediate: bool) {
        self.sequence += 1;
        self.live.remove(&order.id);
        if !immediate && order.cooldown_seconds > 0 {
            self.rest(number_of(&order), order.cooling_until().expect("released").unix_ms());
        }
        self.kept.insert(order.id, order);
    }

    /// Puts a number to rest.
    pub fn rest(&mut self, number: u32, free_at: i64) {
        self.cooling.push((free_at, number));
        // Redis compares names where scores are equal.
        self.cooling.sort_by_key(|(free_at, number)| (*free_at, number.to_string()));
    }

    pub fn recycle(&mut self, order: &Order) -> RecycledNumber {
        let number = number_of(order);
        let holder = self.holders.get(&number);
        if holder.is_some_and(|id| *id != order.id) {
            return RecycledNumber::MovedOn;
        }
        let Some(free_at) = order.cooling_until().map(Timestamp::unix_ms) else { return RecycledNumber::MovedOn };
        let is_last_holder = holder.is_some();
        if let Some(place) = self.cooling.iter().position(|rest| *rest == (free_at, number)) {
            self.cooling.remove(place);
            self.sequence += 1;
            return RecycledNumber::Now;
        }
        if is_last_holder || self.is_free(number) { RecycledNumber::Already } else { RecycledNumber::MovedOn }
    }

    /// Whether the number of a finished order still rests for it.
    pub fn rests_for(&self, order: &Order, now: i64) -> bool {
        let number = number_of(order);
        let is_last_holder = self.holders.get(&number).is_none_or(|holder| *holder == order.id);
        let free_at = order.cooling_until().map_or(0, Timestamp::unix_ms);
        is_last_holder && free_at > now && self.cooling.contains(&(free_at, number))
    }

    /// Takes the order back, as it is then, with its number.
    pub fn reopen(&mut self, order: Order) {
        let number = number_of(&order);
        self.cooling.retain(|(_, resting)| *resting != number);
        self.kept.remove(&order.id);
        self.hold(order, false);
    }

    /// Lets go of finished orders that the ledger holds; answers with how many went.
    pub fn retire(&mut self, durable: u64, ids: &[OrderId]) -> u32 {
        let mut gone = 0;
        for id in ids {
            if self.kept.get(id).is_some_and(|order| order.sequence <= durable) {
                let order = self.kept.remove(id).expect("just seen");
                if self.holders.get(&number_of(&order)) == Some(id) {
                    self.holders.remove(&number_of(&order));
                }
                gone += 1;
            }
        }
        gone
    }

    /// `ms` milliseconds go by, as far as resting numbers are concerned.
    pub fn pass(&mut self, ms: i64) {
        for (free_at, _) in &mut self.cooling {
            *free_at -= ms;
        }
    }

    /// When the next number is free, of those that still rest and belong to the pool.
    pub fn next_free_at(&self, now: i64) -> Option<Timestamp> {
        let resting = self.cooling.iter().find(|(free_at, n)| *free_at > now && self.settings.contains(*n));
        resting.map(|(free_at, _)| Timestamp::from_unix_ms(*free_at))
    }

    pub fn state(&self, number: u32, now: i64) -> Option<NumberState> {
        let inside = self.settings.contains(number);
        if self.live_order(number).is_some() {
            return Some(if inside { NumberState::Live } else { NumberState::Retiring });
        }
        if self.rest_of(number).is_some_and(|(free_at, _)| free_at > now) {
            return Some(if inside { NumberState::Cooling } else { NumberState::Retiring });
        }
        let in_range = self.settings.in_range(number);
        in_range.then_some(if inside { NumberState::Free } else { NumberState::Blocked })
    }

    pub fn last_order(&self, number: u32) -> Option<&Order> {
        let id = self.holders.get(&number)?;
        self.live.get(id).or_else(|| self.kept.get(id))
    }

    /// The retiring numbers as the pool counts them: live, cooling.
    pub fn retiring(&self) -> (u32, u32) {
        let outside = |number: &u32| !self.settings.contains(*number);
        let live = self.live.values().map(number_of).filter(outside).count();
        let cooling = self.cooling.iter().map(|(_, number)| *number).filter(outside).count();
        (count(live), count(cooling))
    }

    pub fn usage(&self, now: i64) -> PoolOccupancy {
        let still = |(free_at, _): &&Resting| *free_at > now;
        let capacity = self.settings.capacity();
        let live = count(self.live.values().filter(|order| self.settings.contains(number_of(order))).count());
        let cooling = count(self.cooling.iter().filter(still).filter(|(_, n)| self.settings.contains(*n)).count());
        let all_cooling = count(self.cooling.iter().filter(still).count());
        let free = capacity - live - cooling;
        PoolOccupancy {
            capacity,
            free,
            live,
            cooling,
            blocked: self.settings.blocked_in_range(),
            reserved: 0,
            quarantined: 0,
            retiring: (count(self.live.len()) - live) + (all_cooling - cooling),
            utilization: f64::from(capacity - free) / f64::from(capacity),
            next_free_at: self.next_free_at(now),
            oldest_live_at: self.live.keys().next().map(|id| id.created_at()),
            ranges: Vec::new(),
        }
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
    order.number.expect("orders in Redis have a number").get()
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("few")
}

/// The restaurant of every model: each has a namespace of its own.
pub fn restaurant() -> RestaurantId {
    RestaurantId::new(7).expect("in range")
}
