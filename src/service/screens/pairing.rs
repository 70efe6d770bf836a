//! Screens that wait for an admin to enter their code.
//!
//! Every client may begin a pairing, since a screen has no key yet. So there are bounds everywhere: on how many begin in a second
//! and on how many wait; on how often the ledger is asked for those that wait, whatever clients send; and on how many wrong
//! codes one admin may enter.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use rand::{TryRng, rngs::SysRng};
use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::{Instant, sleep_until},
};

use super::{Screens, client_of};
use crate::{
    domain::{KeyDigest, KeyText, Pairing, PairingCode, Refusal, RestaurantId, ScreenPage, Timestamp},
    ledger::{Ledger, WaitingScreen},
    service::{Dependency, ServiceError},
};

/// For how long a code that is over is told apart from one that never was.
pub(super) const TOLD_FOR: Duration = Duration::from_mins(10);

/// How many screens may wait, in the whole deployment and for one client. Behind a proxy that is not trusted, all screens
/// are one client.
const MOST_WAITING: i64 = 2_000;
const MOST_OF_CLIENT: i64 = 100;
/// Seconds after which a screen that was refused may ask again.
const RETRY_SECONDS: u64 = 60;

/// How many pairings one daemon begins in a second, and at once.
const BEGUN_A_SECOND: u32 = 20;
const BEGUN_AT_ONCE: u32 = 100;

/// How often the pairings are read, at most, and how old they may be where a screen is among them.
const READ_EVERY: Duration = Duration::from_secs(1);
const READ_BEFORE: Duration = Duration::from_secs(2);
/// How many requests may wait for a reading.
const MOST_READERS: usize = 64;

/// How many wrong codes one caller may enter, in how long.
const MOST_WRONG: u32 = 20;
const WRONG_WITHIN: Duration = Duration::from_mins(10);

fn draw<const N: usize>() -> Result<[u8; N], ServiceError> {
    let mut random = [0; N];
    SysRng.try_fill_bytes(&mut random).map_err(|error| ServiceError::Internal(error.into()))?;
    Ok(random)
}

impl Screens {
    /// Begins the pairing of a screen: makes the key that it is to have, whose text is given here and never again, and a
    /// code. A pairing that the same browser had begun before ends.
    ///
    /// # Errors
    /// Refused when too many wait. Unavailable when the ledger is unreachable.
    pub(crate) async fn begin_pairing(
        &self,
        page: ScreenPage,
        restaurant: RestaurantId,
        client: Option<IpAddr>,
        before: Option<KeyDigest>,
    ) -> Result<(KeyText, PairingCode, Timestamp), ServiceError> {
        self.inside.book.begin()?;
        let text = KeyText::of(draw()?);
        // Another screen may have the code.
        for _ in 0..3 {
            let Some(code) = PairingCode::of(draw()?) else { continue };
            let new =
                WaitingScreen { digest: text.digest(), code, page, restaurant, client: client_of(client), before };
            if let Some(expires_at) = self.ledger.begin_pairing(&new, MOST_WAITING, MOST_OF_CLIENT).await? {
                return Ok((text, new.code, expires_at));
            }
        }
        Err(Refusal::TooManyPairings { retry_after_seconds: RETRY_SECONDS }.into())
    }

    /// The pairing that gave this key's text; None where it is not known (any more).
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable, or too many ask.
    pub(crate) async fn pairing(&self, digest: &KeyDigest) -> Result<Option<Pairing>, ServiceError> {
        self.inside.book.find(&self.ledger, digest).await
    }
}

/// The pairings as the ledger had them, read at most once a second however many screens ask.
pub(super) struct Book {
    copy: ArcSwap<Copy>,
    reading: AsyncMutex<()>,
    places: Semaphore,
    begun: DefaultDirectRateLimiter,
}

#[derive(Default)]
struct Copy {
    /// When its reading began.
    read: Option<Instant>,
    pairings: HashMap<KeyDigest, Pairing>,
}

impl Default for Book {
    fn default() -> Self {
        let (a_second, at_once) = (nonzero(BEGUN_A_SECOND), nonzero(BEGUN_AT_ONCE));
        Self {
            copy: ArcSwap::default(),
            reading: AsyncMutex::default(),
            places: Semaphore::new(MOST_READERS),
            begun: RateLimiter::direct(Quota::per_second(a_second).allow_burst(at_once)),
        }
    }
}

fn nonzero(count: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(count).unwrap_or(std::num::NonZeroU32::MIN)
}

impl Book {
    /// Takes one of those that may begin in a second.
    fn begin(&self) -> Result<(), ServiceError> {
        self.begun.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Refusal::TooManyPairings { retry_after_seconds: wait.as_secs() + 1 }.into()
        })
    }

    async fn find(&self, ledger: &Ledger, digest: &KeyDigest) -> Result<Option<Pairing>, ServiceError> {
        let asked = Instant::now();
        let copy = self.copy.load_full();
        if let Some(pairing) = copy.pairings.get(digest)
            && copy.read.is_some_and(|read| read + READ_BEFORE > asked)
        {
            return Ok(Some(pairing.clone()));
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(ServiceError::Unavailable {
                dependency: Dependency::Ledger,
                reason: "too many ask for their pairing".to_owned(),
                retry_after_seconds: 2,
            });
        };
        loop {
            let reading = self.reading.lock().await;
            let copy = self.copy.load_full();
            // One that begun after the question has all that there was then.
            if copy.read.is_some_and(|read| read >= asked) {
                return Ok(copy.pairings.get(digest).cloned());
            }
            let now = Instant::now();
            match copy.read.map(|read| read + READ_EVERY).filter(|due| *due > now) {
                Some(due) => {
                    drop(reading);
                    sleep_until(due).await;
                }
                None => {
                    let pairings = ledger.pairings().await?;
                    self.copy.store(Arc::new(Copy { read: Some(now), pairings }));
                }
            }
        }
    }
}

/// The wrong codes that callers have entered lately. There are no more callers than keys of admins.
#[derive(Default)]
pub(super) struct Guesses(Mutex<HashMap<String, (Instant, u32)>>);

impl Guesses {
    /// Refuses a caller who has entered too many.
    pub(super) fn check(&self, by: &str, now: Instant) -> Result<(), Refusal> {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (since, _)| now.saturating_duration_since(*since) < WRONG_WITHIN);
        match wrong.get(by) {
            Some((since, count)) if *count >= MOST_WRONG => {
                let left = WRONG_WITHIN.saturating_sub(now.saturating_duration_since(*since));
                Err(Refusal::TooManyCodes { retry_after_seconds: left.as_secs() + 1 })
            }
            _ => Ok(()),
        }
    }

    /// Counts one.
    pub(super) fn was_wrong(&self, by: &str, now: Instant) {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, count) = wrong.entry(by.to_owned()).or_insert((now, 0));
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_ends_and_begins_anew() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..MOST_WRONG {
            assert_eq!(guesses.check("key:1", now), Ok(()));
            guesses.was_wrong("key:1", now);
        }
        assert_eq!(guesses.check("key:1", now), Err(Refusal::TooManyCodes { retry_after_seconds: 601 }));
        assert_eq!(guesses.check("key:2", now), Ok(()));
        assert_eq!(guesses.check("key:1", now + WRONG_WITHIN), Ok(()));
        assert!(guesses.0.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_daemon_begins_only_so_many_at_once() {
        let book = Book::default();
        let begun = (0..BEGUN_AT_ONCE * 2).filter(|_| book.begin().is_ok()).count();
        assert!((BEGUN_AT_ONCE as usize..BEGUN_AT_ONCE as usize * 2).contains(&begun), "{begun}");
    }

    #[test]
    fn the_clients_of_one_network_are_one() {
        let of = |address: &str| client_of(address.parse().ok());
        assert_eq!(of("10.0.0.7"), Some("10.0.0.7".to_owned()));
        assert_eq!(of("::ffff:10.0.0.7"), of("10.0.0.7"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
        assert_eq!(of("?"), None);
    }
}
