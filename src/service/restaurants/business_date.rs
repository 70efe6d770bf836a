//! The business date of a restaurant: read, and set by hand.

use chrono::NaiveDate;

use super::{CHANGE_ATTEMPTS, Restaurants};
use crate::{
    allocator::DateSet,
    domain::{Context, PresentDate, Refusal, RestaurantId},
    service::{Dependency, ServiceError, trail},
};

/// A business date after it was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangedDate {
    /// As it now stands.
    pub present: PresentDate,
    /// As [`crate::service::ChangedOrder::replayed`].
    pub replayed: bool,
}

impl Restaurants {
    /// The business date that the next order of a restaurant belongs to.
    ///
    /// # Errors
    /// As [`Restaurants::settings`].
    pub(crate) async fn business_date(&self, restaurant: RestaurantId) -> Result<PresentDate, ServiceError> {
        match self.allocator.see_business_date(restaurant, None).await? {
            Some(seen) => Ok(seen.present()),
            None => {
                let rules = self.default_settings(restaurant)?.date_rules();
                let (date, ends_at) = rules.at(self.allocator.now()?);
                Ok(PresentDate { rules, date, ends_at, orders: 0 })
            }
        }
    }

    /// Sets the business date of a restaurant back or on. Where it is that date already, nothing changes.
    ///
    /// # Errors
    /// Refused when the date is more than a day from UTC's, or the restaurant is unknown and `auto_provision` is off.
    /// Unavailable when Redis or the ledger is unreachable: the ledger knows how many orders the date has had.
    pub(crate) async fn set_business_date(
        &self,
        restaurant: RestaurantId,
        date: NaiveDate,
        context: Context,
    ) -> Result<ChangedDate, ServiceError> {
        for _ in 0..CHANGE_ATTEMPTS {
            // Redis is read before the ledger: an order that leaves it in between is durable by then.
            let Some(seen) = self.allocator.see_business_date(restaurant, Some(date)).await? else {
                self.provision(restaurant, &context).await?;
                continue;
            };
            let is_that = seen.day.is_some_and(|day| day.date == date);
            if is_that && seen.now < seen.ends_at {
                return Ok(ChangedDate { present: seen.present(), replayed: false });
            }
            let mut had = self.ledger.most_places(restaurant, date).await?;
            had.extend(&seen.most_places);
            had.sort_unstable();
            let until = seen.rules.end_of_set(date, seen.now);
            let replayed =
                match self.allocator.set_business_date(restaurant, &seen, (date, until), &had, &context).await? {
                    DateSet::Done => false,
                    DateSet::Replayed => true,
                    DateSet::Far(utc) => return Err(Refusal::DateTooFar { utc }.into()),
                    DateSet::Moved | DateSet::Unprovisioned => continue,
                };
            trail::business_date(restaurant, date, &context);
            return Ok(ChangedDate { present: self.business_date(restaurant).await?, replayed });
        }
        Err(ServiceError::Unavailable {
            dependency: Dependency::Quiet,
            reason: format!("the business date of restaurant {restaurant} is being changed by others all the time"),
            retry_after_seconds: 1,
        })
    }
}
