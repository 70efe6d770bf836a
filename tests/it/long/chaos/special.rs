//! Numbers that tables have, that are taken out, that were asked for, and rests that were cut.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::checker::{Case, Check, Number};
use super::history::{Action, Call, Outcome};
use super::pools::{MAIN, PoolFacts};
use super::stores::{Event, LedgerOrder};

/// Stamps are rounded, and may be ahead of the clock by what the daemons' clocks differ.
const STAMP_SLACK_MS: i64 = 50;

/// A state of a number that was acknowledged, and surely lasted for a while by the clock of the tills.
struct Sure<'a> {
    call: &'a Call,
    number: u32,
    from_us: u64,
    to_us: u64,
}

impl<'a> Case<'a> {
    /// An order that asked for a number has that number.
    pub(super) fn wishes(&mut self) {
        let mut wrong = Vec::new();
        for call in self.calls {
            let Action::Create { wish: Some(wish), .. } = &call.action else { continue };
            match &call.outcome {
                Outcome::Acknowledged(seen) if seen.number == *wish => {
                    *self.report.special.entry("wishes granted").or_default() += 1;
                }
                Outcome::Acknowledged(seen) if !self.renumbered(seen.order, *wish) => {
                    wrong.push(format!("{call:?} got another number"));
                }
                Outcome::Refused { status, .. } if *status != 409 => wrong.push(format!("{call:?}")),
                _ => {}
            }
        }
        for what in wrong {
            self.violated(Check::Wish, what);
        }
    }

    /// A number that was given may be given by the settings of the time: it lies in the range that is said, and is neither
    /// another table's nor taken out.
    pub(super) fn may_be_given(&mut self, event: &Event, order: Uuid, number: u32, pool: &PoolFacts) {
        let row = self.ledger.get(&order).copied();
        let is_tables = |row: &LedgerOrder| row.choice.as_deref() == Some("reserved");
        let kept_for = pool.kept.get(&number);
        let may_be_given = pool.gives(number) || row.is_some_and(is_tables) && kept_for.is_some();
        if !may_be_given {
            self.violated(Check::NumberState, format!("{event:?}, but the restaurant has {pool:?}"));
        }
        if event.kind == "imported" {
            return;
        }
        let stamps_tell = self.facts.allowance.jumps_us.is_empty();
        if pool.is_out(number, stamps_tell.then_some(event.at_ms)) {
            self.violated(Check::GivenWhileOut, format!("{event:?}, but the restaurant has {pool:?}"));
        }
        if event.kind == "renumbered" && kept_for.is_some() {
            self.violated(Check::OfAnotherTable, format!("{event:?}, but it is kept for {kept_for:?}"));
        }
        let Some(row) = row.filter(|row| event.kind == "created" && row.number == number) else { return };
        let is_theirs = kept_for == row.table.as_ref() && kept_for.is_some();
        if kept_for.is_some() != is_theirs || is_tables(row) != is_theirs {
            self.violated(Check::OfAnotherTable, format!("{event:?} of {row:?}, but it is kept for {kept_for:?}"));
        }
        let of = pool.range_of(number).map_or(MAIN, |(id, _)| id);
        if row.range_id() != of {
            self.violated(Check::Range, format!("{event:?} of {row:?}, but it is of the range {of}: {pool:?}"));
        }
        if let Some(choice @ ("reserved" | "reserved_is_live" | "reserved_rests")) = row.choice.as_deref() {
            let what = if choice == "reserved" { "got the table's number" } else { "could not get the table's number" };
            *self.report.special.entry(what).or_default() += 1;
        }
        if of != MAIN {
            *self.report.special.entry("of further ranges").or_default() += 1;
        }
    }

    /// A number was given that rested. It may be so for the same table, or where nothing is free and it rested long enough.
    pub(super) fn rest_was_cut(
        &mut self,
        event: &Event,
        order: Uuid,
        before: Number,
        pool: Option<&PoolFacts>,
        numbers: &BTreeMap<(u32, u32), Number>,
    ) {
        let row = self.ledger.get(&order).copied();
        let holder = before.last.and_then(|last| self.ledger.get(&last).copied());
        if row.is_some_and(|row| row.choice.as_deref() == Some("reserved")) {
            let same = row.zip(holder).is_some_and(|(row, last)| row.table == last.table && last.status == "completed");
            if !same {
                let what = format!("{event:?} of {row:?}, but it rests until {} for {holder:?}", before.rests_until_ms);
                self.violated(Check::GivenWhileCooling, what);
            }
            return;
        }
        let is_next = row.is_none_or(|row| row.choice.as_deref() != Some("wished"));
        let rested_ms = event.at_ms - before.ended_ms;
        let least_ms = pool.and_then(|pool| pool.gives_way_after_ms).unwrap_or(i64::MAX);
        if !is_next || event.kind == "imported" || rested_ms.saturating_add(STAMP_SLACK_MS) < least_ms {
            let what = format!("{event:?}, but it rests until {}, so far {rested_ms} ms", before.rests_until_ms);
            self.violated(Check::GivenWhileCooling, what);
            return;
        }
        *self.report.special.entry("rests cut").or_default() += 1;
        // Numbers that a rebuild put to rest are not in the log.
        if let Some(free) = pool.filter(|_| event.generation == 1).and_then(|pool| free_beside(event, pool, numbers)) {
            let what = format!("{event:?}, but {free} was free: {:?}", numbers.get(&(event.restaurant, free)));
            self.violated(Check::CutInVain, what);
        }
    }

    /// What was acknowledged of special numbers stands in the end, where nothing changed it; and meanwhile no order got such
    /// a number that might not.
    pub(super) fn special_in_the_end(&mut self, pools: &BTreeMap<u32, PoolFacts>) {
        let mut wrong = Vec::new();
        let attempts = self.first_attempts();
        let mut given: BTreeMap<(u32, u32), Vec<(u64, &Call)>> = BTreeMap::new();
        for call in self.calls {
            let (Action::Create { .. }, Some(seen)) = (&call.action, call.seen()) else { continue };
            if seen.version == 1 && !seen.replayed {
                let from_us = attempts.get(&call.operation).copied().unwrap_or(call.invoked_us);
                given.entry((call.restaurant, seen.number)).or_default().push((from_us, call));
            }
        }
        for sure in self.sure_states() {
            let Sure { call, number, from_us, to_us } = sure;
            let pool = pools.get(&call.restaurant);
            let meanwhile = given.get(&(call.restaurant, number)).into_iter().flatten();
            let meanwhile = meanwhile.filter(|(from, creation)| from_us <= *from && creation.ended_us <= to_us);
            match &call.action {
                Action::Reserve { table, .. } => {
                    if to_us == u64::MAX && pool.is_some_and(|pool| pool.kept.get(&number) != table.as_ref()) {
                        wrong.push((Check::Lost, format!("{call:?}, in the end: {pool:?}")));
                    }
                    let Some(table) = table else { continue };
                    *self.report.special.entry("numbers kept").or_default() += 1;
                    for (_, creation) in meanwhile {
                        if !matches!(&creation.action, Action::Create { table: Some(of), .. } if of == table) {
                            wrong.push((Check::OfAnotherTable, format!("{creation:?} came after {call:?}")));
                        }
                    }
                }
                // Until when, is by another clock.
                Action::Quarantine { out, until: None, .. } => {
                    if to_us == u64::MAX && pool.is_some_and(|pool| pool.is_out(number, None) != *out) {
                        wrong.push((Check::Lost, format!("{call:?}, in the end: {pool:?}")));
                    }
                    if *out {
                        *self.report.special.entry("numbers taken out").or_default() += 1;
                        let given = meanwhile.map(|(_, creation)| format!("{creation:?} came after {call:?}"));
                        wrong.extend(given.map(|what| (Check::GivenWhileOut, what)));
                    }
                }
                _ => {}
            }
        }
        for (check, what) in wrong {
            self.violated(check, what);
        }
    }

    /// When each operation was first asked for.
    fn first_attempts(&self) -> BTreeMap<u64, u64> {
        let mut attempts: BTreeMap<u64, u64> = BTreeMap::new();
        for call in self.calls {
            let first = attempts.entry(call.operation).or_insert(call.invoked_us);
            *first = call.invoked_us.min(*first);
        }
        attempts
    }

    /// What surely was so of special numbers: from when it was acknowledged until another thing was asked for.
    fn sure_states(&self) -> Vec<Sure<'a>> {
        type Kind = (u32, u32, bool);
        let kind = |call: &Call| -> Option<Kind> {
            match call.action {
                Action::Reserve { number, .. } => Some((call.restaurant, number, true)),
                Action::Quarantine { number, .. } => Some((call.restaurant, number, false)),
                _ => None,
            }
        };
        let calls: &'a [Call] = self.calls;
        let mut by_number: BTreeMap<Kind, Vec<&'a Call>> = BTreeMap::new();
        for call in calls.iter().filter(|call| call.may_have_happened()) {
            if let Some(kind) = kind(call) {
                by_number.entry(kind).or_default().push(call);
            }
        }
        let mut sure = Vec::new();
        for ((_, number, _), calls) in by_number {
            let good = |call: &&&Call| call.outcome == Outcome::Configured && !self.may_lose_settings(call);
            for call in calls.iter().filter(good) {
                // One that was not answered may be made at any time.
                let may_follow = |other: &&&Call| {
                    let is_done_before = other.outcome == Outcome::Configured && other.ended_us < call.invoked_us;
                    other.action != call.action && !is_done_before
                };
                let to_us = calls.iter().filter(may_follow).map(|other| other.invoked_us).min().unwrap_or(u64::MAX);
                if call.ended_us < to_us {
                    sure.push(Sure { call, number, from_us: call.ended_us, to_us });
                }
            }
        }
        sure
    }
}

/// A number of the range of the one that was given, that was surely free then.
fn free_beside(event: &Event, pool: &PoolFacts, numbers: &BTreeMap<(u32, u32), Number>) -> Option<u32> {
    let (_, range) = pool.range_of(event.number?)?;
    range.clone().find(|number| {
        let is_special = pool.kept.contains_key(number) || pool.out.contains_key(number);
        let is_free = |state: &Number| {
            state.holder.is_none() && state.is_known && state.rests_until_ms + STAMP_SLACK_MS < event.at_ms
        };
        pool.gives(*number) && !is_special && numbers.get(&(event.restaurant, *number)).is_none_or(is_free)
    })
}
