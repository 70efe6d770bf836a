//! What screens say of themselves twice a minute, gathered until it is written.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    domain::{Beat, KeyId},
    ledger::{Ledger, LedgerError},
};

/// How many screens' words are kept at a time: more than a chain has.
const MOST: usize = 100_000;

/// How many are written in one statement.
const AT_A_TIME: usize = 10_000;

/// The last word of each screen that was not written yet.
#[derive(Default)]
pub(super) struct Beats(Mutex<HashMap<KeyId, (Instant, Beat)>>);

impl Beats {
    pub(super) fn note(&self, screen: KeyId, beat: Beat) {
        let mut beats = self.beats();
        if beats.len() < MOST || beats.contains_key(&screen) {
            beats.insert(screen, (Instant::now(), beat));
        } else {
            tracing::debug!("a screen's word is dropped: too many wait to be written");
        }
    }

    /// Writes all of them; on an error, those that were not written are kept, unless newer ones have come.
    pub(super) async fn write(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let mut waiting: Vec<_> = std::mem::take(&mut *self.beats()).into_iter().collect();
        while !waiting.is_empty() {
            let piece = waiting.split_off(waiting.len().saturating_sub(AT_A_TIME));
            let beats: Vec<_> =
                piece.iter().map(|(screen, (at, beat))| (*screen, at.elapsed(), beat.clone())).collect();
            if let Err(error) = ledger.write_beats(&beats).await {
                self.put_back(piece.into_iter().chain(waiting));
                return Err(error);
            }
        }
        Ok(())
    }

    fn put_back(&self, unwritten: impl Iterator<Item = (KeyId, (Instant, Beat))>) {
        let mut beats = self.beats();
        for (screen, beat) in unwritten {
            if let Entry::Vacant(place) = beats.entry(screen) {
                place.insert(beat);
            }
        }
    }

    fn beats(&self) -> MutexGuard<'_, HashMap<KeyId, (Instant, Beat)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
