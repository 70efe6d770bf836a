//! Calls: who waits for an order is told that it is ready.

use uuid::Uuid;

use super::{Absent, CHANGE_ATTEMPTS, ChangedOrder, contended, replayed};
use crate::{
    allocator::Called,
    domain::{Context, OrderId, Refusal},
    metrics::{self, CallOutcome},
    service::{Orders, ServiceError, trail},
};

impl Orders {
    /// Calls an order, to a place if one is said: it is ready then. What was called a moment ago, by another screen say, stays
    /// as it is, and counts as replayed.
    ///
    /// # Errors
    /// Refused when there is no such order, it is not to be called in its status, it has ended, or the version is another one.
    pub(crate) async fn call(
        &self,
        id: Uuid,
        place: Option<String>,
        if_match: Option<u32>,
        context: Context,
    ) -> Result<ChangedOrder, ServiceError> {
        let called = self.call_to(id, place.as_deref(), if_match, &context).await;
        metrics::called(match &called {
            Ok((_, outcome)) => *outcome,
            Err(ServiceError::Refused(_)) => CallOutcome::Refused,
            Err(_) => CallOutcome::Failed,
        });
        called.map(|(order, _)| order)
    }

    async fn call_to(
        &self,
        id: Uuid,
        place: Option<&str>,
        if_match: Option<u32>,
        context: &Context,
    ) -> Result<(ChangedOrder, CallOutcome), ServiceError> {
        let mut id: OrderId = self.resolve(id).await?;
        for _ in 0..CHANGE_ATTEMPTS {
            let ended = match self.allocator.call(id, place, if_match, context).await? {
                Called::Done(order) => {
                    trail::order("called", &order, context);
                    let is_first = order.calls.is_none_or(|calls| calls.count == 1);
                    let outcome = if is_first { CallOutcome::First } else { CallOutcome::Repeated };
                    return Ok((order.into(), outcome));
                }
                Called::Recent(order) => return Ok((ChangedOrder { order, replayed: true }, CallOutcome::Joined)),
                Called::Replayed { order, version } => return Ok((replayed(order, version), CallOutcome::Replayed)),
                Called::Version(order) => return Err(Refusal::VersionMismatch { current: order.version }.into()),
                Called::Forbidden(order) => return Err(Refusal::NotCallable { status: order.status }.into()),
                Called::Final(order) => order,
                Called::Absent => match self.absent(id).await? {
                    Absent::Final(order) => *order,
                    Absent::Alias(ours) => {
                        id = ours;
                        continue;
                    }
                    Absent::Back(_) => continue,
                },
            };
            if if_match.is_some_and(|version| version != ended.version) {
                return Err(Refusal::VersionMismatch { current: ended.version }.into());
            }
            return Err(Refusal::OrderFinal(Box::new(ended)).into());
        }
        Err(contended(id))
    }
}
