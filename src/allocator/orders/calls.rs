//! Calls: an order is ready, and its guest was told.

use super::Changed;
use crate::{
    allocator::{Allocator, AllocatorError, script, script::context_json},
    domain::{Context, Order, OrderId},
};

/// Outcome of calling an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Called {
    /// It was called, and is ready.
    Done(Order),
    /// It was called a moment ago, and stays as it is: the two are one call.
    Recent(Order),
    /// This very call was made before, and its answer was lost: as [`Changed::Replayed`].
    Replayed {
        /// As it now stands.
        order: Order,
        /// The version that the call led to.
        version: u32,
    },
    /// Its status is none in which an order is called.
    Forbidden(Order),
    /// It is final, and unchanged.
    Final(Order),
    /// Redis does not have it.
    Absent,
    /// It is at another version than the one expected.
    Version(Order),
}

impl Allocator {
    /// Calls a live order to a place.
    ///
    /// # Errors
    /// As [`Allocator::transition`].
    pub async fn call(
        &self,
        id: OrderId,
        place: Option<&str>,
        expected_version: Option<u32>,
        context: &Context,
    ) -> Result<Called, AllocatorError> {
        let restaurant = id.restaurant();
        let reply = self
            .run_in_time(self.partition_of(restaurant), |token| {
                let call = self.fenced(&script::CALL_ORDER, restaurant)?.arg(*id.as_bytes()).arg(token);
                let call = call.arg(expected_version.map_or(String::new(), |version| version.to_string()));
                Ok(call.arg(place.unwrap_or_default()).arg(context_json(context)))
            })
            .await?;
        if reply.name() == "recent" {
            let order = reply.order(1, id)?;
            // What the other screen is told, this one is told, too: its level is waited for.
            self.acknowledged(&reply, &order, None)?;
            return Ok(Called::Recent(order));
        }
        Ok(match self.changed(&reply, id)? {
            Changed::Done(order) => Called::Done(order),
            Changed::Replayed { order, version } => Called::Replayed { order, version },
            Changed::Forbidden(order) => Called::Forbidden(order),
            Changed::Final(order) => Called::Final(order),
            Changed::Absent => Called::Absent,
            Changed::Version(order) => Called::Version(order),
        })
    }
}
