//! A pool and its rules: ranges, rings, rests, the business date, wishes, reservations, quarantine, rests that give way,
//! numbers that are passed over.
//!
//! It knows which numbers are held, by which order or until when. Every other number of the pool that is not kept for a
//! table is free, and that is all that free numbers are; the index of them is only there to be fast.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::{free::FreeNumbers, misheard::mistaken_for, rests};
use crate::domain::{
    BusinessDay, Choice, DisplayNumber, NumberState, OrderId, OrderSource, OrderType, PoolOccupancy, PoolSettings,
    Quarantine, RangeId, RangeMatch, RangeOccupancy, SelectionPolicy, Timestamp, blocked::is_in, number_pattern::Run,
};

/// Numbers whose rest is over that an order takes back at least.
const SETTLED_AT_LEAST: usize = 2;
/// As many are taken back at a time while there is nothing free.
const SETTLED_AT_ONCE: usize = 64;
/// So many candidates are looked at for one that is not mistaken for a live number.
const TRIES: usize = 8;
/// So many of those that would be free next are looked at for a rest that gives way.
const LOOKED_AT_TO_GIVE_WAY: usize = 64;

/// What an order asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// How the guest gets the food.
    pub order_type: Option<OrderType>,
    /// The channel that the order came in by.
    pub order_source: Option<OrderSource>,
    /// The table, which may have a number of its own.
    pub table: Option<&'a str>,
    /// The only number that will do.
    pub wished: Option<u32>,
}

/// What a pool answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This number, once it is given: see [`PoolModel::give`].
    Number(Giving),
    /// Nothing is free.
    Exhausted {
        /// When the next number is; None where none of the range rests.
        next_free_at: Option<Timestamp>,
        /// The range that has nothing; None: the main one.
        range: Option<RangeId>,
    },
    /// The number that was asked for is not free.
    Taken {
        /// What it is doing.
        state: NumberState,
    },
}

/// A number that is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giving {
    /// The number.
    pub number: u32,
    /// The range that gives it; None: the main one, or none at all.
    pub range: Option<RangeId>,
    /// How it was chosen.
    pub choice: Choice,
    /// The range that should have given it, and had nothing free.
    pub overflowed: Option<RangeId>,
    /// It rested only so many ms: nothing else was free.
    pub gave_way_after_ms: Option<i64>,
    /// So many numbers were passed over, since they are mistaken for live ones.
    pub passed_over: usize,
    /// The place of the order in its business date; None where it was taken over from elsewhere.
    pub business_day: Option<BusinessDay>,
    /// Whether the rings began anew with this order.
    pub was_reset: bool,
}

/// How an order gives its number back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rest {
    /// When the rest begins, in ms.
    pub since: i64,
    /// When it ends, in ms; None: it does not rest.
    pub free_at: Option<i64>,
    /// The order got the number since it is kept for its table, and was not completed: its guest may still be called, so the
    /// next order of the table does not get it at once.
    pub leaves_table: bool,
}

/// A part of the pool; the main one comes first.
#[derive(Debug, Clone)]
struct Range {
    id: Option<RangeId>,
    min: u32,
    max: u32,
    policy: SelectionPolicy,
    takes: RangeMatch,
    overflow: bool,
    /// Where a sequential range goes on; 0 for other policies.
    cursor: u32,
}

impl Range {
    fn has(&self, number: u32) -> bool {
        (self.min..=self.max).contains(&number)
    }

    fn fits(&self, asked: &Asked<'_>) -> bool {
        let takes = &self.takes;
        let fits_type = takes.order_type.is_empty() || asked.order_type.is_some_and(|t| takes.order_type.contains(&t));
        let source = asked.order_source;
        fits_type && (takes.order_source.is_empty() || source.is_some_and(|s| takes.order_source.contains(&s)))
    }
}

/// The business date of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Day {
    date: NaiveDate,
    /// When it ends, in ms; 0 where that has to be asked for.
    ends: i64,
    /// Orders so far.
    orders: u32,
}

/// A pool of numbers, as a plain value.
#[derive(Debug, Clone)]
pub struct PoolModel {
    settings: PoolSettings,
    seed: Vec<u8>,
    ranges: Vec<Range>,
    unblocked: Vec<Run>,
    /// How many numbers these are.
    capacity: u32,
    day: Option<Day>,
    live: BTreeMap<u32, OrderId>,
    rests: rests::Rests,
    /// Number → its holder, or its last one as long as that is remembered.
    holders: BTreeMap<u32, OrderId>,
    /// Number → the table that it is kept for and has had it, as long as no order for it ended otherwise than completed.
    had: BTreeMap<u32, String>,
    /// Number that is taken out → until when, and when its own rest ends, in ms (0: it does not rest). It lies among the
    /// resting ones, unless an order has it.
    out: BTreeMap<u32, (i64, i64)>,
    free: FreeNumbers,
}

impl PoolModel {
    /// A pool in which every number is free. The seed keys the draws of the random policy.
    #[must_use]
    pub fn new(settings: PoolSettings, seed: &[u8], now: Timestamp) -> Self {
        let mut model = Self {
            settings: PoolSettings::default(),
            seed: seed.to_vec(),
            ranges: Vec::new(),
            unblocked: Vec::new(),
            capacity: 0,
            day: None,
            live: BTreeMap::new(),
            rests: rests::Rests::default(),
            holders: BTreeMap::new(),
            had: BTreeMap::new(),
            out: BTreeMap::new(),
            free: FreeNumbers::default(),
        };
        model.configure(settings, now);
        model
    }

    /// Gives the pool other settings. A ring goes on where the range of its name was, if it can; what is held or rests is
    /// not disturbed.
    pub fn configure(&mut self, settings: PoolSettings, now: Timestamp) {
        if settings.date_rules() != self.settings.date_rules()
            && let Some(day) = &mut self.day
        {
            day.ends = 0;
        }
        let further = settings.ranges.iter().map(|range| Range {
            id: Some(range.id.clone()),
            min: range.min_number,
            max: range.max_number,
            policy: range.policy,
            takes: range.takes.clone(),
            overflow: range.overflow,
            cursor: 0,
        });
        let main = Range {
            id: None,
            min: settings.min_number,
            max: settings.max_number,
            policy: settings.policy,
            takes: RangeMatch::default(),
            overflow: false,
            cursor: 0,
        };
        let mut ranges: Vec<Range> = [main].into_iter().chain(further).collect();
        for range in ranges.iter_mut().filter(|range| range.policy == SelectionPolicy::Sequential) {
            let before = self.ranges.iter().find(|before| before.id == range.id);
            let cursor = before.map_or(0, |before| before.cursor);
            range.cursor = if range.has(cursor) { cursor } else { range.min };
        }
        self.ranges = ranges;
        self.put_back(now.unix_ms());
        self.unblocked = settings.unblocked_runs();
        self.capacity = settings.capacity();
        self.settings = settings;
        let reservations = &self.settings.special.reservations;
        self.had.retain(|number, table| reservations.get(number) == Some(table));
        self.take_out(now.unix_ms());
        self.index();
    }

    /// Numbers that were taken out rest as they do by themselves.
    fn put_back(&mut self, now: i64) {
        for (number, (_, own_end)) in std::mem::take(&mut self.out) {
            match self.rests.of(number) {
                Some(rest) if own_end > now => self.rests.begin(number, rests::Rest { free_at: own_end, ..rest }),
                _ => _ = self.rests.end(number),
            }
        }
    }

    /// Numbers that the settings take out lie among the resting ones until then.
    fn take_out(&mut self, now: i64) {
        for (number, quarantine) in self.settings.special.quarantine.clone() {
            let rest = self.rests.of(number);
            let until = until_ms(&quarantine);
            let own_end = rest.map_or(0, |rest| rest.free_at);
            if self.has(number) {
                self.out.insert(number, (until, own_end));
                if !self.live.contains_key(&number) {
                    let since = rest.map_or(now, |rest| rest.since);
                    self.rests.begin(number, rests::Rest { since, free_at: until.max(own_end) });
                }
            }
        }
    }

    /// Works out the free numbers anew.
    fn index(&mut self) {
        self.free = FreeNumbers::default();
        for (first, last) in &self.unblocked {
            self.free.insert_run(*first, *last);
        }
        let kept = self.live.keys().chain(self.settings.special.reservations.keys()).copied();
        for number in kept.chain(self.rests.iter().map(|(_, number)| number)) {
            self.free.remove(number);
        }
    }

    fn is_reserved(&self, number: u32) -> bool {
        self.settings.special.reservations.contains_key(&number)
    }

    /// Whether it is kept for a table or taken out: it does not become free with the end of its rest.
    fn is_special(&self, number: u32) -> bool {
        self.is_reserved(number) || self.out.contains_key(&number)
    }

    /// Until when a number is taken out, in ms; None where it is not.
    fn out_until(&self, number: u32) -> Option<i64> {
        self.out.get(&number).map(|(until, _)| *until)
    }

    /// The number may have become free, or have been taken.
    fn review(&mut self, number: u32) {
        if self.is_free(number) {
            self.free.insert(number);
        } else {
            self.free.remove(number);
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    /// Where the ring of each range goes on, the main one first; 0 where it has none.
    #[must_use]
    pub fn cursors(&self) -> Vec<u32> {
        self.ranges.iter().map(|range| range.cursor).collect()
    }

    /// Orders of the business date so far.
    #[must_use]
    pub fn orders_of_date(&self) -> u32 {
        self.day.map_or(0, |day| day.orders)
    }

    /// The business date, and the orders that it has had.
    #[must_use]
    pub fn business_day(&self) -> Option<BusinessDay> {
        self.day.map(|day| BusinessDay { date: day.date, sequence: day.orders })
    }

    /// Whether a number belongs to the pool: it lies in a range and is not blocked, or is kept for a table.
    #[must_use]
    pub fn has(&self, number: u32) -> bool {
        is_in(&self.unblocked, number) || self.is_reserved(number) && self.range_at(number).is_none()
    }

    /// What makes a number free.
    #[must_use]
    pub fn is_free(&self, number: u32) -> bool {
        self.has(number)
            && !self.live.contains_key(&number)
            && self.rests.of(number).is_none()
            && !self.is_reserved(number)
    }

    /// All free numbers.
    pub fn free_numbers(&self) -> impl Iterator<Item = u32> {
        self.free.iter()
    }

    /// The live order that has a number.
    #[must_use]
    pub fn holder(&self, number: u32) -> Option<OrderId> {
        self.live.get(&number).copied()
    }

    /// The numbers that live orders have, each with its order.
    pub fn live(&self) -> impl Iterator<Item = (u32, OrderId)> {
        self.live.iter().map(|(number, order)| (*number, *order))
    }

    /// Resting numbers in the order in which they are free again, with the ms in which they are. Those whose rest is over
    /// are among them until an order takes them back.
    pub fn resting(&self) -> impl Iterator<Item = (i64, u32)> {
        self.rests.iter()
    }

    /// When the rest of a number ends or ended, in ms, whether it is taken out or not.
    #[must_use]
    pub fn free_at(&self, number: u32) -> Option<i64> {
        let rest = self.rests.of(number)?;
        match self.out.get(&number) {
            Some((_, own_end)) => Some(*own_end).filter(|own_end| *own_end > 0),
            None => Some(rest.free_at),
        }
    }

    /// The holder of a number, or its last one as long as that is remembered.
    #[must_use]
    pub fn last_holder(&self, number: u32) -> Option<OrderId> {
        self.holders.get(&number).copied()
    }

    /// All that [`PoolModel::last_holder`] knows.
    #[must_use]
    pub fn holders(&self) -> &BTreeMap<u32, OrderId> {
        &self.holders
    }

    /// The order is no longer remembered as the last holder of a number.
    pub fn forget(&mut self, number: u32, order: OrderId) {
        if self.holders.get(&number) == Some(&order) {
            self.holders.remove(&number);
        }
    }

    fn range_at(&self, number: u32) -> Option<usize> {
        self.ranges.iter().position(|range| range.has(number))
    }

    /// The first further range that takes such an order, else the main one.
    fn range_for(&self, asked: &Asked<'_>) -> usize {
        (1..self.ranges.len()).find(|at| self.ranges[*at].fits(asked)).unwrap_or(0)
    }

    /// The further range that takes such an order; None: the main one.
    #[must_use]
    pub fn range_of(&self, asked: &Asked<'_>) -> Option<RangeId> {
        self.ranges[self.range_for(asked)].id.clone()
    }

    /// What an order gets that asks now. Numbers whose rest is over are taken back, and the business date goes on; the number
    /// is not given yet.
    ///
    /// `sequence` is the number of the event that the order would be. `given` is the stamp of it, `now` the clock: they
    /// differ where the clock went back.
    pub fn ask(&mut self, asked: &Asked<'_>, sequence: u64, given: Timestamp, now: Timestamp) -> Answer {
        let was_reset = self.turn_day(given);
        let now = now.unix_ms();
        let kept = asked.table.map_or(Err(Choice::Next), |table| self.reserved_for(table, now));
        let mut answer = match (kept, asked.wished) {
            (Ok(number), wished) if wished.is_none_or(|wished| wished == number) => {
                Answer::Number(self.giving(number, Choice::Reserved))
            }
            (_, Some(wished)) => self.wish(wished, now),
            (kept, None) => self.next(asked, sequence, now, kept.err().unwrap_or_default()),
        };
        if let Answer::Number(giving) = &mut answer {
            giving.was_reset = was_reset;
            giving.business_day = self.day.map(|day| BusinessDay { date: day.date, sequence: day.orders + 1 });
        }
        answer
    }

    /// What a live order gets that was created elsewhere: its own number if that is free, else the next one.
    pub fn take_over(&mut self, own: Option<u32>, asked: &Asked<'_>, sequence: u64, now: Timestamp) -> Answer {
        self.end_rests(now);
        match own.filter(|number| self.is_free(*number)) {
            Some(own) => Answer::Number(self.giving(own, Choice::Wished)),
            None => self.next_of(self.range_for(asked), sequence, Choice::Next),
        }
    }

    /// Takes back all numbers whose rest is over.
    pub fn end_rests(&mut self, now: Timestamp) {
        let now = now.unix_ms();
        let over: Vec<u32> = self.rests.over(now).collect();
        self.take_back(&over, now);
    }

    /// Gives an order the number that was chosen for it.
    pub fn give(&mut self, giving: &Giving, order: OrderId) {
        let number = giving.number;
        if giving.choice.moves_the_ring()
            && giving.gave_way_after_ms.is_none()
            && let Some(at) = self.range_at(number)
            && self.ranges[at].policy == SelectionPolicy::Sequential
        {
            self.ranges[at].cursor = number + 1;
        }
        if let (Some(place), Some(day)) = (giving.business_day, &mut self.day) {
            day.orders = place.sequence;
        }
        if let Some(table) = self.settings.special.reservations.get(&number) {
            self.had.insert(number, table.clone());
        }
        self.hold(number, order);
    }

    /// An order has this number, however it came by it.
    pub fn hold(&mut self, number: u32, order: OrderId) {
        self.rests.end(number);
        self.live.insert(number, order);
        self.holders.insert(number, order);
        self.review(number);
    }

    /// An order gives its number back.
    pub fn release(&mut self, number: u32, rest: Rest, now: Timestamp) {
        self.live.remove(&number);
        if rest.leaves_table {
            self.had.remove(&number);
        }
        match rest.free_at {
            Some(free_at) => self.rest(number, rest.since, free_at),
            None => self.let_go(number, now.unix_ms()),
        }
    }

    /// Puts a number to rest; one that is taken out lies there until both are over.
    pub fn rest(&mut self, number: u32, since: i64, free_at: i64) {
        let lies_until = match self.out.get_mut(&number) {
            Some((until, own_end)) => {
                *own_end = free_at;
                free_at.max(*until)
            }
            None => free_at,
        };
        self.rests.begin(number, rests::Rest { since, free_at: lies_until });
        self.review(number);
    }

    /// A number that neither is held nor rests any more is free, unless it is taken out, or kept for a table.
    fn let_go(&mut self, number: u32, now: i64) {
        if self.has(number)
            && let Some(until) = self.out_until(number)
        {
            if until > now {
                self.out.insert(number, (until, 0));
                self.rests.begin(number, rests::Rest { since: now, free_at: until });
            } else {
                self.out.remove(&number);
            }
        }
        self.review(number);
    }

    /// Ends the rest of a number before its time, if it is the one that ends then; false where it is not.
    pub fn recycle(&mut self, number: u32, free_at: i64, now: Timestamp) -> bool {
        let rests = self.free_at(number) == Some(free_at);
        if rests {
            self.take_back(&[number], now.unix_ms());
        }
        rests
    }

    /// Takes an order back, with the number that rests for it.
    pub fn reopen(&mut self, number: u32, order: OrderId) {
        self.hold(number, order);
    }

    /// `ms` milliseconds go by, as far as resting numbers are concerned.
    pub fn pass(&mut self, ms: i64) {
        self.rests.pass(ms);
    }

    /// The ring of a range went on behind this number.
    pub fn ring_gave(&mut self, range: Option<&RangeId>, number: u32) {
        let ring = self.ranges.iter_mut().find(|at| at.id.as_ref() == range);
        if let Some(ring) = ring.filter(|ring| ring.policy == SelectionPolicy::Sequential && ring.has(number)) {
            ring.cursor = number + 1;
        }
    }

    /// The pool was last used then: its business date is the one of that instant, with no orders counted.
    pub fn was_used_at(&mut self, at: Timestamp) {
        let (date, ends) = self.settings.date_rules().at(at);
        self.day = Some(Day { date, ends: ends.unix_ms(), orders: 0 });
    }

    /// Goes to a business date that is set by hand; true where the rings began anew.
    pub fn put_day(&mut self, date: NaiveDate, ends: Timestamp) -> bool {
        let present = self.day.map(|day| day.date);
        self.set_day(date, ends, 0);
        let is_reset = present.is_some_and(|present| date > present) && self.settings.resets_daily();
        if is_reset {
            self.reset_rings();
        }
        is_reset
    }

    /// As if the date were another one, which has had so many orders and ends then.
    pub fn set_day(&mut self, date: NaiveDate, ends: Timestamp, orders: u32) {
        self.day = Some(Day { date, ends: ends.unix_ms(), orders });
    }

    /// Goes on to the business date of an instant, if the present one has ended; true where the rings began anew.
    pub fn turn_day(&mut self, at: Timestamp) -> bool {
        if self.day.is_some_and(|day| at.unix_ms() < day.ends) {
            return false;
        }
        let present = self.day.map(|day| day.date);
        let (date, ends) = self.settings.date_rules().following(present, at);
        let goes_on = present == Some(date);
        let orders = self.day.filter(|_| goes_on).map_or(0, |day| day.orders);
        self.day = Some(Day { date, ends: ends.unix_ms(), orders });
        let is_reset = present.is_some() && !goes_on && self.settings.resets_daily();
        if is_reset {
            self.reset_rings();
        }
        is_reset
    }

    /// The rings begin anew.
    pub fn reset_rings(&mut self) {
        let first = self.settings.business_day.first_number;
        for range in self.ranges.iter_mut().filter(|range| range.policy == SelectionPolicy::Sequential) {
            range.cursor = first.filter(|_| range.id.is_none()).unwrap_or(range.min);
        }
    }

    /// The number that was asked for, if it is free.
    fn wish(&mut self, number: u32, now: i64) -> Answer {
        if self.rests.of(number).is_some_and(|rest| rest.free_at <= now) && self.has(number) {
            self.take_back(&[number], now);
        }
        if self.is_free(number) {
            return Answer::Number(self.giving(number, Choice::Wished));
        }
        Answer::Taken { state: self.state(number, Timestamp::from_unix_ms(now)).unwrap_or(NumberState::Outside) }
    }

    /// The number that is kept for a table, if no order has it, and it rests only for an order of the same table. Else how
    /// the next one is chosen, with the reason.
    fn reserved_for(&self, table: &str, now: i64) -> Result<u32, Choice> {
        let Some(number) = self.settings.special.number_for(table) else { return Err(Choice::Next) };
        if self.live.contains_key(&number) {
            return Err(Choice::ReservedIsLive);
        }
        let is_out = self.out_until(number).is_some_and(|until| until > now);
        let rests = self.free_at(number).is_some_and(|free_at| free_at > now);
        let is_theirs = self.had.get(&number).is_some_and(|had| had == table);
        if is_out || rests && !is_theirs { Err(Choice::ReservedRests) } else { Ok(number) }
    }

    fn next(&mut self, asked: &Asked<'_>, sequence: u64, now: i64, choice: Choice) -> Answer {
        let at = self.range_for(asked);
        self.settle(at, sequence, now);
        match self.next_of(at, sequence, choice) {
            Answer::Exhausted { .. } => {
                let rest = self.rest_that_gives_way(at, now);
                rest.map_or_else(|| self.exhausted(at), |giving| Answer::Number(Giving { choice, ..giving }))
            }
            Answer::Number(first) => {
                let (number, passed_over) = self.heard_apart(&first);
                Answer::Number(Giving { number, passed_over, ..first })
            }
            taken @ Answer::Taken { .. } => taken,
        }
    }

    /// The next number of a range, or of the main one where it overflows.
    fn next_of(&self, at: usize, sequence: u64, choice: Choice) -> Answer {
        let own = self.choose(at, sequence).map(|number| (at, number));
        let found = own.or_else(|| {
            let main = if self.ranges[at].overflow { self.choose(0, sequence) } else { None };
            main.map(|number| (0, number))
        });
        let Some((from, number)) = found else { return self.exhausted(at) };
        let overflowed = self.ranges[at].id.clone().filter(|_| from != at);
        Answer::Number(Giving { overflowed, ..self.giving(number, choice) })
    }

    /// Whether a range will have a number once that has rested.
    fn may_serve(&self, at: usize, number: u32) -> bool {
        let of = self.range_at(number);
        let is_own = of == Some(at) || self.ranges[at].overflow && of == Some(0);
        is_own && self.has(number) && !self.is_special(number)
    }

    fn exhausted(&self, at: usize) -> Answer {
        let next = self.rests.iter().find(|(_, number)| self.may_serve(at, *number));
        Answer::Exhausted {
            next_free_at: next.map(|(free_at, _)| Timestamp::from_unix_ms(free_at)),
            range: self.ranges[at].id.clone(),
        }
    }

    /// Takes back numbers whose rest is over: two, and more only if the range has nothing free then.
    fn settle(&mut self, at: usize, sequence: u64, now: i64) {
        let mut limit = SETTLED_AT_LEAST;
        loop {
            let over: Vec<u32> = self.rests.over(now).take(limit).collect();
            self.take_back(&over, now);
            if over.len() < limit || self.choose(at, sequence).is_some() {
                return;
            }
            limit = SETTLED_AT_ONCE;
        }
    }

    /// Takes back what an order did that got this number as the next one: two, and more only if it was not free then.
    pub fn settle_for(&mut self, number: u32, now: Timestamp) {
        let now = now.unix_ms();
        let mut limit = SETTLED_AT_LEAST;
        loop {
            let over: Vec<u32> = self.rests.over(now).take(limit).collect();
            self.take_back(&over, now);
            if over.len() < limit || self.is_free(number) {
                return;
            }
            limit = SETTLED_AT_ONCE;
        }
    }

    fn take_back(&mut self, numbers: &[u32], now: i64) {
        for number in numbers {
            self.rests.end(*number);
            self.let_go(*number, now);
        }
    }

    /// The next number of a range by its policy; None when nothing is free there.
    fn choose(&self, at: usize, sequence: u64) -> Option<u32> {
        let range = &self.ranges[at];
        let next = match range.policy {
            SelectionPolicy::Sequential => self.free.first_within(range.cursor, range.max),
            SelectionPolicy::Lowest => None,
            SelectionPolicy::Random => self.free.at_or_run_before(self.draw(range, sequence), range.min),
        };
        next.or_else(|| self.free.first_within(range.min, range.max))
    }

    /// The number that the random policy asks for first: a keyed hash of the sequence. 52 bits of it, which is all that a
    /// script's numbers hold.
    fn draw(&self, range: &Range, sequence: u64) -> u32 {
        let mut hash = sha1_smol::Sha1::new();
        hash.update(&self.seed);
        hash.update(sequence.to_string().as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = hash.digest().bytes();
        let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 12;
        let span = u64::from(range.max - range.min + 1);
        range.min + u32::try_from(bits % span).expect("below the span")
    }

    /// A number that is not mistaken for one that an order has, or had a moment ago, and how many were passed over for it.
    /// After some tries the first one is taken: this never stalls, and refuses nothing.
    fn heard_apart(&self, giving: &Giving) -> (u32, usize) {
        let first = giving.number;
        let Some(range) = self.ranges.iter().find(|range| range.has(first)) else { return (first, 0) };
        let mut candidate = first;
        for tried in 0..TRIES {
            if !mistaken_for(&self.settings.avoid, candidate).any(|other| self.holders.contains_key(&other)) {
                return (candidate, tried);
            }
            let behind = self.free.first_within(candidate + 1, range.max);
            match behind.or_else(|| self.free.first_within(range.min, range.max)) {
                Some(next) if next != first => candidate = next,
                _ => break,
            }
        }
        (first, 0)
    }

    /// The number that has rested longest, if for as long as the settings ask.
    fn rest_that_gives_way(&self, at: usize, now: i64) -> Option<Giving> {
        let least = i64::from(self.settings.cooldown_min_seconds?) * 1000;
        let next = self.rests.iter().take(LOOKED_AT_TO_GIVE_WAY).map(|(_, number)| number);
        let rested = next.filter(|number| self.may_serve(at, *number)).filter_map(|number| {
            let since = self.rests.of(number)?.since;
            (now - since >= least).then_some((since, number))
        });
        // Of several the one that would be free first.
        let (since, number) = rested.reduce(|longest, other| if other.0 < longest.0 { other } else { longest })?;
        Some(Giving { gave_way_after_ms: Some(now - since), ..self.giving(number, Choice::Next) })
    }

    fn giving(&self, number: u32, choice: Choice) -> Giving {
        Giving {
            number,
            range: self.range_at(number).and_then(|at| self.ranges[at].id.clone()),
            choice,
            overflowed: None,
            gave_way_after_ms: None,
            passed_over: 0,
            business_day: None,
            was_reset: false,
        }
    }

    /// What a number is doing; None outside of all ranges, unless it is held, rests or is kept for a table.
    #[must_use]
    pub fn state(&self, number: u32, now: Timestamp) -> Option<NumberState> {
        let (inside, now) = (self.has(number), now.unix_ms());
        if self.live.contains_key(&number) {
            return Some(if inside { NumberState::Live } else { NumberState::Retiring });
        }
        if self.is_free(number) {
            return Some(NumberState::Free);
        }
        if self.out_until(number).is_some_and(|until| until > now) {
            return Some(NumberState::Quarantined);
        }
        if self.free_at(number).is_some_and(|free_at| free_at > now) {
            return Some(if inside { NumberState::Cooling } else { NumberState::Retiring });
        }
        if self.is_reserved(number) {
            return Some(NumberState::Reserved);
        }
        let in_range = self.range_at(number).is_some();
        in_range.then_some(if inside { NumberState::Free } else { NumberState::Blocked })
    }

    /// The retiring numbers as the pool counts them: live, cooling.
    #[must_use]
    pub fn retiring(&self) -> (u32, u32) {
        let live = self.live.keys().filter(|number| !self.has(**number)).count();
        let cooling = self.rests.iter().filter(|(_, number)| !self.has(*number)).count();
        (count(live), count(cooling))
    }

    /// Numbers of the ranges that no range counts: kept for tables; or else taken out, and not held.
    fn set_apart(&self, now: i64) -> (Vec<u32>, Vec<u32>) {
        let in_range = |number: &u32| is_in(&self.unblocked, *number);
        let reserved = self.settings.special.reservations.keys().copied().filter(in_range).collect();
        let out = self.out.iter().filter(|(number, (until, _))| {
            *until > now && in_range(number) && !self.live.contains_key(*number) && !self.is_reserved(**number)
        });
        (reserved, out.map(|(number, _)| *number).collect())
    }

    /// How much of the pool is in use.
    #[must_use]
    pub fn usage(&self, now: Timestamp) -> PoolOccupancy {
        let now = now.unix_ms();
        let (reserved, out) = self.set_apart(now);
        let counts =
            |number: u32| is_in(&self.unblocked, number) && !self.is_reserved(number) && !out.contains(&number);
        let resting = |number: u32| self.rests.of(number).is_some_and(|rest| rest.free_at > now);
        let of = |id: &str, min: u32, max: u32| {
            let numbers = || (min..=max).filter(|number| counts(*number));
            let capacity = count(numbers().count());
            let live = count(numbers().filter(|number| self.live.contains_key(number)).count());
            let cooling = count(numbers().filter(|number| resting(*number)).count());
            let free = capacity - live - cooling;
            let utilization = f64::from(capacity - free) / f64::from(capacity.max(1));
            RangeOccupancy { id: id.to_owned(), capacity, free, live, cooling, utilization }
        };
        let ranges: Vec<RangeOccupancy> = (self.ranges.iter())
            .map(|range| of(range.id.as_ref().map_or(RangeId::MAIN, RangeId::as_str), range.min, range.max))
            .collect();
        let sum = |of: fn(&RangeOccupancy) -> u32| ranges.iter().map(of).sum::<u32>();
        let (capacity, free) = (sum(|range| range.capacity), sum(|range| range.free));
        let (live, cooling) = (sum(|range| range.live), sum(|range| range.cooling));
        let retiring_at_rest = self.rests.iter().filter(|(free_at, n)| *free_at > now && !self.has(*n)).count();
        PoolOccupancy {
            capacity,
            free,
            live,
            cooling,
            blocked: self.settings.blocked_in_range(),
            reserved: count(reserved.len()),
            quarantined: count(out.len()),
            retiring: self.retiring().0 + count(retiring_at_rest),
            utilization: f64::from(capacity - free) / f64::from(capacity.max(1)),
            next_free_at: self
                .rests
                .iter()
                .find(|(free_at, number)| *free_at > now && self.has(*number) && !self.is_special(*number))
                .map(|(free_at, _)| Timestamp::from_unix_ms(free_at)),
            oldest_live_at: self.live.values().min().map(|order| order.created_at()),
            ranges: if ranges.len() > 1 { ranges } else { Vec::new() },
        }
    }

    /// Numbers of the pool that are not free, nor kept for tables: their part of the pool is its utilization. As `usage`,
    /// without a walk over all numbers.
    #[must_use]
    pub fn in_use(&self, now: Timestamp) -> (u32, u32) {
        let now = now.unix_ms();
        let (reserved, out) = self.set_apart(now);
        let capacity = self.capacity - count(reserved.len()) - count(out.len());
        let counts = |number: &u32| is_in(&self.unblocked, *number) && !self.is_reserved(*number);
        let free = self.free.len() + count(self.rests.over(now).filter(counts).count());
        (capacity.saturating_sub(free), capacity)
    }
}

/// The number as an order has it.
impl Giving {
    /// None where no order could have it.
    #[must_use]
    pub fn display_number(&self) -> Option<DisplayNumber> {
        DisplayNumber::new(self.number.into()).ok()
    }
}

/// Until when a number is taken out: without an end, as long as instants go.
fn until_ms(quarantine: &Quarantine) -> i64 {
    quarantine.until.map_or(Timestamp::MAX_MS, Timestamp::unix_ms)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
