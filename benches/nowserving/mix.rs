//! What tills and kitchens ask for: an order is six requests. It is created, listed with the others of its kitchen, set to
//! preparing, looked up, set to ready, and completed, so that nothing stays behind.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::watch;

use crate::{
    client::{Call, Connection, Site, order_id},
    closed_loop::{self, Client, Looped},
    open_loop::{self, Work},
};

/// The kinds of requests in a life, as far as they are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Allocate,
    List,
    Change,
    LookUp,
    Complete,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Allocate, Self::List, Self::Change, Self::LookUp, Self::Complete];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::List => "kitchen list",
            Self::Change => "status change",
            Self::LookUp => "look-up",
            Self::Complete => "completion",
        }
    }
}

/// The steps of a life.
pub const STEPS: [Kind; 6] = [Kind::Allocate, Kind::List, Kind::Change, Kind::LookUp, Kind::Change, Kind::Complete];

/// Restaurants that orders are made in.
#[derive(Debug, Clone, Copy)]
pub struct Restaurants {
    pub first: u64,
    pub count: u64,
}

fn call(step: usize, restaurant: u64, id: &str) -> Call {
    match step {
        0 => Call::allocate(restaurant),
        1 => Call::kitchen_list(restaurant),
        2 => Call::status(id, "preparing"),
        3 => Call::look_up(id),
        4 => Call::status(id, "ready"),
        _ => Call::status(id, "completed"),
    }
}

/// One whole life after the other.
struct Liver {
    connection: Connection,
    restaurants: Restaurants,
}

impl Client for Liver {
    async fn step(&mut self, n: u64) {
        let (restaurant, mut id) = (self.restaurants.first + n % self.restaurants.count, String::new());
        for step in 0..STEPS.len() {
            let body = self.connection.ok(call(step, restaurant, &id)).await;
            if step == 0 {
                id = order_id(&body);
            }
        }
    }
}

/// Orders in a closed loop: a step is a life.
pub async fn closed_loop(site: &Site, connections: usize, time: Duration, restaurants: Restaurants) -> Looped {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Liver { connection: Connection::to(site).await, restaurants });
    }
    closed_loop::run(clients, time).await
}

/// An order under way: what its later steps need.
struct Order {
    restaurant: u64,
    id: OnceLock<String>,
    done: watch::Sender<usize>,
}

struct Orders(Vec<Order>);

impl Work for Orders {
    /// The order, and its step.
    type Due = (usize, usize);

    /// The next request of an order, as soon as the one before is answered.
    async fn send(&self, connection: &mut Connection, (order, step): (usize, usize)) {
        let order = &self.0[order];
        order.done.subscribe().wait_for(|done| *done >= step).await.expect("the order holds the sender");
        let id = order.id.get().map_or("", String::as_str);
        let body = connection.ok(call(step, order.restaurant, id)).await;
        if step == 0 {
            order.id.set(order_id(&body)).expect("set once");
        }
        order.done.send_replace(step + 1);
    }
}

/// Orders in an open loop, so many a second, the steps of each within a second: how late each answer was, and how many
/// there should have been.
pub async fn open_loop(
    site: &Site,
    connections: usize,
    rate: f64,
    time: Duration,
    seed: u64,
    restaurants: Restaurants,
) -> (Vec<(Kind, Duration)>, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut schedule, mut orders) = (Vec::new(), Vec::new());
    for at in open_loop::arrivals(rate, time, &mut random) {
        let mut offsets: Vec<f64> = (1..STEPS.len()).map(|_| random.random_range(0.0..1.0)).collect();
        offsets.sort_by(f64::total_cmp);
        offsets.insert(0, 0.0);
        let steps = offsets.into_iter().enumerate();
        schedule.extend(steps.map(|(step, offset)| (at + Duration::from_secs_f64(offset), (orders.len(), step))));
        let restaurant = restaurants.first + random.random_range(0..restaurants.count);
        orders.push(Order { restaurant, id: OnceLock::new(), done: watch::Sender::new(0) });
    }
    schedule.sort_unstable();
    let asked = schedule.len();
    let found = open_loop::run(site, connections, schedule, Arc::new(Orders(orders))).await;
    (found.into_iter().map(|((_, step), late)| (STEPS[step], late)).collect(), asked)
}

struct Health;

impl Work for Health {
    type Due = ();

    async fn send(&self, connection: &mut Connection, (): ()) {
        connection.ok(Call::get("/healthz")).await;
    }
}

/// As [`open_loop`], of `/healthz` alone.
pub async fn health(site: &Site, connections: usize, rate: f64, time: Duration, seed: u64) -> (Vec<Duration>, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let schedule: Vec<_> = open_loop::arrivals(rate, time, &mut random).into_iter().map(|at| (at, ())).collect();
    let asked = schedule.len();
    let found = open_loop::run(site, connections, schedule, Arc::new(Health)).await;
    (found.into_iter().map(|((), late)| late).collect(), asked)
}
