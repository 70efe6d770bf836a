//! Business dates, and the places that orders have in them.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::checker::{Case, Check};
use super::stores::Event;

impl Case<'_> {
    /// No two orders have one place, none is left out where nothing was lost, and each is the one that was told.
    pub(super) fn places(&mut self) {
        let mut places: BTreeMap<(u32, &str), BTreeMap<u32, Vec<Uuid>>> = BTreeMap::new();
        for order in &self.stores.orders {
            let Some((date, place)) = &order.place else { continue };
            places.entry((order.restaurant, date)).or_default().entry(*place).or_default().push(order.id);
        }
        let rebuilt: BTreeSet<u32> =
            self.stores.events.iter().filter(|event| event.generation > 1).map(|event| event.restaurant).collect();
        let mut wrong = Vec::new();
        for ((restaurant, date), places) in &places {
            let may_be = |order: &Uuid| self.forgotten.contains(order) || self.had_two_masters(*order);
            let twice = places.iter().filter(|(_, orders)| orders.len() > 1 && !orders.iter().any(may_be));
            wrong.extend(twice.map(|(place, orders)| {
                format!("{orders:?} of restaurant {restaurant} all have place {place} of {date}")
            }));
            let none_is_left_out = places.keys().copied().eq(1..=u32::try_from(places.len()).unwrap_or(u32::MAX));
            if !rebuilt.contains(restaurant) && !none_is_left_out {
                wrong.push(format!("restaurant {restaurant} has these places of {date}: {:?}", places.keys()));
            }
        }
        for (id, book) in &self.books {
            let Some(kept) = self.ledger.get(id) else { continue };
            for (call, seen) in &book.acknowledged {
                let is_told = (&seen.place, seen.range.as_deref()) == (&kept.place, Some(kept.range_id()));
                if !is_told && !self.may_be_superseded(call) && !self.renumbered(*id, seen.number) {
                    wrong.push(format!("{call:?}, but the ledger has {kept:?}"));
                }
            }
        }
        let dates: BTreeSet<_> = places.keys().collect();
        let restaurants: BTreeSet<_> = dates.iter().map(|(restaurant, _)| restaurant).collect();
        let turns = dates.len() - restaurants.len();
        self.report.special.insert("turns of a date", turns);
        for what in wrong {
            self.violated(Check::Place, what);
        }
    }

    /// A date goes on, and back only where it is set back.
    pub(super) fn dates(&mut self) {
        let mut events: Vec<&Event> = self.stores.events.iter().filter(|event| event.generation > 0).collect();
        events.sort_by_key(|event| (event.partition, event.generation, event.sequence));
        let mut latest: BTreeMap<u32, &str> = BTreeMap::new();
        let mut wrong = Vec::new();
        for event in events {
            match event.kind.as_str() {
                "business_date_set" => {
                    latest.remove(&event.restaurant);
                    *self.report.special.entry("dates set").or_default() += 1;
                }
                "created" => {
                    let row = event.order.and_then(|order| self.ledger.get(&order));
                    let Some((date, _)) = row.and_then(|row| row.place.as_ref()) else { continue };
                    let before = latest.insert(event.restaurant, date);
                    if before.is_some_and(|before| before > date.as_str()) {
                        wrong.push(format!("{event:?} is of {date}, after one of {before:?}"));
                    }
                }
                _ => {}
            }
        }
        for what in wrong {
            self.violated(Check::DateWentBack, what);
        }
    }
}
