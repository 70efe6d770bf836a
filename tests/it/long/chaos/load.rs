//! The tills: many clients that take orders, move them on, rewrite and end them, their own and those of others, put other
//! settings, and try again where they were not answered.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Timelike, Utc};
use nowserving::domain::{PartitionId, RestaurantId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::history::{Action, Call, History, Outcome, Seen};
use super::pools::PoolFacts;
use crate::support::Api;

/// How long one waits for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// A Retry-After is honoured up to this: the tills of a test have less time than those of a restaurant.
const LONGEST_WAIT: Duration = Duration::from_millis(400);

/// How often one tries before it gives up on an operation.
const ATTEMPTS: u32 = 60;

/// How many orders of a section all its tills have their hands on.
const SHARED: usize = 8;

/// The restaurants whose settings change while orders come and go.
const UNSETTLED: RangeInclusive<u32> = 9..=18;

/// Between them it is always another day somewhere.
const ZONES: [&str; 4] = ["Pacific/Pago_Pago", "UTC", "Asia/Kolkata", "Pacific/Kiritimati"];

/// Numbers that may be kept for tables, or taken out; one lies outside of all ranges.
const SPECIAL: [u32; 4] = [2, 3, 10_002, 20_001];

/// The restaurants, by id: tiny pools with short rests, where every number comes round again and again; middling ones;
/// and the usual ones. All policies in each. Every fourth has further ranges for some of its orders, every fifth resets
/// its rings with each business date, of which one ends with this minute. Rests of every second tiny one give way, and
/// every third avoids numbers that are mistaken for others.
pub fn pools() -> BTreeMap<u32, Value> {
    let pools = (1..=24_u32).map(|restaurant| {
        let policy = policy(restaurant);
        let mut settings = match restaurant {
            1..=12 => {
                json!({"max_number": 4 + restaurant, "cooldown_seconds": 1 + restaurant % 2, "policy": policy})
            }
            13..=18 => json!({"max_number": 200, "cooldown_seconds": 2, "policy": policy}),
            _ => json!({"max_number": 9999, "cooldown_seconds": 14400, "policy": policy}),
        };
        if restaurant % 4 == 0 {
            settings["ranges"] = ranges(restaurant, 10_001);
        }
        if restaurant % 5 == 0 {
            let (time_zone, starts_at) = ending_soon();
            settings["time_zone"] = json!(time_zone);
            settings["business_day"] = json!({"starts_at": starts_at, "reset": "daily", "first_number": 3});
        }
        if restaurant <= 12 && restaurant % 2 == 1 {
            settings["cooldown_min_seconds"] = json!(1);
        }
        if restaurant % 3 == 0 {
            settings["avoid"] = json!(["teen_ty", "swapped"]);
        }
        (restaurant, settings)
    });
    pools.collect()
}

/// A time zone, and a time of its morning at which the next minute begins.
fn ending_soon() -> (&'static str, String) {
    let next = Utc::now() + TimeDelta::minutes(1);
    let (zone, hour) = if next.hour() < 12 { ("UTC", next.hour()) } else { ("Etc/GMT+12", next.hour() - 12) };
    (zone, format!("{hour:02}:{:02}", next.minute()))
}

fn policy(turn: u32) -> &'static str {
    ["sequential", "lowest", "random"][(turn % 3) as usize]
}

/// A tiny one for apps, which overflows; one for what is taken away, which does not; and one right behind it.
fn ranges(turn: u32, first: u32) -> Value {
    let format = |letter: char| format!("{letter}{{n-{}:02}}", first - 1);
    json!([
        {"id": "app", "min_number": first, "max_number": first + 2, "policy": policy(turn + 1), "format": format('A'),
         "match": {"order_source": ["app", "web"]}, "overflow": true},
        {"id": "away", "min_number": first + 10, "max_number": first + 19, "policy": policy(turn), "format": format('W'),
         "match": {"order_type": ["takeaway"]}},
        {"id": "drive", "min_number": first + 20, "max_number": first + 29, "policy": policy(turn + 2),
         "match": {"order_type": ["drive_thru"], "order_source": ["pos"]}, "overflow": true},
    ])
}

/// What the checker has to know of them.
pub fn pool_facts() -> BTreeMap<u32, PoolFacts> {
    let facts = |settings: &Value| PoolFacts::of_settings(settings).expect("numbers");
    pools().iter().map(|(restaurant, settings)| (*restaurant, facts(settings))).collect()
}

/// The restaurants that tills look after, by turns. Where a part of the servers may be unreachable, each till looks after those
/// of one partition: those of others go on.
pub fn sections(partitions: Option<u16>) -> Vec<Vec<u32>> {
    let all: Vec<u32> = pools().into_keys().collect();
    let Some(partitions) = partitions else { return vec![all] };
    let of = |section| all.iter().copied().filter(move |restaurant| partition_of(*restaurant, partitions) == section);
    PartitionId::all(partitions).map(|section| of(section).collect()).collect()
}

/// The partition of a restaurant.
pub fn partition_of(restaurant: u32, partitions: u16) -> PartitionId {
    let restaurant = RestaurantId::new(i64::from(restaurant)).expect("a small number");
    restaurant.partition(partitions)
}

/// Tills at work.
pub struct Load {
    shared: Arc<Shared>,
    tills: Vec<JoinHandle<()>>,
}

struct Shared {
    apis: Vec<Api>,
    history: Arc<History>,
    stop: AtomicBool,
    sections: Vec<Section>,
}

/// Some restaurants, and the tills that look after them.
#[derive(Default)]
struct Section {
    restaurants: Vec<u32>,
    /// Orders that their till left to others.
    left: Mutex<Vec<(u32, Uuid)>>,
    /// The latest orders that several tills work on.
    shared: Mutex<VecDeque<(u32, Uuid)>>,
}

impl Load {
    /// Opens the tills.
    pub fn start(apis: Vec<Api>, history: &Arc<History>, seed: u64, tills: u64, sections: Vec<Vec<u32>>) -> Self {
        let sections = sections.into_iter().map(|restaurants| Section { restaurants, ..Section::default() });
        let shared = Arc::new(Shared {
            apis,
            history: Arc::clone(history),
            stop: AtomicBool::new(false),
            sections: sections.collect(),
        });
        let tills = (0..tills).map(|number| {
            let rng = StdRng::seed_from_u64(seed ^ (number << 32));
            let home = usize::try_from(number).expect("few");
            let section = home % shared.sections.len();
            let till = Till { shared: Arc::clone(&shared), rng, home, daemon: home, section };
            tokio::spawn(till.work())
        });
        Self { tills: tills.collect(), shared }
    }

    /// Closes them, each at the end of what it is doing.
    pub async fn end(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for till in self.tills {
            till.await.expect("a till does not panic");
        }
    }
}

struct Till {
    shared: Arc<Shared>,
    rng: StdRng,
    /// Where it begins with each guest, so that a daemon that comes back has work again.
    home: usize,
    /// The one it talks to; another after each failure.
    daemon: usize,
    section: usize,
}

/// What a till sends, as often as it takes.
struct Request {
    restaurant: u32,
    action: Action,
    method: &'static str,
    path: String,
    body: Option<Value>,
}

impl Till {
    async fn work(mut self) {
        while !self.stopped() {
            self.daemon = self.home;
            match self.rng.random_range(0..100) {
                0..10 => self.end_what_others_left().await,
                10..35 => self.help_out().await,
                35..37 => self.put_other_settings().await,
                37..40 => self.change_a_special_number().await,
                40 => self.set_the_date().await,
                _ => self.serve_a_guest().await,
            }
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn shared(&self) -> MutexGuard<'_, VecDeque<(u32, Uuid)>> {
        self.shared.sections[self.section].shared.lock().expect("no till panics")
    }

    fn left(&self) -> MutexGuard<'_, Vec<(u32, Uuid)>> {
        self.shared.sections[self.section].left.lock().expect("no till panics")
    }

    /// An order from its beginning to some end.
    async fn serve_a_guest(&mut self) {
        let restaurant = self.any_restaurant();
        let Some(created) = self.create(restaurant).await else {
            self.end_what_others_left().await;
            return;
        };
        let order = created.order;
        if self.rng.random_bool(0.5) {
            let mut shared = self.shared();
            shared.push_back((restaurant, order));
            if shared.len() > SHARED {
                shared.pop_front();
            }
        }
        for _ in 0..self.rng.random_range(0..3) {
            self.move_on(restaurant, order).await;
            if self.rng.random_bool(0.3) {
                self.call(restaurant, order).await;
            }
            if self.rng.random_bool(0.5) {
                self.read(restaurant, order).await;
            }
        }
        match self.rng.random_range(0..10) {
            0 if restaurant > 12 => self.left().push((restaurant, order)),
            0 | 1 => drop(self.change(restaurant, order, "cancelled").await),
            2 => drop(self.release(restaurant, order, true).await),
            3 => {
                self.release(restaurant, order, false).await;
                self.release(restaurant, order, true).await;
            }
            4 | 5 => {
                // The wrong one was bumped.
                self.release(restaurant, order, false).await;
                if self.take_back(restaurant, order).await.is_some() {
                    self.move_on(restaurant, order).await;
                    let immediate = self.rng.random_bool(0.2);
                    self.release(restaurant, order, immediate).await;
                }
            }
            _ => drop(self.release(restaurant, order, false).await),
        }
        if self.rng.random_bool(0.3) {
            self.read(restaurant, order).await;
        }
    }

    async fn end_what_others_left(&mut self) {
        let left = self.left().pop();
        if let Some((restaurant, order)) = left {
            self.read(restaurant, order).await;
            self.release(restaurant, order, false).await;
        }
    }

    /// Does something to an order that others work on, too.
    async fn help_out(&mut self) {
        let at = self.rng.random_range(0..SHARED);
        let Some((restaurant, order)) = self.shared().get(at).copied() else { return };
        match self.rng.random_range(0..10) {
            0..4 => {
                let seen = self.move_on(restaurant, order).await;
                self.leave_reopened(restaurant, seen);
            }
            4 => drop(self.edit(restaurant, order, None).await),
            5 => drop(self.call(restaurant, order).await),
            6..9 => {
                // Others may come in between.
                if let Some(seen) = self.read(restaurant, order).await {
                    self.edit(restaurant, order, Some(seen.version)).await;
                }
            }
            9 if self.rng.random_bool(0.5) => {
                let seen = self.take_back(restaurant, order).await;
                self.leave_reopened(restaurant, seen);
            }
            _ => {
                let immediate = self.rng.random_bool(0.3);
                self.release(restaurant, order, immediate).await;
            }
        }
    }

    /// Its till may be done with an order that another one has reopened: some till has to end it.
    fn leave_reopened(&self, restaurant: u32, seen: Option<Seen>) {
        if let Some(seen) = seen.filter(|seen| seen.is_live() && seen.reopened_ms.is_some()) {
            self.left().push((restaurant, seen.order));
        }
    }

    async fn move_on(&mut self, restaurant: u32, order: Uuid) -> Option<Seen> {
        let status = ["preparing", "ready", "served", "held"][self.rng.random_range(0..4)];
        self.change(restaurant, order, status).await
    }

    async fn edit(&mut self, restaurant: u32, order: Uuid, expected: Option<u32>) -> Option<Seen> {
        let operation = self.next_operation();
        let note = format!("note {operation}");
        let body = Some(json!({ "note": note }));
        let action = Action::Edit { order, note, expected };
        let request = Request { restaurant, action, method: "PATCH", path: format!("/v1/orders/{order}"), body };
        self.send(operation, request).await
    }

    /// Gives a restaurant settings that it never had.
    async fn put_other_settings(&mut self) {
        let restaurants = &self.shared.sections[self.section].restaurants;
        let unsettled: Vec<u32> = restaurants.iter().copied().filter(|one| UNSETTLED.contains(one)).collect();
        if unsettled.is_empty() {
            return;
        }
        let restaurant = unsettled[self.rng.random_range(0..unsettled.len())];
        let operation = self.next_operation();
        let largest = if restaurant <= 12 { 10..20 } else { 150..250 };
        let blocked: Vec<u32> = (0..self.rng.random_range(0..3)).map(|_| self.rng.random_range(4..10)).collect();
        let policy = policy(self.rng.random_range(0..3));
        let business_day = json!({
            "starts_at": self.any_of(&["00:00", "04:00", "12:00"]),
            "reset": self.any_of(&["none", "daily", "daily"]),
            "first_number": self.any_of(&[None, Some(4), Some(7)]),
        });
        let (least, avoid) = (self.any_of(&[None, Some(1), Some(2)]), self.any_of(&[&[][..], &["swapped"]]));
        let mut settings = json!({
            "min_number": self.rng.random_range(1..4),
            "max_number": self.rng.random_range(largest),
            "cooldown_seconds": self.rng.random_range(1..4),
            "policy": policy,
            "blocked_numbers": blocked,
            "format": format!("{operation}-{{n}}"),
            // Where it is another day already, the date turns.
            "time_zone": self.any_of(&ZONES),
            "business_day": business_day,
            "cooldown_min_seconds": least,
            "avoid": avoid,
        });
        if restaurant.is_multiple_of(4) && self.rng.random_bool(0.8) {
            // Their numbers move away from below live orders.
            settings["ranges"] = ranges(self.rng.random_range(0..3), self.rng.random_range(10_000..10_006));
        }
        let (action, body) = (Action::Configure { settings: settings.clone() }, Some(settings));
        let path = format!("/v1/restaurants/{restaurant}");
        self.send(operation, Request { restaurant, action, method: "PUT", path, body }).await;
    }

    fn any_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.random_range(0..all.len())]
    }

    fn any_restaurant(&mut self) -> u32 {
        let restaurants = &self.shared.sections[self.section].restaurants;
        restaurants[self.rng.random_range(0..restaurants.len())]
    }

    /// Keeps a number for a table, takes one out, or ends that. None of them is one that other settings block.
    async fn change_a_special_number(&mut self) {
        let restaurant = self.any_restaurant();
        let number = self.any_of(&SPECIAL);
        let begins = self.rng.random_bool(0.6);
        let (action, path, body) = if self.rng.random_bool(0.6) {
            let table = begins.then(|| self.any_table());
            let body = table.as_ref().map(|table| json!({ "table_number": table }));
            (Action::Reserve { number, table }, format!("reservations/{number}"), body)
        } else {
            let soon = (Utc::now() + TimeDelta::seconds(2)).to_rfc3339_opts(SecondsFormat::Millis, true);
            let until = (begins && self.rng.random_bool(0.3)).then_some(soon);
            let body = begins.then(|| json!({ "reason": "the tile is broken", "until": until }));
            (Action::Quarantine { number, out: begins, until }, format!("numbers/{number}/quarantine"), body)
        };
        let path = format!("/v1/restaurants/{restaurant}/{path}");
        let request = Request { restaurant, action, method: if begins { "PUT" } else { "DELETE" }, path, body };
        let operation = self.next_operation();
        self.send(operation, request).await;
    }

    /// To yesterday, today or tomorrow.
    async fn set_the_date(&mut self) {
        let restaurant = self.any_restaurant();
        let date = (Utc::now() + TimeDelta::days(self.rng.random_range(-1..=1))).date_naive().to_string();
        let body = Some(json!({ "date": date }));
        let path = format!("/v1/restaurants/{restaurant}/business-day");
        let request = Request { restaurant, action: Action::SetDate { date }, method: "PUT", path, body };
        let operation = self.next_operation();
        self.send(operation, request).await;
    }

    fn any_table(&mut self) -> String {
        format!("t{}", self.rng.random_range(1..5))
    }

    async fn create(&mut self, restaurant: u32) -> Option<Seen> {
        let operation = self.next_operation();
        let key = self.rng.random_bool(0.9).then(|| format!("key-{operation}"));
        let mut body = json!({"external_id": format!("op-{operation}"), "note": "n"});
        if let Some(source) = [None, Some("app"), Some("pos")][self.rng.random_range(0..3)] {
            body["order_source"] = json!(source);
        }
        if let Some(kind) = [None, Some("takeaway"), Some("drive_thru")][self.rng.random_range(0..3)] {
            body["order_type"] = json!(kind);
        }
        let table = self.rng.random_bool(0.3).then(|| self.any_table());
        if let Some(table) = &table {
            body["table_number"] = json!(table);
        }
        let wish = self.rng.random_bool(0.05).then(|| {
            let first = if restaurant.is_multiple_of(4) && self.rng.random_bool(0.5) { 10_001 } else { 1 };
            first + self.rng.random_range(0..16)
        });
        if let Some(wish) = wish {
            body["requested_number"] = json!(wish);
        }
        let body = Some(body);
        let path = format!("/v1/restaurants/{restaurant}/orders");
        let request = Request { restaurant, action: Action::Create { key, table, wish }, method: "POST", path, body };
        self.send(operation, request).await
    }

    async fn change(&mut self, restaurant: u32, order: Uuid, status: &str) -> Option<Seen> {
        let body = Some(json!({ "status": status }));
        let action = Action::Change { order, status: status.to_owned() };
        let request = Request { restaurant, action, method: "PATCH", path: format!("/v1/orders/{order}"), body };
        let operation = self.next_operation();
        self.send(operation, request).await
    }

    async fn release(&mut self, restaurant: u32, order: Uuid, immediate: bool) -> Option<Seen> {
        let body = Some(json!({ "immediate": immediate }));
        let action = Action::Release { order, immediate };
        let path = format!("/v1/orders/{order}/release");
        let operation = self.next_operation();
        self.send(operation, Request { restaurant, action, method: "POST", path, body }).await
    }

    /// By the call for it, or as a till does that knows no other way.
    async fn take_back(&mut self, restaurant: u32, order: Uuid) -> Option<Seen> {
        if self.rng.random_bool(0.5) {
            return self.change(restaurant, order, "preparing").await;
        }
        let path = format!("/v1/orders/{order}/reopen");
        let request = Request { restaurant, action: Action::Reopen { order }, method: "POST", path, body: None };
        let operation = self.next_operation();
        self.send(operation, request).await
    }

    async fn call(&mut self, restaurant: u32, order: Uuid) -> Option<Seen> {
        let body = self.rng.random_bool(0.5).then(|| json!({"place": "Counter 2"}));
        let path = format!("/v1/orders/{order}/calls");
        let request = Request { restaurant, action: Action::Call { order }, method: "POST", path, body };
        let operation = self.next_operation();
        self.send(operation, request).await
    }

    async fn read(&mut self, restaurant: u32, order: Uuid) -> Option<Seen> {
        let path = format!("/v1/orders/{order}");
        let request = Request { restaurant, action: Action::Read { order }, method: "GET", path, body: None };
        let operation = self.next_operation();
        self.send(operation, request).await
    }

    fn next_operation(&self) -> u64 {
        self.shared.history.next_operation()
    }

    /// Sends a request until it is answered for good, the till closes, or it has tried often enough.
    async fn send(&mut self, operation: u64, mut request: Request) -> Option<Seen> {
        let repeatable = !matches!(request.action, Action::Create { key: None, .. });
        for attempt in 0..ATTEMPTS {
            let outcome = self.attempt(operation, attempt, &request).await;
            self.pause(attempt, &outcome).await;
            match outcome {
                Outcome::Acknowledged(seen) => return Some(seen),
                Outcome::Configured | Outcome::Refused { .. } | Outcome::Broken { .. } => return None,
                Outcome::Unavailable { .. } | Outcome::Unknown { .. } => self.daemon += 1,
            }
            // Who repeats a change names no version: it may have been made.
            if let Action::Edit { expected, .. } = &mut request.action {
                *expected = None;
            }
            if !repeatable || self.stopped() {
                return None;
            }
        }
        None
    }

    async fn attempt(&self, operation: u64, attempt: u32, request: &Request) -> Outcome {
        let api = &self.shared.apis[self.daemon % self.shared.apis.len()];
        let id = format!("{operation}-{attempt}");
        let mut headers: Vec<(&str, &[u8])> = vec![("x-request-id", id.as_bytes())];
        if request.body.is_some() {
            headers.push(("content-type", b"application/json"));
        }
        if let Action::Create { key: Some(key), .. } = &request.action {
            headers.push(("idempotency-key", key.as_bytes()));
        }
        let if_match = match &request.action {
            Action::Edit { expected: Some(version), .. } => Some(format!("\"{version}\"")),
            _ => None,
        };
        headers.extend(if_match.iter().map(|tag| ("if-match", tag.as_bytes())));
        let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
        let invoked_us = self.shared.history.now_us();
        let outcome = match timeout(ANSWER, api.try_send(request.method, &request.path, &headers, body)).await {
            Ok(Ok(answer)) => Outcome::of(&request.action, &answer),
            Ok(Err(error)) => Outcome::Unknown { why: error.to_string() },
            Err(_) => Outcome::Unknown { why: "no answer in time".to_owned() },
        };
        let Request { restaurant, action, .. } = request;
        let (restaurant, action, ended_us) = (*restaurant, action.clone(), self.shared.history.now_us());
        let call = Call { operation, request: id, restaurant, action, invoked_us, ended_us, outcome: outcome.clone() };
        self.shared.history.add(call);
        outcome
    }

    /// People take their time; and who was sent away comes back later, each time later than the last.
    async fn pause(&mut self, attempt: u32, outcome: &Outcome) {
        let jitter = Duration::from_millis(self.rng.random_range(1..12));
        let wait = match outcome {
            Outcome::Acknowledged(_) | Outcome::Configured | Outcome::Broken { .. } => Duration::ZERO,
            Outcome::Refused { .. } => Duration::from_millis(20),
            Outcome::Unavailable { retry_after_s, .. } => Duration::from_secs(retry_after_s.unwrap_or(1)),
            Outcome::Unknown { .. } => Duration::from_millis(10 << attempt.min(6)),
        };
        sleep(wait.min(LONGEST_WAIT) + jitter).await;
    }
}
