//! The calls of a round, which leave the pools as full and as fragmented as they found them.

use nowserving::{
    allocator::Restored,
    domain::{DisplayNumber, Order, OrderId, OrderStatus},
};
use rand::{RngExt, seq::IndexedRandom};

use super::{
    ALIKE, CALLS,
    filled::{NUMBERS, Pools},
};
use crate::pools::at_once;

/// Calls of a round to each restaurant.
const EACH: usize = CALLS / ALIKE;

impl Pools<'_> {
    /// Measures allocations; the orders, whose end makes the pools as full and as fragmented again as they were.
    pub(super) async fn round_of_allocations(&mut self) -> Vec<Order> {
        let (micros, made) = self.rig.timed(self.allocate(CALLS)).await;
        self.allocations.push(micros);
        made
    }

    /// Measures every other script: on the orders that were just made, and then what reads or repairs all of a pool, which
    /// leaves the processor's cache cold. Behind it the pools are as they were before these orders.
    pub(super) async fn round_of_others(&mut self, made: Vec<Order>) {
        let rig = self.rig;
        let changes = at_once(made.iter().map(|order| rig.change(order.id, OrderStatus::Preparing)));
        self.rows.add("transition", rig.timed(changes).await.0);
        self.rows.add("call", rig.timed(at_once(made.iter().map(|order| rig.call(order.id)))).await.0);
        let (micros, mut ended) = rig.timed(self.release(&made, false)).await;
        self.rows.add("release, to rest", micros);
        // One half of those of each restaurant is recycled; the other one is reopened, and rests again.
        ended.sort_unstable_by_key(Order::restaurant);
        let is_recycled = |at: usize| at % EACH < EACH / 2;
        let recycled = ended.iter().enumerate().filter(|(at, _)| is_recycled(*at));
        let recycled = at_once(recycled.map(|(_, order)| rig.recycle(order)));
        self.rows.add("recycle", rig.timed(recycled).await.0);
        let reopened = ended.iter().enumerate().filter(|(at, _)| !is_recycled(*at));
        let (micros, reopened) = rig.timed(at_once(reopened.map(|(_, order)| rig.reopen(order.id)))).await;
        self.rows.add("reopen", micros);
        self.release(&reopened, false).await;
        self.rows.add("retire, 8 finished orders", rig.timed(rig.retire(&ended)).await.0);
        self.reads().await;
        self.repairs().await;

        let made = self.allocate(CALLS).await;
        let (micros, ended) = rig.timed(self.release(&made, true)).await;
        self.rows.add("release, free at once", micros);
        rig.retire(&ended).await;
        let made = self.restore().await;
        self.end(&made, true).await;
    }

    /// What changes nothing.
    async fn reads(&mut self) {
        let Self { rig, restaurants, rows, chance, .. } = self;
        let allocator = &rig.allocator;
        let calls = || restaurants.iter().cycle().take(CALLS);
        let (micros, found) = rig.timed(at_once(calls().map(|of| allocator.settings(*of)))).await;
        assert!(found.into_iter().all(|settings| settings.expect("Redis answers").is_some()));
        rows.add("settings", micros);
        let numbers: Vec<i64> = calls().map(|_| chance.random_range(1..=i64::from(NUMBERS))).collect();
        let numbers = numbers.into_iter().map(|number| DisplayNumber::new(number).expect("in range"));
        let looks = calls().zip(numbers).map(|(of, number)| allocator.inspect(*of, number));
        let (micros, found) = rig.timed(at_once(looks)).await;
        assert!(found.into_iter().all(|number| number.expect("Redis answers").is_some()));
        rows.add("inspect, any number", micros);
        let (micros, found) = rig.timed(at_once(restaurants.iter().map(|of| allocator.count_numbers(*of)))).await;
        assert!(found.into_iter().all(|count| count.expect("Redis answers").is_some()));
        rows.add("usage", micros);
        let one = *restaurants.choose(chance).expect("there are eight");
        let (micros, found) = rig.timed(allocator.snapshot(one)).await;
        assert!(found.expect("Redis answers").is_some());
        rows.add("snapshot", micros);
    }

    /// Numbers that rest leak and are reclaimed. Then they leak once more: settings, even the same again, make all free
    /// that nothing holds.
    async fn repairs(&mut self) {
        let Self { rig, restaurants, settings, rows, .. } = self;
        let mut leaked = Vec::new();
        for of in restaurants.iter() {
            leaked.push((*of, rig.leak(*of, EACH / 2).await));
        }
        let reclaimed = at_once(leaked.iter().map(|(of, numbers)| rig.allocator.reclaim(*of, numbers, &rig.context)));
        let (micros, reclaimed) = rig.timed(reclaimed).await;
        assert!(reclaimed.into_iter().all(|numbers| numbers.expect("Redis answers").len() == EACH / 2));
        rows.add("reclaim, 4 leaked numbers", micros);
        for of in restaurants.iter() {
            rig.leak(*of, EACH / 2).await;
        }
        let again = at_once(restaurants.iter().map(|of| rig.configure(*of, settings)));
        rows.add("configure, the same again", rig.timed(again).await.0);
    }

    /// Orders that come from elsewhere, and take the next free number.
    async fn restore(&mut self) -> Vec<Order> {
        let Self { rig, restaurants, rows, chance, .. } = self;
        let now = rig.allocator.now().expect("Redis told it");
        let ids: Vec<OrderId> =
            restaurants.iter().cycle().take(CALLS).map(|of| OrderId::new(now, *of, chance.random())).collect();
        let (micros, restored) = rig.timed(at_once(ids.into_iter().map(|id| rig.restore(id)))).await;
        rows.add("restore", micros);
        restored
            .into_iter()
            .map(|restored| match restored {
                Restored::New(order) => order,
                other => panic!("the order was not taken over: {other:?}"),
            })
            .collect()
    }
}
