//! When numbers were given and taken back, by what is stored and by the clock of the tills; and which orders expired.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::checker::{Case, Check, repeats_a_version};

/// The clocks of the tills and of Redis are not one, and stamps are rounded.
const ROUNDING_US: u64 = 20_000;

impl Case<'_> {
    /// Within a partition, times never go back, whatever happens to clocks and data.
    pub(super) fn stamps(&mut self) {
        let mut events: Vec<_> =
            self.stores.events.iter().filter(|event| event.generation > 0 && !repeats_a_version(event)).collect();
        events.sort_by_key(|event| (event.partition, event.generation, event.sequence));
        let back =
            events.windows(2).filter(|pair| pair[0].partition == pair[1].partition && pair[1].at_ms < pair[0].at_ms);
        let back: Vec<String> = back.map(|pair| format!("{:?}, then {:?}", pair[0], pair[1])).collect();
        for what in back {
            self.violated(Check::StampsGoBack, what);
        }
    }

    /// No two lives of a number overlap, by the times that the ledger has for them. What was lost once does not count:
    /// meanwhile, others may have got its number.
    pub(super) fn stored_lives(&mut self) {
        type Life = (i64, i64, Uuid);
        let lost = self.stores.events.iter().filter(|event| event.kind == "restated").filter_map(|event| event.order);
        let lost: BTreeSet<Uuid> = lost.collect();
        let mut lives: BTreeMap<(u32, u32), Vec<Life>> = BTreeMap::new();
        for order in self.stores.orders.iter().filter(|order| !lost.contains(&order.id)) {
            let Some(given) = order.given_ms else { continue };
            let life = (given, order.released_ms.unwrap_or(i64::MAX), order.id);
            lives.entry((order.restaurant, order.number)).or_default().push(life);
        }
        for ((restaurant, number), mut lives) in lives {
            lives.sort_unstable();
            for pair in lives.windows(2).filter(|pair| pair[0].1 > pair[1].0) {
                let what = format!("number {number} of restaurant {restaurant}, as the ledger has it: {pair:?}");
                self.overlap(number, [pair[0].2, pair[1].2], what);
            }
        }
    }

    /// A number that was given back surely rested, by a clock that is not set: from when that was first asked for to when
    /// the next one was known to have it.
    pub(super) fn rests(&mut self) {
        let cooldowns: BTreeMap<u32, u64> = self
            .facts
            .pools
            .keys()
            .map(|restaurant| (*restaurant, self.least_cooldown_ms(*restaurant).cast_unsigned() * 1000))
            .collect();
        let mut births: BTreeMap<(u32, u32), Vec<(u64, Uuid)>> = BTreeMap::new();
        for (id, book) in &self.books {
            if let Some((call, _)) = book.acknowledged.iter().find(|(_, seen)| seen.version == 1) {
                births.entry((book.restaurant, book.number)).or_default().push((call.ended_us, *id));
            }
        }
        let mut broken = Vec::new();
        for (id, book) in self.books.iter().filter(|(id, book)| self.rests_surely(**id, book)) {
            let Some(from) = book.end_invoked_us.filter(|_| book.acknowledged.iter().any(|(_, seen)| !seen.is_live()))
            else {
                continue;
            };
            let cooldown = cooldowns.get(&book.restaurant).copied().unwrap_or_default();
            let rest = from..(from + cooldown).saturating_sub(ROUNDING_US);
            let jumped = |at: u64| {
                let jumps = &self.facts.allowance.jumps_us;
                jumps.iter().any(|jump| *jump.start() <= at && from <= *jump.end())
            };
            let born = births.get(&(book.restaurant, book.number)).into_iter().flatten();
            broken.extend(born.filter(|(at, other)| rest.contains(at) && other != id && !jumped(*at)).map(|(at, other)| {
                format!(
                    "number {} of restaurant {}: {other} was known to have it at {at} us, and that {id} gives it back was \
                     first asked for at {from} us",
                    book.number, book.restaurant
                )
            }));
        }
        for what in broken {
            self.violated(Check::GivenWhileCooling, what);
        }
    }

    /// Orders that were taken over from elsewhere.
    pub(super) fn imported(&self) -> BTreeSet<Uuid> {
        self.stores.events.iter().filter(|event| event.kind == "imported").filter_map(|event| event.order).collect()
    }

    /// Clean-up ended what no till closed for days, and nothing else.
    pub(super) fn expired(&mut self) {
        let imported = self.imported();
        let is_expired = |status: &str| status == "expired";
        let wrong: Vec<String> = self
            .stores
            .orders
            .iter()
            .filter(|order| is_expired(&order.status) != imported.contains(&order.id))
            .map(|order| format!("{order:?}"))
            .collect();
        for what in wrong {
            self.violated(Check::Expired, what);
        }
        if imported.len() != self.facts.forgotten as usize {
            self.violated(
                Check::Lost,
                format!("{} of {} orders were taken over", imported.len(), self.facts.forgotten),
            );
        }
    }
}
