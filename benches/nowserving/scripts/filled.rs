//! Restaurants a part of whose numbers are held: by how many, how these lie, and under which policy.

use std::{collections::BTreeSet, ops::Range};

use nowserving::domain::{Order, PoolSettings, RestaurantId, SelectionPolicy};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    pools::{Rig, at_once, restaurant},
    rounds::{Rows, Spread},
};

/// As many as a pool has by default.
pub const NUMBERS: u32 = 9999;
/// How full pools are, in % of their numbers.
pub const FILLS: [f64; 5] = [1.0, 50.0, 90.0, 99.0, 99.9];
pub const POLICIES: [SelectionPolicy; 3] =
    [SelectionPolicy::Sequential, SelectionPolicy::Lowest, SelectionPolicy::Random];
/// A rest that is never over while anything is measured.
pub const LONG_REST: u32 = 14_400;

/// How the numbers lie that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Drawn at random from all.
    Fragmented,
    /// The lowest ones.
    Compact,
}

impl Layout {
    pub const ALL: [Self; 2] = [Self::Fragmented, Self::Compact];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fragmented => "fragmented",
            Self::Compact => "compact",
        }
    }

    /// The numbers that are held with so many % full.
    fn held(self, percent: f64, chance: &mut StdRng) -> BTreeSet<u32> {
        let mut numbers: Vec<u32> = (1..=NUMBERS).collect();
        if self == Self::Fragmented {
            numbers.shuffle(chance);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 9,999")]
        let count = (f64::from(NUMBERS) * percent / 100.0).round() as usize;
        numbers.into_iter().take(count).collect()
    }
}

/// Restaurants that are alike, a part of whose numbers are held, and what was measured with them.
pub struct Pools<'a> {
    pub rig: &'a Rig,
    pub restaurants: Vec<RestaurantId>,
    pub settings: PoolSettings,
    pub live: Vec<Order>,
    pub chance: StdRng,
    /// What allocations took.
    pub allocations: Vec<f64>,
    /// What other scripts took.
    pub rows: Rows,
}

impl<'a> Pools<'a> {
    /// Pools with these numbers held, and all others blocked until they are opened.
    pub async fn fill(rig: &'a Rig, ids: Range<usize>, layout: Layout, percent: f64, rest: u32, seed: u64) -> Self {
        Self::fill_each(rig, ids.map(restaurant).collect(), layout, percent, rest, seed).await
    }

    /// As [`Pools::fill`], for these restaurants.
    pub async fn fill_each(
        rig: &'a Rig,
        restaurants: Vec<RestaurantId>,
        layout: Layout,
        percent: f64,
        rest: u32,
        seed: u64,
    ) -> Self {
        let chance = StdRng::seed_from_u64(seed.wrapping_add(restaurants[0].get().into()));
        let settings = PoolSettings { max_number: NUMBERS, cooldown_seconds: rest, ..PoolSettings::default() };
        let mut pools = Self {
            rig,
            restaurants,
            settings,
            live: Vec::new(),
            chance,
            allocations: Vec::new(),
            rows: Rows::default(),
        };
        for at in 0..pools.restaurants.len() {
            let held = layout.held(percent, &mut pools.chance);
            pools.hold(pools.restaurants[at], &held).await;
        }
        pools
    }

    /// Makes live orders with just these numbers: while they are made, all others are blocked.
    async fn hold(&mut self, restaurant: RestaurantId, held: &BTreeSet<u32>) {
        let blocked_numbers = (1..=NUMBERS).filter(|number| !held.contains(number)).collect();
        let settings = PoolSettings { blocked_numbers, ..self.settings.clone() };
        self.rig.configure(restaurant, &settings).await;
        self.live.extend(at_once(held.iter().map(|_| self.rig.allocate(restaurant, None))).await);
        self.rig.trim_outboxes().await;
    }

    /// Settings under which all numbers may be given that are not held.
    pub async fn open(&mut self, policy: SelectionPolicy) {
        self.settings.policy = policy;
        at_once(self.restaurants.iter().map(|of| self.rig.configure(*of, &self.settings))).await;
        self.finish_growth().await;
    }

    /// A table that has grown is moved to its new place a step with each look at it, and every call is slower until that
    /// is over. It comes with filling a pool in a moment, so it is over before anything is measured.
    async fn finish_growth(&self) {
        const LOOKS: usize = 10_000;
        let nothing = vec!["?"; LOOKS];
        for of in &self.restaurants {
            let mut looks = redis::pipe();
            for (command, kind) in [("HMGET", "order"), ("HMGET", "num"), ("ZMSCORE", "free")] {
                looks.cmd(command).arg(self.rig.key(kind, *of)).arg(&nothing).ignore();
            }
            looks.exec_async(&mut self.rig.redis.clone()).await.expect("Redis answers");
        }
    }

    /// Orders with an idempotency key each, one restaurant after the other.
    pub async fn allocate(&mut self, count: usize) -> Vec<Order> {
        let Self { rig, restaurants, chance, .. } = self;
        let asked: Vec<_> = restaurants.iter().cycle().take(count).map(|of| (*of, chance.random())).collect();
        at_once(asked.into_iter().map(|(of, key)| rig.allocate(of, Some(key)))).await
    }

    /// What allocations took since the last time.
    pub fn take_allocations(&mut self) -> Spread {
        Spread::of(self.allocations.drain(..))
    }

    pub async fn release(&self, ended: &[Order], immediate: bool) -> Vec<Order> {
        at_once(ended.iter().map(|order| self.rig.release(order.id, immediate))).await
    }

    pub async fn end(&self, ended: &[Order], immediate: bool) {
        self.rig.retire(&self.release(ended, immediate).await).await;
    }
}
