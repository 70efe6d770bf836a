//! A restaurant that is watched: its live orders as the outbox tells of them, and the streams that show them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::broadcast;

use super::event::{FeedEvent, News, ResetReason, Snapshot, Wire};
use crate::domain::{FeedPosition, Order, OrderId, PoolOccupancy, PoolSettings, RestaurantId, Timestamp};

/// Events that a stream may be behind before it is told to begin anew: some minutes of a busy restaurant.
const MOST_BEHIND: usize = 64;

/// Events that are kept for streams that come back.
const MOST_KEPT: usize = 128;

/// How long a restaurant that no stream shows any more is kept: streams that broke off come back.
const KEPT_UNWATCHED: Duration = Duration::from_secs(30);

/// How long the figures of a pool are good for further snapshots.
const FIGURES_GOOD_FOR: Duration = Duration::from_secs(5);

/// A restaurant that is watched.
pub(super) struct Room {
    pub(super) restaurant: RestaurantId,
    state: Mutex<State>,
    sender: broadcast::Sender<Arc<FeedEvent>>,
    /// Held while the room is filled: others that need it wait for that.
    pub(super) filling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    contents: Contents,
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
    Full(Model),
}

/// The live orders, and how they came about.
struct Model {
    settings: Arc<PoolSettings>,
    orders: BTreeMap<OrderId, Order>,
    occupancy: (PoolOccupancy, Instant),
    /// The last events, in order.
    kept: VecDeque<Arc<FeedEvent>>,
    /// All events behind this one are kept.
    kept_from: FeedPosition,
    /// The last snapshot that was taken, as long as it holds.
    snapshot: Option<Arc<Snapshot>>,
}

/// What was read of a restaurant to fill its room.
pub(super) struct Filling {
    pub(super) settings: PoolSettings,
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
pub(super) type Receiver = broadcast::Receiver<Arc<FeedEvent>>;

impl Room {
    pub(super) fn new(restaurant: RestaurantId) -> Self {
        Self {
            restaurant,
            state: Mutex::new(State { unwatched: Some(Instant::now()), ..State::default() }),
            sender: broadcast::Sender::new(MOST_BEHIND),
            filling: tokio::sync::Mutex::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self.state().contents, Contents::Full(_))
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
            orders: filling.orders.iter().map(|order| (order.id, order.clone())).collect(),
            occupancy: (filling.occupancy, Instant::now()),
            kept: VecDeque::new(),
            kept_from: stands,
            snapshot: None,
        };
        for event in came {
            model.apply(&event);
        }
        if let Some(reason) = state.owed.take() {
            let snapshot = model.snapshot(self.restaurant, stands, now);
            // Without receivers it reaches none.
            let _ = self.sender.send(Arc::new(reset(reason, snapshot)));
        }
        state.contents = Contents::Full(model);
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
                let _ = self.sender.send(event);
            }
        }
    }

    /// How a stream begins that has seen everything up to `last`, and what follows; None where the room is not full.
    pub(super) fn enter(
        &self,
        last: Option<FeedPosition>,
        stands: FeedPosition,
        now: Timestamp,
    ) -> Option<(Beginning, Receiver)> {
        let mut state = self.state();
        state.unwatched = None;
        let Contents::Full(model) = &mut state.contents else { return None };
        let missed = last.and_then(|last| model.behind(last, stands));
        let beginning = match missed {
            Some(missed) => Beginning::Missed(missed),
            None => Beginning::Snapshot(model.snapshot(self.restaurant, stands, now)),
        };
        Some((beginning, self.sender.subscribe()))
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
        if self.sender.receiver_count() > 0 {
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
            News::Settings(settings) => self.settings = Arc::new((**settings).clone()),
            News::Reset(..) => {}
        }
        self.kept.push_back(Arc::clone(event));
        if self.kept.len() > MOST_KEPT
            && let Some(gone) = self.kept.pop_front()
        {
            self.kept_from = gone.position;
        }
    }

    /// The events behind a position, if none of them is missing here.
    fn behind(&self, last: FeedPosition, stands: FeedPosition) -> Option<Vec<Arc<FeedEvent>>> {
        let is_here = last.generation == stands.generation && last >= self.kept_from && last <= stands;
        is_here.then(|| self.kept.iter().filter(|event| event.position > last).cloned().collect())
    }

    fn snapshot(&mut self, restaurant: RestaurantId, stands: FeedPosition, at: Timestamp) -> Arc<Snapshot> {
        let known = self.snapshot.get_or_insert_with(|| {
            let (settings, orders) = (Arc::clone(&self.settings), self.orders.values().cloned().collect());
            let occupancy = self.occupancy.0.clone();
            Arc::new(Snapshot { restaurant, settings, position: stands, at, orders, occupancy, wire: Wire::default() })
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
