//! Each call is made once, and what its answer shows is how the order was: by the ids of the calls in the audit log, and
//! by playing the log.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::checker::{Case, Check, repeats_a_version};
use super::history::{Action, Call, Outcome};
use super::stores::Event;

impl Case<'_> {
    /// What was acknowledged was made, what was refused was not, and nothing was made twice.
    pub(super) fn calls_once(&mut self) {
        let mut made: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        let mut restated: BTreeMap<Uuid, u32> = BTreeMap::new();
        for event in self.stores.events.iter().filter(|event| event.generation > 0) {
            match (event.kind.as_str(), event.order, event.request.as_deref()) {
                ("restated" | "renumbered", Some(order), _) => {
                    let version = restated.entry(order).or_default();
                    *version = event.version.max(*version);
                }
                (_, _, Some(request)) => made.entry(request).or_default().push(event),
                _ => {}
            }
        }
        let mut attempts: BTreeMap<u64, usize> = BTreeMap::new();
        let mut calls: Vec<&Call> = self.calls.iter().collect();
        calls.sort_by_key(|call| call.invoked_us);
        let mut wrong = Vec::new();
        for call in calls {
            // An order may have given its restaurant settings, too.
            let is_order = |event: &&&Event| event.order.is_some() || !matches!(call.action, Action::Create { .. });
            let own = made.get(call.request.as_str()).map_or(&[][..], Vec::as_slice);
            let own: Vec<&Event> = own.iter().filter(is_order).copied().collect();
            // An attempt after one that was made finds nothing to do.
            let any = attempts.entry(call.operation).or_default();
            *any += own.len();
            let fault = match (&call.outcome, own.as_slice()) {
                (_, [_, _, ..]) => Some("was made more than once"),
                (Outcome::Refused { .. }, [_]) => Some("was refused, and made"),
                // What is so already about special numbers and dates is not made again.
                (Outcome::Configured, []) if *any == 0 && matches!(call.action, Action::Configure { .. }) => {
                    (!self.may_lose_settings(call)).then_some("was not made")
                }
                (Outcome::Acknowledged(seen), []) if *any == 0 && matches!(call.action, Action::Edit { .. }) => {
                    let said_again = restated.get(&seen.order).is_some_and(|version| *version >= seen.version);
                    (!said_again && !self.may_be_superseded(call)).then_some("was not made")
                }
                (Outcome::Acknowledged(seen), [event]) => {
                    let shows_it = match call.action {
                        // Who repeats one is told how things are now, as is who asks for what is done already.
                        Action::Create { .. } => true,
                        _ if seen.replayed => event.version <= seen.version,
                        _ => event.version == seen.version,
                    };
                    let expected = match call.action {
                        Action::Edit { expected: Some(expected), .. } => event.version == expected + 1,
                        _ => true,
                    };
                    (!(shows_it && expected)).then_some("was made at another version")
                }
                _ => None,
            };
            if let Some(fault) = fault {
                wrong.push(format!("{call:?} {fault}: {own:?}"));
            }
        }
        for what in wrong {
            self.violated(Check::NotOnce, what);
        }
    }

    pub(super) fn may_lose_settings(&self, call: &Call) -> bool {
        self.facts.allowance.settings_us.iter().any(|span| span.contains(&call.ended_us))
            || self.may_be_superseded(call)
    }

    /// Each answer shows its order as some version of it was; and a change comes after all that was known when it was asked
    /// for.
    pub(super) fn states(&mut self) {
        let calls: BTreeMap<&str, &Call> = self.calls.iter().map(|call| (call.request.as_str(), call)).collect();
        let mut events: Vec<&Event> =
            self.stores.events.iter().filter(|event| event.generation > 0 && event.order.is_some()).collect();
        events.sort_by_key(|event| (event.order, event.generation, event.sequence));
        let mut states: BTreeMap<(Uuid, u32), (&Event, Option<&str>)> = BTreeMap::new();
        let mut makers: BTreeMap<&str, u32> = BTreeMap::new();
        let mut note: Option<(Uuid, &str)> = None;
        for event in events {
            let Some(order) = event.order else { continue };
            let asked = event.request.as_deref().and_then(|request| calls.get(request)).map(|call| &call.action);
            match (event.kind.as_str(), asked) {
                ("created", _) => note = Some((order, "n")),
                // From here on its note is not known: calls that only a daemon remembers may have led to it.
                ("restated" | "renumbered" | "imported", _) => note = None,
                (_, Some(Action::Edit { note: new, .. })) if note.is_some_and(|(of, _)| of == order) => {
                    note = Some((order, new));
                }
                _ => {}
            }
            if repeats_a_version(event) {
                continue;
            }
            if let Some(request) = &event.request {
                makers.insert(request, event.version);
            }
            let known = note.filter(|(of, _)| *of == order).map(|(_, note)| note);
            states.insert((order, event.version), (event, known));
        }
        let mut wrong = Vec::new();
        for (id, book) in &self.books {
            let mut told = 0;
            let mut known: Vec<(u64, u32)> = Vec::new();
            for (call, seen) in &book.acknowledged {
                if let Some((event, note)) = states.get(&(*id, seen.version))
                    && (event.status.as_deref() != Some(&seen.status)
                        || note.is_some_and(|note| seen.note.as_deref() != Some(note)))
                    && !self.was_said_again(event, seen)
                    && !self.may_be_superseded(call)
                {
                    wrong.push(format!("{call:?}, but it was {event:?}, {note:?}"));
                }
                if makers.get(call.request.as_str()) == Some(&seen.version)
                    && !matches!(call.action, Action::Create { .. })
                {
                    let before = known.iter().take_while(|(ended_us, _)| *ended_us < call.invoked_us);
                    if before.map(|(_, version)| *version).max().is_some_and(|version| version >= seen.version) {
                        wrong.push(format!("{call:?} came before what was known when it was asked for"));
                    }
                }
                if !self.may_be_superseded(call) {
                    told = seen.version.max(told);
                    known.push((call.ended_us, told));
                }
            }
        }
        for what in wrong {
            self.violated(Check::Impossible, what);
        }
    }
}
