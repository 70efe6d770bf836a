//! What this daemon counts of each restaurant, between one sample of usage and the next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use crate::domain::{RestaurantId, usage::Tally};

/// What this daemon did for each restaurant since it was last asked. In parts, so that two requests seldom meet.
#[derive(Debug, Default)]
pub(super) struct Tallies([Mutex<HashMap<RestaurantId, Tally>>; 16]);

impl Tallies {
    /// A number was given out.
    pub(super) fn allocated(&self, restaurant: RestaurantId) {
        self.add(restaurant, Tally { allocations: 1, exhaustions: 0 });
    }

    /// An order got no number, because none was free.
    pub(super) fn exhausted(&self, restaurant: RestaurantId) {
        self.add(restaurant, Tally { allocations: 0, exhaustions: 1 });
    }

    fn add(&self, restaurant: RestaurantId, tally: Tally) {
        let part = &self.0[restaurant.get() as usize % self.0.len()];
        part.lock().unwrap_or_else(PoisonError::into_inner).entry(restaurant).or_default().add(tally);
    }

    pub(super) fn take(&self) -> BTreeMap<RestaurantId, Tally> {
        let parts = self.0.iter().map(|part| std::mem::take(&mut *part.lock().unwrap_or_else(PoisonError::into_inner)));
        parts.flatten().collect()
    }
}
