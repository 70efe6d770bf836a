//! Tills of one restaurant, each an allocator of its own, with what may come between one and its Redis.

use std::time::Duration;

use nowserving::{
    allocator::{
        Allocated, Allocator, AllocatorError, Called, Changed, Configured, OrderUpdate, OutboxReader, PoolSnapshot,
        Recycled, Reopened, RunId,
    },
    domain::{Context, Event, Order, OrderDetails, OrderId, OrderStatus, PartitionId, PoolSettings, RestaurantId},
};

use crate::support::{PATIENCE, Proxy, eventually_true, library, namespace};

pub const PARTITION: PartitionId = PartitionId::new(0);
const SEED: &[u8; 16] = b"0123456789abcdef";

pub fn restaurant() -> RestaurantId {
    RestaurantId::new(7).expect("in range")
}

/// A till: what it does has its name.
#[derive(Clone)]
pub struct Till {
    pub name: &'static str,
    pub allocator: Allocator,
    pub run_id: RunId,
    namespace: String,
}

impl Till {
    /// The first of a deployment of one partition, whose restaurant has these settings.
    pub async fn first(url: &str, settings: &PoolSettings) -> Self {
        let namespace = namespace();
        let allocator = allocator(url, &namespace);
        let run_id = allocator.server_of(PARTITION).await.expect("Redis answers");
        assert!(allocator.create_partition(PARTITION, 1, SEED, &run_id).await.expect("Redis answers"));
        let till = Self { name: "first", allocator, run_id, namespace };
        till.open(1);
        assert_eq!(till.configure(settings).await.expect("Redis answers"), Configured::Done(1));
        till
    }

    /// Another one of the same restaurant, that finds its Redis here.
    pub fn through(&self, name: &'static str, url: &str) -> Self {
        let till = Self {
            name,
            allocator: allocator(url, &self.namespace),
            run_id: self.run_id.clone(),
            namespace: self.namespace.clone(),
        };
        till.open(1);
        till
    }

    /// As if the restaurant had a business date without end, and no order of it.
    pub async fn begin_business_date(&self, redis: &str) {
        let client = redis::Client::open(redis).expect("a valid URL");
        let mut redis = client.get_multiplexed_async_connection().await.expect("Redis answers");
        let key = format!("{}:{{{PARTITION}}}:pool:{}", self.namespace, restaurant());
        let day = [&[0x51_u8, 0x00][..], &[0x7f; 6], &[0; 9]].concat();
        redis::cmd("HSET").arg(key).arg("day").arg(day).exec_async(&mut redis).await.expect("Redis answers");
    }

    pub fn open(&self, generation: u64) {
        self.allocator.open_partition(PARTITION, generation, &self.run_id, 0, 0);
    }

    pub fn context(&self) -> Context {
        Context::of(self.name)
    }

    pub async fn allocate(&self) -> Result<Allocated, AllocatorError> {
        self.allocator.allocate(restaurant(), &OrderDetails::default(), None, &self.context()).await
    }

    pub async fn new_order(&self) -> Order {
        match self.allocate().await {
            Ok(Allocated::New(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    pub async fn to(&self, id: OrderId, status: OrderStatus) -> Result<Changed, AllocatorError> {
        self.update(id, Some(status), None, None).await
    }

    /// A new note, where the order is as this till knows it.
    pub async fn rewrite(&self, order: &Order, note: &str) -> Result<Changed, AllocatorError> {
        let details = OrderDetails { note: Some(note.to_owned()), ..order.details.clone() };
        let rewritten = Order { details, ..order.clone() };
        self.update(order.id, None, Some(order.version), Some(&rewritten)).await
    }

    async fn update(
        &self,
        id: OrderId,
        status: Option<OrderStatus>,
        expected_version: Option<u32>,
        rewritten: Option<&Order>,
    ) -> Result<Changed, AllocatorError> {
        let context = &self.context();
        let update = OrderUpdate { status, expected_version, rewritten, context };
        self.allocator.transition(id, update).await
    }

    pub async fn release(&self, id: OrderId, immediate: bool) -> Result<Changed, AllocatorError> {
        let context = &self.context();
        let update =
            OrderUpdate { status: Some(OrderStatus::Completed), expected_version: None, rewritten: None, context };
        self.allocator.release(id, update, immediate, false).await
    }

    pub async fn reopen(&self, id: OrderId) -> Result<Reopened, AllocatorError> {
        let context = &self.context();
        let update =
            OrderUpdate { status: Some(OrderStatus::Preparing), expected_version: None, rewritten: None, context };
        self.allocator.reopen(id, update, None).await
    }

    pub async fn call(&self, id: OrderId) -> Result<Called, AllocatorError> {
        self.allocator.call(id, None, None, &self.context()).await
    }

    pub async fn recycle(&self, order: &Order) -> Result<Recycled, AllocatorError> {
        self.allocator.recycle(order, None, &self.context()).await
    }

    pub async fn configure(&self, settings: &PoolSettings) -> Result<Configured, AllocatorError> {
        self.allocator.configure(restaurant(), settings, false, &self.context()).await
    }

    /// The order as Redis has it.
    pub async fn order(&self, id: OrderId) -> Order {
        self.allocator.order(id).await.expect("Redis answers").expect("it is kept")
    }

    pub async fn snapshot(&self) -> PoolSnapshot {
        let snapshot = self.allocator.snapshot(restaurant()).await.expect("Redis answers").expect("it has settings");
        assert_eq!(snapshot.findings(), []);
        snapshot
    }

    /// All that happened, in its order.
    pub async fn events(&self) -> Vec<Event> {
        let mut reader = OutboxReader::new(self.allocator.clone());
        let read = reader.read(&[(PARTITION, 0)], 1_000_000, None).await.expect("Redis answers");
        let entries = read.into_iter().flat_map(|(_, entries)| entries);
        entries.map(|entry| entry.event.expect("readable")).collect()
    }

    /// All that happened, as `who what`.
    pub async fn story(&self) -> Vec<String> {
        let events = self.events().await;
        events
            .iter()
            .map(|event| format!("{} {}", event.context.actor.as_deref().unwrap_or("nobody"), event.name()))
            .collect()
    }
}

/// What a call through a proxy comes to whose answer is lost, where something `meanwhile` happens before it is sent
/// again. `about` is an argument of the call that no other one has.
pub async fn while_lost<T>(
    proxy: &Proxy,
    about: &[u8],
    call: impl Future<Output = T>,
    meanwhile: impl AsyncFnOnce(),
) -> T {
    proxy.lose_and_hold(about);
    let between = async {
        eventually_true(PATIENCE, || async { proxy.is_holding() }).await;
        meanwhile().await;
        proxy.go_on();
    };
    tokio::join!(call, between).0
}

fn allocator(url: &str, namespace: &str) -> Allocator {
    let settings = library::redis_settings(namespace);
    Allocator::new(url, &settings, 1, Duration::from_hours(24)).expect("a valid URL")
}

pub fn settings(max_number: u32, cooldown_seconds: u32) -> PoolSettings {
    PoolSettings { max_number, cooldown_seconds, ..PoolSettings::default() }
}

pub fn done(changed: Result<Changed, AllocatorError>) -> Order {
    match changed {
        Ok(Changed::Done(order)) => order,
        other => panic!("{other:?}"),
    }
}
