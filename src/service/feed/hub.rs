//! Which partitions are followed, how far, and the restaurants of each that are watched.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, broadcast};

use super::{
    event::{FeedEvent, ResetReason},
    room::Room,
};
use crate::domain::{FeedPosition, OutboxEntry, PartitionId, RestaurantId};

/// Events of the whole chain that a stream may be behind.
const MOST_BEHIND_CHAIN: usize = 4096;

/// How long ago a partition may have been looked at for what is known of it to count as the present.
const PRESENT_FOR: Duration = Duration::from_secs(3);

/// What is followed.
pub(super) struct Hub {
    partitions: Vec<Followed>,
    /// Told when there is more to follow.
    pub(super) changed: Notify,
    /// The streams of the whole chain, for which all partitions are followed.
    chain: broadcast::Sender<Arc<FeedEvent>>,
    chain_streams: AtomicUsize,
    born: Instant,
}

struct Followed {
    inside: Mutex<Inside>,
    /// When it was last known that nothing is missing, in ms since the hub was made; 0: never.
    looked_at_ms: AtomicU64,
}

#[derive(Default)]
struct Inside {
    /// How far it was read; None where it is not followed.
    stands: Option<FeedPosition>,
    rooms: HashMap<RestaurantId, Arc<Room>>,
}

/// What became of entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// They were passed on.
    All,
    /// Some before them are missing.
    Gap,
}

impl Hub {
    pub(super) fn new(partitions: u16) -> Self {
        let followed = || Followed { inside: Mutex::default(), looked_at_ms: AtomicU64::new(0) };
        Self {
            partitions: (0..partitions).map(|_| followed()).collect(),
            changed: Notify::new(),
            chain: broadcast::Sender::new(MOST_BEHIND_CHAIN),
            chain_streams: AtomicUsize::new(0),
            born: Instant::now(),
        }
    }

    fn inside(&self, partition: PartitionId) -> MutexGuard<'_, Inside> {
        self.partitions[partition.index()].inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = PartitionId> + use<> {
        PartitionId::all(u16::try_from(self.partitions.len()).expect("made from a u16"))
    }

    /// The room of a restaurant, which may be empty still.
    pub(super) fn room(&self, partition: PartitionId, restaurant: RestaurantId) -> Arc<Room> {
        let mut inside = self.inside(partition);
        Arc::clone(inside.rooms.entry(restaurant).or_insert_with(|| Arc::new(Room::new(restaurant))))
    }

    /// How far a partition was read; None where it is not followed.
    pub(super) fn stands(&self, partition: PartitionId) -> Option<FeedPosition> {
        self.inside(partition).stands
    }

    /// Does something with a room while nothing is delivered to it; None where the partition is not followed, or the room
    /// was forgotten.
    pub(super) fn at_rest<T>(
        &self,
        partition: PartitionId,
        room: &Arc<Room>,
        work: impl FnOnce(FeedPosition) -> T,
    ) -> Option<T> {
        let inside = self.inside(partition);
        let is_known = inside.rooms.get(&room.restaurant).is_some_and(|known| Arc::ptr_eq(known, room));
        inside.stands.filter(|_| is_known).map(work)
    }

    /// Begins to follow a partition behind this position, unless it is followed.
    pub(super) fn follow(&self, partition: PartitionId, head: FeedPosition) {
        let mut inside = self.inside(partition);
        if inside.stands.is_none() {
            inside.stands = Some(head);
            drop(inside);
            self.looked_at(partition);
            self.changed.notify_one();
        }
    }

    /// The partitions that are followed, and how far each was read.
    pub(super) fn followed(&self) -> Vec<(PartitionId, FeedPosition)> {
        self.all().filter_map(|partition| Some((partition, self.stands(partition)?))).collect()
    }

    /// The partitions that ought to be followed and are not.
    pub(super) fn wanted(&self) -> Vec<PartitionId> {
        if self.chain_streams.load(Relaxed) == 0 {
            return Vec::new();
        }
        self.all().filter(|partition| self.stands(*partition).is_none()).collect()
    }

    /// Passes on what was read of a partition.
    pub(super) fn deliver(&self, partition: PartitionId, entries: Vec<OutboxEntry>) -> (Delivered, usize) {
        let mut inside = self.inside(partition);
        let mut passed_on = 0;
        for entry in entries {
            let Some(stands) = inside.stands else { break };
            // Of another generation nothing is told before the rooms were filled again.
            if entry.generation != stands.generation {
                break;
            }
            if entry.sequence <= stands.sequence {
                continue;
            }
            if entry.sequence != stands.sequence + 1 {
                return (Delivered::Gap, passed_on);
            }
            inside.stands = Some(FeedPosition { sequence: entry.sequence, ..stands });
            let Some(event) = entry.event.ok().and_then(FeedEvent::of) else { continue };
            let event = Arc::new(event);
            passed_on += 1;
            if let Some(room) = inside.rooms.get(&event.restaurant) {
                room.take(Arc::clone(&event));
            }
            if self.chain_streams.load(Relaxed) > 0 {
                // Without receivers it reaches none.
                let _ = self.chain.send(event);
            }
        }
        (Delivered::All, passed_on)
    }

    /// Follows a partition from another position on: its rooms have to be filled again. Answers with those.
    pub(super) fn begin_anew(&self, partition: PartitionId, head: FeedPosition, reason: ResetReason) -> Vec<Arc<Room>> {
        let mut inside = self.inside(partition);
        inside.stands = Some(head);
        let rooms: Vec<Arc<Room>> = inside.rooms.values().cloned().collect();
        for room in &rooms {
            room.empty(reason);
        }
        rooms
    }

    /// Notes that what is known of a partition is all there is.
    pub(super) fn looked_at(&self, partition: PartitionId) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.partitions[partition.index()].looked_at_ms.store(now, Relaxed);
    }

    /// Whether what is known of a partition is the present.
    pub(super) fn is_present(&self, partition: PartitionId) -> bool {
        match self.partitions[partition.index()].looked_at_ms.load(Relaxed) {
            0 => false,
            at => self.born.elapsed().saturating_sub(Duration::from_millis(at)) <= PRESENT_FOR,
        }
    }

    /// Forgets rooms that no stream has shown for long, and partitions without rooms. Gives the number that is left.
    pub(super) fn forget_forsaken(&self) -> usize {
        let chain = self.chain_streams.load(Relaxed) > 0;
        let mut left = 0;
        for partition in self.all() {
            let mut inside = self.inside(partition);
            inside.rooms.retain(|_, room| !room.is_forsaken());
            left += inside.rooms.len();
            if inside.rooms.is_empty() && !chain {
                inside.stands = None;
            }
        }
        left
    }

    /// Listens to all partitions, as long as what this gives is kept.
    pub(super) fn listen_to_chain(self: &Arc<Self>) -> (ChainListener, broadcast::Receiver<Arc<FeedEvent>>) {
        self.chain_streams.fetch_add(1, Relaxed);
        let receiver = self.chain.subscribe();
        self.changed.notify_one();
        (ChainListener(Arc::clone(self)), receiver)
    }
}

/// As long as there is one, all partitions are followed.
pub(super) struct ChainListener(Arc<Hub>);

impl Drop for ChainListener {
    fn drop(&mut self) {
        self.0.chain_streams.fetch_sub(1, Relaxed);
    }
}
