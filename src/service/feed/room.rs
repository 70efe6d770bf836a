//! A restaurant that is watched: its live orders as the outbox tells of them, and the streams that show them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::event::{FeedEvent, News, ResetReason, Snapshot, Wire};
use crate::domain::{FeedPosition, Order, OrderId, PoolOccupancy, PoolSettings, RestaurantId, Timestamp};

/// Events that are kept for streams that are behind, or come back: some minutes of a busy restaurant.
const KEPT: usize = 128;

/// However many there are, those of the last moment are kept, too: a burst makes no stream slow.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// But no more than these.
const MOST_KEPT: usize = 4096;

/// How long a restaurant that no stream shows any more is kept: streams that broke off come back.
const KEPT_UNWATCHED: Duration = Duration::from_secs(30);

/// How long the figures of a pool are good for further snapshots.
const FIGURES_GOOD_FOR: Duration = Duration::from_secs(5);

/// A restaurant that is watched.
pub(super) struct Room {
    pub(super) restaurant: RestaurantId,
    state: Mutex<State>,
    /// Told when there is more to tell.
    bell: watch::Sender<()>,
    /// Held while the room is filled: others that need it wait for that.
    pub(super) filling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    contents: Contents,
    /// How many events streams were told here, or would have been.
    told: u64,
    /// Why streams have to begin anew, once the room is full again.
    owed: Option<ResetReason>,
    /// Since when no stream shows it; None while one does.
    unwatched: Option<Instant>,
}

#[derive(Default)]
enum Contents {
    /// Nothing is known.
    #[default]
    Empty,
    /// The live orders are being read; these events came meanwhile.
    Filling(Vec<Arc<FeedEvent>>),
    /// All is known.
    Full(Box<Model>),
}

/// The live orders, and how they came about.
struct Model {
    settings: Arc<PoolSettings>,
    is_configured: bool,
    orders: BTreeMap<OrderId, Order>,
    occupancy: (PoolOccupancy, Instant),
    /// The last events in order, each with when it came.
    kept: VecDeque<(Arc<FeedEvent>, Instant)>,
    /// All events behind this one are kept.
    kept_from: FeedPosition,
    /// How many events of this room came before those that are kept.
    before: u64,
    /// What streams are told that stood here, or further back, when the room was filled again.
    reset: Option<(u64, Arc<FeedEvent>)>,
    /// The last snapshot that was taken, as long as it holds.
    snapshot: Option<Arc<Snapshot>>,
}

/// What was read of a restaurant to fill its room.
pub(super) struct Filling {
    pub(super) settings: PoolSettings,
    pub(super) is_configured: bool,
    pub(super) orders: Arc<Vec<Order>>,
    pub(super) occupancy: PoolOccupancy,
}

/// Where a stream begins.
pub(super) enum Beginning {
    /// With what it has not seen yet.
    Missed(Vec<Arc<FeedEvent>>),
    /// With how things stand.
    Snapshot(Arc<Snapshot>),
}

/// The events of a room from here on.
pub(super) struct Receiver {
    room: Arc<Room>,
    bell: watch::Receiver<()>,
    /// How many events of the room came before the next one.
    next: u64,
}

/// What a receiver has missed is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Receiver {
    /// The next event. May be dropped half-way.
    pub(super) async fn next(&mut self) -> Result<Arc<FeedEvent>, TooSlow> {
        loop {
            if let Some(next) = self.room.told(&mut self.next) {
                return next;
            }
            // The room, and so its bell, is held here.
            let _ = self.bell.changed().await;
        }
    }
}

impl Room {
    pub(super) fn new(restaurant: RestaurantId) -> Self {
        Self {
            restaurant,
            state: Mutex::new(State { unwatched: Some(Instant::now()), ..State::default() }),
            bell: watch::Sender::default(),
            filling: tokio::sync::Mutex::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self.state().contents, Contents::Full(_))
    }

    #[cfg(test)]
    pub(super) fn is_being_filled(&self) -> bool {
        matches!(self.state().contents, Contents::Filling(_))
    }

    /// From here on events are kept for what is being read.
    pub(super) fn begin_to_fill(&self) {
        self.state().contents = Contents::Filling(Vec::new());
    }

    /// What was read is put in place, with the events that came meanwhile. Streams that were owed one get a reset.
    pub(super) fn fill(&self, filling: Filling, stands: FeedPosition, now: Timestamp) {
        let mut state = self.state();
        let came = match std::mem::take(&mut state.contents) {
            Contents::Filling(came) => came,
            // It was emptied meanwhile: what was read may be of before that.
            other => {
                state.contents = other;
                return;
            }
        };
        let mut model = Model {
            settings: Arc::new(filling.settings),
            is_configured: filling.is_configured,
            orders: filling.orders.iter().map(|order| (order.id, order.clone())).collect(),
            occupancy: (filling.occupancy, Instant::now()),
            kept: VecDeque::new(),
            kept_from: stands,
            before: state.told,
            reset: None,
            snapshot: None,
        };
        for event in came {
            model.apply(&event);
        }
        if let Some(reason) = state.owed.take() {
            let snapshot = model.snapshot(self.restaurant, stands, now);
            model.reset = Some((model.before, Arc::new(reset(reason, snapshot))));
            // So that those who are told to begin anew can be told from those who begin now.
            model.before += 1;
        }
        state.told = model.before;
        state.contents = Contents::Full(Box::new(model));
        drop(state);
        self.bell.send_replace(());
    }

    /// What comes next for a stream; None where nothing does now.
    fn told(&self, next: &mut u64) -> Option<Result<Arc<FeedEvent>, TooSlow>> {
        let state = self.state();
        let Contents::Full(model) = &state.contents else { return None };
        if *next < model.before {
            return Some(match &model.reset {
                Some((at, reset)) if *next <= *at => {
                    *next = at + 1;
                    Ok(Arc::clone(reset))
                }
                _ => Err(TooSlow),
            });
        }
        let (event, _) = model.kept.get(usize::try_from(*next - model.before).ok()?)?;
        *next += 1;
        Some(Ok(Arc::clone(event)))
    }

    /// What is known here may be wrong: the room has to be filled again, and its streams are told so then.
    pub(super) fn empty(&self, reason: ResetReason) {
        let mut state = self.state();
        if !matches!(state.contents, Contents::Empty) {
            state.owed.get_or_insert(reason);
        }
        state.contents = Contents::Empty;
    }

    /// Takes in the next event of the restaurant.
    pub(super) fn take(&self, event: Arc<FeedEvent>) {
        let mut state = self.state();
        match &mut state.contents {
            Contents::Empty => {}
            Contents::Filling(came) => came.push(event),
            Contents::Full(model) => {
                model.apply(&event);
                model.keep(event);
                state.told += 1;
                drop(state);
                self.bell.send_replace(());
            }
        }
    }

    /// How a stream begins that has seen everything up to `last`, and what follows; None where the room is not full.
    pub(super) fn enter(
        self: &Arc<Self>,
        last: Option<FeedPosition>,
        stands: FeedPosition,
        now: Timestamp,
    ) -> Option<(Beginning, Receiver)> {
        let mut state = self.state();
        state.unwatched = None;
        let next = state.told;
        let Contents::Full(model) = &mut state.contents else { return None };
        let missed = last.and_then(|last| model.behind(last, stands));
        let beginning = match missed {
            Some(missed) => Beginning::Missed(missed),
            None => Beginning::Snapshot(model.snapshot(self.restaurant, stands, now)),
        };
        Some((beginning, Receiver { room: Arc::clone(self), bell: self.bell.subscribe(), next }))
    }

    /// Whether figures for a snapshot have to be read anew.
    pub(super) fn wants_figures(&self) -> bool {
        match &self.state().contents {
            Contents::Full(model) => model.occupancy.1.elapsed() > FIGURES_GOOD_FOR,
            _ => false,
        }
    }

    pub(super) fn put_figures(&self, occupancy: PoolOccupancy) {
        if let Contents::Full(model) = &mut self.state().contents {
            model.occupancy = (occupancy, Instant::now());
            model.snapshot = None;
        }
    }

    /// Whether no stream has shown it for long.
    pub(super) fn is_forsaken(&self) -> bool {
        let mut state = self.state();
        if self.bell.receiver_count() > 0 {
            state.unwatched = None;
            return false;
        }
        state.unwatched.get_or_insert_with(Instant::now).elapsed() > KEPT_UNWATCHED
    }
}

impl Model {
    /// An event that was read twice, or is older than what was read of the order, changes nothing.
    fn apply(&mut self, event: &Arc<FeedEvent>) {
        self.snapshot = None;
        match &event.news {
            News::Order { order, .. } => {
                let is_old = self.orders.get(&order.id).is_some_and(|known| known.version > order.version);
                if is_old {
                    // Streams are told all the same: for them it is new, and what follows puts it right.
                } else if order.status.is_final() {
                    self.orders.remove(&order.id);
                } else {
                    self.orders.insert(order.id, (**order).clone());
                }
            }
            News::Settings(settings) => {
                self.settings = Arc::new((**settings).clone());
                self.is_configured = true;
            }
            News::Reset(..) => {}
        }
    }

    fn keep(&mut self, event: Arc<FeedEvent>) {
        let now = Instant::now();
        self.kept.push_back((event, now));
        let is_enough = |(_, came): &mut (Arc<FeedEvent>, Instant), left: usize| {
            left > MOST_KEPT || left > KEPT && now.duration_since(*came) > KEPT_FOR
        };
        let mut left = self.kept.len();
        while let Some((gone, _)) = self.kept.pop_front_if(|kept| is_enough(kept, left)) {
            self.kept_from = gone.position;
            self.before += 1;
            left -= 1;
        }
    }

    /// The events behind a position, if none of them is missing here.
    fn behind(&self, last: FeedPosition, stands: FeedPosition) -> Option<Vec<Arc<FeedEvent>>> {
        let is_here = last.generation == stands.generation && last >= self.kept_from && last <= stands;
        is_here.then(|| {
            let kept = self.kept.iter().map(|(event, _)| event);
            kept.filter(|event| event.position > last).cloned().collect()
        })
    }

    fn snapshot(&mut self, restaurant: RestaurantId, stands: FeedPosition, at: Timestamp) -> Arc<Snapshot> {
        let known = self.snapshot.get_or_insert_with(|| {
            Arc::new(Snapshot {
                restaurant,
                settings: Arc::clone(&self.settings),
                is_configured: self.is_configured,
                position: stands,
                at,
                orders: self.orders.values().cloned().collect(),
                occupancy: self.occupancy.0.clone(),
                wire: Wire::default(),
            })
        });
        Arc::clone(known)
    }
}

/// How things stand, for streams that have to begin anew.
pub(super) fn reset(reason: ResetReason, snapshot: Arc<Snapshot>) -> FeedEvent {
    FeedEvent {
        restaurant: snapshot.restaurant,
        position: snapshot.position,
        at: snapshot.at,
        news: News::Reset(reason, snapshot),
        wire: Wire::default(),
        chain_wire: Wire::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::feed::hub::tests::{at, entry};

    fn event(sequence: u64) -> Arc<FeedEvent> {
        let event = FeedEvent::of(entry(1, sequence).event.expect("an event")).expect("it is told");
        Arc::new(event)
    }

    /// As it was read before it had other settings.
    fn read() -> Filling {
        let settings = PoolSettings { max_calls: 77, ..PoolSettings::default() };
        let occupancy = PoolOccupancy {
            capacity: 0,
            free: 0,
            live: 0,
            cooling: 0,
            blocked: 0,
            reserved: 0,
            quarantined: 0,
            retiring: 0,
            utilization: 0.0,
            next_free_at: None,
            oldest_live_at: None,
            ranges: Vec::new(),
        };
        Filling { settings, is_configured: true, orders: Arc::default(), occupancy }
    }

    fn max_calls(beginning: &Beginning) -> u32 {
        match beginning {
            Beginning::Snapshot(snapshot) => snapshot.settings.max_calls,
            Beginning::Missed(_) => panic!("it is new"),
        }
    }

    fn room() -> Arc<Room> {
        Arc::new(Room::new(RestaurantId::new(7).expect("a small number")))
    }

    #[test]
    fn what_comes_while_a_room_is_filled_is_in_it() {
        let (room, now) = (room(), Timestamp::from_unix_ms(0));
        room.begin_to_fill();
        room.take(event(11));
        room.fill(read(), at(1, 11), now);
        let (beginning, _) = room.enter(None, at(1, 11), now).expect("it is full");
        assert_eq!(max_calls(&beginning), PoolSettings::default().max_calls);
    }

    #[test]
    fn what_was_read_before_a_room_was_emptied_is_not_put_in_it() {
        let (room, now) = (room(), Timestamp::from_unix_ms(0));
        room.begin_to_fill();
        room.empty(ResetReason::Generation);
        room.fill(read(), at(2, 11), now);
        assert!(!room.is_full());
    }

    #[tokio::test]
    async fn a_stream_goes_on_behind_what_it_has_seen() {
        let (room, now) = (room(), Timestamp::from_unix_ms(0));
        room.begin_to_fill();
        room.fill(read(), at(1, 10), now);
        for sequence in 11..=14 {
            room.take(event(sequence));
        }
        let (beginning, _) = room.enter(Some(at(1, 12)), at(1, 14), now).expect("it is full");
        let Beginning::Missed(events) = beginning else { panic!("all of it is kept") };
        assert_eq!(events.iter().map(|event| event.position.sequence).collect::<Vec<_>>(), [13, 14]);
        for elsewhere in [at(1, 9), at(1, 15), at(2, 12), at(1, u64::MAX)] {
            let (beginning, _) = room.enter(Some(elsewhere), at(1, 14), now).expect("it is full");
            assert!(matches!(beginning, Beginning::Snapshot(_)), "{elsewhere}");
        }
    }

    /// A stream may be far behind: it hears of the new beginning, and of all that came after it.
    #[tokio::test]
    async fn streams_hear_that_a_room_was_filled_again() {
        let (room, now) = (room(), Timestamp::from_unix_ms(0));
        room.begin_to_fill();
        room.fill(read(), at(1, 10), now);
        let (_, mut behind) = room.enter(None, at(1, 10), now).expect("it is full");
        room.take(event(11));
        room.empty(ResetReason::Generation);
        room.begin_to_fill();
        room.fill(read(), at(2, 10), now);
        let (_, mut later) = room.enter(None, at(2, 10), now).expect("it is full");
        room.take(event(12));
        let reset = behind.next().await.expect("it is told");
        assert!(matches!(reset.news, News::Reset(ResetReason::Generation, _)));
        for stream in [&mut behind, &mut later] {
            assert_eq!(stream.next().await.expect("it is told").position, at(1, 12));
        }
    }
}
