//! Holds a history against both stores. Pure: it only looks.
//!
//! Callers know little of when things happened, so the checks that go by their clock use *sure* intervals: an order
//! surely lived from when its creation was acknowledged until its end was first asked for. The checks that go by the
//! audit log are exact, as the log is in the order in which Redis did things.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::history::{Action, Call, Outcome, Seen, is_final};
use super::pools::PoolFacts;
use super::screens::Watched;
use super::stores::{Event, LedgerOrder, STATUSES, Stores};

/// What is known of a run beside its history.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Each restaurant's settings in the beginning; the log tells how they change.
    pub pools: BTreeMap<u32, PoolFacts>,
    pub allowance: Allowance,
    /// How many orders were taken over that only clean-up ends.
    pub forgotten: u32,
    /// What the screens saw.
    pub screens: Vec<Watched>,
}

/// What the durability level that was asked for does not promise: acknowledgements that came within one of these spans
/// (by the clock of the tills) may be lost. Empty: nothing may.
#[derive(Debug, Clone, Default)]
pub struct Allowance {
    pub spans_us: Vec<RangeInclusive<u64>>,
    /// While two servers took changes, each daemon knows what its own acknowledged. What came then may be superseded by
    /// what the other one acknowledged, and a number may have had two holders; it may not be gone, and it is put right.
    pub two_masters_us: Vec<RangeInclusive<u64>>,
    /// Settings that were acknowledged in these may be lost, at any level but `ledger`.
    pub settings_us: Vec<RangeInclusive<u64>>,
    /// When the clock of Redis was set. Rests go by that clock; stamps do not go back with it, and so tell less.
    pub jumps_us: Vec<RangeInclusive<u64>>,
}

/// The promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Check {
    /// Two live orders with one number.
    Overlap,
    /// A number given out while it rested, before it might have been.
    GivenWhileCooling,
    /// A rest that was cut while another number was free.
    CutInVain,
    /// A number of a table that another one got.
    OfAnotherTable,
    /// A number given out while it was taken out.
    GivenWhileOut,
    /// An order that asked for a number and got another one.
    Wish,
    /// A number that is not of the range that is said to have given it.
    Range,
    /// Two orders with one place in a business date, or a place that no order has.
    Place,
    /// A business date that went back, and was not set back.
    DateWentBack,
    /// An order was reopened whose number did not rest for it.
    Reopened,
    /// An order was called twice within the seconds in which two calls are one.
    CalledTwice,
    /// Something acknowledged is not there in the end.
    Lost,
    /// One key, or one operation, made two orders.
    KeyTwice,
    /// A call was made twice, or not at all though that was said, or though it was refused.
    NotOnce,
    /// An answer shows an order as it never was, or a change that came before what its caller knew already.
    Impossible,
    /// Within a partition, a later event was stamped with an earlier time.
    StampsGoBack,
    /// An order that is new has expired, or one that was forgotten has not.
    Expired,
    /// An order that no till asked for.
    Phantom,
    /// A reader was told less than another had been told before.
    StaleRead,
    /// The ledger and Redis say different things.
    StoresDiffer,
    /// A number of a pool is in no state, or in two.
    NumberState,
    /// An event is missing or there twice.
    Sequence,
    /// A version of an order is missing or there twice.
    Version,
    DeadLetter,
    Verify,
    /// A screen was told of a later event and not of an earlier one.
    NotShown,
    /// A screen was told of events in another order than they happened in.
    ShownInDisorder,
    /// A screen did not sound a call.
    NotSounded,
    /// A screen shows in the end what is not so.
    ShowsOther,
    /// A 503 without Retry-After.
    RetryAfter,
    /// An answer that makes no sense.
    Answer,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    pub violations: Vec<(Check, String)>,
    /// Lost, and the level allows it: said, never hidden.
    pub allowed_losses: Vec<String>,
    /// Overlaps that the program found itself and put right.
    pub renumbered: Vec<String>,
    pub outcomes: BTreeMap<&'static str, usize>,
    /// Changes that Redis had lost and daemons said again.
    pub restated: usize,
    /// How often what is special came about.
    pub special: BTreeMap<&'static str, usize>,
    /// How long the slowest call took, whatever came of it.
    pub slowest_ms: u64,
    /// How many calls failed from the first fault on.
    pub unhappy: usize,
}

/// Runs all checks.
pub fn check(calls: &[Call], stores: &Stores, facts: &Facts) -> Report {
    let mut case = Case::new(calls, stores, facts);
    case.answers();
    case.losses();
    case.reads();
    case.overlaps();
    case.cooling();
    case.audit();
    case.calls_once();
    case.states();
    case.stamps();
    case.stored_lives();
    case.rests();
    case.expired();
    case.keys();
    case.wishes();
    case.places();
    case.dates();
    case.sequences();
    case.versions();
    case.stores_agree();
    case.screens();
    case.proofs();
    case.report
}

/// All that is known of one order.
pub(super) struct Book<'a> {
    pub(super) restaurant: u32,
    pub(super) number: u32,
    /// Every acknowledgement, as it ended.
    pub(super) acknowledged: Vec<(&'a Call, &'a Seen)>,
    /// When its end was first asked for in a way that may have worked.
    pub(super) end_invoked_us: Option<u64>,
    /// Whether its rest may have been skipped.
    pub(super) immediate: bool,
    /// Every call that may have ended it: when it began, and by when it had come to something, as far as is known.
    ends_us: Vec<(u64, u64)>,
}

impl Book<'_> {
    /// When it surely had its number: from when it was known to live until its end was first asked for; and so from each
    /// reopening on.
    fn sure_lives(&self) -> Vec<(u64, u64)> {
        let mut lives = Vec::new();
        let live = || self.acknowledged.iter().filter(|(_, seen)| seen.is_live());
        if let Some((first, _)) = live().next() {
            lives.push((first.ended_us, self.end_invoked_us.unwrap_or(u64::MAX)));
        }
        let reopenings: BTreeSet<i64> = live().filter_map(|(_, seen)| seen.reopened_ms).collect();
        for reopened_ms in reopenings {
            let Some((known, _)) = live().find(|(_, seen)| seen.reopened_ms == Some(reopened_ms)) else { continue };
            // It lived at some instant of that call: what was done before it began is the end before the reopening.
            let later = self.ends_us.iter().filter(|(_, done)| *done >= known.invoked_us).map(|(invoked, _)| *invoked);
            lives.push((known.ended_us, later.min().unwrap_or(u64::MAX)));
        }
        lives.retain(|(from, to)| from < to);
        lives
    }
}

pub(super) struct Case<'a> {
    pub(super) calls: &'a [Call],
    pub(super) stores: &'a Stores,
    pub(super) facts: &'a Facts,
    pub(super) books: BTreeMap<Uuid, Book<'a>>,
    pub(super) ledger: BTreeMap<Uuid, &'a LedgerOrder>,
    /// Orders that lost something that they were allowed to lose.
    pub(super) forgotten: BTreeSet<Uuid>,
    pub(super) report: Report,
}

impl<'a> Case<'a> {
    fn new(calls: &'a [Call], stores: &'a Stores, facts: &'a Facts) -> Self {
        let ledger = stores.orders.iter().map(|order| (order.id, order)).collect();
        let restated = stores.events.iter().filter(|event| event.kind == "restated" && event.order.is_some()).count();
        let (books, report) = (books(calls), Report { restated, ..Report::default() });
        Self { calls, stores, facts, books, ledger, forgotten: BTreeSet::new(), report }
    }

    pub(super) fn violated(&mut self, check: Check, what: impl Into<String>) {
        self.report.violations.push((check, what.into()));
    }

    fn may_lose(&self, call: &Call) -> bool {
        self.facts.allowance.spans_us.iter().any(|span| span.contains(&call.ended_us))
    }

    pub(super) fn may_be_superseded(&self, call: &Call) -> bool {
        self.facts.allowance.two_masters_us.iter().any(|span| span.contains(&call.ended_us)) || self.may_lose(call)
    }

    /// Whether something was acknowledged about this order while there were two masters.
    pub(super) fn had_two_masters(&self, order: Uuid) -> bool {
        let spans = &self.facts.allowance.two_masters_us;
        let Some(book) = self.books.get(&order).filter(|_| !spans.is_empty()) else { return false };
        book.acknowledged.iter().any(|(call, _)| spans.iter().any(|span| span.contains(&call.ended_us)))
    }

    /// Whether the version of an acknowledged change was given a second time, with a new number, by a daemon that had not
    /// heard of the change; and the one that had said it again at a later version.
    pub(super) fn was_said_again(&self, event: &Event, seen: &Seen) -> bool {
        let says = |later: &Event| {
            later.kind == "restated"
                && later.order == event.order
                && later.version > seen.version
                && later.status.as_deref() == Some(&seen.status)
        };
        event.kind == "renumbered" && self.stores.events.iter().any(says)
    }

    fn nothing_may_be_lost(&self) -> bool {
        let Allowance { spans_us, two_masters_us, .. } = &self.facts.allowance;
        spans_us.is_empty() && two_masters_us.is_empty()
    }

    /// Whether what is known of this order's rest is sure.
    pub(super) fn rests_surely(&self, order: Uuid, book: &Book<'_>) -> bool {
        let is_kept = self.ledger.get(&order).is_some_and(|kept| kept.choice.as_deref() == Some("reserved"));
        // The number of a table need not rest before the table gets it again.
        !is_kept && !book.immediate && !self.forgotten.contains(&order) && !self.had_two_masters(order)
    }

    /// How long numbers of this restaurant rested at least, whatever its settings were at the time: those in the log, and
    /// those that a manager asked for, which may be lost while orders that were made under them are not.
    pub(super) fn least_cooldown_ms(&self, restaurant: u32) -> i64 {
        let later = self.stores.events.iter().filter(|event| event.restaurant == restaurant).filter_map(PoolFacts::of);
        let all = self.facts.pools.get(&restaurant).cloned().into_iter().chain(later).map(|pool| pool.least_rest_ms());
        let calls = self.calls.iter().filter(|call| call.restaurant == restaurant);
        let asked = calls.filter_map(|call| match &call.action {
            Action::Configure { settings } => Some(PoolFacts::of_settings(settings)?.least_rest_ms()),
            _ => None,
        });
        all.chain(asked).min().unwrap_or(0)
    }

    /// Whether the program moved this order away from this number.
    pub(super) fn renumbered(&self, order: Uuid, from: u32) -> bool {
        self.stores.events.iter().any(|event| event.order == Some(order) && previous_number(event) == Some(from))
    }

    /// Every answer is one that the tills can have earned.
    fn answers(&mut self) {
        for call in self.calls {
            *self.report.outcomes.entry(call.outcome.class()).or_default() += 1;
            self.report.slowest_ms = self.report.slowest_ms.max((call.ended_us - call.invoked_us) / 1000);
            match &call.outcome {
                Outcome::Unavailable { retry_after_s: None | Some(0), .. } => {
                    self.violated(Check::RetryAfter, format!("{call:?}"));
                }
                Outcome::Broken { .. } => self.violated(Check::Answer, format!("{call:?}")),
                // Whether it was right not to know an order is judged with the reads.
                Outcome::Refused { code, .. } if code == "order_not_found" && call.order().is_some() => {}
                Outcome::Refused { code, .. } if !expected_refusal(&call.action, code) => {
                    self.violated(Check::Answer, format!("{call:?}"));
                }
                _ => {}
            }
        }
    }

    /// What was acknowledged is there in the end, at that version or a later one, under that number.
    fn losses(&mut self) {
        let mut lost = Vec::new();
        let reopened = self.stores.events.iter().filter(|event| event.kind == "reopened");
        let reopened: BTreeSet<(Uuid, u32)> =
            reopened.filter_map(|event| Some((event.order?, event.version))).collect();
        for (id, book) in &self.books {
            let kept = self.ledger.get(id);
            for (call, seen) in &book.acknowledged {
                let fault = match kept {
                    None => "it is gone",
                    Some(kept) if kept.reopened_ms < seen.reopened_ms => "its reopening is undone",
                    // Of what came before a reopening, only its number stays.
                    Some(kept) if kept.reopened_ms > seen.reopened_ms && kept.number == seen.number => continue,
                    Some(kept) if kept.version < seen.version => "it fell back to an older version",
                    Some(kept) if kept.calls < seen.calls => "a call of it is forgotten",
                    // The log says it, too, where the stamps of two reopenings are one.
                    Some(kept) if !seen.is_live() && kept.status != seen.status => {
                        if reopened.range((*id, seen.version + 1)..).next().is_some_and(|(order, _)| order == id) {
                            continue;
                        }
                        "its end is undone"
                    }
                    Some(kept) if kept.number != seen.number && !self.renumbered(*id, seen.number) => {
                        "it has another number"
                    }
                    Some(_) => continue,
                };
                let found =
                    kept.map(|kept| format!("version {}, {}, number {}", kept.version, kept.status, kept.number));
                let allowed = if kept.is_none() { self.may_lose(call) } else { self.may_be_superseded(call) };
                lost.push((*id, allowed, format!("{fault}: acknowledged {call:?}, found {found:?}")));
            }
        }
        for (id, allowed, what) in lost {
            if allowed {
                self.forgotten.insert(id);
                self.report.allowed_losses.push(what);
            } else {
                self.violated(Check::Lost, what);
            }
        }
        self.statuses();
    }

    /// Each version is what its acknowledgement said it was.
    fn statuses(&mut self) {
        let events = self.stores.events.iter().filter(|event| !repeats_a_version(event));
        let logged: BTreeMap<(Option<Uuid>, u32), &Event> =
            events.map(|event| ((event.order, event.version), event)).collect();
        let mut differing = Vec::new();
        for (id, book) in &self.books {
            for (call, seen) in &book.acknowledged {
                let Some(event) = logged.get(&(Some(*id), seen.version)) else { continue };
                let is_said = event.status.as_deref() == Some(&seen.status) || self.was_said_again(event, seen);
                if !is_said && !self.may_be_superseded(call) {
                    differing.push(format!("acknowledged {call:?}, the log says {event:?}"));
                }
            }
        }
        for what in differing {
            self.violated(Check::Lost, what);
        }
    }

    /// No reader is told less than another was told before.
    fn reads(&mut self) {
        let mut stale = Vec::new();
        for call in self.calls {
            let denied = matches!(&call.outcome, Outcome::Refused { status: 404, .. });
            let told = call.seen().map(|seen| seen.version);
            let (Some(book), true) = (call.order().and_then(|id| self.books.get(&id)), denied || told.is_some()) else {
                continue;
            };
            // Acknowledgements are in the order of their ends; an order has few.
            let before = book.acknowledged.iter().take_while(|(earlier, _)| earlier.ended_us < call.invoked_us);
            let newer = before.filter(|(earlier, seen)| {
                told.is_none_or(|version| version < seen.version) && !self.may_be_superseded(earlier)
            });
            if let Some((earlier, _)) = newer.last() {
                stale.push(format!("{call:?} came after {earlier:?}"));
            }
        }
        for what in stale {
            self.violated(Check::StaleRead, what);
        }
    }

    /// No two orders of a restaurant surely lived with one number at one time.
    fn overlaps(&mut self) {
        type Life = (u64, u64, Uuid);
        let mut lives: BTreeMap<(u32, u32), Vec<Life>> = BTreeMap::new();
        for (id, book) in &self.books {
            let of_number = lives.entry((book.restaurant, book.number)).or_default();
            of_number.extend(book.sure_lives().into_iter().map(|(from, to)| (from, to, *id)));
        }
        for ((restaurant, number), mut lives) in lives {
            lives.sort_unstable();
            let mut longest: Option<(u64, Uuid)> = None;
            for (from, to, id) in lives {
                if let Some((until, other)) = longest.filter(|(until, other)| from < *until && *other != id) {
                    let what = format!(
                        "number {number} of restaurant {restaurant}: {other} surely lived until {until} us, {id} from \
                         {from} us"
                    );
                    self.overlap(number, [id, other], what);
                }
                if longest.is_none_or(|(until, _)| until < to) {
                    longest = Some((to, id));
                }
            }
        }
    }

    /// Two lives overlap: a violation, unless the level allows losses and one of the two was lost or renumbered.
    pub(super) fn overlap(&mut self, number: u32, orders: [Uuid; 2], what: String) {
        if self.nothing_may_be_lost() {
            self.violated(Check::Overlap, what);
        } else if orders.iter().any(|order| self.renumbered(*order, number)) {
            self.report.renumbered.push(what);
        } else if orders.iter().any(|order| self.forgotten.contains(order) || self.had_two_masters(*order)) {
            self.report.allowed_losses.push(what);
        } else {
            self.violated(Check::Overlap, what);
        }
    }

    /// A number rests after its release, by the clock of Redis.
    fn cooling(&mut self) {
        type Rest = (i64, i64, Uuid);
        if !self.facts.allowance.jumps_us.is_empty() {
            return;
        }
        let cooldowns: BTreeMap<u32, i64> =
            self.facts.pools.keys().map(|restaurant| (*restaurant, self.least_cooldown_ms(*restaurant))).collect();
        let mut rests: BTreeMap<(u32, u32), Vec<Rest>> = BTreeMap::new();
        for (id, book) in self.books.iter().filter(|(id, book)| self.rests_surely(**id, book)) {
            // Once more for each time that it was reopened.
            let released: BTreeSet<i64> = book.acknowledged.iter().filter_map(|(_, seen)| seen.released_ms).collect();
            for at in released {
                let rest = (at, at + cooldowns.get(&book.restaurant).copied().unwrap_or_default(), *id);
                rests.entry((book.restaurant, book.number)).or_default().push(rest);
            }
        }
        let mut broken = Vec::new();
        for (id, book) in &self.books {
            // Only at its first version does it tell when it was created: its id may be from an earlier attempt.
            let Some((_, first)) = book.acknowledged.iter().find(|(_, seen)| seen.version == 1) else { continue };
            let rests = rests.get(&(book.restaurant, book.number)).into_iter().flatten();
            let within = |(from, to, other): &&Rest| other != id && *from < first.updated_ms && first.updated_ms < *to;
            broken.extend(rests.filter(within).map(|(from, to, other)| {
                format!(
                    "number {} of restaurant {} rested from {from} to {to} after {other}, and {id} got it at {}",
                    book.number, book.restaurant, first.updated_ms
                )
            }));
        }
        for what in broken {
            self.violated(Check::GivenWhileCooling, what);
        }
    }

    /// Plays the audit log: each number has one holder at a time, and rests in between.
    fn audit(&mut self) {
        let mut events: Vec<&Event> = self.stores.events.iter().filter(|event| event.generation > 0).collect();
        events.sort_by_key(|event| (event.partition, event.generation, event.sequence));
        let mut numbers: BTreeMap<(u32, u32), Number> = BTreeMap::new();
        let mut pools = self.facts.pools.clone();
        let mut cooldowns: BTreeMap<Uuid, i64> = BTreeMap::new();
        let stamps_tell = self.facts.allowance.jumps_us.is_empty();
        let mut called: BTreeMap<Uuid, i64> = BTreeMap::new();
        for event in events {
            if event.kind == "called"
                && let Some(order) = event.order
                && let Some(before_ms) = called.insert(order, event.at_ms)
                && stamps_tell
                && event.at_ms - before_ms < ONE_CALL_MS
            {
                self.violated(Check::CalledTwice, format!("{event:?}, but it was called at {before_ms}"));
            }
            if let Some(pool) = PoolFacts::of(event) {
                pools.insert(event.restaurant, pool);
            }
            let (Some(order), Some(number)) = (event.order, event.number) else { continue };
            if let Some(left) = previous_number(event).and_then(|number| numbers.get_mut(&(event.restaurant, number))) {
                left.holder = left.holder.filter(|holder| *holder != order);
            }
            let pool = pools.get(&event.restaurant);
            let state = numbers.entry((event.restaurant, number)).or_default();
            let before = *state;
            // A number rests as long as the settings said when the order was made, where that is known.
            if ["created", "imported"].contains(&event.kind.as_str()) {
                cooldowns.insert(order, pool.map_or(0, |pool| pool.cooldown_ms));
            }
            state.play(event, order, cooldowns.get(&order).copied());
            let rested = before.holder.is_none() && before.last == Some(order);
            let is_over = stamps_tell && event.at_ms >= before.rests_until_ms;
            if event.kind == "reopened" && before.is_known && (!rested || is_over) {
                let what = format!("{event:?}, but the number: {before:?}");
                self.violated(Check::Reopened, what);
            }
            let takes = ["created", "imported", "renumbered"].contains(&event.kind.as_str());
            if let Some(pool) = pool.filter(|_| takes) {
                self.may_be_given(event, order, number, pool);
            }
            // What daemons say again comes in no order of time: an end may come after the next holder of the number.
            let late_end = event.kind == "restated" && event.status.as_deref().is_some_and(is_final);
            match before.holder.filter(|holder| *holder != order) {
                Some(other) if event.kind != "recycled" && !late_end => {
                    self.overlap(number, [order, other], format!("{event:?}, but {other} holds it"));
                }
                Some(_) => {}
                None if takes && stamps_tell && event.at_ms < before.rests_until_ms => {
                    self.rest_was_cut(event, order, before, pool, &numbers);
                }
                None => {}
            }
        }
        if stamps_tell {
            self.rests_are_recorded(&numbers);
        }
        self.special_in_the_end(&pools);
        self.numbers(&pools);
    }

    /// The ledger knows of the rests that the log says are not over: a rebuild would read them there.
    fn rests_are_recorded(&mut self, numbers: &BTreeMap<(u32, u32), Number>) {
        let slots: BTreeMap<_, _> =
            self.stores.slots.iter().map(|slot| ((slot.restaurant, slot.number), slot.until_ms)).collect();
        let resting =
            numbers.iter().filter(|(_, number)| number.is_known && number.rests_until_ms > self.stores.now_ms);
        for (key, number) in resting {
            let recorded = slots.get(key).copied().flatten();
            if recorded != Some(number.rests_until_ms) {
                let what = format!("{key:?} is to rest until {}, its slot says {recorded:?}", number.rests_until_ms);
                self.violated(Check::StoresDiffer, what);
            }
        }
    }

    /// One key, one operation, one order.
    fn keys(&mut self) {
        let mut made: BTreeMap<u64, BTreeSet<Uuid>> = BTreeMap::new();
        let mut asked = BTreeSet::new();
        for call in self.calls.iter().filter(|call| matches!(call.action, Action::Create { .. })) {
            asked.insert(call.operation);
            if let Some(seen) = call.seen().filter(|seen| !self.forgotten.contains(&seen.order)) {
                made.entry(call.operation).or_default().insert(seen.order);
            }
        }
        let imported = self.imported();
        let mut by_key: BTreeMap<(u32, &[u8]), BTreeSet<Uuid>> = BTreeMap::new();
        for order in &self.stores.orders {
            if let Some(key) = &order.key {
                by_key.entry((order.restaurant, key)).or_default().insert(order.id);
            }
            let operation = order.external_id.as_deref().and_then(|id| id.strip_prefix("op-")?.parse().ok());
            match operation.filter(|operation| asked.contains(operation)) {
                Some(operation) => {
                    made.entry(operation).or_default().insert(order.id);
                }
                None if imported.contains(&order.id) => {}
                None => self.violated(Check::Phantom, format!("{order:?}")),
            }
        }
        for orders in made.values().chain(by_key.values()).filter(|orders| orders.len() > 1) {
            self.report.violations.push((Check::KeyTwice, format!("{orders:?} are of one request")));
        }
    }

    /// Within a generation, no event is missing and none is there twice; the ledger stands where the last one is.
    fn sequences(&mut self) {
        let mut found: BTreeMap<(i16, i64), Vec<i64>> = BTreeMap::new();
        for event in self.stores.events.iter().filter(|event| event.generation > 0) {
            found.entry((event.partition, event.generation)).or_default().push(event.sequence);
        }
        for ((partition, generation), sequences) in &mut found {
            sequences.sort_unstable();
            let of = format!("of generation {generation} of partition {partition}");
            if *generation == 1 && sequences.first() != Some(&1) {
                self.violated(Check::Sequence, format!("the first event {of} is {:?}", sequences.first()));
            }
            for pair in sequences.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
                self.violated(Check::Sequence, format!("{pair:?} follow each other in the events {of}"));
            }
        }
        for (partition, position) in &self.stores.progress {
            let last = found.get(&(*partition, position.generation)).and_then(|sequences| sequences.last());
            // A later generation may go on from where nothing happened in it yet.
            let last = last.copied().or((position.generation == 1).then_some(0));
            if last.is_some_and(|last| last != position.sequence) {
                self.violated(Check::Sequence, format!("{position:?} of partition {partition}, last event {last:?}"));
            }
        }
        if self.stores.progress != self.stores.heads {
            let (progress, heads) = (&self.stores.progress, &self.stores.heads);
            self.violated(Check::StoresDiffer, format!("the ledger is at {progress:?}, Redis at {heads:?}"));
        }
    }

    /// Each version of an order is in the log once. `restated` stands for versions that only a daemon remembered.
    fn versions(&mut self) {
        let mut logged: BTreeMap<Uuid, (Vec<u32>, BTreeSet<u32>)> = BTreeMap::new();
        for event in self.stores.events.iter().filter(|event| event.generation > 0) {
            let Some(order) = event.order else { continue };
            let (own, repeated) = logged.entry(order).or_default();
            if repeats_a_version(event) {
                repeated.insert(event.version);
            } else {
                own.push(event.version);
            }
        }
        for order in &self.stores.orders {
            let (mut own, repeated) = logged.remove(&order.id).unwrap_or_default();
            own.sort_unstable();
            let twice = own.windows(2).any(|pair| pair[0] == pair[1]);
            let covered =
                |version: &u32| own.binary_search(version).is_ok() || repeated.range(version..).next().is_some();
            let beyond = own.iter().chain(&repeated).any(|version| *version > order.version);
            if twice || beyond || !(1..=order.version).all(|version| covered(&version)) {
                self.violated(Check::Version, format!("{order:?} has the versions {own:?}, and again {repeated:?}"));
            }
        }
        for (order, _) in logged {
            self.violated(Check::StoresDiffer, format!("the log has {order}, the orders do not"));
        }
    }

    /// What lives in Redis is what lives in the ledger, and holds its number there.
    fn stores_agree(&mut self) {
        let in_redis: BTreeSet<_> = self
            .stores
            .live
            .iter()
            .map(|order| (order.id, order.restaurant, order.number, order.version, STATUSES[usize::from(order.status)]))
            .collect();
        let live = self.stores.orders.iter().filter(|order| !is_final(&order.status));
        let in_ledger: BTreeSet<_> = live
            .map(|order| (order.id, order.restaurant, order.number, order.version, order.status.as_str()))
            .collect();
        let held = self.stores.slots.iter().filter(|slot| slot.until_ms.is_none());
        let held: BTreeSet<_> = held.filter_map(|slot| Some((slot.restaurant, slot.number, slot.order?))).collect();
        let holds: BTreeSet<_> = in_redis.iter().map(|order| (order.1, order.2, order.0)).collect();
        for order in in_redis.symmetric_difference(&in_ledger) {
            let where_ = if in_redis.contains(order) { "Redis" } else { "the ledger" };
            self.violated(Check::StoresDiffer, format!("only {where_} has the live order {order:?}"));
        }
        for slot in held.symmetric_difference(&holds) {
            self.violated(Check::StoresDiffer, format!("the slot {slot:?} is held in one store only"));
        }
        let rests: BTreeSet<_> = self.stores.cooling.iter().map(|rest| (rest.restaurant, rest.number)).collect();
        // Where Redis's clock was set back, rests were over that would not be by now.
        let last_stamp = self.stores.events.iter().map(|event| event.at_ms).max().unwrap_or_default();
        let by_ms = if self.facts.allowance.jumps_us.is_empty() { 0 } else { last_stamp }.max(self.stores.now_ms);
        for slot in &self.stores.slots {
            let resting = slot.until_ms.is_some_and(|until| until > by_ms);
            if resting && !rests.contains(&(slot.restaurant, slot.number)) {
                self.violated(Check::StoresDiffer, format!("{slot:?} rests in the ledger only"));
            }
        }
    }

    /// Every number of every pool is free, live or cooling in Redis: one of them. Those that are kept for tables may be
    /// none of them, and those that are taken out lie among the cooling ones. Others may be what they were, until they are
    /// free.
    fn numbers(&mut self, pools: &BTreeMap<u32, PoolFacts>) {
        let mut counts: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
        let live = self.stores.live.iter().map(|order| (order.restaurant, order.number));
        let cooling = self.stores.cooling.iter().map(|rest| (rest.restaurant, rest.number));
        let free = self.stores.free.iter().flat_map(|run| (run.first..=run.last).map(|n| (run.restaurant, n)));
        let free: BTreeSet<_> = free.collect();
        for (restaurant, number) in live.chain(cooling).chain(free.iter().copied()) {
            *counts.entry(restaurant).or_default().entry(number).or_default() += 1;
        }
        for (restaurant, pool) in pools {
            let counts = counts.remove(restaurant).unwrap_or_default();
            let is_kept = |number: &u32| pool.kept.contains_key(number);
            let missing = pool
                .ranges
                .iter()
                .flat_map(|(_, range)| range.clone())
                .filter(|number| pool.gives(*number) && !is_kept(number) && !counts.contains_key(number));
            let wrong: Vec<_> = missing
                .map(|number| (number, 0))
                .chain(counts.iter().filter_map(|(number, times)| {
                    let may_be_free =
                        pool.gives(*number) && !is_kept(number) && !pool.is_out(*number, Some(self.stores.now_ms));
                    let is_right = *times == 1 && (may_be_free || !free.contains(&(*restaurant, *number)));
                    (!is_right).then_some((*number, *times))
                }))
                .take(10)
                .collect();
            if !wrong.is_empty() {
                self.violated(Check::NumberState, format!("restaurant {restaurant}, number and states: {wrong:?}"));
            }
        }
    }

    fn proofs(&mut self) {
        if self.stores.dead_letters != 0 {
            self.violated(Check::DeadLetter, format!("{} dead letters", self.stores.dead_letters));
        }
        if let Some(verify) = self.stores.verify.as_ref().filter(|verify| verify.exit_code != Some(0)) {
            self.violated(Check::Verify, format!("exit code {:?}: {}", verify.exit_code, verify.output));
        }
    }
}

/// What a number is doing, as the audit log has it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Number {
    pub(super) holder: Option<Uuid>,
    pub(super) last: Option<Uuid>,
    /// When its last order ended.
    pub(super) ended_ms: i64,
    pub(super) rests_until_ms: i64,
    /// Whether that is what is recorded: a restatement says how long a number rests, but not here.
    pub(super) is_known: bool,
}

impl Number {
    fn play(&mut self, event: &Event, order: Uuid, cooldown_ms: Option<i64>) {
        let ends = event.status.as_deref().is_some_and(is_final);
        match event.kind.as_str() {
            "recycled" => {
                if self.last == Some(order) {
                    (self.rests_until_ms, self.is_known) = (0, true);
                }
            }
            _ if ends => {
                if self.holder.is_none_or(|holder| holder == order) {
                    let immediate = event.detail.as_ref().is_some_and(|detail| detail["immediate"] == true);
                    let until = match cooldown_ms.filter(|_| event.kind != "restated") {
                        _ if immediate => Some(0),
                        Some(cooldown_ms) => Some(event.at_ms + cooldown_ms),
                        None => None,
                    };
                    *self = match until {
                        Some(rests_until_ms) => Self {
                            holder: None,
                            last: Some(order),
                            ended_ms: event.at_ms,
                            rests_until_ms,
                            is_known: true,
                        },
                        // It ended when it ended, and not when that was said again; perhaps before the last holder.
                        None => Self { holder: None, last: self.last.max(Some(order)), is_known: false, ..*self },
                    };
                }
            }
            _ => *self = Self { holder: Some(order), last: Some(order), is_known: true, ..Self::default() },
        }
    }
}

/// The calls, without reads that caught a glimpse of a change which is acknowledged to none and was lost with its Redis: it
/// is promised to none, either.
pub fn without_glimpses(calls: Vec<Call>, stores: &Stores) -> Vec<Call> {
    if stores.events.iter().all(|event| event.generation <= 1) {
        return calls;
    }
    let state = |seen: &Seen| (seen.order, seen.version, seen.updated_ms);
    let is_read = |call: &Call| matches!(call.action, Action::Read { .. });
    let told: BTreeSet<_> = calls.iter().filter(|call| !is_read(call)).filter_map(Call::seen).map(state).collect();
    let logged: BTreeSet<_> =
        stores.events.iter().filter_map(|event| Some((event.order?, event.version, event.status.clone()?))).collect();
    let is_glimpse = |call: &Call| {
        let unknown = |seen: &Seen| {
            !told.contains(&state(seen)) && !logged.contains(&(seen.order, seen.version, seen.status.clone()))
        };
        is_read(call) && call.seen().is_some_and(unknown)
    };
    calls.into_iter().filter(|call| !is_glimpse(call)).collect()
}

fn books(calls: &[Call]) -> BTreeMap<Uuid, Book<'_>> {
    let mut books: BTreeMap<Uuid, Book> = BTreeMap::new();
    for call in calls {
        let Some(seen) = call.seen() else { continue };
        let book = books.entry(seen.order).or_insert_with(|| Book {
            restaurant: call.restaurant,
            number: seen.number,
            acknowledged: Vec::new(),
            end_invoked_us: None,
            immediate: false,
            ends_us: Vec::new(),
        });
        book.acknowledged.push((call, seen));
    }
    for call in calls.iter().filter(|call| call.ends_order() && call.may_have_happened()) {
        let Some(book) = call.order().and_then(|id| books.get_mut(&id)) else { continue };
        let first = book.end_invoked_us.map_or(call.invoked_us, |earlier| earlier.min(call.invoked_us));
        book.end_invoked_us = Some(first);
        // One that was not answered may be made at any time.
        let done = if call.seen().is_some() { call.ended_us } else { u64::MAX };
        book.ends_us.push((call.invoked_us, done));
        book.immediate |= matches!(call.action, Action::Release { immediate: true, .. });
    }
    for call in calls.iter().filter(|call| matches!(call.action, Action::Release { immediate: true, .. })) {
        // It may have been done, and done again as its answer was lost: by then the number can have another holder.
        let moved_on = matches!(&call.outcome, Outcome::Refused { code, .. } if code == "number_moved_on");
        if let Some(book) = call.order().and_then(|id| books.get_mut(&id)).filter(|_| moved_on) {
            book.immediate = true;
        }
    }
    for book in books.values_mut() {
        book.acknowledged.sort_by_key(|(call, _)| call.ended_us);
    }
    books
}

/// Two calls of an order within this time are one. A little less, since stamps may be a little ahead of the clock.
const ONE_CALL_MS: i64 = 2_900;

/// The refusals that a till can meet which asks for sensible things only.
fn expected_refusal(action: &Action, code: &str) -> bool {
    match action {
        Action::Create { wish, .. } => code == if wish.is_some() { "number_taken" } else { "pool_exhausted" },
        Action::Edit { expected, .. } => code == "order_final" || (expected.is_some() && code == "version_mismatch"),
        Action::Configure { .. } => false,
        Action::Reserve { table: Some(_), .. } => code == "table_has_number",
        Action::Reserve { table: None, .. } => code == "number_not_reserved",
        Action::Quarantine { out: true, .. } => ["number_not_in_pool", "quarantine_full"].contains(&code),
        Action::Quarantine { out: false, .. } => code == "number_not_quarantined",
        // By the clock of Redis it may be another day.
        Action::SetDate { .. } => code == "invalid_body",
        Action::Change { status, .. } => {
            ["order_final", "forbidden_status"].contains(&code) || status == "preparing" && code == "number_moved_on"
        }
        Action::Reopen { .. } => ["order_final", "number_moved_on"].contains(&code),
        Action::Call { .. } => ["order_final", "order_not_callable"].contains(&code),
        Action::Release { immediate, .. } => *immediate && code == "number_moved_on",
        Action::Read { .. } => false,
    }
}

/// These kinds leave the order, and so its version, as it was.
pub(super) fn repeats_a_version(event: &Event) -> bool {
    ["recycled", "restated"].contains(&event.kind.as_str())
}

fn previous_number(event: &Event) -> Option<u32> {
    let number = event.detail.as_ref().filter(|_| event.kind == "renumbered")?.get("previous_number");
    number.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
}

impl Report {
    /// Whether a promise of this kind was broken.
    pub fn violates(&self, check: Check) -> bool {
        self.violations.iter().any(|(found, _)| *found == check)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        let outcomes: Vec<_> = self.outcomes.iter().map(|(class, count)| format!("{count} {class}")).collect();
        writeln!(f, "calls: {}; the slowest took {} ms", outcomes.join(", "), self.slowest_ms)?;
        writeln!(f, "violations: {}; said again: {}", self.violations.len(), self.restated)?;
        let special: Vec<_> = self.special.iter().map(|(what, count)| format!("{count} {what}")).collect();
        writeln!(f, "special: {}", special.join(", "))?;
        for (check, what) in self.violations.iter().take(SHOWN) {
            writeln!(f, "  {check:?}: {what}")?;
        }
        for (name, list) in [("allowed losses", &self.allowed_losses), ("renumbered", &self.renumbered)] {
            if !list.is_empty() {
                writeln!(f, "{name}: {}", list.len())?;
                list.iter().take(SHOWN).try_for_each(|what| writeln!(f, "  {what}"))?;
            }
        }
        Ok(())
    }
}
