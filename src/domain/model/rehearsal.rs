//! Orders of a time, replayed on the model under settings that may be others than they had.
//!
//! Two courses go side by side. One is what happened: its numbers are those that the orders had. The other is what would
//! have happened, had the settings been changed when the time began. Both begin with the same pool.

use std::collections::HashMap;

#[cfg(test)]
mod tests;

use super::{
    course::Course,
    happening::{Happening, LastGiven, MadeOrder, SetDate, StartingPool, What},
    pool_model::{Answer, Asked, Giving},
    report::{AsItWas, AsItWouldHaveBeen, RanOut, RehearsalReport},
};
use crate::domain::{Choice, PoolSettings, RangeId, SpecialNumbers, Timestamp};

/// The time before a rehearsal: what happened in it is followed, so that the pool is as it was when the rehearsal begins.
///
/// A number whose rest is over stays among the resting ones until orders take it back, two at a time. Which of them were
/// taken back is not in the ledger. It follows from what happened, once that has been followed for a while.
#[derive(Debug)]
pub struct LeadIn(Course);

impl LeadIn {
    /// Begins with what the ledger knows of the pool.
    #[must_use]
    pub fn new(seed: &[u8], at: Timestamp, start: &StartingPool) -> Self {
        // A quarantine that is over is forgotten with the next one only, and its number was taken back long ago.
        let mut settings = start.settings.clone();
        settings.special.quarantine.retain(|_, quarantine| quarantine.lasts(at));
        let mut was = Course::new(settings, seed, at);
        for happening in &start.before {
            follow(&mut was, happening);
        }
        place_rings(&mut was, start);
        if let Some(last) = start.last_order {
            was.model.was_used_at(last.at);
        }
        // A date that was set holds until its end; one that was set before the last order may be over.
        if let Some((at, SetDate { date, ends })) = start.date_set {
            let is_later = start.last_order.is_none_or(|last| last.at < at);
            if is_later {
                was.model.put_day(date, ends);
            } else if start.last_order.and_then(|last| last.date) == Some(date) {
                was.model.set_day(date, ends, 0);
            }
        }
        Self(was)
    }

    /// What happened next. It has to come in the order of the ledger.
    pub fn follow(&mut self, happening: &Happening) {
        follow(&mut self.0, happening);
    }
}

/// A rehearsal under way.
#[derive(Debug)]
pub struct Rehearsal {
    was: Course,
    would: Course,
    /// Of each range that has nothing now, the place in the report.
    out: HashMap<Option<RangeId>, usize>,
    report: RehearsalReport,
}

impl Rehearsal {
    /// Begins with the pool as it was, and with these settings from then on. What is special about numbers goes on as it
    /// was, whatever the settings say of it.
    #[must_use]
    pub fn new(LeadIn(mut was): LeadIn, settings: PoolSettings, from: Timestamp) -> Self {
        was.count_anew();
        let mut would = was.clone();
        let settings = with_special(settings, &was.model.settings().special);
        if settings != *was.model.settings() {
            would.model.configure(settings, from);
        }
        Self { was, would, out: HashMap::new(), report: RehearsalReport::default() }
    }

    /// What happened next. It has to come in the order of the ledger.
    pub fn replay(&mut self, happening: &Happening) {
        let at = happening.at;
        match &happening.what {
            What::Given(made) if self.was.knows(made.order) => {}
            What::Given(made) => {
                let number = self.give(happening, made);
                self.report.orders += 1;
                self.report.same_number += u64::from(number == Some(made.number.get()));
            }
            What::Released { order, immediate, completed } => self.would.release(*order, at, *immediate, *completed),
            What::Reopened(order) => {
                let is_refused = !self.would.reopen(*order, at);
                self.report.as_it_would_have_been.reopenings_refused += u64::from(is_refused);
            }
            What::Recycled(order) => self.would.recycle(*order, at),
            What::Rested { numbers, until } => self.would.rest(numbers, at, *until),
            What::Configured(settings) => self.configure(settings, at),
            What::DateSet(SetDate { date, ends }) => {
                self.report.as_it_would_have_been.resets += u64::from(self.would.model.put_day(*date, *ends));
            }
        }
        follow(&mut self.was, happening);
    }

    /// What the order would have got.
    fn give(&mut self, happening: &Happening, made: &MadeOrder) -> Option<u32> {
        let Happening { at, sequence, .. } = *happening;
        let number = made.number.get();
        let wished = (made.choice == Choice::Wished).then_some(number);
        let asked = Asked { wished: wished.filter(|_| !made.is_taken_over), ..asked(made) };
        let answer = if made.is_taken_over {
            self.would.model.take_over(wished, &asked, sequence, at)
        } else {
            self.would.model.ask(&asked, sequence, at, at)
        };
        let report = &mut self.report.as_it_would_have_been;
        match answer {
            Answer::Number(giving) => {
                report.rests_used += u64::from(giving.gave_way_after_ms.is_some());
                report.passed_over += u64::try_from(giving.passed_over).unwrap_or_default();
                report.resets += u64::from(giving.was_reset);
                if giving.overflowed.is_none() && giving.choice.moves_the_ring() && giving.gave_way_after_ms.is_none() {
                    self.out.remove(&giving.range);
                }
                let cooldown_seconds = self.would.model.settings().cooldown_seconds;
                self.would.give(&giving, made.order, cooldown_seconds, at);
                Some(giving.number)
            }
            Answer::Exhausted { range, .. } => {
                self.refuse(range, at);
                None
            }
            Answer::Taken { .. } => {
                report.wishes_refused += 1;
                None
            }
        }
    }

    fn refuse(&mut self, range: Option<RangeId>, at: Timestamp) {
        let report = &mut self.report.as_it_would_have_been;
        report.refused += 1;
        let ran_out = &mut report.ran_out;
        let place = *self.out.entry(range.clone()).or_insert_with(|| {
            ran_out.push(RanOut { range, from: at, to: at, orders: 0 });
            ran_out.len() - 1
        });
        ran_out[place].to = at;
        ran_out[place].orders += 1;
    }

    /// The settings that are rehearsed stay; reservations and quarantine are as they became.
    fn configure(&mut self, became: &PoolSettings, at: Timestamp) {
        let was = self.was.model.settings();
        self.report.settings_changes += u64::from(with_special(was.clone(), &became.special) != *became);
        if was.special != became.special {
            let settings = with_special(self.would.model.settings().clone(), &became.special);
            self.would.model.configure(settings, at);
        }
    }

    /// What has happened by now.
    #[must_use]
    pub fn finish(self) -> RehearsalReport {
        let as_it_would_have_been =
            AsItWouldHaveBeen { figures: self.would.figures(), ..self.report.as_it_would_have_been };
        let as_it_was = AsItWas { figures: self.was.figures(), ..self.report.as_it_was };
        RehearsalReport { as_it_was, as_it_would_have_been, ..self.report }
    }
}

/// The rings go on behind the numbers that they gave last; behind those of the last date only, where they begin anew with each.
fn place_rings(was: &mut Course, start: &StartingPool) {
    let (resets, last) = (start.settings.resets_daily(), start.last_order);
    if resets && last.is_some_and(|last| !last.is_of_first_date) {
        was.model.reset_rings();
    }
    let is_of_last_date = |given: &&LastGiven| given.date.is_some() && given.date == last.and_then(|last| last.date);
    for given in start.last_given.iter().filter(|given| !resets || is_of_last_date(given)) {
        was.model.ring_gave(given.range.as_ref(), given.number.get());
    }
}

/// Lets happen what did happen.
fn follow(was: &mut Course, happening: &Happening) {
    let at = happening.at;
    match &happening.what {
        // It was said again.
        What::Given(made) if was.knows(made.order) => {}
        What::Given(made) => {
            // Numbers that were asked for, reserved or taken over are of whichever range.
            let is_next = made.choice.moves_the_ring() && !made.is_taken_over;
            if made.is_taken_over {
                was.model.end_rests(at);
            } else {
                was.model.turn_day(at);
            }
            if is_next {
                was.model.settle_for(made.number.get(), at);
            }
            let own = was.model.range_of(&asked(made)).filter(|own| is_next && made.range.as_ref() != Some(own));
            let giving = Giving {
                number: made.number.get(),
                range: made.range.clone(),
                choice: made.choice,
                overflowed: own,
                gave_way_after_ms: None,
                passed_over: 0,
                business_day: None,
                was_reset: false,
            };
            was.give(&giving, made.order, made.cooldown_seconds, at);
        }
        What::Released { order, immediate, completed } => was.release(*order, at, *immediate, *completed),
        What::Reopened(order) => _ = was.reopen(*order, at),
        What::Recycled(order) => was.recycle(*order, at),
        What::Rested { numbers, until } => was.rest(numbers, at, *until),
        What::Configured(settings) => was.model.configure((**settings).clone(), at),
        What::DateSet(SetDate { date, ends }) => _ = was.model.put_day(*date, *ends),
    }
}

fn asked(made: &MadeOrder) -> Asked<'_> {
    Asked { order_type: made.order_type, order_source: made.order_source, table: made.table.as_deref(), wished: None }
}

fn with_special(settings: PoolSettings, special: &SpecialNumbers) -> PoolSettings {
    PoolSettings { special: special.clone(), ..settings }
}
