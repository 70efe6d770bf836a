//! The feed: what people in the room see, as it happens.
//!
//! A daemon follows the outboxes of the partitions whose restaurants are watched ([`follower`]), and keeps the live
//! orders of these restaurants ([`room`]). A stream begins with how things stand or, where it comes back, with what it
//! has missed ([`replay`]); then it is told each change. What is told was acknowledged, whether or not the ledger has it.

mod event;
mod follower;
mod hub;
mod replay;
mod room;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::{self, error::TryRecvError},
    time::{sleep, timeout},
};

pub(crate) use self::event::{FeedEvent, News, ResetReason, Snapshot};
pub(crate) use self::room::TooSlow;
use self::{
    hub::{ChainListener, ChainNews, Hub},
    room::{Beginning, Filling, Receiver, Room},
};
use super::{Orders, Restaurants, ServiceError};
use crate::{
    allocator::Allocator,
    domain::{ChainPosition, FeedPosition, PartitionId, RestaurantId, Timestamp},
    ledger::Ledger,
};

/// How long a stream that comes from another daemon waits for this one to have read as much.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The feed. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Feed {
    allocator: Allocator,
    ledger: Ledger,
    restaurants: Restaurants,
    orders: Arc<Orders>,
    hub: Arc<Hub>,
}

/// What a restaurant's stream tells, one after the other.
pub(crate) struct RestaurantStream {
    feed: Feed,
    partition: PartitionId,
    room: Arc<Room>,
    receiver: Receiver,
}

/// What a stream of the whole chain tells.
pub(crate) struct ChainStream {
    hub: Arc<Hub>,
    receiver: broadcast::Receiver<ChainNews>,
    _listener: ChainListener,
}

/// What a stream of the whole chain was told at a time, and how far that goes.
pub(crate) struct CaughtUp {
    /// What it was not told yet.
    pub events: Vec<Arc<FeedEvent>>,
    /// With these nothing up to here is left out.
    pub position: ChainPosition,
}

/// A stream that is in a room.
struct Entered {
    beginning: Beginning,
    receiver: Receiver,
    /// How far the partition was read.
    stands: FeedPosition,
    room: Arc<Room>,
}

/// How a stream begins.
#[derive(Debug)]
pub(crate) enum Opening {
    /// It goes on where it was: these events were missed.
    Missed(Vec<Arc<FeedEvent>>),
    /// It is new: this is how things stand.
    New(Arc<Snapshot>),
    /// It cannot go on where it was: this is how things stand.
    Reset(ResetReason, Arc<Snapshot>),
}

/// How a stream of the whole chain begins.
#[derive(Debug)]
pub(crate) enum ChainOpening {
    /// It goes on where it was: these events were missed.
    Missed(Vec<Arc<FeedEvent>>),
    /// It is new.
    New,
    /// It cannot go on where it was.
    Reset(ResetReason),
}

impl Feed {
    pub(super) fn new(allocator: Allocator, ledger: Ledger, restaurants: Restaurants, orders: Arc<Orders>) -> Self {
        let hub = Arc::new(Hub::new(allocator.partition_count()));
        Self { allocator, ledger, restaurants, orders, hub }
    }

    /// Opens a stream of a restaurant; `last` is what the client has seen, if it comes back.
    ///
    /// # Errors
    /// Refused when the restaurant is unknown and `auto_provision` is off. Unavailable when Redis is unreachable.
    pub(crate) async fn open(
        &self,
        restaurant: RestaurantId,
        last: Option<FeedPosition>,
    ) -> Result<(Opening, RestaurantStream), ServiceError> {
        let partition = self.allocator.partition_of(restaurant);
        if let Some(last) = last {
            self.catch_up(partition, last).await?;
        }
        let Entered { beginning, receiver, stands, room } = self.enter(partition, restaurant, last).await?;
        let opening = match (beginning, last) {
            (Beginning::Missed(events), _) => Opening::Missed(events),
            (Beginning::Snapshot(snapshot), None) => Opening::New(snapshot),
            (Beginning::Snapshot(snapshot), Some(last)) if last.generation != stands.generation => {
                Opening::Reset(ResetReason::Generation, snapshot)
            }
            (Beginning::Snapshot(snapshot), Some(last)) => {
                match self.missed(partition, last, stands, Some(restaurant)).await {
                    Some(events) => Opening::Missed(events),
                    None => Opening::Reset(ResetReason::UnknownPosition, snapshot),
                }
            }
        };
        Ok((opening, RestaurantStream { feed: self.clone(), partition, room, receiver }))
    }

    /// Opens a stream of all restaurants; `last` is what the client has seen, if it comes back. Tells also how far the stream
    /// has come with what it begins with.
    ///
    /// # Errors
    /// Unavailable when Redis is unreachable.
    pub(crate) async fn open_chain(
        &self,
        last: Option<ChainPosition>,
    ) -> Result<(ChainOpening, ChainPosition, ChainStream), ServiceError> {
        let listener = self.hub.follow_chain();
        let (mut is_any_there, mut why_not) = (false, None);
        for partition in PartitionId::all(self.allocator.partition_count()) {
            match self.begin_to_follow(partition).await {
                Ok(()) => is_any_there = true,
                // Those that are closed now are followed once they are open; the stream ends then, and comes back.
                Err(error) => why_not = Some(error),
            }
        }
        if let Some(error) = why_not.filter(|_| !is_any_there) {
            return Err(error);
        }
        let (receiver, position) = self.hub.listen_to_chain();
        let opening = match last {
            None => ChainOpening::New,
            Some(last) => match self.missed_of_chain(&last, &position).await {
                Some(events) => ChainOpening::Missed(events),
                None => ChainOpening::Reset(ResetReason::UnknownPosition),
            },
        };
        Ok((opening, position, ChainStream { hub: Arc::clone(&self.hub), receiver, _listener: listener }))
    }

    /// The time of what is told: Redis's.
    pub(crate) fn now(&self) -> Result<Timestamp, ServiceError> {
        Ok(self.allocator.now()?)
    }

    /// Waits a moment until a partition was read as far as another daemon has told the client.
    async fn catch_up(&self, partition: PartitionId, last: FeedPosition) -> Result<(), ServiceError> {
        self.begin_to_follow(partition).await?;
        let is_behind = || {
            let stands = self.hub.stands(partition);
            stands.is_some_and(|stands| stands.generation == last.generation && stands.sequence < last.sequence)
        };
        if !is_behind() {
            return Ok(());
        }
        // What Redis does not have, no daemon has told.
        let head = self.allocator.head(partition).await?.head;
        if head.is_none_or(|head| head.generation != last.generation || head.sequence < last.sequence) {
            return Ok(());
        }
        let caught_up = async {
            while is_behind() {
                sleep(LOOK_AGAIN_AFTER).await;
            }
        };
        // Where that takes long, the stream begins anew.
        let _ = timeout(CATCH_UP_WITHIN, caught_up).await;
        Ok(())
    }

    /// How a stream begins, in a room that is full.
    async fn enter(
        &self,
        partition: PartitionId,
        restaurant: RestaurantId,
        last: Option<FeedPosition>,
    ) -> Result<Entered, ServiceError> {
        loop {
            self.begin_to_follow(partition).await?;
            let room = self.hub.room(partition, restaurant);
            self.fill(partition, &room).await?;
            if last.is_none() && room.wants_figures() {
                room.put_figures(self.restaurants.occupancy(room.restaurant).await?);
            }
            let now = self.now()?;
            let entered = self.hub.at_rest(partition, &room, |stands| {
                room.enter(last, stands, now).map(|(beginning, receiver)| (beginning, receiver, stands))
            });
            // Else it was emptied or forgotten meanwhile.
            if let Some((beginning, receiver, stands)) = entered.flatten() {
                return Ok(Entered { beginning, receiver, stands, room });
            }
        }
    }

    /// Fills a room, unless it is full.
    async fn fill(&self, partition: PartitionId, room: &Arc<Room>) -> Result<(), ServiceError> {
        let _alone = room.filling.lock().await;
        if room.is_full() {
            return Ok(());
        }
        room.begin_to_fill();
        let present = self.restaurants.settings(room.restaurant).await?;
        let orders = self.allocator.live_orders(room.restaurant).await?;
        let occupancy = self.restaurants.occupancy(room.restaurant).await?;
        let now = self.now()?;
        let filling = Filling { settings: present.settings, is_configured: present.is_own, orders, occupancy };
        self.hub.at_rest(partition, room, |stands| room.fill(filling, stands, now));
        Ok(())
    }
}

impl RestaurantStream {
    /// The next thing to tell. May be dropped half-way.
    ///
    /// # Errors
    /// When something was missed.
    pub(crate) async fn next(&mut self) -> Result<Arc<FeedEvent>, TooSlow> {
        self.receiver.next().await
    }

    /// Whether what was told is the present, as far as this daemon can know.
    pub(crate) fn is_present(&self) -> bool {
        self.room.is_full() && self.feed.hub.is_present(self.partition)
    }

    /// Begins anew with how things stand.
    ///
    /// # Errors
    /// As [`Feed::open`].
    pub(crate) async fn begin_anew(&mut self) -> Result<Arc<Snapshot>, ServiceError> {
        let entered = self.feed.enter(self.partition, self.room.restaurant, None).await?;
        (self.receiver, self.room) = (entered.receiver, entered.room);
        match entered.beginning {
            Beginning::Snapshot(snapshot) => Ok(snapshot),
            Beginning::Missed(_) => Err(ServiceError::Internal(anyhow::anyhow!("a stream began with nothing"))),
        }
    }
}

impl ChainStream {
    /// As [`RestaurantStream::next`].
    ///
    /// # Errors
    /// When something was missed, or may have been: why.
    pub(crate) async fn next(&mut self) -> Result<Arc<FeedEvent>, ResetReason> {
        match self.receiver.recv().await {
            Ok(ChainNews::Event(event)) => Ok(event),
            Ok(ChainNews::Broken(reason)) => Err(reason),
            // The hub, and so the sender, is held here.
            Err(_) => Err(ResetReason::Slow),
        }
    }

    /// How far all partitions were read, with what is to be told before that may be said.
    ///
    /// # Errors
    /// As [`ChainStream::next`].
    pub(crate) fn catch_up(&mut self) -> Result<CaughtUp, ResetReason> {
        // First: all up to it was passed on by now.
        let position = ChainPosition::of(self.hub.followed());
        let mut events = Vec::new();
        loop {
            match self.receiver.try_recv() {
                Ok(ChainNews::Event(event)) => events.push(event),
                Ok(ChainNews::Broken(reason)) => return Err(reason),
                Err(TryRecvError::Empty) => return Ok(CaughtUp { events, position }),
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return Err(ResetReason::Slow),
            }
        }
    }

    /// Whether what was told is the present, as far as this daemon can know.
    pub(crate) fn is_present(&self) -> bool {
        self.hub.all_are_present()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        hub::tests::{P, at, entry},
        *,
    };

    /// Else a client that is cut off right behind a heartbeat would never hear of them.
    #[tokio::test]
    async fn a_heartbeat_of_the_chain_comes_behind_all_that_it_covers() {
        let hub = Arc::new(Hub::new(1));
        let listener = hub.follow_chain();
        hub.follow(P, at(1, 10));
        let (receiver, _) = hub.listen_to_chain();
        let mut stream = ChainStream { hub: Arc::clone(&hub), receiver, _listener: listener };
        hub.deliver(P, vec![entry(1, 11), entry(1, 12)]);
        assert_eq!(stream.next().await.map(|event| event.position), Ok(at(1, 11)));
        let CaughtUp { events, position } = stream.catch_up().expect("nothing was left out");
        assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [at(1, 12)]);
        assert_eq!(position, ChainPosition::of([(P, at(1, 12))]));
        hub.begin_anew(P, at(2, 12), ResetReason::Generation);
        assert!(matches!(stream.catch_up(), Err(ResetReason::Generation)));
    }
}
