//! What a feed tells.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::domain::{
    Event, EventKind, FeedPosition, Order, PoolOccupancy, PoolSettings, RestaurantId, Sight, Timestamp,
};

/// Something that a feed tells, shared by all streams that tell it.
#[derive(Debug)]
pub(crate) struct FeedEvent {
    /// The restaurant that it is about.
    pub restaurant: RestaurantId,
    /// Where the feed stands with it.
    pub position: FeedPosition,
    /// When it happened, by Redis's clock.
    pub at: Timestamp,
    /// What happened.
    pub news: News,
    /// As it goes over the wire in its restaurant's streams.
    pub wire: Wire,
    /// As it goes over the wire in those of the whole chain.
    pub chain_wire: Wire,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum News {
    /// An order was created or changed.
    Order {
        /// The name of the event in the audit log.
        kind: &'static str,
        /// The order after the change.
        order: Box<Order>,
        /// Where the guest was called to, if this was a call.
        call: Option<Call>,
    },
    /// The restaurant has other settings.
    Settings(Box<PoolSettings>),
    /// What was told before may have gaps: this is how things stand.
    Reset(ResetReason, Arc<Snapshot>),
}

/// A guest was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Where to.
    pub place: Option<String>,
}

/// Why a feed begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResetReason {
    /// The stream was not read fast enough.
    Slow,
    /// Events were gone before they were read.
    Lost,
    /// The partition was built anew.
    Generation,
    /// The position that the client named is none of this feed's, or too long ago.
    UnknownPosition,
    /// The daemon stops.
    Closing,
}

impl ResetReason {
    /// Every reason.
    pub(crate) const ALL: [Self; 5] = [Self::Slow, Self::Lost, Self::Generation, Self::UnknownPosition, Self::Closing];

    /// The name, as the feed and the metrics spell it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Lost => "lost",
            Self::Generation => "generation",
            Self::UnknownPosition => "unknown_position",
            Self::Closing => "closing",
        }
    }
}

/// How things stand in a restaurant.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// Its settings.
    pub settings: Arc<PoolSettings>,
    /// Whether they are its own.
    pub is_configured: bool,
    /// Everything up to here is in it.
    pub position: FeedPosition,
    /// When it was taken, by Redis's clock.
    pub at: Timestamp,
    /// The live orders, oldest first.
    pub orders: Vec<Order>,
    /// The numbers of the pool.
    pub occupancy: PoolOccupancy,
    /// As it goes over the wire.
    pub wire: Wire,
}

/// The bytes that tell something, made once for all streams whose callers see the same of it.
#[derive(Debug, Default)]
pub(crate) struct Wire([OnceLock<Bytes>; 3]);

impl Wire {
    /// The bytes for callers who see so much.
    pub(crate) fn bytes(&self, sight: Sight, write: impl FnOnce() -> Bytes) -> Bytes {
        let place = match sight {
            Sight::Whole => 0,
            Sight::Board { names: false } => 1,
            Sight::Board { names: true } => 2,
        };
        self.0[place].get_or_init(write).clone()
    }
}

impl FeedEvent {
    /// What a feed tells of an event; None where it is of no interest to people in the room.
    pub(super) fn of(event: Event) -> Option<Self> {
        let (restaurant, kind) = (event.restaurant(), event.name());
        let position = FeedPosition { generation: event.generation, sequence: event.sequence };
        let news = match event.kind {
            EventKind::Created { order, .. }
            | EventKind::Imported { order }
            | EventKind::Changed { order, .. }
            | EventKind::Released { order, .. }
            | EventKind::Reopened { order, .. }
            | EventKind::Restated { order, .. }
            | EventKind::Renumbered { order, .. } => News::Order { kind, order: Box::new(order), call: None },
            EventKind::Called { order, place, .. } => {
                News::Order { kind, order: Box::new(order), call: Some(Call { place }) }
            }
            EventKind::Configured(change) => News::Settings(Box::new(change.settings)),
            // The order is unchanged; its number, which no order has, can be asked for.
            EventKind::Recycled { .. } | EventKind::Rested(_) | EventKind::Dated(_) => return None,
        };
        Some(Self { restaurant, position, at: event.at, news, wire: Wire::default(), chain_wire: Wire::default() })
    }
}
