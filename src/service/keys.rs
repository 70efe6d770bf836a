//! API keys: the ring of those that are good, which each daemon holds in memory, and the making and revoking of keys.
//!
//! A request is judged by the ring alone; no server is asked. The ring is renewed each second, and as soon as a client
//! asks with a key that it does not have; for all clients together at most four times a second. So a new key works at
//! once everywhere, a revoked one stops within seconds, and made-up keys cannot load Postgres.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use rand::{TryRng, rngs::SysRng};
use subtle::ConstantTimeEq;
use tokio::{
    sync::{Mutex, Notify, Semaphore, watch},
    time::{Instant, sleep_until, timeout},
};

use super::ServiceError;
use crate::{
    allocator::Allocator,
    domain::{ApiKey, KeyDigest, KeyId, KeyText, NewApiKey, Scope, Timestamp},
    ledger::{ApiKeyChanges, Ledger, LedgerError},
};

/// How often the ring is renewed where no request asks for it.
pub(crate) const RENEW_KEYS_EVERY: Duration = Duration::from_secs(1);

/// The shortest time between two renewals.
const RENEW_AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// How long a renewal may take before the ledger counts as unreachable.
const RENEW_WITHIN: Duration = Duration::from_secs(2);

/// How long a request waits for a renewal: for the one under way, the pause, and the next one.
const WAIT_AT_MOST: Duration = Duration::from_secs(5);

/// How many requests may wait for a renewal at once. They hold a connection each, which real requests need as well.
const MOST_WAITERS: usize = 256;

/// The keys that are good, as far as this daemon knows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct KeyRing(Arc<Inside>);

struct Inside {
    held: ArcSwap<Held>,
    /// Held while the ring is renewed: an older answer must not go over a newer one.
    renewing: Mutex<()>,
    /// How many renewals have begun.
    begun: AtomicU64,
    ended: watch::Sender<Ended>,
    /// Told when the ring holds other keys.
    changed: watch::Sender<()>,
    /// Whether the last renewal failed that the log was told of.
    unreachable: AtomicBool,
    wanted: Notify,
    places: Semaphore,
}

/// The renewal that ended last: its number, and whether the ledger answered.
#[derive(Debug, Clone, Copy, Default)]
struct Ended {
    number: u64,
    answered: bool,
}

/// What came of a wait for a renewal of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// The ring has all that the ledger had when the wait began.
    Yes,
    /// The ledger is unreachable.
    LedgerUnreachable,
    /// Too many wait already: no server was asked.
    TooMany,
}

#[derive(Default)]
struct Held {
    revision: i64,
    /// By the first half of the digest, of which no two keys will ever have the same. What a look-up can be measured to
    /// tell of a digest is of no use: there is no way back from it to a key.
    keys: HashMap<[u8; 16], Arc<HeldKey>>,
    /// Which these are.
    ids: HashSet<KeyId>,
}

/// Tells when a key is not good any more.
pub(crate) struct KeyWatch {
    ring: KeyRing,
    changed: watch::Receiver<()>,
    key: Arc<ApiKey>,
}

impl KeyWatch {
    /// Waits until the key was revoked, as far as this daemon knows. May be dropped half-way.
    pub(crate) async fn ended(&mut self) {
        while self.ring.has(self.key.id) {
            // The ring that tells is held here.
            let _ = self.changed.changed().await;
        }
    }

    /// Whether the key has not expired.
    #[must_use]
    pub(crate) fn is_good_at(&self, now: Timestamp) -> bool {
        self.key.is_good_at(now)
    }
}

/// A key of the ring.
pub(crate) struct HeldKey {
    digest: KeyDigest,
    key: Arc<ApiKey>,
    limiter: Option<Arc<DefaultDirectRateLimiter>>,
}

impl HeldKey {
    /// The key, expired or not, as the ring had it when it was found.
    #[must_use]
    pub(crate) fn key(&self) -> &Arc<ApiKey> {
        &self.key
    }

    /// Takes one request from its rate, which this daemon counts alone.
    ///
    /// # Errors
    /// The time after which the next one would be taken.
    pub(crate) fn take_one(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check().map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

impl fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Default for KeyRing {
    fn default() -> Self {
        Self(Arc::new(Inside {
            held: ArcSwap::default(),
            renewing: Mutex::default(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::default(),
            changed: watch::Sender::default(),
            unreachable: AtomicBool::new(false),
            wanted: Notify::new(),
            places: Semaphore::new(MOST_WAITERS),
        }))
    }
}

impl KeyRing {
    /// The key with this digest, expired or not.
    #[must_use]
    pub(crate) fn find(&self, digest: &KeyDigest) -> Option<Arc<HeldKey>> {
        let held = self.0.held.load();
        let found = held.keys.get(first_half(digest))?;
        let same: bool = found.digest.as_bytes().ct_eq(digest.as_bytes()).into();
        same.then(|| Arc::clone(found))
    }

    /// Whether a key that was found once is still there: it was not revoked since.
    fn has(&self, id: KeyId) -> bool {
        self.0.held.load().ids.contains(&id)
    }

    /// Whether any key is good at this time.
    #[must_use]
    pub(crate) fn has_good_one(&self, now: Timestamp) -> bool {
        self.0.held.load().keys.values().any(|held| held.key.is_good_at(now))
    }

    /// Watches a key for something that goes on for long after the key was let in.
    pub(crate) fn watch(&self, key: Arc<ApiKey>) -> KeyWatch {
        KeyWatch { ring: self.clone(), changed: self.0.changed.subscribe(), key }
    }

    /// Waits for the end of the next renewal that has not begun yet, shared with all requests that wait for it.
    pub(crate) async fn renewed(&self) -> Renewed {
        let Ok(_place) = self.0.places.try_acquire() else { return Renewed::TooMany };
        let mut ended = self.0.ended.subscribe();
        let begun = self.0.begun.load(Ordering::SeqCst);
        self.0.wanted.notify_one();
        let due = timeout(WAIT_AT_MOST, ended.wait_for(|ended| ended.number > begun)).await;
        match due {
            Ok(Ok(ended)) if ended.answered => Renewed::Yes,
            _ => Renewed::LedgerUnreachable,
        }
    }

    pub(super) async fn renew(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let _alone = self.0.renewing.lock().await;
        let number = self.0.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let read = timeout(RENEW_WITHIN, self.read(ledger)).await;
        let renewed = read.unwrap_or_else(|_| Err(LedgerError::timed_out()));
        self.0.ended.send_replace(Ended { number, answered: renewed.is_ok() });
        renewed
    }

    async fn read(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let known = self.0.held.load().revision;
        let changes = ledger.api_key_changes(known).await?;
        if changes.revision < known {
            tracing::warn!(known, found = changes.revision, "the ledger fell back: all API keys are read anew");
            let all = ledger.api_key_changes(0).await?;
            self.put(Held::of(&all, &self.0.held.load()));
        } else if changes.revision > known {
            let held = self.0.held.load();
            self.put(held.with(&changes));
        }
        Ok(())
    }

    fn put(&self, held: Held) {
        self.0.held.store(Arc::new(held));
        self.0.changed.send_replace(());
    }

    /// Renews the ring, and says so when that begins to fail and when it works again.
    async fn keep(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let renewed = self.renew(ledger).await;
        let was_unreachable = self.0.unreachable.swap(renewed.is_err(), Ordering::Relaxed);
        match &renewed {
            Ok(()) if was_unreachable => tracing::info!("the ledger's API keys can be read again"),
            Ok(()) => {}
            Err(error) if !was_unreachable => {
                tracing::warn!(%error, "the ledger's API keys cannot be read: known keys go on working");
            }
            Err(error) => tracing::debug!(%error, "the ledger's API keys still cannot be read"),
        }
        renewed
    }
}

#[cfg(test)]
impl KeyRing {
    /// Takes in changes, as from the ledger.
    pub(crate) fn take_in(&self, changes: &ApiKeyChanges) {
        let held = self.0.held.load().with(changes);
        self.put(held);
    }

    /// What waiting requests see when a renewal has begun and ended.
    pub(crate) fn pretend_renewal(&self, answered: bool) {
        let number = self.0.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.ended.send_replace(Ended { number, answered });
    }
}

fn first_half(digest: &KeyDigest) -> &[u8; 16] {
    digest.as_bytes().first_chunk().expect("SHA-256 has 32 bytes")
}

impl Held {
    /// These keys; what was taken from their rates before is taken still.
    fn of(all: &ApiKeyChanges, before: &Self) -> Self {
        let mut held = Self::default();
        held.change(all, before);
        held
    }

    fn with(&self, changes: &ApiKeyChanges) -> Self {
        let mut held = Self { revision: self.revision, keys: self.keys.clone(), ids: self.ids.clone() };
        held.change(changes, self);
        held
    }

    fn change(&mut self, changes: &ApiKeyChanges, before: &Self) {
        self.revision = changes.revision;
        for (digest, key) in &changes.keys {
            let known = before.keys.get(first_half(digest));
            match key {
                Some(key) if key.revoked.is_none() => {
                    let held = HeldKey::of(*digest, key.clone(), known.map(Arc::as_ref));
                    self.ids.insert(key.id);
                    self.keys.insert(*first_half(digest), Arc::new(held));
                }
                _ => {
                    if let Some(gone) = self.keys.remove(first_half(digest)) {
                        self.ids.remove(&gone.key.id);
                    }
                }
            }
        }
    }
}

impl HeldKey {
    fn of(digest: KeyDigest, key: ApiKey, before: Option<&Self>) -> Self {
        let rate = key.is.rate_per_second;
        let kept = before.filter(|before| before.key.is.rate_per_second == rate);
        let limiter = match kept {
            Some(before) => before.limiter.clone(),
            None => rate.map(|rate| Arc::new(RateLimiter::direct(Quota::per_second(rate)))),
        };
        Self { digest, key: Arc::new(key), limiter }
    }
}

/// The API keys in the ledger, good or not. Needs the ledger alone.
#[derive(Clone)]
pub(crate) struct KeyStore(Ledger);

impl KeyStore {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// Makes a key. Its text is given here, and never again.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn create(&self, new: &NewApiKey, by: &str) -> Result<(ApiKey, KeyText), ServiceError> {
        let mut random = [0; 32];
        SysRng.try_fill_bytes(&mut random).map_err(|error| ServiceError::Internal(error.into()))?;
        let text = KeyText::of(random);
        let key = self.0.create_api_key(&text.digest(), new, by).await?;
        Ok((key, text))
    }

    /// Revokes a key that is good for no other restaurants than these; None where there is none. Idempotent.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn revoke(&self, id: KeyId, within: &Scope, by: &str) -> Result<Option<ApiKey>, ServiceError> {
        Ok(self.0.revoke_api_key(id, within, by).await?)
    }

    /// A key that is good for no other restaurants than these; None where there is none.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn get(&self, id: KeyId, within: &Scope) -> Result<Option<ApiKey>, ServiceError> {
        Ok(self.0.api_key(id, within).await?)
    }

    /// The keys that are good for no other restaurants than these, revoked ones included, by id: at most `limit` behind
    /// `after`, and whether there are more.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn list(
        &self,
        after: Option<KeyId>,
        limit: u32,
        within: &Scope,
    ) -> Result<(Vec<ApiKey>, bool), ServiceError> {
        let mut keys = self.0.api_keys(after, limit.saturating_add(1), within).await?;
        let more = keys.len() > limit as usize;
        keys.truncate(limit as usize);
        Ok((keys, more))
    }
}

/// API keys: the store, and the ring of those that are good. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    allocator: Allocator,
    store: KeyStore,
    ring: KeyRing,
}

impl Keys {
    pub(super) fn new(allocator: Allocator, ledger: Ledger) -> Self {
        Self { allocator, store: KeyStore::new(ledger), ring: KeyRing::default() }
    }

    /// The keys that are good, as far as this daemon knows.
    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The keys in the ledger. A key that is revoked there stops here with the next renewal: see [`Keys::revoke`].
    pub(crate) fn store(&self) -> &KeyStore {
        &self.store
    }

    /// The time by which keys expire: Redis's, as everywhere.
    ///
    /// # Errors
    /// Unavailable before Redis has told it.
    pub(crate) fn now(&self) -> Result<Timestamp, ServiceError> {
        Ok(self.allocator.now()?)
    }

    /// Renews the ring now.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn renew(&self) -> Result<(), ServiceError> {
        Ok(self.ring.renew(&self.store.0).await?)
    }

    /// Renews the ring now, and tells the log when that begins to fail and when it works again. To be called every
    /// [`RENEW_KEYS_EVERY`], and when [`Keys::wanted`].
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable: the keys that are known go on working.
    pub(crate) async fn keep(&self) -> Result<(), ServiceError> {
        Ok(self.ring.keep(&self.store.0).await?)
    }

    /// Resolves when a request waits for a renewal of the ring, and the last one `began` long enough ago.
    pub(crate) async fn wanted(&self, began: Instant) {
        self.ring.0.wanted.notified().await;
        sleep_until(began + RENEW_AT_MOST_EVERY).await;
    }

    /// As [`KeyStore::revoke`], and the key stops here at once, on other daemons within seconds.
    ///
    /// # Errors
    /// Unavailable when the ledger is unreachable.
    pub(crate) async fn revoke(&self, id: KeyId, within: &Scope, by: &str) -> Result<Option<ApiKey>, ServiceError> {
        let revoked = self.store.revoke(id, within, by).await?;
        if let Err(error) = self.renew().await {
            tracing::debug!(%error, "the revoked key stops with the next renewal");
        }
        Ok(revoked)
    }

    /// How many keys in the ledger are good by Redis's clock; where it does not tell the time, those that are not
    /// revoked.
    ///
    /// # Errors
    /// When the ledger is unreachable.
    pub(crate) async fn count_good(&self) -> Result<usize, LedgerError> {
        let ApiKeyChanges { keys, .. } = self.store.0.api_key_changes(0).await?;
        let now = self.now().ok();
        let is_good = |key: &&ApiKey| key.revoked.is_none() && now.is_none_or(|now| key.is_good_at(now));
        Ok(keys.iter().filter_map(|(_, key)| key.as_ref()).filter(is_good).count())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::domain::Role;

    fn key(id: i64, rate: Option<u32>) -> (KeyDigest, Option<ApiKey>) {
        let key = ApiKey {
            id: KeyId::new(id).expect("in range"),
            is: NewApiKey {
                name: "a till".parse().expect("a name"),
                role: Role::Till,
                scope: Scope::All,
                expires_at: Some(Timestamp::from_unix_ms(1000)),
                rate_per_second: rate.and_then(NonZeroU32::new),
                shows_names: false,
            },
            created_at: Timestamp::from_unix_ms(1),
            created_by: "test".to_owned(),
            revoked: None,
        };
        (digest(id), Some(key))
    }

    fn digest(id: i64) -> KeyDigest {
        KeyText::of([u8::try_from(id).expect("small"); 32]).digest()
    }

    fn ring(keys: Vec<(KeyDigest, Option<ApiKey>)>) -> KeyRing {
        let ring = KeyRing::default();
        change(&ring, 1, keys);
        ring
    }

    fn change(ring: &KeyRing, revision: i64, keys: Vec<(KeyDigest, Option<ApiKey>)>) {
        ring.take_in(&ApiKeyChanges { revision, keys });
    }

    #[test]
    fn a_key_is_found_until_it_is_revoked() {
        let ring = ring(vec![key(1, None), key(2, None)]);
        assert_eq!(ring.find(&digest(2)).map(|held| held.key().id.get()), Some(2));
        assert!(ring.find(&digest(3)).is_none());
        let has = || [1, 2, 3].map(|id| ring.has(KeyId::new(id).expect("in range")));
        assert_eq!(has(), [true, true, false]);
        let (found, revoked) = key(2, None);
        let revoked = revoked.map(|key| ApiKey { revoked: Some((key.created_at, "test".to_owned())), ..key });
        change(&ring, 2, vec![(found, revoked)]);
        assert!(ring.find(&digest(2)).is_none() && ring.find(&digest(1)).is_some());
        assert_eq!(has(), [true, false, false]);
        // As one that cannot be read.
        change(&ring, 3, vec![(digest(1), None)]);
        assert!(ring.find(&digest(1)).is_none());
    }

    #[test]
    fn half_a_digest_is_not_enough() {
        let ring = ring(vec![key(1, None)]);
        let mut twin = *digest(1).as_bytes();
        twin[31] ^= 1;
        assert!(ring.find(&KeyDigest::stored(twin)).is_none());
    }

    #[test]
    fn a_ring_of_expired_keys_has_no_good_one() {
        let ring = ring(vec![key(1, None)]);
        assert!(ring.has_good_one(Timestamp::from_unix_ms(999)));
        assert!(!ring.has_good_one(Timestamp::from_unix_ms(1000)));
    }

    #[test]
    fn a_rate_is_kept_while_the_ring_is_renewed() {
        let ring = ring(vec![key(1, Some(2)), key(2, None)]);
        let take = |id| ring.find(&digest(id)).expect("it is there").take_one();
        assert!(take(1).is_ok() && take(1).is_ok());
        let wait = take(1).expect_err("two are all it has");
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        change(&ring, 2, vec![key(1, Some(2))]);
        assert!(take(1).is_err());
        change(&ring, 3, vec![key(1, Some(3))]);
        assert!(take(1).is_ok());
        assert!((0..1000).all(|_| take(2).is_ok()));
    }

    #[tokio::test]
    async fn a_wait_ends_with_a_renewal_that_began_after_it() {
        let ring = KeyRing::default();
        // One is under way.
        ring.0.begun.fetch_add(1, Ordering::SeqCst);
        let wait = ring.renewed();
        tokio::pin!(wait);
        assert!(futures_util::poll!(&mut wait).is_pending());
        ring.0.ended.send_replace(Ended { number: 1, answered: true });
        assert!(futures_util::poll!(&mut wait).is_pending());
        ring.pretend_renewal(true);
        assert_eq!(wait.await, Renewed::Yes);

        let wait = ring.renewed();
        tokio::pin!(wait);
        assert!(futures_util::poll!(&mut wait).is_pending());
        ring.pretend_renewal(false);
        assert_eq!(wait.await, Renewed::LedgerUnreachable);
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let ring = KeyRing::default();
        let mut waits: Vec<_> = (0..MOST_WAITERS).map(|_| Box::pin(ring.renewed())).collect();
        for wait in &mut waits {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert_eq!(ring.renewed().await, Renewed::TooMany);
        ring.pretend_renewal(true);
        for wait in waits {
            assert_eq!(wait.await, Renewed::Yes);
        }
    }
}
