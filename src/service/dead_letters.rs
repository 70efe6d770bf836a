//! Dead letters: what the ledger refused, written after all or given up.

use super::ServiceError;
use crate::{
    allocator::decode_entry,
    domain::{Event, Order, OrderId},
    ledger::{Collision, DeadLetter, Ledger, Retried},
};

/// The entries that the ledger refused. Needs the ledger alone.
pub(crate) struct DeadLetters(Ledger);

/// What became of a letter that was tried again.
pub(crate) enum TriedAgain {
    /// The ledger has it. These numbers are held by other orders by now, and were left to them.
    Written(Vec<Collision>),
    /// It stays, for this reason.
    Stays(String),
}

impl DeadLetters {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// The letters behind an id, oldest first, at most so many.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn after(&self, id: i64, limit: u32) -> Result<Vec<DeadLetter>, ServiceError> {
        Ok(self.0.dead_letters(id, limit).await?)
    }

    /// Those of these letters that are there.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn among(&self, ids: &[i64]) -> Result<Vec<DeadLetter>, ServiceError> {
        Ok(self.0.dead_letters_among(ids).await?)
    }

    /// Writes a letter into the ledger, if that takes it by now.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn try_again(&self, letter: &DeadLetter) -> Result<TriedAgain, ServiceError> {
        let event = match event_of(letter) {
            Ok(event) => event,
            Err(reason) => {
                let reason = format!("it cannot be read ({reason}); a newer nowserving may be able to");
                return Ok(TriedAgain::Stays(reason));
            }
        };
        Ok(match self.0.retry_dead_letter(letter, &event).await? {
            Retried::Written { collisions } => TriedAgain::Written(collisions),
            Retried::Refused { sqlstate, reason } => {
                TriedAgain::Stays(format!("Postgres refuses it ({sqlstate}): {reason}"))
            }
            Retried::Gone => TriedAgain::Stays("another command has just written or dropped it".to_owned()),
        })
    }

    /// Gives letters up. Answers with the ids of those that were there.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn drop_for_good(&self, ids: &[i64]) -> Result<Vec<i64>, ServiceError> {
        Ok(self.0.drop_dead_letters(ids).await?)
    }

    /// Of orders that ended in dropped letters, those whose end the ledger will never have. Redis keeps such an order:
    /// it lets go of one only when the ledger has it as it ended.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn without_end(&self, dropped: &[&DeadLetter]) -> Result<Vec<OrderId>, ServiceError> {
        let events: Vec<Event> = dropped.iter().filter_map(|letter| event_of(letter).ok()).collect();
        let ended: Vec<&Order> =
            events.iter().filter_map(Event::order).filter(|order| order.status.is_final()).collect();
        let ids: Vec<OrderId> = ended.iter().map(|order| order.id).collect();
        let known = self.0.stages(&ids).await?;
        let lacks_end = |order: &&&Order| known.get(&order.id).is_none_or(|known| *known < order.stage());
        Ok(ended.iter().filter(lacks_end).map(|order| order.id).collect())
    }
}

/// What a letter says, or why it cannot be read.
///
/// # Errors
/// The reason, for people.
pub(crate) fn event_of(letter: &DeadLetter) -> Result<Event, String> {
    decode_entry(letter.partition, letter.sequence, &letter.entry).map_err(|error| error.to_string())
}
