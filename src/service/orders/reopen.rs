//! Changes of orders that have ended: none, but that a completed one may be reopened as long as its number rests for it.

use uuid::Uuid;

use super::{Absent, CHANGE_ATTEMPTS, ChangedOrder, OrderChange, contended, replayed};
use crate::{
    allocator::{OrderUpdate, Reopened},
    domain::{Context, Order, OrderId, OrderStatus, Refusal, Timestamp},
    metrics,
    service::{Orders, ServiceError, trail},
};

/// What reopening an order came to.
enum TakenBack {
    /// It is live again.
    Done(ChangedOrder),
    /// It is live, and was before.
    Live(Order),
    /// It is at another version than the one expected.
    Version(Order),
}

impl Orders {
    /// Takes a completed order back to `preparing`, with its number. One that is live stays as it is, so that the call may be
    /// repeated.
    ///
    /// # Errors
    /// Refused when there is no such order, it has ended otherwise than completed, its number does not rest for it any more,
    /// or the version is another one.
    pub(crate) async fn reopen(
        &self,
        id: Uuid,
        if_match: Option<u32>,
        context: Context,
    ) -> Result<ChangedOrder, ServiceError> {
        let id = self.resolve(id).await?;
        match self.take_back(id, if_match, None, &context).await? {
            TakenBack::Done(changed) => Ok(changed),
            TakenBack::Live(order) => Ok(order.into()),
            TakenBack::Version(order) => Err(Refusal::VersionMismatch { current: order.version }.into()),
        }
    }

    /// What a change comes to where the order has ended. None where the order was changed since it was read: the change is
    /// built anew.
    pub(super) async fn change_final(
        &self,
        order: Order,
        change: &OrderChange,
        if_match: Option<u32>,
        context: &Context,
    ) -> Result<Option<ChangedOrder>, ServiceError> {
        if if_match.is_some_and(|version| version != order.version) {
            return Err(Refusal::VersionMismatch { current: order.version }.into());
        }
        let details = change.applied_to(&order.details);
        let takes_back = change.status == Some(OrderStatus::Preparing) && !change.keeps_final;
        let reopens = takes_back && order.status.may_be_reopened();
        if !reopens {
            // Asking again for what it is already does no harm.
            let same_status = change.status.is_none_or(|status| status == order.status);
            return match same_status && details == order.details {
                true => Ok(Some(order.into())),
                false => Err(Refusal::OrderFinal(Box::new(order)).into()),
            };
        }
        let (id, version) = (order.id, order.version);
        let before = details.changed_since(&order.details);
        let rewritten = (details != order.details).then_some(Order { details, ..order });
        // What is rewritten, is so over the version that was read.
        let expected = if_match.or(rewritten.as_ref().map(|_| version));
        let context = Context { before, ..context.clone() };
        match self.take_back(id, expected, rewritten.as_ref(), &context).await? {
            TakenBack::Done(changed) => Ok(Some(changed)),
            TakenBack::Version(order) if if_match.is_some() => {
                Err(Refusal::VersionMismatch { current: order.version }.into())
            }
            TakenBack::Live(_) | TakenBack::Version(_) => Ok(None),
        }
    }

    async fn take_back(
        &self,
        mut id: OrderId,
        expected_version: Option<u32>,
        rewritten: Option<&Order>,
        context: &Context,
    ) -> Result<TakenBack, ServiceError> {
        let mut ended: Option<(Order, Timestamp)> = None;
        for _ in 0..CHANGE_ATTEMPTS {
            let update = OrderUpdate { status: Some(OrderStatus::Preparing), expected_version, rewritten, context };
            let known = ended.as_ref().map(|(order, free_at)| (order, *free_at));
            match self.allocator.reopen(id, update, known).await? {
                Reopened::Done(order) => {
                    trail::order("reopened", &order, context);
                    metrics::reopened();
                    return Ok(TakenBack::Done(order.into()));
                }
                Reopened::Replayed { order, version } => return Ok(TakenBack::Done(replayed(order, version))),
                Reopened::Live(order) => return Ok(TakenBack::Live(order)),
                Reopened::Version(order) => return Ok(TakenBack::Version(order)),
                Reopened::Final(order) => return Err(Refusal::OrderFinal(Box::new(order)).into()),
                Reopened::MovedOn => return Err(Refusal::NumberNotAtRest.into()),
                Reopened::Absent => match self.absent(id).await? {
                    Absent::Final(order) if expected_version.is_some_and(|version| version != order.version) => {
                        return Ok(TakenBack::Version(*order));
                    }
                    Absent::Final(order) if !order.status.may_be_reopened() => {
                        return Err(Refusal::OrderFinal(order).into());
                    }
                    Absent::Final(order) => ended = Some(self.with_its_rest(*order).await?),
                    Absent::Alias(ours) => id = ours,
                    Absent::Back(_) => {}
                },
            }
        }
        Err(contended(id))
    }

    /// An order that Redis has let go of, and until when its number rests for it: the ledger says both. Whether the number
    /// still does, Redis says.
    async fn with_its_rest(&self, order: Order) -> Result<(Order, Timestamp), ServiceError> {
        // Imported orders that never had a number here have none that rests.
        let rests = if order.number.is_some() { self.ledger.rest_of(&order).await? } else { None };
        let free_at = rests.ok_or(Refusal::NumberNotAtRest)?;
        Ok((order, free_at))
    }
}
