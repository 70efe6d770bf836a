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
use crate::domain::{ChainPosition, FeedPosition, OutboxEntry, PartitionId, RestaurantId};

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
    chain: broadcast::Sender<ChainNews>,
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
    /// Its outbox goes on with a later generation: nothing more comes of this one.
    is_over: bool,
    rooms: HashMap<RestaurantId, Arc<Room>>,
}

/// What became of entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// They were passed on.
    All,
    /// Some before them are missing, or cannot be read.
    Gap,
    /// They are of a later generation than this one, which is followed.
    Overtaken(u64),
}

/// What streams of the whole chain hear.
#[derive(Debug, Clone)]
pub(super) enum ChainNews {
    /// This happened.
    Event(Arc<FeedEvent>),
    /// Events of some partition may have been left out here.
    Broken(ResetReason),
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
            self.set_out(&mut inside, head, ResetReason::Lost);
            drop(inside);
            self.looked_at(partition);
            self.changed.notify_one();
        }
    }

    /// What follows from here on has not heard what came before. That holds for a room, too, which was asked for while the
    /// partition was forgotten: what is being read for it may be of before.
    fn set_out(&self, inside: &mut Inside, from: FeedPosition, reason: ResetReason) {
        inside.stands = Some(from);
        inside.is_over = false;
        inside.rooms.values().for_each(|room| room.empty(reason));
        if self.chain_streams.load(Relaxed) > 0 {
            let _ = self.chain.send(ChainNews::Broken(reason));
        }
    }

    /// The partitions of which more may come, and how far each was read.
    pub(super) fn read_on(&self) -> Vec<(PartitionId, u64)> {
        let of = |partition| {
            let inside = self.inside(partition);
            inside.stands.filter(|_| !inside.is_over).map(|stands| (partition, stands.sequence))
        };
        self.all().filter_map(of).collect()
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
            if entry.generation > stands.generation {
                inside.is_over = true;
                return (Delivered::Overtaken(stands.generation), passed_on);
            }
            if entry.generation < stands.generation {
                break;
            }
            if entry.sequence <= stands.sequence {
                continue;
            }
            if entry.sequence != stands.sequence + 1 {
                return (Delivered::Gap, passed_on);
            }
            inside.stands = Some(FeedPosition { sequence: entry.sequence, ..stands });
            // What it says is found where the restaurants are read anew.
            let Ok(event) = entry.event else { return (Delivered::Gap, passed_on) };
            let Some(event) = FeedEvent::of(event) else { continue };
            let event = Arc::new(event);
            passed_on += 1;
            if let Some(room) = inside.rooms.get(&event.restaurant) {
                room.take(Arc::clone(&event));
            }
            if self.chain_streams.load(Relaxed) > 0 {
                // Without receivers it reaches none.
                let _ = self.chain.send(ChainNews::Event(event));
            }
        }
        (Delivered::All, passed_on)
    }

    /// Follows a partition from another position on: its rooms have to be filled again. Answers with those.
    pub(super) fn begin_anew(&self, partition: PartitionId, head: FeedPosition, reason: ResetReason) -> Vec<Arc<Room>> {
        let mut inside = self.inside(partition);
        self.set_out(&mut inside, head, reason);
        inside.rooms.values().cloned().collect()
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

    /// Whether that is so of all partitions.
    pub(super) fn all_are_present(&self) -> bool {
        self.all().all(|partition| self.stands(partition).is_some() && self.is_present(partition))
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

    /// Has all partitions followed, as long as what this gives is kept.
    pub(super) fn follow_chain(self: &Arc<Self>) -> ChainListener {
        self.chain_streams.fetch_add(1, Relaxed);
        self.changed.notify_one();
        ChainListener(Arc::clone(self))
    }

    /// What comes of the partitions that are followed now, and how far they were read: nothing behind that is left out.
    pub(super) fn listen_to_chain(&self) -> (broadcast::Receiver<ChainNews>, ChainPosition) {
        let receiver = self.chain.subscribe();
        (receiver, ChainPosition::of(self.followed()))
    }
}

/// As long as there is one, all partitions are followed.
pub(super) struct ChainListener(Arc<Hub>);

impl Drop for ChainListener {
    fn drop(&mut self) {
        self.0.chain_streams.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{Context, Event, EventKind, PoolSettings, SettingsChange, Timestamp};

    pub(in crate::service::feed) const P: PartitionId = PartitionId::new(0);

    pub(in crate::service::feed) fn at(generation: u64, sequence: u64) -> FeedPosition {
        FeedPosition { generation, sequence }
    }

    fn restaurant() -> RestaurantId {
        RestaurantId::new(7).expect("a small number")
    }

    /// Its restaurant has other settings.
    pub(in crate::service::feed) fn entry(generation: u64, sequence: u64) -> OutboxEntry {
        let change = SettingsChange { restaurant: restaurant(), settings: PoolSettings::default(), version: 1 };
        let event = Event {
            partition: P,
            generation,
            sequence,
            at: Timestamp::from_unix_ms(0),
            context: Context::of("test"),
            kind: EventKind::Configured(change),
        };
        OutboxEntry { sequence, generation, raw: Vec::new(), event: Ok(event) }
    }

    #[test]
    fn what_is_missing_is_noticed() {
        let hub = Hub::new(1);
        hub.follow(P, at(1, 10));
        let repeated = vec![entry(1, 9), entry(1, 10), entry(1, 11)];
        assert_eq!(hub.deliver(P, repeated), (Delivered::All, 1));
        assert_eq!(hub.stands(P), Some(at(1, 11)));
        assert_eq!(hub.deliver(P, vec![entry(1, 13)]), (Delivered::Gap, 0));
        assert_eq!(hub.stands(P), Some(at(1, 11)), "it is begun anew, not gone on with");
        let unreadable = OutboxEntry { event: Err("of a later version".to_owned()), ..entry(1, 12) };
        assert_eq!(hub.deliver(P, vec![unreadable, entry(1, 13)]), (Delivered::Gap, 0));
    }

    #[test]
    fn a_later_generation_ends_the_one_that_is_followed() {
        let hub = Hub::new(1);
        hub.follow(P, at(2, 10));
        // What was written before it began.
        assert_eq!(hub.deliver(P, vec![entry(1, 11)]), (Delivered::All, 0));
        assert_eq!(hub.read_on(), [(P, 10)]);
        assert_eq!(hub.deliver(P, vec![entry(3, 11)]), (Delivered::Overtaken(2), 0));
        assert_eq!((hub.stands(P), hub.read_on()), (Some(at(2, 10)), vec![]), "it would be read again and again");
        hub.begin_anew(P, at(3, 10), ResetReason::Generation);
        assert_eq!(hub.deliver(P, vec![entry(3, 11)]), (Delivered::All, 1));
    }

    /// What is being read for it may be of before.
    #[test]
    fn a_room_that_is_being_filled_while_its_partition_is_forgotten_is_filled_again() {
        let hub = Hub::new(1);
        hub.follow(P, at(1, 10));
        hub.forget_forsaken();
        assert_eq!(hub.stands(P), None);
        let room = hub.room(P, restaurant());
        room.begin_to_fill();
        hub.follow(P, at(1, 20));
        assert!(!room.is_being_filled());
    }

    #[test]
    fn streams_of_the_chain_hear_what_was_left_out() {
        let hub = Arc::new(Hub::new(2));
        let _listener = hub.follow_chain();
        let other = PartitionId::new(1);
        hub.follow(P, at(1, 10));
        assert_eq!(hub.wanted(), [other]);
        let (mut receiver, position) = hub.listen_to_chain();
        assert_eq!(position, ChainPosition::of([(P, at(1, 10))]));
        assert!(receiver.try_recv().is_err(), "it has heard all from where it begins");
        assert!(!hub.all_are_present(), "one partition is not followed");
        hub.follow(other, at(1, 5));
        assert!(matches!(receiver.try_recv(), Ok(ChainNews::Broken(ResetReason::Lost))));
        assert!(hub.all_are_present());
        hub.begin_anew(P, at(2, 10), ResetReason::Generation);
        assert!(matches!(receiver.try_recv(), Ok(ChainNews::Broken(ResetReason::Generation))));
    }
}
