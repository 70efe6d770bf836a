//! Pure domain types: identifiers, numbers, orders, pool settings, API keys, host names, events, refusals
//! and reports of background tasks; and the plain model of a pool.
//!
//! Nothing here does I/O, reads a clock or draws random bits; a caller that needs time or randomness passes it in.
//! Every type can only be built valid ("parse at the door"), so the modules above never re-check what they are given.

pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod avoid;
pub(crate) mod base_path;
pub(crate) mod blocked;
pub(crate) mod business_day;
pub(crate) mod chain_position;
pub(crate) mod colour;
pub(crate) mod date_span;
pub(crate) mod durability;
pub(crate) mod event;
pub(crate) mod feed_position;
pub(crate) mod fold;
pub(crate) mod items;
pub(crate) mod language;
pub(crate) mod metadata;
pub mod model;
pub(crate) mod moment;
pub(crate) mod number;
pub(crate) mod number_pattern;
pub(crate) mod order;
pub(crate) mod order_id;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod pool_image;
pub(crate) mod range_id;
pub(crate) mod ranges;
pub(crate) mod refusal;
pub(crate) mod restaurant;
pub(crate) mod screen;
pub(crate) mod search;
pub(crate) mod settings_fault;
pub(crate) mod settings_patch;
pub(crate) mod settings_tag;
mod shown_alike;
pub(crate) mod shown_number;
pub(crate) mod sight;
pub(crate) mod special;
pub(crate) mod special_change;
pub(crate) mod storable;
pub(crate) mod table_number;
pub(crate) mod task;
pub(crate) mod time;
pub(crate) mod time_zone;
pub mod usage;
pub(crate) mod written_number;

pub use api_key::KeyText;
pub(crate) use api_key::{ApiKey, KeyDigest, KeyId, KeyName, NewApiKey, Role, Scope};
pub(crate) use audit::{EVENT_KINDS, EventCursor, EventFilter, EventPosition, RecordedEvent};
pub(crate) use authority::Authority;
pub use avoid::Avoid;
pub(crate) use base_path::BasePath;
pub use blocked::BlockedNumbers;
pub use business_day::{BusinessDay, DateChange, DateImage, Reset, StartsAt};
pub(crate) use business_day::{DateRules, PresentDate};
pub(crate) use chain_position::ChainPosition;
pub use colour::Colour;
pub use date_span::DateSpan;
pub(crate) use durability::Durability;
pub use event::{Context, Event, EventKind, IdempotencyDigest, NumberAfter, OutboxEntry, SettingsChange};
pub(crate) use event::{RestCause, Rests};
pub(crate) use feed_position::{FeedPosition, NoPosition};
pub use items::OrderItem;
pub use language::LanguageTag;
pub use metadata::Metadata;
pub(crate) use moment::Moment;
pub use number::{DisplayNumber, NumberFormat};
pub(crate) use order::Stage;
pub use order::{Calls, Choice, Order, OrderDetails, OrderSource, OrderStatus, OrderType, Reopening};
pub use order_id::OrderId;
pub use policy::SelectionPolicy;
pub use pool::{BusinessDaySettings, NumberState, PoolOccupancy, PoolSettings};
pub use pool_image::PoolImage;
pub use range_id::RangeId;
pub use ranges::{RangeMatch, RangeOccupancy, RangeSettings};
pub(crate) use refusal::Refusal;
pub use restaurant::{PartitionId, RestaurantId};
pub(crate) use screen::{
    Beat, NewScreen, Pairing, PairingCode, PairingState, Screen, ScreenCounts, ScreenPage, ScreenSession, SessionCursor,
};
pub use search::SearchQuery;
pub(crate) use settings_fault::{SettingsFault, SettingsFaultKind};
pub(crate) use settings_patch::SettingsPatch;
pub(crate) use settings_tag::{Precondition, SettingsTag, Tags};
pub(crate) use sight::Sight;
pub use special::{Quarantine, SpecialNumbers};
pub(crate) use task::{TaskReport, TaskResult, WRITE_BEHIND};
pub use time::{NotATime, Timestamp};
pub use time_zone::TimeZone;
pub(crate) use written_number::WrittenNumber;
