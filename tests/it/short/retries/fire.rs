//! Several tills, each of which loses answers all the time, on the same orders and settings: each call is made once.

use std::collections::HashMap;

use nowserving::{
    allocator::{Allocated, Called, Changed, Configured, OrderUpdate, Recycled, Reopened},
    domain::{Context, EventKind, Order, OrderDetails, OrderId, OrderStatus, PoolSettings},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

use super::till::{Till, restaurant, settings};
use crate::support::{Proxy, redis_url};

const TILLS: u64 = 4;
const CALLS: u32 = 250;

/// What a till was told of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It was made, and led to this version of the order or the settings.
    Made(u32),
    /// The order has this status at this version; whether it had it before is not known.
    Status(OrderId, u32, OrderStatus),
    /// It was made; there is no version.
    Once,
    /// It was not made.
    Refused,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_tills_that_lose_answers_each_call_is_made_once() {
    let url = redis_url().await;
    let socket = url.strip_prefix("unix://").expect("the tests' Redis is on a socket");
    let first = Till::first(&url, &settings(20, 0)).await;
    let mut shared = Vec::new();
    for _ in 0..3 {
        shared.push(first.new_order().await.id);
    }
    let shared = Arc::new(Mutex::new(shared));
    let mut tills = JoinSet::new();
    for seed in 0..TILLS {
        let proxy = Proxy::start(socket.as_ref());
        let till = first.through("till", &proxy.url());
        tills.spawn(serve(till, proxy, seed, Arc::clone(&shared)));
    }
    let told: HashMap<String, Told> = tills.join_all().await.into_iter().flatten().collect();
    assert_eq!(told.len(), usize::try_from(TILLS).expect("small") * CALLS as usize);

    let mut made: HashMap<String, Vec<u32>> = HashMap::new();
    let mut statuses = HashMap::new();
    for event in first.events().await {
        if let Some(order) = event.order() {
            statuses.insert((order.id, order.version), order.status);
        }
        let version = match event.kind {
            EventKind::Configured(change) => change.version,
            EventKind::Created { order, .. }
            | EventKind::Changed { order, .. }
            | EventKind::Released { order, .. }
            | EventKind::Reopened { order, .. }
            | EventKind::Called { order, .. }
            | EventKind::Recycled { order, .. } => order.version,
            other => panic!("{other:?}"),
        };
        if let Some(request) = event.context.request_id {
            made.entry(request).or_default().push(version);
        }
    }
    for (request, told) in &told {
        let made = made.get(request).map_or(&[][..], Vec::as_slice);
        match told {
            Told::Made(version) => assert_eq!(made, [*version], "{request}"),
            Told::Status(id, version, status) => {
                assert!(made == [*version] || made.is_empty(), "{request} was made at {made:?}");
                assert_eq!(statuses[&(*id, *version)], *status, "{request}");
            }
            Told::Once => assert_eq!(made.len(), 1, "{request} was made at {made:?}"),
            Told::Refused => assert_eq!(made, [0; 0], "{request} was refused"),
        }
    }
    first.snapshot().await;
}

/// Makes calls of every kind at random, of which about each third loses its answer.
async fn serve(till: Till, proxy: Proxy, seed: u64, shared: Arc<Mutex<Vec<OrderId>>>) -> Vec<(String, Told)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut told = Vec::new();
    let mut ended: Vec<Order> = Vec::new();
    for call in 0..CALLS {
        let request = format!("{seed}/{call}");
        let context = Context { request_id: Some(request.clone()), ..till.context() };
        if rng.random_bool(0.3) {
            proxy.lose(1);
        }
        let some_order = shared.lock().expect("not poisoned").choose(&mut rng).copied();
        let answer = match (rng.random_range(0..13), some_order) {
            (0..=1, _) | (_, None) => create(&till, &context, &shared).await,
            (2..=5, Some(id)) => {
                let status = *[OrderStatus::Preparing, OrderStatus::Ready, OrderStatus::Held]
                    .choose(&mut rng)
                    .expect("there are some");
                change(&till, id, status, rng.random_bool(0.5), &context).await
            }
            (11..=12, Some(id)) => {
                let place = rng.random_bool(0.5).then_some("Counter 2");
                match till.allocator.call(id, place, None, &context).await.expect("Redis answers") {
                    Called::Done(order) => Told::Made(order.version),
                    Called::Replayed { version, .. } => Told::Made(version),
                    Called::Absent => panic!("nothing takes it away"),
                    _ => Told::Refused,
                }
            }
            (6..=7, Some(id)) => {
                let update = OrderUpdate {
                    status: Some(OrderStatus::Completed),
                    expected_version: None,
                    rewritten: None,
                    context: &context,
                };
                let released = till.allocator.release(id, update, rng.random_bool(0.5), false).await;
                shared.lock().expect("not poisoned").retain(|known| *known != id);
                let released = released.expect("Redis answers");
                if let Changed::Done(order) | Changed::Replayed { order, .. } = &released {
                    ended.push(order.clone());
                }
                version_of(&released)
            }
            (9, _) if !ended.is_empty() => {
                let order = ended.swap_remove(0);
                let told = reopen(&till, &order, &context).await;
                if matches!(told, Told::Made(_)) {
                    shared.lock().expect("not poisoned").push(order.id);
                }
                told
            }
            (8, _) if !ended.is_empty() => {
                let order = ended.swap_remove(0);
                match till.allocator.recycle(&order, None, &context).await.expect("Redis answers") {
                    Recycled::Freed | Recycled::Replayed => Told::Once,
                    Recycled::AlreadyFree | Recycled::MovedOn => Told::Refused,
                }
            }
            _ => {
                let settings = PoolSettings { cooldown_seconds: rng.random_range(0..5), ..settings(20, 0) };
                let put = till.allocator.configure(restaurant(), &settings, false, &context).await;
                match put.expect("Redis answers") {
                    Configured::Done(version) | Configured::Replayed(version) => Told::Made(version),
                    Configured::Exists | Configured::Moved => Told::Refused,
                }
            }
        };
        told.push((request, answer));
    }
    told
}

async fn create(till: &Till, context: &Context, shared: &Mutex<Vec<OrderId>>) -> Told {
    match till.allocator.allocate(restaurant(), &OrderDetails::default(), None, context).await {
        Ok(Allocated::New(order)) => {
            shared.lock().expect("not poisoned").push(order.id);
            Told::Once
        }
        Ok(Allocated::Exhausted { .. }) => Told::Refused,
        other => panic!("{other:?}"),
    }
}

/// Its number may rest no more, as some have no rest, and short ones; or another till was faster.
async fn reopen(till: &Till, order: &Order, context: &Context) -> Told {
    let update = OrderUpdate { status: Some(OrderStatus::Preparing), expected_version: None, rewritten: None, context };
    match till.allocator.reopen(order.id, update, None).await.expect("Redis answers") {
        Reopened::Done(order) => Told::Made(order.version),
        Reopened::Replayed { version, .. } => Told::Made(version),
        Reopened::Live(_) | Reopened::MovedOn => Told::Refused,
        other => panic!("{other:?}"),
    }
}

/// To another status, or, of an order that is at the version last seen, with another note.
async fn change(till: &Till, id: OrderId, status: OrderStatus, details: bool, context: &Context) -> Told {
    let seen = till.allocator.order(id).await.expect("Redis answers").expect("it is kept");
    let note = Some(format!("{:?}", context.request_id));
    let rewritten = Order { details: OrderDetails { note, ..seen.details.clone() }, ..seen.clone() };
    let update = OrderUpdate {
        status: (!details).then_some(status),
        expected_version: details.then_some(seen.version),
        rewritten: details.then_some(&rewritten),
        context,
    };
    let changed = till.allocator.transition(id, update).await.expect("Redis answers");
    match version_of(&changed) {
        // One that changes nothing is no event.
        Told::Made(version) if !details => Told::Status(id, version, status),
        told => told,
    }
}

fn version_of(changed: &Changed) -> Told {
    match changed {
        Changed::Done(order) => Told::Made(order.version),
        Changed::Replayed { version, .. } => Told::Made(*version),
        Changed::Final(_) | Changed::Version(_) | Changed::Forbidden(_) => Told::Refused,
        Changed::Absent => panic!("nothing takes it away"),
    }
}
