//! Orders of a time, replayed on the model under settings that may be others than they had.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::pool_model::{Answer, Asked, Giving, PoolModel, Rest};
use crate::domain::{Avoid, Choice, DisplayNumber, OrderId, OrderSource, OrderType, PoolSettings, RangeId, Timestamp};

const MINUTE_MS: i64 = 60_000;

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// The number of the event in its partition; the random policy draws by it.
    pub sequence: u64,
    /// The order.
    pub order: OrderId,
    /// What it was.
    pub what: What,
}

/// What happens to an order, as far as its number is concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// It was created or taken over, and got a number.
    Given(MadeOrder),
    /// It ended.
    Released {
        /// Its number was free at once.
        immediate: bool,
        /// It was completed; else cancelled or expired.
        completed: bool,
    },
    /// It was taken back, with its number.
    Reopened,
    /// The rest of its number was ended.
    Recycled,
}

/// An order as it was when it got its number.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeOrder {
    /// The number that it got.
    pub number: DisplayNumber,
    /// How the guest gets the food.
    pub order_type: Option<OrderType>,
    /// The channel that it came in by.
    pub order_source: Option<OrderSource>,
    /// The table.
    pub table: Option<String>,
    /// How its number was chosen.
    pub choice: Choice,
    /// It was created elsewhere, and taken over live.
    pub is_taken_over: bool,
}

/// An order that holds a number when a rehearsal begins, or whose number rests then.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownOrder {
    /// The order.
    pub order: OrderId,
    /// Its number.
    pub number: DisplayNumber,
    /// How the number was chosen.
    pub choice: Choice,
    /// Seconds that its number rests after its end.
    pub cooldown_seconds: u32,
    /// When its number was given back, and when it is free; None: it is live.
    pub rests: Option<(Timestamp, Timestamp)>,
}

/// The pool as it was when a rehearsal begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StartingPool {
    /// Orders that hold a number, or whose number rests, in the order in which they got it.
    pub orders: Vec<KnownOrder>,
    /// The numbers that the rings gave last, by range (None: the main one).
    pub last_given: Vec<(Option<RangeId>, DisplayNumber)>,
    /// When a number was given last.
    pub used_at: Option<Timestamp>,
}

/// How often a number was given while another one was live that it is mistaken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// Such as 13 and 30.
    pub teen_ty: u64,
    /// Such as 24 and 42.
    pub swapped: u64,
}

/// The shortest time between two orders that had one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ShortestRest {
    /// From the end of the one to the beginning of the other.
    pub ms: i64,
    /// The number.
    pub number: u32,
    /// When it was given again.
    pub at: Timestamp,
}

/// Orders in a row that got no number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RanOut {
    /// The range that had nothing; null: the main one.
    pub range: Option<RangeId>,
    /// The first order without a number.
    pub from: Timestamp,
    /// The last one before the range had a number again.
    pub to: Timestamp,
    /// How many they were.
    pub orders: u64,
}

/// The minute in which the largest part of the pool was in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peak {
    /// When the minute began.
    pub minute: Timestamp,
    /// 1 − free ÷ capacity.
    pub utilization: f64,
    /// Numbers that were live or rested.
    pub in_use: u32,
    /// Numbers that the pool has.
    pub capacity: u32,
}

/// How many orders of a range got a number of the main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overflowed {
    /// The range.
    pub range: RangeId,
    /// The orders.
    pub orders: u64,
}

/// What would have happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RehearsalReport {
    /// Orders that were replayed.
    pub orders: u64,
    /// Those that got the number that they had.
    pub same_number: u64,
    /// Those that got none, since none was free.
    pub refused: u64,
    /// Those that got none, since the number that they asked for was not free.
    pub wishes_refused: u64,
    /// Completed orders that could not be taken back: their number no longer rested for them.
    pub reopenings_refused: u64,
    /// When there was no number, in the order of time.
    pub ran_out: Vec<RanOut>,
    /// The fullest minute; null without an order.
    pub fullest_minute: Option<Peak>,
    /// The shortest rest; null where no number was given twice.
    pub shortest_rest: Option<ShortestRest>,
    /// As it was, of the numbers that were given.
    pub shortest_rest_before: Option<ShortestRest>,
    /// Ranges that overflowed.
    pub overflowed: Vec<Overflowed>,
    /// Rests that gave way.
    pub rests_used: u64,
    /// Numbers that were passed over, since they are mistaken for live ones.
    pub passed_over: u64,
    /// Business dates with which the rings began anew.
    pub resets: u64,
    /// Pairs of live numbers that could have been misheard.
    pub misheard: Heard,
    /// As it was, of the numbers that were given.
    pub misheard_before: Heard,
}

/// Numbers as guests see them: as they were, or as they would have been.
#[derive(Debug, Default)]
struct Board {
    live: BTreeMap<u32, OrderId>,
    released: HashMap<u32, i64>,
    heard: Heard,
    shortest: Option<ShortestRest>,
}

impl Board {
    fn give(&mut self, number: u32, order: OrderId, at: Timestamp) {
        if let Some(released) = self.released.remove(&number) {
            let ms = at.unix_ms() - released;
            if self.shortest.is_none_or(|shortest| ms < shortest.ms) {
                self.shortest = Some(ShortestRest { ms, number, at });
            }
        }
        self.show(number, order);
    }

    /// The number is live from now on.
    fn show(&mut self, number: u32, order: OrderId) {
        for way in Avoid::ALL {
            if way.mistaken_for(number).is_some_and(|other| self.live.contains_key(&other)) {
                match way {
                    Avoid::TeenTy => self.heard.teen_ty += 1,
                    Avoid::Swapped => self.heard.swapped += 1,
                }
            }
        }
        self.live.insert(number, order);
    }

    fn release(&mut self, number: u32, order: OrderId, at: Timestamp) {
        if self.live.get(&number) == Some(&order) {
            self.live.remove(&number);
            self.released.insert(number, at.unix_ms());
        }
    }

    fn reopen(&mut self, number: u32, order: OrderId) {
        self.released.remove(&number);
        self.show(number, order);
    }
}

/// An order that the rehearsal knows.
#[derive(Debug)]
struct Replayed {
    /// As it was.
    before: u32,
    /// As it would have been; None: it got none.
    number: Option<u32>,
    choice: Choice,
    cooldown_seconds: u32,
    /// When its number is free, in ms, while that rests.
    free_at: Option<i64>,
}

/// A rehearsal under way.
#[derive(Debug)]
pub struct Rehearsal {
    model: PoolModel,
    orders: HashMap<OrderId, Replayed>,
    before: Board,
    after: Board,
    /// Of each range that has nothing now, the place in the report.
    out: HashMap<Option<RangeId>, usize>,
    overflowed: BTreeMap<RangeId, u64>,
    report: RehearsalReport,
}

impl Rehearsal {
    /// Begins with a pool as it was, and with these settings from then on.
    #[must_use]
    pub fn new(settings: PoolSettings, seed: &[u8], from: Timestamp, start: &StartingPool) -> Self {
        let mut rehearsal = Self {
            model: PoolModel::new(settings, seed, from),
            orders: HashMap::new(),
            before: Board::default(),
            after: Board::default(),
            out: HashMap::new(),
            overflowed: BTreeMap::new(),
            report: RehearsalReport::default(),
        };
        for known in &start.orders {
            rehearsal.begin_with(known, from);
        }
        for (range, number) in &start.last_given {
            rehearsal.model.ring_gave(range.as_ref(), number.get());
        }
        if let Some(at) = start.used_at {
            rehearsal.model.was_used_at(at);
        }
        rehearsal
    }

    fn begin_with(&mut self, known: &KnownOrder, from: Timestamp) {
        let number = known.number.get();
        // A later order may have the number by now.
        for board in [&mut self.before, &mut self.after] {
            match known.rests {
                None => _ = board.live.insert(number, known.order),
                Some((since, _)) => _ = board.released.insert(number, since.unix_ms()),
            }
        }
        self.model.hold(number, known.order);
        let free_at = known.rests.map(|(_, free_at)| free_at.unix_ms());
        if let Some((since, _)) = known.rests {
            let rest = Rest { since: since.unix_ms(), free_at, leaves_table: false };
            self.model.release(number, rest, from);
            self.model.forget(number, known.order);
        }
        let replayed = Replayed {
            before: number,
            number: Some(number),
            choice: known.choice,
            cooldown_seconds: known.cooldown_seconds,
            free_at,
        };
        self.orders.insert(known.order, replayed);
    }

    /// What happened next. It has to come in the order of the ledger.
    pub fn replay(&mut self, happening: &Happening) {
        let Happening { at, order, .. } = *happening;
        match &happening.what {
            What::Given(made) => self.give(happening, made),
            What::Released { immediate, completed } => self.release(order, at, *immediate, *completed),
            What::Reopened => self.reopen(order, at),
            What::Recycled => self.recycle(order, at),
        }
    }

    fn give(&mut self, happening: &Happening, made: &MadeOrder) {
        let Happening { at, sequence, order, .. } = *happening;
        if self.orders.contains_key(&order) {
            // It was said again.
            return;
        }
        let before = made.number.get();
        self.report.orders += 1;
        self.before.give(before, order, at);
        let wished = (made.choice == Choice::Wished).then_some(before);
        let asked = Asked {
            order_type: made.order_type,
            order_source: made.order_source,
            table: made.table.as_deref(),
            wished: wished.filter(|_| !made.is_taken_over),
        };
        let answer = if made.is_taken_over {
            self.model.take_over(wished, &asked, sequence, at)
        } else {
            self.model.ask(&asked, sequence, at, at)
        };
        let mut choice = Choice::Next;
        let number = match answer {
            Answer::Number(giving) => {
                choice = giving.choice;
                self.model.give(&giving, order);
                self.count(&giving, order, at);
                Some(giving.number)
            }
            Answer::Exhausted { range, .. } => {
                self.refuse(range, at);
                None
            }
            Answer::Taken { .. } => {
                self.report.wishes_refused += 1;
                None
            }
        };
        self.report.same_number += u64::from(number == Some(before));
        let cooldown_seconds = self.model.settings().cooldown_seconds;
        let replayed = Replayed { before, number, choice, cooldown_seconds, free_at: None };
        self.orders.insert(order, replayed);
    }

    fn count(&mut self, giving: &Giving, order: OrderId, at: Timestamp) {
        self.after.give(giving.number, order, at);
        let report = &mut self.report;
        report.rests_used += u64::from(giving.gave_way_after_ms.is_some());
        report.passed_over += u64::try_from(giving.passed_over).unwrap_or_default();
        report.resets += u64::from(giving.was_reset);
        match &giving.overflowed {
            Some(range) => *self.overflowed.entry(range.clone()).or_default() += 1,
            None if giving.choice.moves_the_ring() && giving.gave_way_after_ms.is_none() => {
                self.out.remove(&giving.range);
            }
            None => {}
        }
        let (in_use, capacity) = self.model.in_use(at);
        if report.fullest_minute.is_none_or(|fullest| in_use > fullest.in_use) {
            report.fullest_minute = Some(Peak {
                minute: Timestamp::from_unix_ms(at.unix_ms() - at.unix_ms() % MINUTE_MS),
                utilization: f64::from(in_use) / f64::from(capacity.max(1)),
                in_use,
                capacity,
            });
        }
    }

    fn refuse(&mut self, range: Option<RangeId>, at: Timestamp) {
        self.report.refused += 1;
        let ran_out = &mut self.report.ran_out;
        let place = *self.out.entry(range.clone()).or_insert_with(|| {
            ran_out.push(RanOut { range, from: at, to: at, orders: 0 });
            ran_out.len() - 1
        });
        ran_out[place].to = at;
        ran_out[place].orders += 1;
    }

    fn release(&mut self, order: OrderId, at: Timestamp, immediate: bool, completed: bool) {
        let Some(replayed) = self.orders.get_mut(&order) else { return };
        self.before.release(replayed.before, order, at);
        let Some(number) = replayed.number.filter(|number| self.model.holder(*number) == Some(order)) else { return };
        let since = at.unix_ms();
        let rests = !immediate && replayed.cooldown_seconds > 0;
        let free_at = rests.then_some(since + i64::from(replayed.cooldown_seconds) * 1000);
        let leaves_table = replayed.choice == Choice::Reserved && !completed;
        self.model.release(number, Rest { since, free_at, leaves_table }, at);
        self.model.forget(number, order);
        replayed.free_at = self.model.free_at(number);
        self.after.release(number, order, at);
    }

    fn reopen(&mut self, order: OrderId, at: Timestamp) {
        let Some(replayed) = self.orders.get_mut(&order) else { return };
        self.before.reopen(replayed.before, order);
        // Without a number there is nothing to take back, and nothing more to count.
        let Some(number) = replayed.number else { return };
        let rests = replayed.free_at.is_some_and(|free_at| free_at > at.unix_ms());
        if rests && self.model.holder(number).is_none() && self.model.free_at(number) == replayed.free_at {
            replayed.free_at = None;
            self.model.reopen(number, order);
            self.after.reopen(number, order);
        } else {
            self.report.reopenings_refused += 1;
        }
    }

    fn recycle(&mut self, order: OrderId, at: Timestamp) {
        let Some(replayed) = self.orders.get_mut(&order) else { return };
        if let (Some(number), Some(free_at)) = (replayed.number, replayed.free_at.take()) {
            self.model.recycle(number, free_at, at);
        }
    }

    /// What has happened by now.
    #[must_use]
    pub fn finish(self) -> RehearsalReport {
        RehearsalReport {
            shortest_rest: self.after.shortest,
            shortest_rest_before: self.before.shortest,
            misheard: self.after.heard,
            misheard_before: self.before.heard,
            overflowed: self.overflowed.into_iter().map(|(range, orders)| Overflowed { range, orders }).collect(),
            ..self.report
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RestaurantId;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000 + ms)
    }

    fn id(n: u64) -> OrderId {
        OrderId::new(at(0), RestaurantId::new(7).expect("in range"), n)
    }

    fn settings(json: serde_json::Value) -> PoolSettings {
        serde_json::from_value(json).expect("well-formed")
    }

    fn given(ms: i64, n: u64, number: u32) -> Happening {
        let made = MadeOrder {
            number: DisplayNumber::new(number.into()).expect("in range"),
            order_type: None,
            order_source: None,
            table: None,
            choice: Choice::Next,
            is_taken_over: false,
        };
        Happening { at: at(ms), sequence: n, order: id(n), what: What::Given(made) }
    }

    fn released(ms: i64, n: u64) -> Happening {
        Happening { at: at(ms), sequence: 0, order: id(n), what: What::Released { immediate: false, completed: true } }
    }

    fn rehearse(json: serde_json::Value, start: &StartingPool, happenings: &[Happening]) -> RehearsalReport {
        let mut rehearsal = Rehearsal::new(settings(json), b"seed", at(-1), start);
        happenings.iter().for_each(|happening| rehearsal.replay(happening));
        rehearsal.finish()
    }

    #[test]
    fn a_pool_that_is_too_small_runs_out() {
        let happenings = [
            given(0, 1, 1),
            given(10, 2, 2),
            given(20, 3, 3),
            given(30, 4, 4),
            released(40, 1),
            // Its rest is over by then.
            given(5040, 5, 5),
            given(5050, 6, 6),
        ];
        let report = rehearse(
            serde_json::json!({"max_number": 2, "cooldown_seconds": 5}),
            &StartingPool::default(),
            &happenings,
        );
        assert_eq!((report.orders, report.same_number, report.refused), (6, 2, 3));
        let ran_out = |from, to, orders| RanOut { range: None, from: at(from), to: at(to), orders };
        assert_eq!(report.ran_out, [ran_out(20, 30, 2), ran_out(5050, 5050, 1)]);
        assert_eq!(report.shortest_rest, Some(ShortestRest { ms: 5000, number: 1, at: at(5040) }));
        assert_eq!(report.shortest_rest_before, None);
        let peak = report.fullest_minute.expect("orders came");
        assert_eq!((peak.in_use, peak.capacity, peak.minute), (2, 2, at(0)));
    }

    #[test]
    fn a_rest_gives_way_where_it_may() {
        let happenings = [given(0, 1, 1), released(10, 1), given(2009, 2, 2), given(2010, 3, 3)];
        let settings = serde_json::json!({"max_number": 1, "cooldown_seconds": 60, "cooldown_min_seconds": 2});
        let report = rehearse(settings, &StartingPool::default(), &happenings);
        assert_eq!((report.refused, report.rests_used), (1, 1));
        assert_eq!(report.shortest_rest.map(|rest| rest.ms), Some(2000));
    }

    #[test]
    fn pairs_that_could_be_misheard_are_counted_and_avoided() {
        let happenings: Vec<Happening> =
            (1..=60).map(|n| given(n, n.cast_unsigned(), u32::try_from(n).expect("few"))).collect();
        let as_it_was = rehearse(serde_json::json!({}), &StartingPool::default(), &happenings);
        // 13 and 30 up to 16 and 60; and a pair of each two of the digits from 1 to 5.
        assert_eq!((as_it_was.misheard_before.teen_ty, as_it_was.misheard_before.swapped), (4, 10));
        assert_eq!(as_it_was.misheard, as_it_was.misheard_before);
        assert_eq!(as_it_was.same_number, 60);
        let settings = serde_json::json!({"avoid": ["teen_ty", "swapped"]});
        let avoided = rehearse(settings, &StartingPool::default(), &happenings);
        assert_eq!(avoided.misheard, Heard::default());
        assert!(avoided.passed_over >= 14 && avoided.refused == 0, "{avoided:?}");
    }

    #[test]
    fn it_begins_with_the_pool_as_it_was() {
        let known = |n: u64, number: i64, rests| KnownOrder {
            order: id(n),
            number: DisplayNumber::new(number).expect("in range"),
            choice: Choice::Next,
            cooldown_seconds: 1,
            rests,
        };
        let start = StartingPool {
            orders: vec![known(1, 3, None), known(2, 4, Some((at(-1000), at(100))))],
            last_given: vec![(None, DisplayNumber::new(2).expect("in range"))],
            used_at: Some(at(-1000)),
        };
        // 3 is live, 4 rests, and the ring is behind 2.
        let happenings = [given(0, 10, 5), released(1, 1), given(1001, 11, 6)];
        let report = rehearse(serde_json::json!({"max_number": 5}), &start, &happenings);
        assert_eq!((report.same_number, report.refused), (1, 0));
        // 5 was the last one of the ring, and 1 is the first.
        assert_eq!(report.shortest_rest, None);
        let reopened = Happening { at: at(50), sequence: 12, order: id(2), what: What::Reopened };
        let report = rehearse(serde_json::json!({}), &start, std::slice::from_ref(&reopened));
        assert_eq!(report.reopenings_refused, 0);
        let late = Happening { at: at(101), ..reopened };
        assert_eq!(rehearse(serde_json::json!({}), &start, &[late]).reopenings_refused, 1);
    }

    #[test]
    fn ranges_overflow_into_the_main_one() {
        let kiosk = |ms, n, number| {
            let mut happening = given(ms, n, number);
            if let What::Given(made) = &mut happening.what {
                made.order_source = Some(OrderSource::Kiosk);
            }
            happening
        };
        let happenings = [kiosk(0, 1, 1), kiosk(1, 2, 2), kiosk(2, 3, 3), given(3, 4, 4)];
        let range = |overflow| {
            serde_json::json!({"max_number": 9, "ranges": [
                {"id": "kiosk", "min_number": 20, "max_number": 20, "match": {"order_source": ["kiosk"]}, "overflow": overflow}
            ]})
        };
        let report = rehearse(range(true), &StartingPool::default(), &happenings);
        let kiosk: RangeId = "kiosk".parse().expect("a name");
        assert_eq!(report.overflowed, [Overflowed { range: kiosk.clone(), orders: 2 }]);
        assert_eq!(report.refused, 0);
        let report = rehearse(range(false), &StartingPool::default(), &happenings);
        assert_eq!(report.ran_out, [RanOut { range: Some(kiosk), from: at(1), to: at(2), orders: 2 }]);
    }
}
