//! Orders: what they hold, and the states they go through.

use std::fmt;

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    BusinessDay, DisplayNumber, Metadata, NumberFormat, OrderId, OrderItem, RangeId, RestaurantId, Timestamp,
    items::MOST_ITEMS,
    metadata::{MAX_METADATA_BYTES, MAX_METADATA_LEVELS},
    shown_number,
    storable::{NUL_MESSAGE, no_nul},
    table_number,
};

/// Where an order stands. The first five are live and hold a number; the last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Taken, not begun.
    Pending,
    /// In the kitchen.
    Preparing,
    /// On the pick-up board.
    Ready,
    /// With the guest, not yet closed.
    Served,
    /// Put aside.
    Held,
    /// Closed in the normal way.
    Completed,
    /// Called off.
    Cancelled,
    /// Closed by clean-up, because no client closed it.
    Expired,
}

impl OrderStatus {
    /// Every status, in the order in which an order usually meets them.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Preparing,
        Self::Ready,
        Self::Served,
        Self::Held,
        Self::Completed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// A live order holds its number; a final one has given it back.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !self.is_final()
    }

    /// Final statuses do not change, but that a completed order may be reopened.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Expired)
    }

    /// Whether an order may be reopened, as long as its number rests. A cancelled one stays cancelled, and an expired one was
    /// forgotten: a kitchen that still cooks it makes a new order of it.
    #[must_use]
    pub(crate) const fn may_be_reopened(self) -> bool {
        matches!(self, Self::Completed)
    }

    /// Whether an order may be called: who waits for it, or will. One that is served has been picked up, and one that is put
    /// aside has to be taken up again first.
    #[must_use]
    pub(crate) const fn may_be_called(self) -> bool {
        matches!(self, Self::Pending | Self::Preparing | Self::Ready)
    }

    /// What a caller may change this status to. `expired` is never among them: it comes from clean-up only.
    #[must_use]
    pub(crate) fn allowed_next(self) -> Vec<Self> {
        Self::ALL.into_iter().filter(|next| self.may_become(*next)).collect()
    }

    /// Whether a caller may ask for the change from this status to `next`.
    #[must_use]
    pub(crate) fn may_become(self, next: Self) -> bool {
        self.is_live() && next != self && !matches!(next, Self::Pending | Self::Expired)
    }

    /// The name used in JSON, in the ledger and on the command line.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Served => "served",
            Self::Held => "held",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The status with this name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The channel that an order came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum OrderSource {
    Qr,
    Pos,
    Kiosk,
    App,
    Web,
    Phone,
    Api,
}

impl OrderSource {
    /// Every source. Redis knows each by its place, from 1.
    pub const ALL: [Self; 7] = [Self::Qr, Self::Pos, Self::Kiosk, Self::App, Self::Web, Self::Phone, Self::Api];
}

/// How the guest gets the food.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum OrderType {
    DineIn,
    Takeaway,
    Delivery,
    DriveThru,
}

impl OrderType {
    /// Every type. Redis knows each by its place, from 1.
    pub const ALL: [Self; 4] = [Self::DineIn, Self::Takeaway, Self::Delivery, Self::DriveThru];
}

/// The descriptive fields of an order: everything a caller may say about it. All are optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OrderDetails {
    /// The table, as the restaurant names it; at most 32 characters. An integer is taken for the text that it is.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "table_number::deserialize")]
    #[garde(inner(length(chars, max = 32), custom(no_nul)))]
    #[schema(schema_with = table_number::schema)]
    pub table_number: Option<String>,
    /// The channel that the order came in by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    pub order_source: Option<OrderSource>,
    /// How the guest gets the food.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(skip)]
    pub order_type: Option<OrderType>,
    /// The caller's own identifier for the order; at most 128 characters. Need not be unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 128), custom(no_nul)))]
    #[schema(max_length = 128)]
    pub external_id: Option<String>,
    /// The name to call out beside the number; at most 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 128), custom(no_nul)))]
    #[schema(max_length = 128)]
    pub customer_name: Option<String>,
    /// A remark for the kitchen; at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(length(chars, max = 500), custom(no_nul)))]
    #[schema(max_length = 500)]
    pub note: Option<String>,
    /// Anything else: an object of at most 2 KiB as compact JSON, at most 100 levels deep. It is kept as it is, but for
    /// the form of its numbers: `1.0` and `1e3` come back as `1` and `1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(inner(custom(small_and_storable)))]
    pub metadata: Option<Metadata>,
    /// What it consists of, for the kitchen: at most 50 items. They are kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[garde(length(max = MOST_ITEMS), dive)]
    #[schema(max_items = 50)]
    pub items: Option<Vec<OrderItem>>,
}

impl OrderDetails {
    /// The fields as JSON has them, by name; those that were not given are left out.
    #[must_use]
    pub(crate) fn to_fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => unreachable!("details are a JSON object"),
        }
    }

    /// What the fields held, in `before`, that hold something else here; null where nothing.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Map<String, Value> {
        let (mut old, new) = (before.to_fields(), self.to_fields());
        let added: Vec<String> = new.keys().filter(|name| !old.contains_key(*name)).cloned().collect();
        old.retain(|name, value| new.get(name) != Some(value));
        old.extend(added.into_iter().map(|name| (name, Value::Null)));
        old
    }
}

fn small_and_storable(metadata: &Metadata, (): &()) -> garde::Result {
    let json = serde_json::to_string(metadata).map_err(garde::Error::new)?;
    if json.len() > MAX_METADATA_BYTES {
        return Err(garde::Error::new(format!(
            "must be at most {MAX_METADATA_BYTES} bytes as compact JSON, has {}",
            json.len()
        )));
    }
    let levels = metadata.levels();
    if levels > MAX_METADATA_LEVELS {
        return Err(garde::Error::new(format!("must be at most {MAX_METADATA_LEVELS} levels deep, has {levels}")));
    }
    if metadata.has_nul() {
        return Err(garde::Error::new(NUL_MESSAGE));
    }
    Ok(())
}

/// That a completed order was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reopening {
    /// How often by now, from 1.
    pub count: u32,
    /// When it was the last time.
    pub at: Timestamp,
}

/// That the guest of an order was told that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// How often by now, from 1; it does not count past 65,535.
    pub count: u16,
    /// When it was the last time, by Redis's clock.
    pub last_at: Timestamp,
}

/// How far an order has come. Of two states of one order that with the higher stage counts: an end is not undone by changes
/// that were made without knowing of it, and a reopening not by the end before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stage {
    /// How often it was reopened.
    pub reopenings: u32,
    /// Whether it has ended since.
    pub has_ended: bool,
    /// Counts its changes.
    pub version: u32,
}

impl Stage {
    /// Whether a state at this stage, which was acknowledged and then lost, goes before the one that is known. What has
    /// ended, has ended as it is known.
    #[must_use]
    pub(crate) fn supersedes(self, known: Self) -> bool {
        let both_ended = self.reopenings == known.reopenings && self.has_ended && known.has_ended;
        self > known && !both_ended
    }
}

/// How the number of an order was chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// By the policy of its range: it is the next one.
    #[default]
    Next,
    /// The next one, too: the number that is reserved for its table was held by another order.
    ReservedIsLive,
    /// The next one, too: the number that is reserved for its table rested.
    ReservedRests,
    /// It was asked for.
    Wished,
    /// It is reserved for the table.
    Reserved,
}

impl Choice {
    const ALL: [Self; 5] = [Self::Next, Self::ReservedIsLive, Self::ReservedRests, Self::Wished, Self::Reserved];

    /// The name used in JSON and in the ledger; None where there is nothing to say.
    #[must_use]
    pub(crate) const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Next => None,
            Self::ReservedIsLive => Some("reserved_is_live"),
            Self::ReservedRests => Some("reserved_rests"),
            Self::Wished => Some("wished"),
            Self::Reserved => Some("reserved"),
        }
    }

    /// The choice of this name.
    #[must_use]
    pub(crate) fn from_name(name: Option<&str>) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == name)
    }

    /// Whether the ring went on behind the number.
    #[must_use]
    pub const fn moves_the_ring(self) -> bool {
        matches!(self, Self::Next | Self::ReservedIsLive | Self::ReservedRests)
    }
}

/// One order, as it stands after some change.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The identifier that systems keep for ever.
    pub id: OrderId,
    /// The number to call out. None only for imported orders that were finished before they came here.
    pub number: Option<DisplayNumber>,
    /// When the number was given to this order: its life begins here. None without a number.
    pub given_at: Option<Timestamp>,
    /// How the number was shown when it was given; it stays with the order for ever.
    pub format: NumberFormat,
    /// The range that gave the number; None: the main one.
    pub range: Option<RangeId>,
    /// How the number was chosen.
    pub choice: Choice,
    /// The business date that the order belongs to, and its place there; None where it was taken over from elsewhere, or
    /// made before dates were kept.
    pub business_day: Option<BusinessDay>,
    /// The order number that another system gave an imported order; ours is derived (see [`Order::order_number`]).
    pub legacy_number: Option<String>,
    /// The number that an imported order had there, as it was shown, where that is not what is shown here (see
    /// [`old_name`](super::shown_number::old_name)).
    pub old_number: Option<String>,
    /// Where the order stands.
    pub status: OrderStatus,
    /// What callers said about it.
    pub details: OrderDetails,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its number was released; None while it is live.
    pub released_at: Option<Timestamp>,
    /// How often it was reopened, and when last; None: never.
    pub reopening: Option<Reopening>,
    /// How often it was called, and when last; None: never.
    pub calls: Option<Calls>,
    /// Seconds that its number rests after release, as set when the number was given.
    pub cooldown_seconds: u32,
    /// Counts the changes of this order, from 1.
    pub version: u32,
    /// The partition's sequence at its last change; 0 where the ledger does not say.
    pub sequence: u64,
}

impl Order {
    /// The restaurant that the order belongs to.
    #[must_use]
    pub fn restaurant(&self) -> RestaurantId {
        self.id.restaurant()
    }

    /// When the order was created.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.id.created_at()
    }

    /// The number as people see it: `0042`.
    #[must_use]
    pub fn formatted_number(&self) -> Option<String> {
        self.number.map(|number| self.format.render(number))
    }

    /// The legacy field: `R7-0042`, whatever the restaurant's format, or what the other system called it.
    #[must_use]
    pub fn order_number(&self) -> Option<String> {
        let there = self.legacy_number.as_ref().or(self.old_number.as_ref()).cloned();
        there.or_else(|| self.number.map(|number| format!("R{}-{:04}", self.restaurant(), number.get())))
    }

    /// The number that an imported order had there, where that is not what is shown here.
    #[must_use]
    pub(crate) fn number_there(&self) -> Option<DisplayNumber> {
        let restaurant = self.restaurant().to_string();
        self.old_number.as_deref().and_then(|shown| shown_number::read(shown, &[&restaurant]).ok())
    }

    /// From when on the restaurant's active window counts: the order was created then, or reopened.
    #[must_use]
    pub fn active_from(&self) -> Timestamp {
        self.reopening.map_or(self.created_at(), |reopening| reopening.at.max(self.created_at()))
    }

    /// How far it has come.
    #[must_use]
    pub(crate) fn stage(&self) -> Stage {
        Stage {
            reopenings: self.reopening.map_or(0, |reopening| reopening.count),
            has_ended: self.status.is_final(),
            version: self.version,
        }
    }

    /// When the number is free again after release; None while the order is live or if it never had one.
    #[must_use]
    pub fn cooling_until(&self) -> Option<Timestamp> {
        self.released_at.filter(|_| self.number.is_some()).map(|at| at.plus_ms(i64::from(self.cooldown_seconds) * 1000))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn live_orders_move_freely_but_never_back_to_pending() {
        use OrderStatus::*;
        assert_eq!(Pending.allowed_next(), [Preparing, Ready, Served, Held, Completed, Cancelled]);
        assert_eq!(Ready.allowed_next(), [Preparing, Served, Held, Completed, Cancelled]);
        assert_eq!(Served.allowed_next(), [Preparing, Ready, Held, Completed, Cancelled]);
        for done in [Completed, Cancelled, Expired] {
            assert_eq!(done.allowed_next(), []);
        }
    }

    #[test]
    fn a_lost_state_counts_by_reopenings_then_ends_then_versions() {
        let stage = |reopenings, has_ended, version| Stage { reopenings, has_ended, version };
        for (lost, known) in [
            (stage(0, false, 3), stage(0, false, 2)),
            (stage(0, true, 3), stage(0, false, 9)),
            (stage(1, false, 5), stage(0, true, 4)),
            (stage(1, false, 5), stage(0, false, 9)),
            (stage(1, true, 6), stage(0, true, 9)),
            (stage(2, false, 3), stage(1, true, 3)),
        ] {
            assert!(lost.supersedes(known), "{lost:?} goes before {known:?}");
            assert!(!known.supersedes(lost), "{known:?} does not go before {lost:?}");
        }
        for (one, other) in [
            (stage(0, true, 4), stage(0, true, 5)),
            (stage(1, true, 9), stage(1, true, 5)),
            (stage(1, false, 5), stage(1, false, 5)),
        ] {
            assert!(!one.supersedes(other) && !other.supersedes(one), "{one:?} and {other:?}");
        }
    }

    #[test]
    fn who_has_picked_up_is_not_called() {
        let called: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.may_be_called()).collect();
        assert_eq!(called, [OrderStatus::Pending, OrderStatus::Preparing, OrderStatus::Ready]);
    }

    #[test]
    fn only_completed_orders_may_be_reopened() {
        let reopened: Vec<_> = OrderStatus::ALL.into_iter().filter(|status| status.may_be_reopened()).collect();
        assert_eq!(reopened, [OrderStatus::Completed]);
    }

    #[test]
    fn what_postgres_cannot_store_is_refused() {
        let details = |value: Value| -> OrderDetails { serde_json::from_value(value).expect("well-formed") };
        for bad in [
            json!({"items": [{"name": "x"}, {"name": "a\0b"}]}),
            json!({"items": vec![json!({"name": "x"}); 51]}),
            json!({"note": "a\0b"}),
            json!({"metadata": {"deep": [{"k": "x\0"}]}}),
            json!({"metadata": {"k\0": 1}}),
            json!({"metadata": {"k": "\\\0"}}),
            json!({"metadata": {"k": "x".repeat(2048)}}),
            json!({"table_number": "x".repeat(33)}),
        ] {
            assert!(details(bad.clone()).validate().is_err(), "{bad}");
        }
        for good in [
            json!({}),
            json!({"items": []}),
            json!({"items": vec![json!({"name": "x"}); 50]}),
            json!({"metadata": {"k": "\\u0000"}}),
            json!({"note": "é".repeat(500)}),
        ] {
            assert!(details(good.clone()).validate().is_ok(), "{good}");
        }
    }
}
