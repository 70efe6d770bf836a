use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::domain::{
    DisplayNumber, OrderId, OrderSource, RestaurantId,
    model::{LastOrder, Misheard, Overflowed, PoolModel, Rest, ShortestRest},
};

const SEED: &[u8] = b"0123456789abcdef";

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + ms)
}

fn id(n: u64) -> OrderId {
    OrderId::new(at(0), RestaurantId::new(7).expect("in range"), n)
}

fn number(n: u32) -> DisplayNumber {
    DisplayNumber::new(n.into()).expect("in range")
}

fn settings(json: Value) -> PoolSettings {
    serde_json::from_value(json).expect("well-formed")
}

fn made(n: u64, own: u32) -> MadeOrder {
    MadeOrder {
        order: id(n),
        number: number(own),
        range: None,
        choice: Choice::Next,
        order_type: None,
        order_source: None,
        table: None,
        cooldown_seconds: 1,
        is_taken_over: false,
    }
}

fn happening(ms: i64, what: What) -> Happening {
    Happening { at: at(ms), sequence: 0, what }
}

fn given(ms: i64, n: u64, own: u32) -> Happening {
    happening(ms, What::Given(made(n, own)))
}

fn released(ms: i64, n: u64) -> Happening {
    happening(ms, What::Released { order: id(n), immediate: false, completed: true })
}

fn rehearse_from(start: &StartingPool, json: Value, happenings: &[Happening]) -> RehearsalReport {
    let mut rehearsal = Rehearsal::new(LeadIn::new(SEED, at(-1), start), settings(json), at(-1));
    happenings.iter().for_each(|happening| rehearsal.replay(happening));
    rehearsal.finish()
}

fn rehearse(json: Value, happenings: &[Happening]) -> RehearsalReport {
    rehearse_from(&StartingPool::default(), json, happenings)
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
    let report = rehearse(json!({"max_number": 2, "cooldown_seconds": 5}), &happenings);
    assert_eq!((report.orders, report.same_number), (6, 2));
    let would = &report.as_it_would_have_been;
    assert_eq!(would.refused, 3);
    let ran_out = |from, to, orders| RanOut { range: None, from: at(from), to: at(to), orders };
    assert_eq!(would.ran_out, [ran_out(20, 30, 2), ran_out(5050, 5050, 1)]);
    assert_eq!(would.figures.shortest_rest, Some(ShortestRest { ms: 5000, number: 1, at: at(5040) }));
    let peak = would.figures.fullest_minute.expect("orders came");
    assert_eq!((peak.in_use, peak.capacity, peak.minute), (2, 2, at(0)));
    // As it was, five numbers of 9999 were live in the end, and the first one's rest was over.
    let was = &report.as_it_was.figures;
    assert_eq!(was.shortest_rest, None);
    assert_eq!(was.fullest_minute.map(|peak| (peak.in_use, peak.capacity)), Some((5, 9999)));
}

#[test]
fn a_rest_gives_way_where_it_may() {
    let happenings = [given(0, 1, 1), released(10, 1), given(2009, 2, 2), given(2010, 3, 3)];
    let settings = json!({"max_number": 1, "cooldown_seconds": 60, "cooldown_min_seconds": 2});
    let would = rehearse(settings, &happenings).as_it_would_have_been;
    assert_eq!((would.refused, would.rests_used), (1, 1));
    assert_eq!(would.figures.shortest_rest.map(|rest| rest.ms), Some(2000));
}

#[test]
fn pairs_that_could_be_misheard_are_counted_and_avoided() {
    let happenings: Vec<Happening> =
        (1..=50).map(|n| given(n, n.cast_unsigned(), u32::try_from(n).expect("few"))).collect();
    let as_it_was = rehearse(json!({}), &happenings);
    // 13 and 30 up to 15 and 50; and a pair of each two of the digits from 1 to 4.
    assert_eq!(as_it_was.as_it_was.figures.misheard, Misheard { teen_ty: 3, swapped: 6 });
    assert_eq!(as_it_was.as_it_would_have_been.figures, as_it_was.as_it_was.figures);
    assert_eq!(as_it_was.same_number, 50);
    let avoided = rehearse(json!({"avoid": ["teen_ty", "swapped"]}), &happenings).as_it_would_have_been;
    assert_eq!(avoided.figures.misheard, Misheard::default());
    assert!(avoided.passed_over >= 9 && avoided.refused == 0, "{avoided:?}");
}

#[test]
fn it_begins_with_the_pool_as_it_was() {
    // 3 is live, 4 rests, and the ring is behind 2.
    let start = StartingPool {
        before: vec![given(-3000, 1, 3), given(-2500, 2, 4), released(-900, 2)],
        last_given: vec![LastGiven { range: None, number: number(2), date: None }],
        ..StartingPool::default()
    };
    let report = rehearse_from(&start, json!({"max_number": 5}), &[given(0, 10, 5), given(1, 11, 1)]);
    assert_eq!((report.orders, report.same_number, report.as_it_would_have_been.refused), (2, 2, 0));
    assert_eq!(report.as_it_was.figures.fullest_minute.map(|peak| peak.in_use), Some(4));
    let reopened = |ms| [happening(ms, What::Reopened(id(2)))];
    let refused = |ms| rehearse_from(&start, json!({}), &reopened(ms)).as_it_would_have_been.reopenings_refused;
    assert_eq!((refused(50), refused(101)), (0, 1));
}

#[test]
fn ranges_overflow_into_the_main_one() {
    let kiosk =
        |ms, n, own| happening(ms, What::Given(MadeOrder { order_source: Some(OrderSource::Kiosk), ..made(n, own) }));
    let happenings = [kiosk(0, 1, 1), kiosk(1, 2, 2), kiosk(2, 3, 3), given(3, 4, 4)];
    let with = |overflow| {
        json!({"max_number": 9, "ranges": [
            {"id": "kiosk", "min_number": 20, "max_number": 20, "match": {"order_source": ["kiosk"]}, "overflow": overflow}
        ]})
    };
    let kiosk: RangeId = "kiosk".parse().expect("a name");
    let would = rehearse(with(true), &happenings).as_it_would_have_been;
    let overflowed = [Overflowed { range: kiosk.clone(), orders: 2 }];
    assert_eq!((&would.figures.overflowed[..], would.refused), (&overflowed[..], 0));
    let would = rehearse(with(false), &happenings).as_it_would_have_been;
    assert_eq!(would.ran_out, [RanOut { range: Some(kiosk), from: at(1), to: at(2), orders: 2 }]);
    // What overflowed in truth is told by the ranges that gave the numbers.
    let start = StartingPool { settings: settings(with(true)), ..StartingPool::default() };
    assert_eq!(rehearse_from(&start, json!({}), &happenings).as_it_was.figures.overflowed[0].orders, 3);
}

const DAY_MS: i64 = 86_400_000;

#[test]
fn the_rings_begin_anew_with_each_date() {
    // The first instant is 08:00 of a day of UTC.
    let happenings = [given(0, 1, 1), given(1, 2, 2), given(DAY_MS, 3, 3), given(DAY_MS + 1, 4, 4)];
    let daily = json!({"business_day": {"reset": "daily", "first_number": 101}});
    let report = rehearse(daily.clone(), &happenings);
    // The settings come when the ring is at 1, and the pool has no date yet: only the second one is a new one.
    assert_eq!((report.same_number, report.as_it_would_have_been.resets), (2, 1));
    let set = |ms, date: &str| {
        let date = date.parse().expect("a date");
        happening(ms, What::DateSet(SetDate { date, ends: at(2 * DAY_MS) }))
    };
    let set_on = [given(0, 1, 1), set(1, "2027-01-16"), given(2, 2, 101), given(DAY_MS, 3, 102)];
    let report = rehearse(daily, &set_on);
    assert_eq!((report.same_number, report.as_it_would_have_been.resets), (3, 1));
}

#[test]
fn rings_that_begin_anew_forget_earlier_dates() {
    let range = json!([{"id": "bar", "min_number": 20, "max_number": 29, "match": {"order_source": ["app"]}}]);
    let json = json!({"max_number": 9, "ranges": range, "business_day": {"reset": "daily", "first_number": 5}});
    let date = |text: &str| Some(text.parse().expect("a date"));
    let bar: Option<RangeId> = Some("bar".parse().expect("a name"));
    let last = |range: Option<RangeId>, own, on| LastGiven { range, number: number(own), date: date(on) };
    let app =
        |ms, n, own| happening(ms, What::Given(MadeOrder { order_source: Some(OrderSource::App), ..made(n, own) }));
    let happenings = [given(0, 1, 8), app(1, 2, 20), given(DAY_MS, 3, 5), app(DAY_MS + 1, 4, 21)];
    // Of the bar nothing was given since the rings began anew.
    let start = StartingPool {
        settings: settings(json.clone()),
        last_given: vec![last(None, 7, "2027-01-15"), last(bar, 25, "2027-01-14")],
        last_order: Some(LastOrder { at: at(-60_000), date: date("2027-01-15"), is_of_first_date: false }),
        ..StartingPool::default()
    };
    let report = rehearse_from(&start, json, &happenings);
    // On the second date 20 is live.
    assert_eq!((report.orders, report.same_number), (4, 4), "{report:?}");
}

#[test]
fn wishes_and_reservations_are_kept() {
    let reserved = settings(json!({"special": {"reservations": {"7": "12"}}}));
    let start = StartingPool { settings: reserved.clone(), ..StartingPool::default() };
    let at_table = |ms, n, own, choice| {
        let table = Some("12".to_owned());
        happening(ms, What::Given(MadeOrder { table, choice, ..made(n, own) }))
    };
    let wished = |ms, n, own| happening(ms, What::Given(MadeOrder { choice: Choice::Wished, ..made(n, own) }));
    let cancelled = |ms, n| happening(ms, What::Released { order: id(n), immediate: false, completed: false });
    let happenings = [
        at_table(0, 1, 7, Choice::Reserved),
        at_table(1, 2, 1, Choice::ReservedIsLive),
        released(2, 1),
        // Its rest does not keep the number from the same table, but after a guest who may still be called.
        at_table(3, 3, 7, Choice::Reserved),
        cancelled(4, 3),
        at_table(5, 4, 2, Choice::ReservedRests),
        wished(6, 5, 50),
    ];
    let report = rehearse_from(&start, json!({"cooldown_seconds": 1}), &happenings);
    assert_eq!((report.orders, report.same_number), (5, 5), "{report:?}");
    let report = rehearse_from(&start, json!({"max_number": 40}), &happenings);
    assert_eq!((report.same_number, report.as_it_would_have_been.wishes_refused), (4, 1));
    // A reservation that is made meanwhile is made in the rehearsal, too; it is no change of what is rehearsed.
    let during = [happening(0, What::Configured(Box::new(reserved))), at_table(1, 1, 7, Choice::Reserved)];
    let report = rehearse(json!({}), &during);
    assert_eq!((report.same_number, report.settings_changes), (1, 0));
    let widened = happening(0, What::Configured(Box::new(settings(json!({"max_number": 50})))));
    assert_eq!(rehearse(json!({}), &[widened]).settings_changes, 1);
}

#[test]
fn numbers_rest_without_an_order() {
    let rested = happening(0, What::Rested { numbers: vec![number(1), number(2)], until: at(1000) });
    let happenings = [rested, given(1, 1, 3), given(1000, 2, 1)];
    let report = rehearse(json!({"policy": "lowest"}), &happenings);
    assert_eq!(report.same_number, 2);
}

/// A step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Order { table: Option<&'static str>, source: Option<OrderSource>, wished: Option<u32> },
    Release { order: Index, immediate: bool, completed: bool },
    Reopen { order: Index },
    Recycle { order: Index },
    Pass { ms: i64 },
    Special { special: SpecialNumbers },
}

fn special() -> impl Strategy<Value = SpecialNumbers> {
    let reservations = prop::collection::btree_set(1_u32..30, 0..=2);
    let out = prop::option::of((1_u32..20, prop::option::of(0_i64..3_000_000)));
    (reservations, out).prop_map(|(numbers, out)| {
        let reservations: BTreeMap<u32, String> = numbers.into_iter().zip(["1", "2"].map(str::to_owned)).collect();
        let quarantine = |(number, until): (u32, Option<i64>)| {
            (number, crate::domain::Quarantine { reason: "its tile is broken".to_owned(), until: until.map(at) })
        };
        SpecialNumbers { reservations, quarantine: out.map(quarantine).into_iter().collect() }
    })
}

fn pool() -> impl Strategy<Value = PoolSettings> {
    let policy = || prop::sample::select(&["sequential", "sequential", "lowest", "random"][..]);
    let day = prop::sample::select(&["none", "daily"][..]);
    let avoid = prop::sample::subsequence(&["teen_ty", "swapped"][..], 0..=2);
    let numbers = (policy(), policy(), 3_u32..20, prop::sample::select(&[0, 600, 3600, 20_000][..]));
    (numbers, prop::option::of(0_u32..600), day, avoid, any::<bool>(), special()).prop_map(
        |((main, bar, max, cooldown), least, reset, avoid, overflow, special)| {
            let json = json!({
                "max_number": max, "policy": main, "cooldown_seconds": cooldown, "cooldown_min_seconds": least, "avoid": avoid,
                "ranges": [{"id": "bar", "min_number": 21, "max_number": 24, "policy": bar, "overflow": overflow,
                            "match": {"order_source": ["app"]}}],
                "business_day": {"reset": reset, "first_number": 2},
            });
            PoolSettings { special, ..settings(json) }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let table = prop::option::weighted(0.3, prop::sample::select(&["1", "2", "3"][..]));
    let source = prop::option::of(prop::sample::select(&[OrderSource::App, OrderSource::Pos][..]));
    let wished = prop::option::weighted(0.1, 1_u32..26);
    prop_oneof![
        12 => (table, source, wished).prop_map(|(table, source, wished)| Step::Order { table, source, wished }),
        8 => (any::<Index>(), any::<bool>(), prop::bool::weighted(0.7))
            .prop_map(|(order, immediate, completed)| Step::Release { order, immediate, completed }),
        2 => any::<Index>().prop_map(|order| Step::Reopen { order }),
        1 => any::<Index>().prop_map(|order| Step::Recycle { order }),
        6 => (1_i64..600_000).prop_map(|ms| Step::Pass { ms }),
        2 => (3_600_000_i64..30_000_000).prop_map(|ms| Step::Pass { ms }),
        1 => special().prop_map(|special| Step::Special { special }),
    ]
}

/// A pool in which a random history happens, and what the ledger would have of it.
struct History {
    model: PoolModel,
    now: i64,
    orders: Vec<MadeOrder>,
    /// Order → when the rest of its number ends; None while it is live.
    ended: BTreeMap<OrderId, Option<i64>>,
    /// Order → when its number would be free after a whole rest.
    whole_rest_ends: BTreeMap<OrderId, i64>,
    happenings: Vec<Happening>,
    last_order: Option<LastOrder>,
    last_given: BTreeMap<Option<RangeId>, LastGiven>,
    has_given_way: bool,
}

impl History {
    fn new(settings: PoolSettings) -> Self {
        Self {
            model: PoolModel::new(settings, SEED, at(0)),
            now: 0,
            orders: Vec::new(),
            ended: BTreeMap::new(),
            whole_rest_ends: BTreeMap::new(),
            happenings: Vec::new(),
            last_order: None,
            last_given: BTreeMap::new(),
            has_given_way: false,
        }
    }

    fn note(&mut self, what: What) {
        let sequence = self.happenings.len() as u64;
        self.happenings.push(Happening { at: at(self.now), sequence, what });
    }

    fn take(&mut self, step: Step) {
        self.now += 1;
        match step {
            Step::Order { table, source, wished } => self.order(table, source, wished),
            Step::Release { order, immediate, completed } => {
                let live: Vec<MadeOrder> =
                    self.orders.iter().filter(|made| !self.ended.contains_key(&made.order)).cloned().collect();
                if live.is_empty() {
                    return;
                }
                let MadeOrder { order, number, choice, cooldown_seconds, .. } = order.get(&live).clone();
                let since = at(self.now).unix_ms();
                let rests = !immediate && cooldown_seconds > 0;
                let free_at = rests.then_some(since + i64::from(cooldown_seconds) * 1000);
                let leaves_table = choice == Choice::Reserved && !completed;
                self.model.release(number.get(), Rest { since, free_at, leaves_table }, at(self.now));
                self.model.forget(number.get(), order);
                self.ended.insert(order, free_at);
                self.whole_rest_ends.insert(order, since + i64::from(cooldown_seconds) * 1000);
                self.note(What::Released { order, immediate, completed });
            }
            Step::Reopen { order } => {
                let Some((order, number, free_at)) = self.resting(order) else { return };
                if free_at > at(self.now).unix_ms() {
                    self.model.reopen(number, order);
                    self.ended.remove(&order);
                    self.note(What::Reopened(order));
                }
            }
            Step::Recycle { order } => {
                let Some((order, number, free_at)) = self.resting(order) else { return };
                if self.model.recycle(number, free_at, at(self.now)) {
                    self.ended.insert(order, None);
                    self.note(What::Recycled(order));
                }
            }
            Step::Pass { ms } => self.now += ms,
            Step::Special { special } => {
                let settings = with_special(self.model.settings().clone(), &special);
                self.model.configure(settings.clone(), at(self.now));
                self.note(What::Configured(Box::new(settings)));
            }
        }
    }

    fn order(&mut self, table: Option<&'static str>, source: Option<OrderSource>, wished: Option<u32>) {
        let asked = Asked { table, order_source: source, wished, order_type: None };
        let sequence = self.happenings.len() as u64;
        // An order that is refused takes back numbers, too, and leaves no trace: here it is as if it had not come.
        let before = self.model.clone();
        let Answer::Number(giving) = self.model.ask(&asked, sequence, at(self.now), at(self.now)) else {
            self.model = before;
            return;
        };
        self.has_given_way |= giving.gave_way_after_ms.is_some();
        let order = id(self.orders.len() as u64);
        self.model.give(&giving, order);
        let made = MadeOrder {
            order,
            number: number(giving.number),
            range: giving.range.clone(),
            choice: giving.choice,
            order_type: None,
            order_source: source,
            table: table.map(str::to_owned),
            cooldown_seconds: self.model.settings().cooldown_seconds,
            is_taken_over: false,
        };
        let date = self.model.business_day().map(|day| day.date);
        let is_of_first_date = self.last_order.is_none_or(|last| last.is_of_first_date && last.date == date);
        self.last_order = Some(LastOrder { at: at(self.now), date, is_of_first_date });
        if giving.choice.moves_the_ring() {
            let last = LastGiven { range: giving.range.clone(), number: made.number, date };
            self.last_given.insert(giving.range, last);
        }
        self.orders.push(made.clone());
        self.note(What::Given(made));
    }

    /// An order whose number still rests for it, with that.
    fn resting(&self, order: Index) -> Option<(OrderId, u32, i64)> {
        let rests = |made: &&MadeOrder| {
            let free_at = self.ended.get(&made.order).copied().flatten();
            let number = made.number.get();
            free_at.is_some() && self.model.holder(number).is_none() && self.model.free_at(number) == free_at
        };
        let resting: Vec<&MadeOrder> = self.orders.iter().filter(rests).collect();
        if resting.is_empty() {
            return None;
        }
        let made = order.get(&resting);
        Some((made.order, made.number.get(), self.ended[&made.order]?))
    }

    /// The pool as the ledger would have it now: of the orders that hold a number, or whose number rests.
    fn start(&self) -> StartingPool {
        let now = at(self.now).unix_ms();
        let is_over = |order: &OrderId| self.ended.contains_key(order) && self.whole_rest_ends[order] <= now;
        let is_known = |happening: &&Happening| match &happening.what {
            What::Given(made) => !is_over(&made.order),
            What::Released { order, .. } | What::Reopened(order) | What::Recycled(order) => !is_over(order),
            What::Rested { .. } | What::Configured(_) | What::DateSet(_) => false,
        };
        StartingPool {
            settings: self.model.settings().clone(),
            before: self.happenings.iter().filter(is_known).cloned().collect(),
            last_given: self.last_given.values().cloned().collect(),
            last_order: self.last_order,
            date_set: None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// A history replayed under the settings that it had gives each order its number.
    #[test]
    fn the_same_settings_give_the_same_numbers(pool in pool(), steps in prop::collection::vec(step(), 1..120)) {
        let mut history = History::new(pool.clone());
        steps.into_iter().for_each(|step| history.take(step));
        let start = StartingPool { settings: pool.clone(), ..StartingPool::default() };
        let mut rehearsal = Rehearsal::new(LeadIn::new(SEED, at(0), &start), pool, at(0));
        history.happenings.iter().for_each(|happening| rehearsal.replay(happening));
        let report = rehearsal.finish();
        let would = &report.as_it_would_have_been;
        prop_assert_eq!(report.same_number, report.orders);
        prop_assert_eq!(report.orders, history.orders.len() as u64);
        prop_assert_eq!((would.refused, would.wishes_refused, would.reopenings_refused), (0, 0, 0));
        prop_assert_eq!(report.settings_changes, 0);
        prop_assert_eq!(&would.figures.misheard, &report.as_it_was.figures.misheard);
        prop_assert_eq!(&would.figures.shortest_rest, &report.as_it_was.figures.shortest_rest);
    }

    /// So does one whose beginning is known by what holds or rests some time before, and by what happened since. Special
    /// numbers do not change before: whose table had a number that was kept for another one then is not known. Nor is it
    /// where a ring stands behind a rest that gave way, nor which rests that were over had been ended.
    #[test]
    fn it_may_begin_in_the_middle(
        pool in pool(),
        before in prop::collection::vec(step(), 1..60),
        lead_in in prop::collection::vec(step(), 0..30),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut history = History::new(PoolSettings { cooldown_min_seconds: None, ..pool });
        let is_special = |step: &Step| matches!(step, Step::Special { .. });
        before.into_iter().filter(|step| !is_special(step)).for_each(|step| history.take(step));
        history.now += 1;
        history.model.end_rests(at(history.now));
        let (start, followed) = (history.start(), history.happenings.len());
        let mut course = LeadIn::new(SEED, at(history.now), &start);
        lead_in.into_iter().for_each(|step| history.take(step));
        history.happenings[followed..].iter().for_each(|happening| course.follow(happening));
        let (replayed, known) = (history.happenings.len(), history.orders.len());
        let mut rehearsal = Rehearsal::new(course, start.settings, at(history.now));
        steps.into_iter().for_each(|step| history.take(step));
        history.happenings[replayed..].iter().for_each(|happening| rehearsal.replay(happening));
        let report = rehearsal.finish();
        prop_assert_eq!(report.same_number, report.orders, "{:?}", history.happenings);
        prop_assert_eq!(report.orders as usize, history.orders.len() - known);
        prop_assert!(!history.has_given_way);
    }
}
