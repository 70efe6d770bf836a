//! Extractors: the door at which requests become domain types. What is refused here never reaches a use case.

mod body;
mod headers;
mod legacy;
pub(super) mod pagination;
mod path;
mod query;

pub(crate) use body::{Body, Change, CleanupRequest, JsonBody, MaybeJsonBody, ReleaseRequest};
pub(crate) use headers::{AskedDurability, DURABILITY, IdempotencyKey, IfMatch, LevelInHeader};
pub(crate) use legacy::{LegacySearchQuery, LookupQuery};
pub(crate) use path::{InPath, KeyInPath, NumberInPath, OrderInPath, RestaurantInPath, in_path};
pub(crate) use query::{FromQuery, NoQuery, Query, QueryReader, Rejected, boolean, in_query, instant, search_text};
