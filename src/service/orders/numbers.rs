//! The order that has a number, had it last, or had it then.

use chrono::NaiveDate;

use crate::{
    domain::{DisplayNumber, NumberState, Order, OrderStatus, Refusal, RestaurantId, Timestamp, WrittenNumber},
    service::{Dependency, Orders, ServiceError},
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

/// When a number is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Now.
    Now,
    /// At an instant.
    At(Timestamp),
    /// In a business date.
    On(NaiveDate),
}

impl Orders {
    /// The order that has a number now, or had it last; or that had it at an instant; or the last one of a business date that
    /// had it, with what the number does now.
    ///
    /// # Errors
    /// Refused where no order ever had it and it is outside the restaurant's range. Unavailable when the answer may be where
    /// no server answers.
    pub(crate) async fn number(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        when: When,
    ) -> Result<NumberReport, ServiceError> {
        let here = match when {
            When::Now => self.number_now(restaurant, number).await,
            When::At(at) => self.number_at(restaurant, number, at).await,
            When::On(date) => return self.number_on(restaurant, number, date).await,
        };
        let at = match when {
            When::At(at) => Some(at),
            When::Now | When::On(_) => None,
        };
        self.or_had_it_there(restaurant, number, at, here).await
    }

    /// The number that is written so: by itself, as part of an order number, or as the restaurant shows or showed it. None
    /// where it is no number of this restaurant.
    ///
    /// # Errors
    /// Unavailable when the restaurant's formats cannot be read; refused where it is unknown and has none.
    pub(crate) async fn number_written(
        &self,
        restaurant: RestaurantId,
        written: &WrittenNumber,
    ) -> Result<Option<DisplayNumber>, ServiceError> {
        if let Some(number) = written.number().or_else(|| written.order_number_of(restaurant)) {
            return Ok(Some(number));
        }
        if written.is_bare() {
            return Ok(None);
        }
        self.number_shown(restaurant, written).await
    }

    /// The number that the restaurant shows or showed so: first as its ranges do now, then as an order's did.
    async fn number_shown(
        &self,
        restaurant: RestaurantId,
        written: &WrittenNumber,
    ) -> Result<Option<DisplayNumber>, ServiceError> {
        let settings = self.restaurants.settings(restaurant).await?.settings;
        let now = settings.formats().find_map(|((min, max), format)| {
            written.shown_in(format).find(|number| (min..=max).contains(&number.get()))
        });
        if let Some(number) = now {
            return Ok(Some(number));
        }
        // Redis is read before the ledger: an order that leaves it in between is durable by then.
        let here = self.allocator.live_orders(restaurant).await?;
        let kept = self.allocator.kept_orders(restaurant).await?;
        let shows = |order: &Order| order.number.filter(|number| written.is_shown(*number, &order.format));
        match here.iter().chain(kept.iter()).find_map(shows) {
            Some(number) => Ok(Some(number)),
            None => {
                let once = self.ledger.number_shown(restaurant, written).await?;
                // What is outside of all ranges, and no order had.
                Ok(once.or_else(|| written.shown_in(&settings.format).next()))
            }
        }
    }

    /// The order that a number leads to: its holder or last holder. Where there is none, the newest that another system
    /// called so.
    ///
    /// # Errors
    /// As [`Orders::number`].
    pub(crate) async fn by_number(
        &self,
        restaurant: RestaurantId,
        written: &WrittenNumber,
    ) -> Result<Option<Order>, ServiceError> {
        let refused = match self.number_written(restaurant, written).await? {
            Some(number) => match self.number(restaurant, number, When::Now).await {
                Ok(NumberReport { order: Some(order), .. }) => return Ok(Some(order)),
                Ok(_) => None,
                Err(ServiceError::Refused(refusal @ Refusal::NumberOutOfRange)) => Some(refusal),
                Err(error) => return Err(error),
            },
            None => written.is_bare().then_some(Refusal::NumberOutOfRange),
        };
        if let Some(order) = self.last_called(restaurant, written).await? {
            return Ok(Some(order));
        }
        // No order had the number that is written; one may be shown so, with an offset.
        if written.is_bare()
            && let Some(number) = self.number_shown(restaurant, written).await?
            && written.number() != Some(number)
        {
            return Ok(self.number(restaurant, number, When::Now).await?.order);
        }
        refused.map_or(Ok(None), |refusal| Err(refusal.into()))
    }

    async fn last_called(
        &self,
        restaurant: RestaurantId,
        written: &WrittenNumber,
    ) -> Result<Option<Order>, ServiceError> {
        let here = self.allocator.live_orders(restaurant).await?;
        let kept = self.allocator.kept_orders(restaurant).await?;
        let called = here.iter().chain(kept.iter()).filter(|order| written.is_called(order)).cloned();
        let called: Vec<Order> = called.chain(self.ledger.last_called(restaurant, written).await?).collect();
        Ok(called.into_iter().max_by_key(|order| (order.id, order.version)))
    }

    async fn number_now(&self, restaurant: RestaurantId, number: DisplayNumber) -> Result<NumberReport, ServiceError> {
        let (state, held) = match self.allocator.inspect(restaurant, number).await? {
            Some(seen) => (seen.state, seen.order),
            None => (self.default_state(restaurant, number)?, None),
        };
        let order = match held {
            Some(order) => Some(order),
            None => self.ledger.last_holder(restaurant, number).await?,
        };
        let outside = order.as_ref().map(|_| NumberState::Outside);
        let state = state.or(outside).ok_or(Refusal::NumberOutOfRange)?;
        Ok(NumberReport { number, state, order })
    }

    async fn number_on(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        date: NaiveDate,
    ) -> Result<NumberReport, ServiceError> {
        let span = self.date_span(restaurant, date).await?;
        // Redis is read before the ledger: an order that leaves it in between is durable by then.
        let NumberReport { state, .. } = self.number_now(restaurant, number).await?;
        let here = self.allocator.live_orders(restaurant).await?;
        let kept = self.allocator.kept_orders(restaurant).await?;
        let in_redis = here
            .iter()
            .chain(kept.iter())
            .filter(|order| order.number == Some(number) && span.has(order))
            .max_by_key(|order| (order.given_at, order.id))
            .cloned();
        let in_ledger = self.ledger.holder_on(restaurant, number, &span).await?;
        Ok(NumberReport { number, state, order: newer(in_redis, in_ledger) })
    }

    /// What the holder's times say, and the events of one that was reopened. A rest that was ended early counts as rest.
    async fn number_at(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        at: Timestamp,
    ) -> Result<NumberReport, ServiceError> {
        // Redis is read before the ledger: an order that leaves it in between is durable by then.
        let present = self.allocator.inspect(restaurant, number).await?;
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
            Some(order) if order.reopening.is_some_and(|reopening| reopening.at > at) => {
                self.state_before_reopening(order, at).await?
            }
            Some(order) if order.released_at.is_none_or(|released| released > at) => NumberState::Live,
            Some(order) if order.cooling_until().is_some_and(|until| until > at) => NumberState::Cooling,
            _ => NumberState::Free,
        };
        let (is_inside, held) = match present {
            Some(seen) => (seen.state.is_some(), seen.order.is_some()),
            None => (self.default_state(restaurant, number)?.is_some(), false),
        };
        if !is_inside && order.is_none() && !held && self.ledger.last_holder(restaurant, number).await?.is_none() {
            return Err(Refusal::NumberOutOfRange.into());
        }
        Ok(NumberReport { number, state, order })
    }

    /// What the number did of an order that was reopened later: it rested from each end to the reopening behind it, and belonged
    /// to the order from that on. Only the order's events say when that was.
    async fn state_before_reopening(&self, order: &Order, at: Timestamp) -> Result<NumberState, ServiceError> {
        if let Some(since) = self.unwritten_since(order.restaurant()).await?
            && since <= at
        {
            return Err(ServiceError::Unavailable {
                dependency: Dependency::Ledger,
                reason: format!("it does not have the events since {since} yet"),
                retry_after_seconds: 1,
            });
        }
        let status = self.ledger.status_at(order.id, at).await?;
        // Where its events are not kept any more, it had the number all the same.
        Ok(if status.is_some_and(OrderStatus::is_final) { NumberState::Cooling } else { NumberState::Live })
    }

    /// What a number of a restaurant without settings is; None outside of the range that it would get.
    fn default_state(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
    ) -> Result<Option<NumberState>, ServiceError> {
        let settings = self.restaurants.default_settings(restaurant)?;
        Ok(settings.in_range(number.get()).then_some(NumberState::Free))
    }
}

/// The order that got the number later; of two states of one order, the later.
fn newer(a: Option<Order>, b: Option<Order>) -> Option<Order> {
    a.into_iter().chain(b).max_by_key(|order| (order.given_at, order.id, order.stage()))
}
