//! Numbers that are kept for tables, or taken out for a while: changes of a restaurant's settings, each for one number.

use std::collections::BTreeMap;

use super::ChangedSettings;
use crate::{
    domain::{Context, DisplayNumber, PoolSettings, Precondition, Quarantine, Refusal, RestaurantId, SpecialNumbers},
    service::{Restaurants, ServiceError},
};

impl Restaurants {
    /// The numbers that are kept for tables, in order.
    ///
    /// # Errors
    /// As [`Restaurants::settings`].
    pub(crate) async fn reservations(&self, restaurant: RestaurantId) -> Result<BTreeMap<u32, String>, ServiceError> {
        Ok(self.settings(restaurant).await?.settings.special.reservations)
    }

    /// Keeps a number for a table, or for another table than before.
    ///
    /// # Errors
    /// Refused where the number is blocked or the table has another one. Unavailable when Redis is unreachable.
    pub(crate) async fn reserve(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        table: &str,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        let change = |special: &mut SpecialNumbers, settings: &PoolSettings| special.reserve(settings, number, table);
        self.change_special(restaurant, &context, change).await
    }

    /// Gives a number back that was kept for a table.
    ///
    /// # Errors
    /// Refused where it is not. Unavailable when Redis is unreachable.
    pub(crate) async fn give_up_reservation(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        let change = |special: &mut SpecialNumbers, _: &PoolSettings| {
            special.reservations.remove(&number.get()).map(drop).ok_or(Refusal::NotReserved { number })
        };
        self.change_special(restaurant, &context, change).await
    }

    /// Takes a number out; one that an order has, when that has ended.
    ///
    /// # Errors
    /// Refused where the number is not in the pool, or too many are out. Unavailable when Redis is unreachable.
    pub(crate) async fn take_out(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        quarantine: &Quarantine,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        let now = self.allocator.now()?;
        let change = |special: &mut SpecialNumbers, settings: &PoolSettings| {
            special.take_out(settings, number, quarantine.clone(), now)
        };
        self.change_special(restaurant, &context, change).await
    }

    /// Puts a number back that was taken out.
    ///
    /// # Errors
    /// Refused where it was not. Unavailable when Redis is unreachable.
    pub(crate) async fn put_back(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        context: Context,
    ) -> Result<ChangedSettings, ServiceError> {
        let now = self.allocator.now()?;
        let change = |special: &mut SpecialNumbers, _: &PoolSettings| {
            let quarantine = special.quarantine.remove(&number.get()).filter(|quarantine| quarantine.lasts(now));
            quarantine.map(drop).ok_or(Refusal::NotQuarantined { number })
        };
        self.change_special(restaurant, &context, change).await
    }

    async fn change_special(
        &self,
        restaurant: RestaurantId,
        context: &Context,
        change: impl Fn(&mut SpecialNumbers, &PoolSettings) -> Result<(), Refusal>,
    ) -> Result<ChangedSettings, ServiceError> {
        let changed = |present: Result<&PoolSettings, Refusal>| -> Result<Option<PoolSettings>, Refusal> {
            let present = present?;
            let mut special = present.special.clone();
            change(&mut special, present)?;
            let is_other = special != present.special;
            Ok(is_other.then(|| PoolSettings { special, ..present.clone() }))
        };
        self.replace(restaurant, &Precondition::default(), context, changed).await
    }
}
