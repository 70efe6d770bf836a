//! Rehearsals: the orders that the ledger has of a time, replayed against other settings. Nothing is changed by one.

use crate::{
    domain::{
        EventPosition, PoolSettings, Refusal, RestaurantId, SettingsPatch, Timestamp,
        model::{Happening, LeadIn, Rehearsal, RehearsalReport},
    },
    ledger::{HappeningPart, Ledger, LedgerError},
    service::ServiceError,
};

/// So many events are read at a time.
const PART: i64 = 20_000;

/// What happened for so long before is followed first.
const LEAD_IN_MS: i64 = 86_400_000;

/// Keys the draws of the random policy. A deployment's own seed is in its Redis, and not asked for.
const SEED: &[u8] = b"rehearsal";

/// Rehearsals. Needs the ledger alone.
pub(crate) struct Rehearsals(Ledger);

/// Why there is no rehearsal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RehearsalError {
    /// The months of that time are gone, or have never been there.
    #[error("the ledger has no events of {from}: it has them since {since}")]
    BeforeFirstEvent {
        /// When the rehearsal was to begin.
        from: Timestamp,
        /// The first instant of which there are events.
        since: Timestamp,
    },
    /// The ledger has no month yet.
    #[error("the ledger has no events yet")]
    NoEvents,
    /// As for other use cases.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl From<LedgerError> for RehearsalError {
    fn from(error: LedgerError) -> Self {
        Self::Service(error.into())
    }
}

/// A time of a restaurant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RehearsedTime {
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant behind it.
    pub to: Timestamp,
}

impl Rehearsals {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// The settings of a restaurant, as the ledger has them.
    ///
    /// # Errors
    /// Refused where the ledger does not know the restaurant.
    pub(crate) async fn settings(&self, restaurant: RestaurantId) -> Result<PoolSettings, ServiceError> {
        let found = self.0.settings(restaurant).await?;
        Ok(found.ok_or(Refusal::RestaurantNotFound(restaurant))?.settings)
    }

    /// The present settings with a change made to them, if a restaurant could have these.
    ///
    /// # Errors
    /// Refused where the settings would not go together.
    pub(crate) fn amended(present: &PoolSettings, patch: &SettingsPatch) -> Result<PoolSettings, Refusal> {
        let settings = patch.checked_on(present)?;
        match settings.blocked_reservations() {
            faults if faults.is_empty() => Ok(settings),
            faults => Err(Refusal::SettingsAtFault(faults)),
        }
    }

    /// Replays what happened in a time. `reached` is told up to when events have been read.
    ///
    /// # Errors
    /// [`RehearsalError`].
    pub(crate) async fn rehearse(
        &self,
        time: RehearsedTime,
        present: &PoolSettings,
        settings: PoolSettings,
        mut reached: impl FnMut(Timestamp),
    ) -> Result<RehearsalReport, RehearsalError> {
        let RehearsedTime { restaurant, from, to } = time;
        let since = self.0.events_since().await?.ok_or(RehearsalError::NoEvents)?;
        if from < since {
            return Err(RehearsalError::BeforeFirstEvent { from, since });
        }
        let begin = from.plus_ms(-LEAD_IN_MS).max(since);
        let start = self.0.pool_at(restaurant, begin, present).await?;
        let mut lead_in = LeadIn::new(SEED, begin, &start);
        self.each(restaurant, begin, from, &mut reached, |happening| lead_in.follow(happening)).await?;
        let mut rehearsal = Rehearsal::new(lead_in, settings, from);
        self.each(restaurant, from, to, &mut reached, |happening| rehearsal.replay(happening)).await?;
        let mut report = rehearsal.finish();
        report.as_it_was.exhaustions = self.0.exhaustions(restaurant, from, to).await?;
        Ok(report)
    }

    /// All that happened in a time, in order.
    async fn each(
        &self,
        restaurant: RestaurantId,
        from: Timestamp,
        to: Timestamp,
        reached: &mut impl FnMut(Timestamp),
        mut take: impl FnMut(&Happening),
    ) -> Result<(), LedgerError> {
        let mut after = EventPosition::before(from);
        loop {
            let HappeningPart { happenings, read_up_to } = self.0.happenings(restaurant, after, to, PART).await?;
            happenings.iter().for_each(&mut take);
            let Some(read_up_to) = read_up_to else { return Ok(()) };
            after = read_up_to;
            reached(after.at);
        }
    }
}
