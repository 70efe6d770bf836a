//! Extractors: the door at which requests become domain types. What is refused here never reaches a use case.

mod body;
mod conditions;
mod headers;
mod key;
mod legacy;
mod moment;
mod new_order;
pub(super) mod pagination;
mod path;
mod query;

pub(crate) use body::{
    Body, CallRequest, Change, CleanupRequest, JsonBody, MaybeJsonBody, ReleaseRequest, ReopenRequest,
    ReservationRequest, StatusChange, settings_patch,
};
pub(crate) use conditions::{SettingsChangeInHeader, SettingsConditions, SettingsReadInHeader};
pub(crate) use headers::{
    AskedDurability, DURABILITY, IdempotencyKey, IfMatch, IfMatchInHeader, LevelInHeader, ReadConditions,
    ReadConditionsInHeader,
};
pub(crate) use key::{admit, api_key};
pub(crate) use legacy::{LegacySearchQuery, LookupQuery};
pub(crate) use moment::{business_date, moment, time_zone};
pub(crate) use new_order::NewOrderRequest;
pub(crate) use path::{
    InPath, KeyInPath, NumberInPath, OrderInPath, RestaurantInPath, ScreenId, ScreenInPath, in_path,
};
pub(crate) use query::{
    FromQuery, NoQuery, Query, QueryReader, Rejected, boolean, in_query, instant, names_any, search_text, word,
};
