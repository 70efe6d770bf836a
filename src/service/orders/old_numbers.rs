//! Imported orders by the number that they had where they came from: it is the one that their guests hold in hand.

use super::numbers::NumberReport;
use crate::{
    domain::{DisplayNumber, NumberState, Order, OrderId, Refusal, RestaurantId, Timestamp},
    service::{Orders, ServiceError},
};

/// Of the orders that had one number elsewhere, so many are asked whether they are live: a number comes once a day.
const NEWEST: i64 = 10;

impl Orders {
    /// What a number leads to: the live order that has it; else the live one that had it where it came from; else the last
    /// one that had it, here or there. With `at`, all of this as it was then.
    pub(super) async fn or_had_it_there(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        at: Option<Timestamp>,
        here: Result<NumberReport, ServiceError>,
    ) -> Result<NumberReport, ServiceError> {
        let is_out_of_range = matches!(here, Err(ServiceError::Refused(Refusal::NumberOutOfRange)));
        let is_held = here.as_ref().is_ok_and(|report| report.order.as_ref().is_some_and(|order| is_live(order, at)));
        if is_held || here.is_err() && !is_out_of_range {
            return here;
        }
        let there = match self.had_it_there(restaurant, number, at).await {
            // What is known is told.
            Err(ServiceError::Unavailable { .. }) if here.is_ok() => None,
            there => there?,
        };
        match (here, there) {
            (Ok(report), Some(order)) if is_live(&order, at) || report.order.is_none() => {
                Ok(NumberReport { order: Some(order), ..report })
            }
            (Err(_), Some(order)) => Ok(NumberReport { number, state: NumberState::Outside, order: Some(order) }),
            (here, _) => here,
        }
    }

    async fn had_it_there(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        at: Option<Timestamp>,
    ) -> Result<Option<Order>, ServiceError> {
        let ids = self.ledger.had_number_there(restaurant, number, at, NEWEST).await?;
        if at.is_none() {
            // Every live order is in Redis.
            for id in &ids {
                if let Some(order) = self.allocator.order(*id).await?.filter(|order| order.status.is_live()) {
                    return Ok(Some(order));
                }
            }
            let Some(newest) = ids.first() else { return Ok(None) };
            return self.taken(*newest).await;
        }
        let mut newest = None;
        for id in &ids {
            match self.taken(*id).await? {
                Some(order) if is_live(&order, at) => return Ok(Some(order)),
                order => newest = newest.or(order),
            }
        }
        Ok(newest)
    }

    /// An order that an import has taken; None where it is about to be.
    async fn taken(&self, id: OrderId) -> Result<Option<Order>, ServiceError> {
        match self.find(id).await {
            Ok(order) => Ok(Some(order)),
            Err(ServiceError::Refused(Refusal::OrderNotFound)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether an order that was made by then was live at an instant, or is now.
fn is_live(order: &Order, at: Option<Timestamp>) -> bool {
    match at {
        None => order.status.is_live(),
        Some(at) => order.released_at.is_none_or(|released| released > at),
    }
}
