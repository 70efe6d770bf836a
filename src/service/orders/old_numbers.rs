//! Imported orders by the number that they had where they came from: it is the one that their guests hold in hand.

use super::numbers::NumberReport;
use crate::{
    domain::{DisplayNumber, NumberState, Order, Refusal, RestaurantId},
    service::{Orders, ServiceError},
};

/// Of the orders that had one number elsewhere, so many are asked whether they are live: a number comes once a day.
const NEWEST: i64 = 10;

impl Orders {
    /// What a number leads to: the live order that has it; else the live one that had it where it came from; else the last
    /// one that had it, here or there.
    pub(super) async fn or_had_it_there(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
        here: Result<NumberReport, ServiceError>,
    ) -> Result<NumberReport, ServiceError> {
        let is_out_of_range = matches!(here, Err(ServiceError::Refused(Refusal::NumberOutOfRange)));
        let is_live = |order: &Order| order.status.is_live();
        let is_held = here.as_ref().is_ok_and(|report| report.order.as_ref().is_some_and(is_live));
        if is_held || here.is_err() && !is_out_of_range {
            return here;
        }
        let there = match self.had_it_there(restaurant, number).await {
            // What is known is told.
            Err(ServiceError::Unavailable { .. }) if here.is_ok() => None,
            there => there?,
        };
        match (here, there) {
            (Ok(report), Some(order)) if is_live(&order) || report.order.is_none() => {
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
    ) -> Result<Option<Order>, ServiceError> {
        let ids = self.ledger.had_number_there(restaurant, number, NEWEST).await?;
        for id in &ids {
            if let Some(order) = self.allocator.order(*id).await?.filter(|order| order.status.is_live()) {
                return Ok(Some(order));
            }
        }
        let Some(newest) = ids.first() else { return Ok(None) };
        match self.find(*newest).await {
            Ok(order) => Ok(Some(order)),
            // It is about to be taken.
            Err(ServiceError::Refused(Refusal::OrderNotFound)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
