//! Extractors: the door at which requests become domain types. What is refused here never reaches a use case.

mod body;
mod headers;
mod path;
mod query;

pub use body::{Body, Change, CleanupRequest, JsonBody, MaybeJsonBody, ReleaseRequest};
pub use headers::{AskedDurability, DURABILITY, IdempotencyKey, IfMatch, LevelInHeader};
pub use path::{InPath, KeyInPath, NumberInPath, OrderInPath, RestaurantInPath, in_path};
pub use query::{FromQuery, NoQuery, Query, QueryReader, Rejected, boolean, in_query};
