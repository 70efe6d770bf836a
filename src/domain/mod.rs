//! Pure domain types: identifiers, numbers, orders, pool settings, API keys, host names, events and refusals.
//!
//! Nothing here does I/O, reads a clock or draws random bits; whoever needs time or randomness passes it in. Every
//! type can only be built valid ("parse at the door"), so the modules above never re-check what they are given.

pub mod api_key;
pub mod audit;
pub mod authority;
pub mod durability;
pub mod event;
pub mod metadata;
pub mod number;
pub mod order;
pub mod order_id;
pub mod pool;
pub mod pool_image;
pub mod refusal;
pub mod restaurant;
pub mod search;
pub mod time;
pub mod usage;

pub use api_key::{ApiKey, KeyDigest, KeyId, KeyName, KeyText, NewApiKey, Role, Scope};
pub use audit::{EVENT_KINDS, EventCursor, EventFilter, EventPlace, RecordedEvent};
pub use authority::{Authority, NoAuthority};
pub use durability::{Durability, UnknownDurability};
pub use event::{
    Context, Event, EventKind, IdempotencyDigest, NumberAfter, OutboxEntry, RestCause, Rests, SettingsChange,
};
pub use metadata::Metadata;
pub use number::{DisplayNumber, NumberFormat};
pub use order::{Order, OrderDetails, OrderSource, OrderStatus, OrderType};
pub use order_id::OrderId;
pub use pool::{NumberState, PoolSettings, PoolUsage, SelectionPolicy};
pub use pool_image::PoolImage;
pub use refusal::Refusal;
pub use restaurant::{PartitionId, RestaurantId};
pub use search::SearchQuery;
pub use time::Timestamp;
