//! The checker can fail: right histories pass, and each thing that can be wrong with one is found.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use uuid::Uuid;

use super::checker::{Check, Facts, Report, check};
use super::history::{Action, Call, Outcome, Seen, is_final};
use super::pools::PoolFacts;
use super::screens::{Shown, Tale, Watched};
use super::stores::{Cooling, Event, FreeRun, LedgerOrder, LiveOrder, Position, STATUSES, Slot, Stores, Verify};
use crate::support::heard::Heard;

const COOLDOWN_MS: i64 = 1000;
const PARTITION: i16 = 2;
const DATE: &str = "2026-11-30";

/// A small service that makes no mistakes, with the history that its callers would have.
struct Model {
    now_ms: i64,
    calls: Vec<Call>,
    stores: Stores,
    facts: Facts,
    /// Free again at.
    resting: BTreeMap<(u32, u32), i64>,
    /// When orders were called the last time.
    called: BTreeMap<Uuid, i64>,
    notes: BTreeMap<Uuid, String>,
}

impl Model {
    fn new() -> Self {
        let pool = PoolFacts::new(4, COOLDOWN_MS);
        let facts = Facts { pools: [(1, pool.clone()), (2, pool)].into(), ..Facts::default() };
        let (calls, resting, called, notes) = (Vec::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { now_ms: 1_000_000, calls, stores: Stores::default(), facts, resting, called, notes }
    }

    fn after(&mut self, ms: i64) -> &mut Self {
        self.now_ms += ms;
        self
    }

    /// The callers' clock: it began when the model did.
    fn us(&self) -> u64 {
        (self.now_ms - 1_000_000).cast_unsigned() * 1000
    }

    /// The id of the next call.
    fn request(&self) -> String {
        format!("call-{}", self.calls.len())
    }

    /// One that is not of a creation.
    fn another_operation(&self) -> u64 {
        1_000_000 + self.calls.len() as u64
    }

    fn call(&mut self, operation: u64, restaurant: u32, action: Action, outcome: Outcome) {
        let (request, invoked_us) = (self.request(), self.us());
        self.now_ms += 2;
        let ended_us = self.us();
        self.calls.push(Call { operation, request, restaurant, action, invoked_us, ended_us, outcome });
        self.now_ms += 1;
    }

    fn answer(&mut self, restaurant: u32, action: Action, order: &LedgerOrder) {
        let operation = match action {
            Action::Create { .. } => order.external_id.as_deref().and_then(|id| id.strip_prefix("op-")?.parse().ok()),
            _ => None,
        };
        let operation = operation.unwrap_or_else(|| self.another_operation());
        let seen = Seen {
            order: order.id,
            number: order.number,
            version: order.version,
            status: order.status.clone(),
            note: self.notes.get(&order.id).cloned(),
            replayed: false,
            updated_ms: self.now_ms,
            released_ms: order.released_ms,
            reopened_ms: order.reopened_ms,
            calls: order.calls,
            place: order.place.clone(),
            range: Some(order.range_id().to_owned()),
            reason: None,
        };
        self.call(operation, restaurant, action, Outcome::Acknowledged(seen));
    }

    fn log(&mut self, kind: &str, order: &LedgerOrder, detail: Option<serde_json::Value>) {
        self.stores.events.push(Event {
            partition: PARTITION,
            generation: 1,
            sequence: self.stores.events.len() as i64 + 1,
            at_ms: self.now_ms,
            kind: kind.to_owned(),
            restaurant: order.restaurant,
            order: Some(order.id),
            number: Some(order.number),
            status: Some(order.status.clone()),
            version: order.version,
            request: Some(self.request()),
            detail,
        });
    }

    /// The settings change, as far as they matter here.
    fn configure(&mut self, restaurant: u32, max_number: u32, cooldown_ms: i64) {
        let settings = json!({
            "min_number": 1, "max_number": max_number, "blocked_numbers": [], "cooldown_seconds": cooldown_ms / 1000,
        });
        self.stores.events.push(Event {
            partition: PARTITION,
            generation: 1,
            sequence: self.stores.events.len() as i64 + 1,
            at_ms: self.now_ms,
            kind: "configured".to_owned(),
            restaurant,
            order: None,
            number: None,
            status: None,
            version: 2,
            request: Some(self.request()),
            detail: Some(json!({ "after": settings })),
        });
        self.call(self.another_operation(), restaurant, Action::Configure { settings }, Outcome::Configured);
    }

    /// The order's place, where it has a free number to take.
    fn create(&mut self, restaurant: u32) -> Option<usize> {
        let taken = |number: &u32| {
            let held = |order: &LedgerOrder| {
                (order.restaurant, order.number) == (restaurant, *number) && !is_final(&order.status)
            };
            let rests = self.resting.get(&(restaurant, *number)).is_some_and(|until| *until > self.now_ms);
            rests || self.stores.orders.iter().any(held)
        };
        let number = (1..=4).find(|number| !taken(number))?;
        let at = self.stores.orders.len();
        let before = self.stores.orders.iter().filter(|order| order.restaurant == restaurant).count();
        let place = before as u32 + 1;
        let order = LedgerOrder {
            id: Uuid::from_u128(at as u128 + 1),
            restaurant,
            number,
            status: "pending".to_owned(),
            version: 1,
            external_id: Some(format!("op-{at}")),
            key: Some(format!("digest of {at}").into_bytes()),
            given_ms: Some(self.now_ms),
            released_ms: None,
            reopened_ms: None,
            calls: 0,
            place: Some((DATE.to_owned(), place)),
            range: None,
            choice: None,
            table: None,
        };
        self.notes.insert(order.id, "n".to_owned());
        self.log("created", &order, None);
        self.stores.orders.push(order.clone());
        self.answer(restaurant, Action::Create { key: Some(format!("key-{at}")), table: None, wish: None }, &order);
        Some(at)
    }

    fn change(&mut self, at: usize, status: &str) {
        let order = &mut self.stores.orders[at];
        if !is_final(&order.status) {
            order.version += 1;
            order.status = status.to_owned();
            let order = order.clone();
            self.log("changed", &order, None);
            self.answer(order.restaurant, Action::Change { order: order.id, status: status.to_owned() }, &order);
        }
    }

    fn edit(&mut self, at: usize) {
        let order = &mut self.stores.orders[at];
        if !is_final(&order.status) {
            let (note, expected) = (format!("note {}", self.calls.len()), Some(order.version));
            order.version += 1;
            let order = order.clone();
            self.log("changed", &order, None);
            self.notes.insert(order.id, note.clone());
            self.answer(order.restaurant, Action::Edit { order: order.id, note, expected }, &order);
        }
    }

    fn release(&mut self, at: usize, immediate: bool) {
        let now_ms = self.now_ms;
        let order = &mut self.stores.orders[at];
        if !is_final(&order.status) {
            order.version += 1;
            order.status = "completed".to_owned();
            order.released_ms = Some(now_ms);
            let order = order.clone();
            self.log("released", &order, immediate.then(|| json!({"immediate": true})));
            if !immediate {
                self.resting.insert((order.restaurant, order.number), self.now_ms + COOLDOWN_MS);
            }
            self.answer(order.restaurant, Action::Release { order: order.id, immediate }, &order);
        }
    }

    /// Where it was completed and its number rests.
    fn reopen(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let order = &mut self.stores.orders[at];
        let number = (order.restaurant, order.number);
        let rests = self.resting.get(&number).is_some_and(|until| *until > now_ms);
        // Of several orders that had it, the number rests for the last one.
        let is_last = order.released_ms.is_some_and(|at| self.resting.get(&number) == Some(&(at + COOLDOWN_MS)));
        if order.status == "completed" && rests && is_last {
            order.version += 1;
            order.status = "preparing".to_owned();
            (order.released_ms, order.reopened_ms) = (None, Some(now_ms));
            let order = order.clone();
            self.resting.remove(&number);
            self.log("reopened", &order, None);
            self.answer(order.restaurant, Action::Reopen { order: order.id }, &order);
        }
    }

    /// Where its guest waits for it, and was not told a moment ago.
    fn tell(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let order = &mut self.stores.orders[at];
        let is_callable = ["pending", "preparing", "ready"].contains(&order.status.as_str());
        let was = self.called.get(&order.id).copied();
        if is_callable && was.is_none_or(|was| now_ms - was >= 3000) {
            order.version += 1;
            order.calls += 1;
            order.status = "ready".to_owned();
            let order = order.clone();
            self.called.insert(order.id, now_ms);
            self.log("called", &order, None);
            self.answer(order.restaurant, Action::Call { order: order.id }, &order);
        }
    }

    fn read(&mut self, at: usize) {
        let order = self.stores.orders[at].clone();
        self.answer(order.restaurant, Action::Read { order: order.id }, &order);
    }

    /// Lays out what both stores hold now.
    fn finish(&mut self) {
        let stores = &mut self.stores;
        stores.now_ms = self.now_ms;
        let position = Position { generation: 1, sequence: stores.events.len() as i64 };
        stores.progress = [(PARTITION, position)].into();
        stores.heads = stores.progress.clone();
        stores.verify = Some(Verify { exit_code: Some(0), output: String::new() });
        for order in stores.orders.iter().filter(|order| !is_final(&order.status)) {
            let LedgerOrder { id, restaurant, number, version, .. } = *order;
            let status = STATUSES.iter().position(|status| *status == order.status).expect("a status") as u8;
            stores.live.push(LiveOrder { restaurant, id, number, status, version });
            stores.slots.push(Slot { restaurant, number, order: Some(id), until_ms: None });
        }
        for restaurant in [1, 2] {
            for number in 1..=4 {
                let held = stores.live.iter().any(|order| (order.restaurant, order.number) == (restaurant, number));
                let until_ms = self.resting.get(&(restaurant, number)).copied().filter(|until| *until > self.now_ms);
                match until_ms {
                    _ if held => {}
                    Some(until_ms) => {
                        stores.cooling.push(Cooling { restaurant, number, until_ms });
                        let order = Uuid::from_u128(1);
                        stores.slots.push(Slot { restaurant, number, order: Some(order), until_ms: Some(until_ms) });
                    }
                    None => stores.free.push(FreeRun { restaurant, first: number, last: number }),
                }
            }
        }
    }

    fn check(&self) -> Report {
        check(&self.calls, &self.stores, &self.facts)
    }

    /// It finds this kind of fault.
    #[track_caller]
    fn finds(&self, expected: Check) -> Report {
        let report = self.check();
        assert!(report.violates(expected), "{expected:?} is not found:\n{report}");
        report
    }
}

/// An order that was ended, one that went through some changes, and one in the other restaurant.
fn ordinary() -> Model {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    let second = model.create(1).expect("free");
    model.change(second, "ready");
    model.release(first, false);
    model.edit(second);
    model.read(second);
    model.create(2);
    model.finish();
    assert!(model.check().violations.is_empty(), "{}", model.check());
    model
}

fn seen(call: &mut Call) -> &mut Seen {
    match &mut call.outcome {
        Outcome::Acknowledged(seen) => seen,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_ordinary_history_is_right() {
    ordinary();
}

#[test]
fn a_number_that_comes_round_is_right() {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, false);
    assert_ne!(model.create(1), None);
    assert_eq!(model.stores.orders[1].number, 2, "the first one rests");
    model.after(COOLDOWN_MS).create(1);
    assert_eq!(model.stores.orders[2].number, 1);
    model.release(2, true);
    model.create(1);
    assert_eq!(model.stores.orders[3].number, 1, "its rest was skipped");
    model.finish();
    assert!(model.check().violations.is_empty(), "{}", model.check());
}

/// An order that was completed by mistake, taken back and completed again, and the next one of its number.
fn taken_back() -> Model {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, false);
    model.after(10).reopen(first);
    model.read(first);
    model.release(first, false);
    model.after(COOLDOWN_MS + 10).create(1);
    assert_eq!(model.stores.orders[1].number, 1);
    model
}

fn position(model: &Model, wanted: fn(&Action) -> bool) -> usize {
    model.calls.iter().position(|call| wanted(&call.action)).expect("there is one")
}

#[test]
fn an_order_that_is_taken_back_is_right() {
    let mut model = taken_back();
    model.finish();
    assert!(model.check().violations.is_empty(), "{}", model.check());
    // A change that asks for it in another way, and a refusal.
    let reopen = position(&model, |action| matches!(action, Action::Reopen { .. }));
    let order = model.stores.orders[0].id;
    model.calls[reopen].action = Action::Change { order, status: "preparing".to_owned() };
    let moved_on = Outcome::Refused { status: 409, code: "number_moved_on".to_owned() };
    model.call(1_000, 1, Action::Reopen { order }, moved_on.clone());
    model.call(1_001, 1, Action::Change { order, status: "preparing".to_owned() }, moved_on.clone());
    assert!(model.check().violations.is_empty(), "{}", model.check());
    model.call(1_002, 1, Action::Change { order, status: "ready".to_owned() }, moved_on);
    model.finds(Check::Answer);
}

#[test]
fn a_reopening_that_is_undone() {
    // The earlier end won.
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, false);
    model.reopen(first);
    model.stores.orders[first].status = "completed".to_owned();
    model.stores.orders[first].released_ms = Some(model.now_ms);
    model.stores.orders[first].reopened_ms = None;
    model.stores.orders[first].version += 1;
    let order = model.stores.orders[first].clone();
    model.log("restated", &order, None);
    model.finish();
    model.finds(Check::Lost);
}

#[test]
fn a_call_that_is_forgotten_or_made_twice() {
    let told = || {
        let mut model = Model::new();
        let first = model.create(1).expect("free");
        model.tell(first);
        model.tell(first);
        assert_eq!(model.stores.orders[first].calls, 1, "the two are one");
        model.after(3_000);
        model.tell(first);
        model.finish();
        (model, first)
    };
    assert!(told().0.check().violations.is_empty());
    let (mut model, first) = told();
    model.stores.orders[first].calls = 1;
    model.finds(Check::Lost);
    let (mut model, _) = told();
    let called = model.stores.events.iter().position(|event| event.kind == "called").expect("one");
    model.stores.events[called].at_ms += 2_000;
    model.finds(Check::CalledTwice);
}

#[test]
fn an_order_that_is_reopened_though_its_number_does_not_rest_for_it() {
    // Its rest was over.
    let mut model = taken_back();
    model.finish();
    let reopened = model.stores.events.iter().position(|event| event.kind == "reopened").expect("one");
    for event in &mut model.stores.events[reopened..] {
        event.at_ms += COOLDOWN_MS;
    }
    model.finds(Check::Reopened);
    // There was none.
    let mut model = taken_back();
    model.finish();
    model.stores.events[reopened - 1].detail = Some(json!({"immediate": true}));
    model.finds(Check::Reopened);
    // It had not ended.
    let mut model = taken_back();
    model.finish();
    let mut again = model.stores.events[reopened].clone();
    again.sequence = model.stores.events.len() as i64 + 1;
    model.stores.events.push(again);
    model.finds(Check::Reopened);
}

#[test]
fn a_number_that_is_given_on_while_its_order_is_open_again() {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, false);
    model.after(10).reopen(first);
    model.after(COOLDOWN_MS);
    let id = model.stores.orders[first].id;
    // The tills know that it is open, and another one is told the same number.
    model.create(1);
    seen(model.calls.last_mut().expect("one")).number = 1;
    model.finish();
    let report = model.finds(Check::Overlap);
    assert!(report.violations.iter().any(|(_, what)| what.contains(&id.to_string())), "{report}");
}

#[test]
fn two_lives_that_overlap() {
    let mut model = ordinary();
    // The tills of both orders were told the same number, whatever the stores say now.
    let number = seen(&mut model.calls[0]).number;
    seen(&mut model.calls[1]).number = number;
    model.finds(Check::Overlap);
}

#[test]
fn two_lives_that_overlap_in_the_log_only() {
    let mut model = ordinary();
    model.stores.events[1].number = Some(1);
    model.finds(Check::Overlap);
}

/// Two orders were given one number, and the later one another afterwards.
fn renumbered() -> Model {
    let mut model = Model::new();
    model.create(1);
    let second = model.create(1).expect("free");
    seen(&mut model.calls[1]).number = 1;
    model.stores.events[1].number = Some(1);
    model.stores.orders[second].version = 2;
    let order = model.stores.orders[second].clone();
    model.log("renumbered", &order, Some(json!({"previous_number": 1})));
    model.finish();
    model
}

#[test]
fn a_renumbered_order_is_counted_where_losses_are_allowed() {
    let mut model = renumbered();
    model.finds(Check::Overlap);
    model.facts.allowance.spans_us.push(0..=1);
    let report = model.check();
    assert!(report.violations.is_empty() && report.renumbered.len() == 2, "{report}");
}

#[test]
fn an_end_that_was_asked_for_may_have_come() {
    let mut model = Model::new();
    model.create(1);
    let order = model.stores.orders[0].clone();
    // No answer came; the number was given on, and the order is over.
    let release = Action::Release { order: order.id, immediate: true };
    model.call(7, 1, release, Outcome::Unknown { why: "cut".to_owned() });
    model.stores.orders[0].status = "completed".to_owned();
    model.stores.orders[0].version = 2;
    model.stores.orders[0].released_ms = Some(model.now_ms);
    let order = model.stores.orders[0].clone();
    model.log("released", &order, Some(json!({"immediate": true})));
    model.stores.events[1].request = Some(model.calls[1].request.clone());
    model.create(1);
    assert_eq!(model.stores.orders[1].number, 1);
    model.finish();
    assert!(model.check().violations.is_empty(), "{}", model.check());
    // Had it been refused, the first one would live.
    model.calls[1].outcome = Outcome::Refused { status: 409, code: "number_moved_on".to_owned() };
    model.finds(Check::Overlap);
}

#[test]
fn a_number_given_while_it_rested() {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, false);
    model.resting.clear();
    model.create(1);
    model.finish();
    let report = model.finds(Check::GivenWhileCooling);
    assert_eq!(report.violations.len(), 3, "by the callers, by their clock, and by the log:\n{report}");
    // Where the clock of Redis was set, stamps tell nothing, and the tills' clock does for all but the time in between.
    model.facts.allowance.jumps_us.push(0..=0);
    let report = model.finds(Check::GivenWhileCooling);
    assert_eq!(report.violations.len(), 1, "by the clock of the callers:\n{report}");
    model.facts.allowance.jumps_us.push(model.calls[1].ended_us..=model.calls[1].ended_us);
    assert!(model.check().violations.is_empty(), "{}", model.check());
}

/// An order may have been made under settings that were lost, and be known from a daemon only.
#[test]
fn a_rest_by_settings_that_were_lost() {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, false);
    model.resting.clear();
    model.create(1);
    model.configure(1, 4, 0);
    model.stores.events.pop();
    model.finish();
    let lost_us = model.calls.last().expect("the settings").ended_us;
    model.facts.allowance.settings_us.push(lost_us..=lost_us);
    let report = model.finds(Check::GivenWhileCooling);
    assert_eq!(report.violations.len(), 1, "by the log only, which knows what the order was made under:\n{report}");
}

#[test]
fn settings_that_change() {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.configure(1, 4, 3 * COOLDOWN_MS);
    model.configure(1, 4, 3 * COOLDOWN_MS);
    model.stores.events[2].request = Some("another".to_owned());
    model.finish();
    model.finds(Check::NotOnce);
    model.facts.allowance.settings_us.push(model.calls[2].ended_us..=model.calls[2].ended_us);
    assert!(model.check().violations.is_empty(), "{}", model.check());

    // A number rests as long as the settings said when it was given.
    let mut model = Model::new();
    model.configure(1, 4, 3 * COOLDOWN_MS);
    model.create(1);
    model.configure(1, 4, COOLDOWN_MS);
    model.release(first, false);
    model.after(2 * COOLDOWN_MS).create(1);
    model.finish();
    model.finds(Check::GivenWhileCooling);

    // And those of the range only are given.
    let mut model = Model::new();
    model.configure(2, 1, COOLDOWN_MS);
    model.create(2);
    model.create(2);
    model.finish();
    model.finds(Check::NumberState);
}

#[test]
fn a_call_that_was_made_twice_or_not_at_all() {
    // By another call than the one that was answered.
    let mut model = ordinary();
    let edit = model.calls.iter().position(|call| matches!(call.action, Action::Edit { .. })).expect("one");
    let request = model.calls[edit].request.clone();
    model.stores.events[2].request = Some(request);
    model.finds(Check::NotOnce);
    let mut model = ordinary();
    model.stores.events[4].request = None;
    model.finds(Check::NotOnce);
    // Refused, and made all the same.
    let mut model = ordinary();
    model.calls[edit].outcome = Outcome::Refused { status: 412, code: "version_mismatch".to_owned() };
    model.finds(Check::NotOnce);
    // Made at another version than the one that it was to replace.
    let mut model = ordinary();
    let Action::Edit { expected, .. } = &mut model.calls[edit].action else { panic!("it is an edit") };
    *expected = Some(1);
    model.finds(Check::NotOnce);
    // An answer to a repeat may show a later version.
    let mut model = ordinary();
    let id = model.stores.orders[1].id;
    let at = model.calls.iter().position(|call| matches!(&call.action, Action::Change { order, .. } if *order == id));
    let change = &mut model.calls[at.expect("one")];
    (seen(change).version, seen(change).note) = (3, Some("note 4".to_owned()));
    change.ended_us += 1_000_000;
    model.finds(Check::NotOnce);
    seen(&mut model.calls[at.expect("one")]).replayed = true;
    assert!(model.check().violations.is_empty(), "{}", model.check());
}

#[test]
fn an_answer_that_shows_what_never_was() {
    let mut model = ordinary();
    let read = model.calls.iter().position(|call| matches!(call.action, Action::Read { .. })).expect("one");
    seen(&mut model.calls[read]).note = Some("n".to_owned());
    model.finds(Check::Impossible);
    seen(&mut model.calls[read]).note = None;
    model.finds(Check::Impossible);
    // A change at a version that was known before it was asked for.
    let mut model = ordinary();
    let edit = model.calls.iter().position(|call| matches!(call.action, Action::Edit { .. })).expect("one");
    let mut early = model.calls[read].clone();
    (early.invoked_us, early.ended_us) = (model.calls[edit].invoked_us - 2, model.calls[edit].invoked_us - 1);
    model.calls.push(early);
    model.finds(Check::Impossible);
}

#[test]
fn stamps_that_go_back() {
    let mut model = ordinary();
    model.stores.events[2].at_ms -= 1000;
    model.finds(Check::StampsGoBack);
    model.stores.events[2].kind = "restated".to_owned();
    assert!(!model.check().violates(Check::StampsGoBack));
}

#[test]
fn lives_that_overlap_by_what_is_stored_only() {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, true);
    let second = model.create(1).expect("free");
    assert_eq!(model.stores.orders[second].number, model.stores.orders[first].number);
    model.finish();
    assert!(model.check().violations.is_empty(), "{}", model.check());
    model.stores.orders[second].given_ms = model.stores.orders[first].released_ms.map(|at| at - 1);
    model.finds(Check::Overlap);
}

#[test]
fn orders_that_expired_or_did_not() {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.change(first, "expired");
    model.stores.events[0].kind = "imported".to_owned();
    model.facts.forgotten = 1;
    model.stores.orders[first].released_ms = Some(model.now_ms);
    model.resting.insert((1, 1), model.now_ms + COOLDOWN_MS);
    model.finish();
    assert!(!model.check().violates(Check::Expired), "{}", model.check());
    model.stores.orders[first].status = "completed".to_owned();
    model.finds(Check::Expired);
    let mut model = ordinary();
    model.stores.orders[0].status = "expired".to_owned();
    model.finds(Check::Expired);
    let mut model = ordinary();
    model.facts.forgotten = 1;
    model.finds(Check::Lost);
}

#[test]
fn an_order_that_is_gone() {
    let mut model = ordinary();
    model.stores.orders.remove(0);
    model.finds(Check::Lost);
}

#[test]
fn a_change_that_is_gone() {
    let mut model = ordinary();
    model.stores.orders[1].version = 1;
    model.stores.orders[1].status = "pending".to_owned();
    model.finds(Check::Lost);
}

#[test]
fn a_release_that_is_undone() {
    let mut model = ordinary();
    model.stores.orders[0].status = "ready".to_owned();
    model.stores.orders[0].version = 3;
    model.finds(Check::Lost);
}

#[test]
fn another_number_than_was_told() {
    let mut model = ordinary();
    model.stores.orders[2].number = 3;
    model.finds(Check::Lost);
}

#[test]
fn a_change_that_became_another() {
    let mut model = ordinary();
    model.stores.events[2].status = Some("held".to_owned());
    model.finds(Check::Lost);
}

/// A daemon that had not heard of a change gave the order another number, and the version of the change with it.
#[test]
fn a_change_whose_version_was_given_again_is_said_again_later() {
    let mut model = Model::new();
    let at = model.create(1).expect("free");
    model.change(at, "ready");
    let renumbered = model.stores.events.last_mut().expect("the change");
    renumbered.kind = "renumbered".to_owned();
    renumbered.status = Some("pending".to_owned());
    renumbered.request = None;
    model.stores.orders[at].version = 3;
    let order = model.stores.orders[at].clone();
    model.log("restated", &order, None);
    model.finish();
    let violates = |model: &Model| [Check::Lost, Check::Impossible].map(|check| model.check().violates(check));
    assert_eq!(violates(&model), [false, false], "{}", model.check());
    model.stores.events.last_mut().expect("what was said again").status = Some("preparing".to_owned());
    assert_eq!(violates(&model), [true, true], "another change was");
}

#[test]
fn losses_are_allowed_within_the_allowance_only() {
    let mut model = Model::new();
    model.create(1);
    model.finish();
    model.stores.orders.clear();
    model.stores.events.clear();
    model.stores.live.clear();
    model.stores.slots.clear();
    model.stores.free.push(FreeRun { restaurant: 1, first: 1, last: 1 });
    model.stores.progress.clear();
    model.stores.heads.clear();
    model.finds(Check::Lost);
    // Who asks for it afterwards is told that it is not there.
    let order = seen(&mut model.calls[0]).order;
    model.call(7, 1, Action::Read { order }, Outcome::Refused { status: 404, code: "order_not_found".to_owned() });
    model.finds(Check::StaleRead);
    let ended_us = model.calls[0].ended_us;
    model.facts.allowance.spans_us.push(ended_us..=ended_us + 1);
    let report = model.check();
    assert!(report.violations.is_empty() && report.allowed_losses.len() == 1, "{report}");
    model.facts.allowance.spans_us[0] = ended_us + 1..=ended_us + 2;
    model.finds(Check::Lost);
}

#[test]
fn a_number_given_on_after_an_allowed_loss() {
    let mut model = Model::new();
    model.create(1);
    model.calls[0].operation = 99;
    let lost = model.calls[0].clone();
    let mut model = Model::new();
    model.calls.push(lost.clone());
    seen(&mut model.calls[0]).order = Uuid::from_u128(99);
    model.after(10).create(1);
    model.finish();
    model.finds(Check::Overlap);
    model.facts.allowance.spans_us.push(lost.ended_us..=lost.ended_us);
    let report = model.check();
    assert!(report.violations.is_empty() && report.allowed_losses.len() == 2, "{report}");
}

#[test]
fn two_masters_may_give_one_number_but_forget_nothing() {
    let two_masters = |model: &mut Model| {
        let ended_us = model.calls[0].ended_us;
        model.facts.allowance.two_masters_us.push(ended_us..=ended_us);
    };
    // The first one lives on as far as its till knows, and ended as the other master has it.
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    model.release(first, true);
    model.create(1);
    model.calls.remove(1);
    model.finish();
    model.finds(Check::Overlap);
    two_masters(&mut model);
    assert!(model.check().violations.is_empty(), "{}", model.check());
    // What is gone is gone.
    let id = model.stores.orders[first].id;
    model.stores.orders.remove(first);
    model.stores.events.retain(|event| event.order != Some(id));
    model.finds(Check::Lost);
}

#[test]
fn a_key_that_made_two_orders() {
    let mut model = ordinary();
    model.calls[1].operation = model.calls[0].operation;
    model.finds(Check::KeyTwice);
    let mut model = ordinary();
    model.stores.orders[1].key = model.stores.orders[0].key.clone();
    model.finds(Check::KeyTwice);
    let mut model = ordinary();
    model.stores.orders[1].external_id = model.stores.orders[0].external_id.clone();
    model.finds(Check::KeyTwice);
}

#[test]
fn an_order_that_no_client_asked_for() {
    let mut model = ordinary();
    model.stores.orders[2].external_id = Some("op-77".to_owned());
    model.finds(Check::Phantom);
}

#[test]
fn a_reader_that_is_told_less() {
    let mut model = ordinary();
    let read = model.calls.iter().position(|call| matches!(call.action, Action::Read { .. })).expect("one");
    seen(&mut model.calls[read]).version = 1;
    seen(&mut model.calls[read]).status = "pending".to_owned();
    model.finds(Check::StaleRead);
    model.calls[read].outcome = Outcome::Refused { status: 404, code: "order_not_found".to_owned() };
    model.finds(Check::StaleRead);
}

#[test]
fn stores_that_say_different_things() {
    let changes: [fn(&mut Stores); 7] = [
        |stores| stores.live[0].version += 1,
        |stores| stores.live[0].status = 3,
        |stores| stores.live.truncate(1),
        |stores| stores.slots[0].order = Some(Uuid::from_u128(99)),
        |stores| stores.slots.truncate(1),
        |stores| stores.cooling.clear(),
        |stores| stores.heads.clear(),
    ];
    for change in changes {
        let mut model = ordinary();
        change(&mut model.stores);
        model.finds(Check::StoresDiffer);
    }
}

#[test]
fn numbers_in_no_state_or_in_two() {
    let mut model = ordinary();
    model.stores.free.pop();
    model.finds(Check::NumberState);
    let mut model = ordinary();
    model.stores.free.push(FreeRun { restaurant: 1, first: 2, last: 2 });
    model.finds(Check::NumberState);
    let mut model = ordinary();
    model.stores.free.push(FreeRun { restaurant: 1, first: 5, last: 5 });
    model.finds(Check::NumberState);
}

#[test]
fn events_that_are_missing_or_there_twice() {
    let changes: [fn(&mut Stores); 4] = [
        |stores| drop(stores.events.remove(2)),
        |stores| drop(stores.events.remove(0)),
        |stores| stores.events[2].sequence = 2,
        |stores| drop(stores.events.pop()),
    ];
    for change in changes {
        let mut model = ordinary();
        change(&mut model.stores);
        model.finds(Check::Sequence);
    }
}

#[test]
fn generations_count_for_themselves() {
    let mut model = ordinary();
    for event in &mut model.stores.events[3..] {
        event.generation = 2;
        event.sequence += 40;
    }
    let position = Position { generation: 2, sequence: 46 };
    model.stores.progress = [(PARTITION, position)].into();
    model.stores.heads = model.stores.progress.clone();
    assert!(model.check().violations.is_empty(), "{}", model.check());
}

#[test]
fn versions_that_are_missing_or_there_twice() {
    let mut model = ordinary();
    model.stores.events[2].version = 1;
    model.finds(Check::Version);
    model.stores.events[2].version = 3;
    model.finds(Check::Version);
    // A restatement may repeat a version, and stands for those before it.
    let mut model = ordinary();
    let mut again = model.stores.events[2].clone();
    again.kind = "restated".to_owned();
    again.sequence = model.stores.events.len() as i64 + 1;
    model.stores.events.push(again);
    model.stores.progress.values_mut().for_each(|position| position.sequence += 1);
    model.stores.heads = model.stores.progress.clone();
    assert!(model.check().violations.is_empty(), "{}", model.check());
}

#[test]
fn dead_letters_and_findings() {
    let mut model = ordinary();
    model.stores.dead_letters = 1;
    model.finds(Check::DeadLetter);
    let mut model = ordinary();
    model.stores.verify = Some(Verify { exit_code: Some(2), output: "a finding".to_owned() });
    model.finds(Check::Verify);
}

#[test]
fn answers_that_make_no_sense() {
    let mut model = ordinary();
    let outcome = Outcome::Unavailable { code: "unavailable".to_owned(), retry_after_s: None };
    model.call(50, 1, Action::Create { key: None, table: None, wish: None }, outcome);
    model.finds(Check::RetryAfter);
    for outcome in [
        Outcome::Broken { status: 500, text: String::new() },
        Outcome::Refused { status: 422, code: "idempotency_conflict".to_owned() },
    ] {
        let mut model = ordinary();
        model.call(50, 1, Action::Create { key: None, table: None, wish: None }, outcome);
        model.finds(Check::Answer);
    }
}

/// The settings of restaurant 1, as the log has them, with what is special.
fn put_special(model: &mut Model, more: serde_json::Value) {
    let mut settings = json!({"min_number": 1, "max_number": 4, "blocked_numbers": [], "cooldown_seconds": 1});
    settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    model.configure(1, 4, COOLDOWN_MS);
    model.stores.events.last_mut().expect("one").detail = Some(json!({ "after": settings }));
}

/// As [`put_special`], by a call of its own.
fn acknowledge(model: &mut Model, action: Action, more: serde_json::Value) {
    put_special(model, more);
    model.calls.last_mut().expect("one").action = action;
}

/// The latest order is for this table, and was told so by its caller.
fn for_table(model: &mut Model, table: &str, choice: Option<&str>) {
    let order = model.stores.orders.last_mut().expect("one");
    (order.table, order.choice) = (Some(table.to_owned()), choice.map(str::to_owned));
    let Some(Call { action: Action::Create { table: told, .. }, .. }) = model.calls.last_mut() else { panic!("one") };
    *told = Some(table.to_owned());
}

fn kept(number: u32, table: &str) -> serde_json::Value {
    json!({"special": {"reservations": {number.to_string(): table}}})
}

#[test]
fn a_number_of_a_table_that_another_one_gets() {
    let reserve = Action::Reserve { number: 1, table: Some("t1".to_owned()) };
    let model = || {
        let mut model = Model::new();
        acknowledge(&mut model, reserve.clone(), kept(1, "t1"));
        model.create(1);
        model
    };
    let mut right = model();
    for_table(&mut right, "t1", Some("reserved"));
    right.finish();
    assert!(right.check().violations.is_empty(), "{}", right.check());
    // By the log and by what was acknowledged; by either of them alone.
    for (choice, table) in [(None, None), (None, Some("t2")), (Some("reserved"), Some("t2")), (None, Some("t1"))] {
        let mut wrong = model();
        if let Some(table) = table {
            for_table(&mut wrong, table, choice);
        }
        wrong.finish();
        wrong.finds(Check::OfAnotherTable);
    }
    let mut wrong = model();
    wrong.finish();
    wrong.stores.events[0].detail = None;
    wrong.finds(Check::OfAnotherTable);
    let mut wrong = model();
    wrong.finish();
    wrong.calls.remove(0);
    wrong.finds(Check::OfAnotherTable);
    // Where it was given up meanwhile, as far as is known, anybody may have got it.
    let mut right = model();
    right.finish();
    let mut given_up = right.calls[0].clone();
    given_up.action = Action::Reserve { number: 1, table: None };
    given_up.outcome = Outcome::Unknown { why: "cut".to_owned() };
    right.calls.insert(1, given_up);
    right.stores.events[0].detail = None;
    right.stores.events[0].request = None;
    assert!(right.check().violations.is_empty(), "{}", right.check());
    // It rests for the same table only in name: the order before was called off.
    for (status, is_right) in [("completed", true), ("cancelled", false)] {
        let mut model = model();
        for_table(&mut model, "t1", Some("reserved"));
        model.release(0, false);
        model.resting.clear();
        model.create(1);
        for_table(&mut model, "t1", Some("reserved"));
        model.finish();
        model.stores.orders[0].status = status.to_owned();
        assert_eq!(model.check().violates(Check::GivenWhileCooling), !is_right, "{}", model.check());
    }
}

#[test]
fn a_number_that_is_given_while_it_is_out() {
    let out = json!({"special": {"quarantine": {"1": {"reason": "r", "until": null}}}});
    let take_out = Action::Quarantine { number: 1, out: true, until: None };
    let mut model = Model::new();
    acknowledge(&mut model, take_out.clone(), out.clone());
    model.create(1);
    model.finish();
    let report = model.finds(Check::GivenWhileOut);
    assert_eq!(report.violations.len(), 2, "by the log, and by what was acknowledged:\n{report}");
    // By the log it is over, or by its time.
    for until in ["1970-01-01T00:16:39Z", "1970-01-01T00:16:45Z"] {
        let mut model = Model::new();
        put_special(&mut model, json!({"special": {"quarantine": {"1": {"reason": "r", "until": until}}}}));
        model.create(1);
        model.finish();
        assert_eq!(model.check().violates(Check::GivenWhileOut), until.ends_with("45Z"), "{}", model.check());
    }
}

#[test]
fn what_was_acknowledged_of_special_numbers_and_is_gone() {
    let out = json!({"special": {"quarantine": {"2": {"reason": "r", "until": null}}}});
    let take_out = Action::Quarantine { number: 2, out: true, until: None };
    let reserve = Action::Reserve { number: 2, table: Some("t1".to_owned()) };
    for (action, more) in [(take_out, out), (reserve, kept(2, "t1"))] {
        let mut model = Model::new();
        acknowledge(&mut model, action, more);
        put_special(&mut model, json!({}));
        model.finish();
        model.finds(Check::Lost);
        // Settings may be lost then.
        model.facts.allowance.settings_us.push(0..=model.calls[0].ended_us);
        assert!(!model.check().violates(Check::Lost), "{}", model.check());
    }
}

#[test]
fn a_wish_that_is_answered_with_another_number() {
    for (wished, is_right) in [(1, true), (2, false)] {
        let mut model = ordinary();
        let Action::Create { wish, .. } = &mut model.calls[0].action else { panic!("it is a creation") };
        *wish = Some(wished);
        assert_eq!(model.check().violates(Check::Wish), !is_right, "{}", model.check());
    }
    let refused = |status, code: &str, wish| {
        let mut model = ordinary();
        let outcome = Outcome::Refused { status, code: code.to_owned() };
        model.call(50, 1, Action::Create { key: None, table: None, wish }, outcome);
        model.check()
    };
    assert!(refused(409, "number_taken", Some(1)).violations.is_empty());
    assert!(refused(422, "number_taken", Some(1)).violates(Check::Wish));
    assert!(refused(409, "pool_exhausted", Some(1)).violates(Check::Answer));
    assert!(refused(409, "number_taken", None).violates(Check::Answer));
}

#[test]
fn a_number_of_another_range_than_is_told() {
    let ranges = json!({"ranges": [{"id": "app", "min_number": 11, "max_number": 12}]});
    let mut model = Model::new();
    put_special(&mut model, ranges);
    model.create(1);
    model.finish();
    model.stores.free.push(FreeRun { restaurant: 1, first: 11, last: 12 });
    assert!(model.check().violations.is_empty(), "{}", model.check());
    model.stores.orders[0].range = Some("app".to_owned());
    model.finds(Check::Range);
    // And the caller was told another one than is stored.
    model.finds(Check::Place);
}

#[test]
fn places_that_are_there_twice_or_left_out() {
    let mut model = ordinary();
    model.stores.orders[1].place = model.stores.orders[0].place.clone();
    model.finds(Check::Place);
    let mut model = ordinary();
    model.stores.orders[1].place = Some((DATE.to_owned(), 3));
    for call in &mut model.calls {
        let Outcome::Acknowledged(seen) = &mut call.outcome else { continue };
        if seen.order == model.stores.orders[1].id {
            seen.place = model.stores.orders[1].place.clone();
        }
    }
    let report = model.finds(Check::Place);
    assert_eq!(report.violations.len(), 1, "{report}");
    // Where Redis was filled from the ledger, the order that had the place may be one that was lost.
    let last = model.stores.events.len() as i64;
    let position = Position { generation: 2, sequence: last };
    model.stores.events.last_mut().expect("one").restaurant = 1;
    model.stores.events.last_mut().expect("one").generation = 2;
    model.stores.progress = [(PARTITION, position)].into();
    model.stores.heads = model.stores.progress.clone();
    assert!(!model.check().violates(Check::Place), "{}", model.check());
    // Another place than was told.
    let mut model = ordinary();
    seen(&mut model.calls[0]).place = Some((DATE.to_owned(), 7));
    model.finds(Check::Place);
}

#[test]
fn a_date_that_goes_back() {
    let model = |set: bool| {
        let mut model = ordinary();
        for (at, place) in [(0, 1), (1, 1)] {
            let date = ["2026-12-01", DATE][at];
            model.stores.orders[at].place = Some((date.to_owned(), place));
            for call in &mut model.calls {
                if call.order() == Some(model.stores.orders[at].id) {
                    seen(call).place = model.stores.orders[at].place.clone();
                }
            }
        }
        if set {
            for event in &mut model.stores.events[1..] {
                event.sequence += 1;
            }
            let first = model.stores.events[0].clone();
            let kind = "business_date_set".to_owned();
            let set = Event { sequence: 2, kind, order: None, number: None, request: None, ..first };
            model.stores.events.insert(1, set);
            model.stores.progress.values_mut().for_each(|position| position.sequence += 1);
            model.stores.heads = model.stores.progress.clone();
        }
        model
    };
    model(false).finds(Check::DateWentBack);
    assert!(model(true).check().violations.is_empty(), "{}", model(true).check());
}

/// All four numbers are held or rest, and one is given that rests, so long after its order had ended.
fn cut_after(ms: i64, held: usize) -> Model {
    let mut model = Model::new();
    put_special(&mut model, json!({"cooldown_seconds": 60, "cooldown_min_seconds": 1}));
    let first = model.create(1).expect("free");
    for _ in 0..held {
        model.create(1);
    }
    model.release(first, false);
    model.after(ms).resting.clear();
    model.create(1);
    model.finish();
    model
}

#[test]
fn a_rest_that_gives_way() {
    let report = cut_after(1200, 3).check();
    assert!(report.violations.is_empty(), "{report}");
    assert_eq!(report.special.get("rests cut"), Some(&1), "{report}");
    // Not for long enough; and while another one is free.
    cut_after(500, 3).finds(Check::GivenWhileCooling);
    cut_after(1200, 2).finds(Check::CutInVain);
    // Where no rest gives way.
    let mut model = cut_after(1200, 3);
    model.stores.events[0].detail.as_mut().expect("settings")["after"]["cooldown_min_seconds"] = json!(null);
    model.finds(Check::GivenWhileCooling);
    // A wish is never granted by cutting a rest.
    let mut model = cut_after(1200, 3);
    model.stores.orders.last_mut().expect("one").choice = Some("wished".to_owned());
    model.finds(Check::GivenWhileCooling);
}

#[derive(Debug, Clone)]
enum Step {
    Create { restaurant: u32 },
    Change { order: Index, status: usize },
    Edit { order: Index },
    Release { order: Index, immediate: bool },
    Reopen { order: Index },
    Call { order: Index },
    Read { order: Index },
    Wait { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=2_u32).prop_map(|restaurant| Step::Create { restaurant }),
        2 => (any::<Index>(), 1..5_usize).prop_map(|(order, status)| Step::Change { order, status }),
        1 => any::<Index>().prop_map(|order| Step::Edit { order }),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(order, immediate)| Step::Release { order, immediate }),
        2 => any::<Index>().prop_map(|order| Step::Reopen { order }),
        2 => any::<Index>().prop_map(|order| Step::Call { order }),
        1 => any::<Index>().prop_map(|order| Step::Read { order }),
        1 => (1..1500_i64).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn played(steps: &[Step]) -> Model {
    let mut model = Model::new();
    model.create(1);
    for step in steps {
        let orders = model.stores.orders.len();
        match step {
            Step::Create { restaurant } => {
                model.create(*restaurant);
            }
            Step::Change { order, status } => model.change(order.index(orders), STATUSES[*status]),
            Step::Edit { order } => model.edit(order.index(orders)),
            Step::Release { order, immediate } => model.release(order.index(orders), *immediate),
            Step::Reopen { order } => model.reopen(order.index(orders)),
            Step::Call { order } => model.tell(order.index(orders)),
            Step::Read { order } => model.read(order.index(orders)),
            Step::Wait { ms } => {
                model.after(*ms);
            }
        }
    }
    model.finish();
    model
}

/// Spoils one thing; says which checks may find it, or None where there is nothing to spoil.
fn spoil(model: &mut Model, kind: usize, place: Index) -> Option<Vec<Check>> {
    let Stores { orders, events, live, slots, free, .. } = &mut model.stores;
    let order = place.index(orders.len());
    let event = place.index(events.len());
    Some(match kind {
        0 => {
            orders.remove(order);
            vec![Check::Lost]
        }
        1 => {
            orders[order].number = 9;
            vec![Check::Lost]
        }
        2 => {
            orders[order].version -= 1;
            vec![Check::Lost]
        }
        3 => {
            events.remove(event);
            vec![Check::Sequence]
        }
        4 => {
            let twice = events[event].clone();
            events.push(twice);
            vec![Check::Sequence]
        }
        5 => {
            events[event].version += 1;
            vec![Check::Version]
        }
        6 if !live.is_empty() => {
            live.remove(place.index(live.len()));
            vec![Check::StoresDiffer]
        }
        7 if !slots.is_empty() => {
            slots.remove(place.index(slots.len()));
            vec![Check::StoresDiffer]
        }
        8 if !free.is_empty() => {
            free.remove(place.index(free.len()));
            vec![Check::NumberState]
        }
        // A number is given to a second order while its first holder lives, or right after its release.
        9 | 10 => {
            let creations: Vec<_> = events.iter().filter(|event| event.kind == "created").cloned().collect();
            let first = place.get(&creations).clone();
            let end = events.iter().find(|event| event.order == first.order && event.kind == "released")?.clone();
            let rests = end.detail.is_none();
            let at = if kind == 9 { first.sequence } else { end.sequence };
            (kind == 9 || rests).then_some(())?;
            for event in events.iter_mut().filter(|event| event.sequence > at) {
                event.sequence += 1;
            }
            let at_ms = if kind == 9 { first.at_ms } else { end.at_ms + 1 };
            let order = Some(Uuid::from_u128(4242));
            events.push(Event { sequence: at + 1, order, at_ms, ..first });
            vec![if kind == 9 { Check::Overlap } else { Check::GivenWhileCooling }]
        }
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn right_histories_pass_and_spoilt_ones_do_not(
        steps in proptest::collection::vec(step(), 1..60),
        kind in 0..11_usize,
        place: Index,
    ) {
        let mut model = played(&steps);
        let report = model.check();
        prop_assert!(report.violations.is_empty(), "{report}");
        if let Some(expected) = spoil(&mut model, kind, place) {
            let report = model.check();
            for check in expected {
                prop_assert!(report.violates(check), "{check:?} is not found:\n{report}");
            }
        }
    }
}

/// Two screens of the first restaurant: one was told each event, the other one came late, was cut off and began anew.
fn watched() -> Model {
    let mut model = Model::new();
    let first = model.create(1).expect("free");
    let second = model.create(1).expect("free");
    model.create(2);
    model.tell(first);
    model.change(second, "preparing");
    model.after(3_000).tell(first);
    model.release(second, false);
    model.finish();
    let order = model.stores.orders[first].clone();
    let shown = Shown { number: order.number, status: order.status.clone(), version: order.version };
    let shows = BTreeMap::from([(order.id, shown)]);
    let (event, began) = (|at| Tale::Heard(Heard::Event((1, at))), |at| Tale::Heard(Heard::Beginning((1, at))));
    let (called, calls) =
        (|at, calls| Tale::Called((1, at), order.id, calls), |calls| Tale::Calls([(order.id, calls)].into()));
    let connected = || Tale::Heard(Heard::Connected);
    let all = vec![
        connected(),
        began(0),
        Tale::Calls(BTreeMap::new()),
        event(1),
        event(2),
        event(4),
        called(4, 1),
        event(5),
        connected(),
        event(5),
        event(6),
        called(6, 2),
        event(7),
    ];
    let some = vec![
        Tale::Refused(503, true),
        connected(),
        began(2),
        calls(0),
        event(4),
        called(4, 1),
        began(6),
        calls(2),
        event(7),
    ];
    let screen = |number, told| Watched { number, restaurant: 1, told, shows: shows.clone() };
    model.facts.screens = vec![screen(0, all), screen(1, some)];
    model
}

#[test]
fn screens_that_show_all_are_right() {
    let model = watched();
    assert!(model.check().violations.is_empty(), "{}", model.check());
}

#[test]
fn what_screens_do_not_show() {
    let without = |screen: usize, tale: usize| {
        let mut model = watched();
        model.facts.screens[screen].told.remove(tale);
        model
    };
    without(0, 3).finds(Check::NotShown);
    assert!(without(0, 7).check().violations.is_empty(), "it was told when it came back");
    assert!(without(0, 12).check().violations.is_empty(), "it ends there");
    let report = without(1, 4).check();
    assert!(!report.violates(Check::NotShown), "what it began anew with had it: {report}");
    let mut model = watched();
    model.facts.screens[0].told.swap(3, 4);
    model.finds(Check::ShownInDisorder);
    // Before the beginning of what it shows.
    without(1, 2).finds(Check::ShownInDisorder);
}

#[test]
fn calls_that_no_screen_sounds() {
    let mut model = watched();
    model.facts.screens[0].told.remove(6);
    model.finds(Check::NotSounded);
    // The snapshot that it began anew with counts one less.
    let mut model = watched();
    let Tale::Calls(calls) = &mut model.facts.screens[1].told[7] else { panic!("a snapshot") };
    calls.values_mut().for_each(|count| *count -= 1);
    model.finds(Check::NotSounded);
    // An order that is over is in no snapshot.
    let mut model = watched();
    let Tale::Calls(calls) = &mut model.facts.screens[1].told[7] else { panic!("a snapshot") };
    calls.clear();
    assert!(!model.check().violates(Check::NotSounded), "{}", model.check());
    // It was there for the call, and did not begin anew behind it.
    let mut model = watched();
    model.facts.screens[1].told.remove(5);
    model.facts.screens[1].told.truncate(5);
    model.finds(Check::NotSounded);
}

#[test]
fn screens_that_show_in_the_end_what_is_not_so() {
    let mut model = watched();
    model.facts.screens[0].shows.clear();
    model.finds(Check::ShowsOther);
    let mut model = watched();
    model.facts.screens[0].shows.values_mut().for_each(|shown| shown.version -= 1);
    model.finds(Check::ShowsOther);
    let mut model = watched();
    let ghost = Shown { number: 3, status: "ready".to_owned(), version: 2 };
    model.facts.screens[1].shows.insert(Uuid::from_u128(99), ghost);
    model.finds(Check::ShowsOther);
}

#[test]
fn screens_that_are_sent_away_in_a_wrong_manner() {
    let mut model = watched();
    model.facts.screens[1].told[0] = Tale::Refused(503, false);
    model.finds(Check::RetryAfter);
    model.facts.screens[1].told[0] = Tale::Refused(500, true);
    model.finds(Check::Answer);
}
