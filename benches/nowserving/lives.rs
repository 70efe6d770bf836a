//! Whole lives of orders, driven straight through the library on the stores of a running deployment: what HTTP would
//! add is left out, so that the load costs little beside what it is there to load.
//!
//! A life has four events: created, preparing, ready, completed. They lie as far apart as in a kitchen, a thousand
//! orders here, so that a batch of the write-behind holds the beginnings of some lives and the ends of others.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use nowserving::{
    allocator::{Allocated, Allocator, Changed, OrderUpdate},
    domain::{
        Context, Order, OrderDetails, OrderId, OrderSource, OrderStatus, OrderType, PartitionId, PoolSettings,
        RestaurantId, Timestamp,
    },
    ledger::Ledger,
    service::Service,
};
use tokio::time::Instant;

use crate::{
    Plan,
    support::{DaemonOptions, library},
};

/// Events of one life.
pub const EVENTS: usize = 4;
/// Restaurants that the orders are spread over.
pub const RESTAURANTS: u32 = 40_000;
/// Calls under way at once.
const IN_FLIGHT: usize = 64;
/// Orders that are created between two events of one. Many more than are under way, so that each event finds the one
/// before it done.
const APART: usize = 1000;

/// The library as one more daemon of a deployment, every restaurant known.
#[derive(Clone)]
pub struct Lives {
    service: Service,
    context: Context,
    details: OrderDetails,
    seed: u64,
}

/// A change that Redis has made.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    pub partition: PartitionId,
    pub sequence: u64,
    /// By Redis's clock.
    pub at: Timestamp,
}

impl Lives {
    /// Joins a deployment whose daemon runs, and gives its restaurants their settings.
    pub async fn join(options: &DaemonOptions, plan: &Plan) -> Self {
        let service = library::service(options).await;
        // A body of 100 bytes, as the one of the HTTP client.
        let details = OrderDetails {
            table_number: Some("12".to_owned()),
            order_source: Some(OrderSource::Kiosk),
            order_type: Some(OrderType::DineIn),
            customer_name: Some("Ada".to_owned()),
            note: Some("salt".to_owned()),
            ..OrderDetails::default()
        };
        let lives = Self { service, context: Context::of("api"), details, seed: plan.seed };
        lives.provision().await;
        lives
    }

    async fn provision(&self) {
        let settings = PoolSettings::default();
        let (allocator, context, settings) = (self.allocator(), &self.context, &settings);
        stream::iter(1..=RESTAURANTS)
            .for_each_concurrent(IN_FLIGHT, |restaurant| async move {
                allocator.configure(id_of(restaurant), settings, false, context).await.expect("Redis answers");
            })
            .await;
    }

    pub fn allocator(&self) -> &Allocator {
        self.service.allocator()
    }

    pub fn ledger(&self) -> &Ledger {
        self.service.ledger()
    }

    /// Lets so many orders live; at most so many begin in a second, and without a rate as many as can. Each change is
    /// shown to `seen`. Answers with how many lives went by in a second.
    pub async fn live(
        &self,
        orders: usize,
        per_second: Option<f64>,
        seen: impl Fn(Change) + Send + Sync + 'static,
    ) -> f64 {
        // Fewer would leave nothing between two events of an order.
        assert!(orders > APART, "too few orders");
        let between = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        let day = Arc::new(Day {
            lives: self.clone(),
            ids: (0..orders).map(|_| OnceLock::new()).collect(),
            next: AtomicUsize::new(0),
            started: Instant::now(),
            between,
            seen,
        });
        let mut cooks = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let day = Arc::clone(&day);
            cooks.spawn(async move { day.work().await });
        }
        cooks.join_all().await;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let turns = day.turns() as f64;
        turns / day.started.elapsed().as_secs_f64()
    }

    async fn create(&self, n: usize) -> Order {
        let restaurant = u32::try_from((n as u64 + self.seed) * 7919 % u64::from(RESTAURANTS)).expect("a remainder");
        match self.allocator().allocate(id_of(1 + restaurant), &self.details, None, &self.context).await {
            Ok(Allocated::New(order)) => order,
            other => panic!("no order: {other:?}"),
        }
    }

    async fn change(&self, id: OrderId, status: OrderStatus) -> Order {
        let context = &self.context;
        let update = OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context };
        let changed = if status.is_final() {
            self.allocator().release(id, update, false, false).await
        } else {
            self.allocator().transition(id, update).await
        };
        match changed {
            Ok(Changed::Done(order)) => order,
            other => panic!("no change: {other:?}"),
        }
    }

    /// Waits until the ledger has every change that was made through here, and no dead letter in place of one.
    pub async fn durable(&self, patience: Duration) {
        let started = Instant::now();
        while self.written().await < self.made() {
            assert!(started.elapsed() < patience, "the ledger is behind for longer than {patience:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let dead_letters = self.ledger().dead_letters(0, 1).await.expect("Postgres answers");
        assert_eq!(dead_letters.len(), 0, "the ledger could not read an event");
    }

    /// Events that were made, in all partitions.
    pub fn made(&self) -> u64 {
        let partitions = PartitionId::all(self.allocator().partition_count());
        partitions.map(|partition| self.allocator().known_sequence(partition).1).sum()
    }

    /// Events that the ledger has, in all partitions.
    pub async fn written(&self) -> u64 {
        let progress = self.ledger().progress().await.expect("Postgres answers");
        progress.iter().map(|position| position.sequence).sum()
    }
}

/// Lives that go by.
struct Day<S> {
    lives: Lives,
    ids: Vec<OnceLock<OrderId>>,
    next: AtomicUsize,
    started: Instant,
    between: Duration,
    seen: S,
}

impl<S: Fn(Change)> Day<S> {
    /// In each, one order begins, and three others have their next event.
    fn turns(&self) -> usize {
        self.ids.len() + (EVENTS - 1) * APART
    }

    async fn work(&self) {
        loop {
            let step = self.next.fetch_add(1, Relaxed);
            let (turn, stage) = (step / EVENTS, step % EVENTS);
            if turn >= self.turns() {
                return;
            }
            // Those who are late do not wait: what was not done in time is made up for.
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let due = self.between.mul_f64(step as f64 / EVENTS as f64);
            tokio::time::sleep_until(self.started + due).await;
            if let Some(n) = turn.checked_sub(stage * APART).filter(|n| *n < self.ids.len()) {
                self.step(n, stage).await;
            }
        }
    }

    async fn step(&self, n: usize, stage: usize) {
        let order = if stage == 0 {
            let order = self.lives.create(n).await;
            self.ids[n].set(order.id).expect("each order is created once");
            order
        } else {
            let id = self.ids[n].get().expect("it was created a thousand orders ago");
            let statuses = [OrderStatus::Preparing, OrderStatus::Ready, OrderStatus::Completed];
            self.lives.change(*id, statuses[stage - 1]).await
        };
        let partition = self.lives.allocator().partition_of(order.restaurant());
        (self.seen)(Change { partition, sequence: order.sequence, at: order.updated_at });
    }
}

fn id_of(restaurant: u32) -> RestaurantId {
    RestaurantId::new(i64::from(restaurant)).expect("in range")
}
