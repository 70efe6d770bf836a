//! The order that has a number, had it last, or had it then.

use crate::{
    domain::{DisplayNumber, NumberState, Order, Refusal, RestaurantId, Timestamp},
    service::{Orders, ServiceError},
};

/// The order that has a number, or had it last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NumberReport {
    /// The number that was asked for.
    pub number: DisplayNumber,
    /// What it is (or was) doing.
    pub state: NumberState,
    /// Its holder, or last holder; None where no order ever had it.
    pub order: Option<Order>,
}

impl Orders {
    /// The order that has a number now, or had it last; with `at`, by that instant.
    ///
    /// # Errors
    /// Refused outside the restaurant's range. Unavailable when the answer may be where no server answers.
    pub(crate) async fn number(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        at: Option<Timestamp>,
    ) -> Result<NumberReport, ServiceError> {
        match at {
            None => self.number_now(restaurant, number).await,
            Some(at) => self.number_at(restaurant, number, at).await,
        }
    }

    async fn number_now(&self, restaurant: RestaurantId, number: DisplayNumber) -> Result<NumberReport, ServiceError> {
        let Some(seen) = self.allocator.inspect(restaurant, number).await? else {
            self.check_default_range(restaurant, number)?;
            return Ok(NumberReport { number, state: NumberState::Free, order: None });
        };
        let state = seen.state.ok_or(Refusal::NumberOutOfRange)?;
        let order = match seen.order {
            Some(order) => Some(order),
            None => self.ledger.last_holder(restaurant, number).await?,
        };
        Ok(NumberReport { number, state, order })
    }

    /// What the holder's times say. A rest that was ended early counts as rest.
    async fn number_at(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        at: Timestamp,
    ) -> Result<NumberReport, ServiceError> {
        let present = self.allocator.inspect(restaurant, number).await?;
        match &present {
            Some(seen) => drop(seen.state.ok_or(Refusal::NumberOutOfRange)?),
            None => self.check_default_range(restaurant, number)?,
        }
        let here = self.allocator.live_orders(restaurant).await?;
        let kept = self.allocator.kept_orders(restaurant).await?;
        let in_redis = here
            .iter()
            .chain(kept.iter())
            .filter(|order| order.number == Some(number) && order.given_at.is_some_and(|given| given <= at))
            .max_by_key(|order| (order.given_at, order.id))
            .cloned();
        // Redis may hold a live order since long before `at`; one that the ledger knows and that is newer came later.
        let in_ledger = self.ledger.holder_at(restaurant, number, at).await?;
        let order = newer(in_redis, in_ledger);
        let state = match &order {
            Some(order) if order.released_at.is_none_or(|released| released > at) => NumberState::Live,
            Some(order) if order.cooling_until().is_some_and(|until| until > at) => NumberState::Cooling,
            _ => NumberState::Free,
        };
        Ok(NumberReport { number, state, order })
    }

    fn check_default_range(&self, restaurant: RestaurantId, number: DisplayNumber) -> Result<(), ServiceError> {
        if self.restaurants.default_settings(restaurant)?.in_range(number.get()) {
            Ok(())
        } else {
            Err(Refusal::NumberOutOfRange.into())
        }
    }
}

/// The order that got the number later; of two versions of one order, the higher.
fn newer(a: Option<Order>, b: Option<Order>) -> Option<Order> {
    a.into_iter().chain(b).max_by_key(|order| (order.given_at, order.id, order.version))
}
