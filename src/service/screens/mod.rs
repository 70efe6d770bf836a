//! Screens: paired by a code, listed, revoked, and what they say of themselves.
//!
//! A screen that is paired is an API key, which it is called by: the ring, the rates and the audit trail know nothing else
//! of it. What screens say twice a minute is gathered in memory, and written in one statement every few seconds
//! ([`Screens::write`]): tens of thousands of screens are a few statements a minute.

mod beats;
mod pairing;
pub(super) mod sessions;

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use self::{
    beats::Beats,
    pairing::{Book, Guesses},
    sessions::{ScreenStream, Sessions},
};
use super::{Keys, Page, ServiceError};
use crate::{
    domain::{
        ApiKey, Beat, KeyId, NewScreen, PairingCode, Refusal, RestaurantId, Role, Scope, Screen, ScreenPage,
        ScreenSession, SessionCursor, Timestamp,
    },
    ledger::{Entered, Ledger, LedgerError},
    metrics,
};

/// A part of the list of screens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScreenPart<T> {
    /// What was found.
    pub found: Vec<T>,
    /// Whether there is more.
    pub more: bool,
}

/// The screens in the ledger. Needs the ledger alone.
#[derive(Clone)]
pub(crate) struct ScreenStore(Ledger);

impl ScreenStore {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// Gives the screen that shows this code its key.
    ///
    /// # Errors
    /// Refused where no screen of that restaurant shows the code, it was entered before, or its time is over. Unavailable
    /// when the ledger is unreachable; then it may have been done, and the code is used.
    pub(crate) async fn pair(&self, code: &PairingCode, new: &NewScreen, by: &str) -> Result<Screen, ServiceError> {
        match self.0.pair_screen(code, new, by).await? {
            Entered::Paired(screen) => {
                let (screen_id, role) = (screen.key.id.get(), screen.key.is.role.as_str());
                tracing::info!(screen_id, role, restaurant_id = screen.restaurant.get(), by, "a screen was paired");
                Ok(*screen)
            }
            Entered::Unknown => Err(Refusal::PairingNotFound.into()),
            Entered::Used => Err(Refusal::PairingUsed.into()),
            Entered::Expired => Err(Refusal::PairingExpired.into()),
        }
    }

    /// The screens of these restaurants that were not revoked, by id: at most `limit` behind `after`.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn list(
        &self,
        after: Option<KeyId>,
        limit: u32,
        within: &Scope,
        restaurant: Option<RestaurantId>,
    ) -> Result<ScreenPart<Screen>, ServiceError> {
        let mut found = self.0.screens(after, limit.saturating_add(1), within, restaurant).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        Ok(ScreenPart { found, more })
    }

    /// A screen of these restaurants, revoked or not.
    ///
    /// # Errors
    /// Refused where there is none. Unavailable when the ledger is unreachable.
    pub(crate) async fn get(&self, id: KeyId, within: &Scope) -> Result<Screen, ServiceError> {
        Ok(self.0.screen(id, within).await?.ok_or(Refusal::ScreenNotFound)?)
    }

    /// Revokes a screen's key. Idempotent.
    ///
    /// # Errors
    /// As [`ScreenStore::get`].
    pub(crate) async fn revoke(&self, id: KeyId, within: &Scope, by: &str) -> Result<Screen, ServiceError> {
        let screen = self.get(id, within).await?;
        let key = self.0.revoke_api_key(id, within, by).await?.ok_or(Refusal::ScreenNotFound)?;
        if screen.key.revoked.is_none() {
            tracing::info!(screen_id = id.get(), restaurant_id = screen.restaurant.get(), by, "a screen was revoked");
        }
        Ok(Screen { key, ..screen })
    }
}

/// Screens: the store, those that wait, and what those say that are here. Cheap to clone.
#[derive(Clone)]
pub struct Screens {
    ledger: Ledger,
    keys: Keys,
    store: ScreenStore,
    daemon: Uuid,
    inside: Arc<Inside>,
}

#[derive(Default)]
struct Inside {
    book: Book,
    guesses: Guesses,
    beats: Beats,
    sessions: Arc<Sessions>,
}

impl Screens {
    pub(super) fn new(keys: Keys, ledger: Ledger, daemon: Uuid) -> Self {
        Self { store: ScreenStore::new(ledger.clone()), ledger, keys, daemon, inside: Arc::default() }
    }

    /// The screens in the ledger.
    pub(crate) fn store(&self) -> &ScreenStore {
        &self.store
    }

    /// As [`ScreenStore::pair`], for a caller who may enter only so many codes that no screen shows.
    ///
    /// # Errors
    /// As [`ScreenStore::pair`], and refused after too many wrong codes.
    pub(crate) async fn pair(&self, code: &PairingCode, new: &NewScreen, by: &str) -> Result<Screen, ServiceError> {
        self.inside.guesses.check(by, Instant::now())?;
        let paired = self.store.pair(code, new, by).await;
        if let Err(ServiceError::Refused(Refusal::PairingNotFound)) = &paired {
            self.inside.guesses.was_wrong(by, Instant::now());
        }
        paired
    }

    /// As [`ScreenStore::revoke`], and the screen is turned away here at once, on other daemons within seconds.
    ///
    /// # Errors
    /// As [`ScreenStore::revoke`].
    pub(crate) async fn revoke(&self, id: KeyId, within: &Scope, by: &str) -> Result<Screen, ServiceError> {
        let revoked = self.store.revoke(id, within, by).await?;
        if let Err(error) = self.keys.renew().await {
            tracing::debug!(%error, "the revoked screen is turned away with the next renewal");
        }
        Ok(revoked)
    }

    /// A screen says that it is here, and what it shows. Costs no query: the next [`Screens::write`] records it.
    pub(crate) fn beat(&self, screen: KeyId, beat: Beat) {
        self.inside.beats.note(screen, beat);
    }

    /// A stream of orders of this restaurant was opened with this key. As long as what is given back is kept, the screen is
    /// connected. Costs no query. Only keys of screens and kitchens count.
    #[must_use]
    pub(crate) fn opened(
        &self,
        key: Option<&ApiKey>,
        restaurant: RestaurantId,
        page: Option<ScreenPage>,
    ) -> ScreenStream {
        let of_screen = key.filter(|key| matches!(key.is.role, Role::Screen | Role::Kitchen));
        match of_screen {
            Some(key) => Sessions::opened(&self.inside.sessions, key.id, restaurant, page),
            None => ScreenStream::of_none(),
        }
    }

    /// The sessions of a restaurant that were there at some instant from `from` on and before `to`, by when they began.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn sessions(
        &self,
        restaurant: RestaurantId,
        from: Timestamp,
        to: Timestamp,
        page: Page<SessionCursor>,
    ) -> Result<ScreenPart<ScreenSession>, ServiceError> {
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX - 1);
        let mut found = self.ledger.screen_sessions(restaurant, from, to, page.after, limit + 1).await?;
        let more = found.len() > page.limit;
        found.truncate(page.limit);
        Ok(ScreenPart { found, more })
    }

    /// Records what screens have said since the last time, and which streams were opened and closed.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable: a later call does what this one did not.
    pub(crate) async fn write(&self) -> Result<(), ServiceError> {
        self.inside.beats.write(&self.ledger).await?;
        Ok(self.inside.sessions.write(&self.ledger, self.daemon).await?)
    }

    /// As [`Screens::write`], when this daemon ends: it has no streams any more.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable; then others see after minutes that the sessions do not go on.
    pub(crate) async fn write_the_last(&self) -> Result<(), ServiceError> {
        self.inside.sessions.end_all();
        self.write().await
    }

    /// Counts the screens, for the metrics.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn count(&self) -> Result<(), ServiceError> {
        match self.ledger.count_screens().await {
            Ok(counts) => {
                metrics::screens(Some(counts));
                Ok(())
            }
            Err(error) => {
                metrics::screens(None);
                Err(error.into())
            }
        }
    }

    /// Forgets pairings that are over, and sessions that are older than is kept; 0 days: those are kept for ever.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable: a later call does what this one did not.
    pub(crate) async fn forget(&self, keep_days: u32) -> Result<(), ServiceError> {
        self.ledger.forget_pairings(pairing::TOLD_FOR).await?;
        sessions::forget(&self.ledger, keep_days).await?;
        Ok(())
    }

    /// Screens that were not here for so long, for those who look after them.
    ///
    /// # Errors
    /// When the ledger is unreachable.
    pub(crate) async fn away(&self, for_long: Duration, limit: u32) -> Result<(u64, Vec<Screen>), LedgerError> {
        self.ledger.screens_away(for_long, limit).await
    }
}

/// For whom a pairing counts: an address, or the network that a household or a site has of IPv6.
fn client_of(address: Option<IpAddr>) -> Option<String> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    })
}
