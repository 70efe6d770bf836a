//! The audit log as it is read: events that the ledger has recorded.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::{DisplayNumber, OrderId, OrderStatus, PartitionId, RestaurantId, Timestamp};

/// Every kind of event, by its name.
pub(crate) const EVENT_KINDS: [&str; 12] = [
    "created",
    "imported",
    "changed",
    "released",
    "reopened",
    "called",
    "recycled",
    "restated",
    "renumbered",
    "replaced",
    "configured",
    "business_date_set",
];

/// The kinds that nearly every order has. Of the others there are few.
const COMMON_KINDS: [&str; 3] = ["created", "changed", "released"];

/// The actor as which this service makes changes on its own account.
const OWN_ACTORS: [&str; 3] = ["cleanup", "recovery", "backfill"];

/// One change, as the ledger has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// Where it stands among the events of its restaurant.
    pub position: EventPosition,
    /// The partition whose outbox held it.
    pub partition: PartitionId,
    /// One of [`EVENT_KINDS`].
    pub kind: String,
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// The order; None for what is about a whole restaurant.
    pub order: Option<OrderId>,
    /// The number that the order had after the change.
    pub number: Option<DisplayNumber>,
    /// The order's status before, where it had one.
    pub status_before: Option<OrderStatus>,
    /// The order's status after the change.
    pub status_after: Option<OrderStatus>,
    /// Of the order, or of the settings, after the change; None where numbers were put to rest.
    pub version: Option<u32>,
    /// Who asked for it.
    pub actor: Option<String>,
    /// The `X-Request-Id` of the call.
    pub request_id: Option<String>,
    /// What the other fields do not say.
    pub detail: Option<Value>,
}

/// Where an event stands among those of its restaurant: by time, then by its position in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    /// When it happened.
    pub at: Timestamp,
    /// Which build of the partition's data it belongs to; 0 for what was imported straight into the ledger.
    pub generation: u64,
    /// Its position in the generation.
    pub sequence: u64,
}

impl EventPosition {
    /// Before all events of an instant.
    #[must_use]
    pub(crate) const fn before(at: Timestamp) -> Self {
        Self { at, generation: 0, sequence: 0 }
    }
}

/// Where a list of a restaurant's events goes on. Its text is opaque to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventCursor {
    /// Whose list.
    pub restaurant: RestaurantId,
    /// The last event of the part before.
    pub position: EventPosition,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventPosition { at, generation, sequence } = self.position;
        write!(f, "{:08x}{:016x}{generation:016x}{sequence:016x}", self.restaurant.get(), at.unix_ms())
    }
}

/// The text of a cursor that was never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of a list of events")]
pub(crate) struct NoCursor;

impl FromStr for EventCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || text.len() != 56 {
            return Err(NoCursor);
        }
        let number = |from: usize, to: usize| i64::from_str_radix(&text[from..to], 16).map_err(|_| NoCursor);
        let ms = number(8, 24)?;
        if ms > Timestamp::MAX_MS {
            return Err(NoCursor);
        }
        Ok(Self {
            restaurant: RestaurantId::new(number(0, 8)?).map_err(|_| NoCursor)?,
            position: EventPosition {
                at: Timestamp::from_unix_ms(ms),
                generation: number(24, 40)?.cast_unsigned(),
                sequence: number(40, 56)?.cast_unsigned(),
            },
        })
    }
}

/// Which events of a restaurant are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EventFilter {
    /// At this instant or later.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub to: Option<Timestamp>,
    /// Of these kinds; empty for all.
    pub kinds: Vec<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this order.
    pub order: Option<OrderId>,
}

impl EventFilter {
    /// Whether it lets an event of the restaurant pass.
    #[must_use]
    pub(crate) fn passes(&self, event: &RecordedEvent) -> bool {
        self.from.is_none_or(|from| event.position.at >= from)
            && self.to.is_none_or(|to| event.position.at < to)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.actor.is_none() || self.actor == event.actor)
            && (self.order.is_none() || self.order == event.order)
    }

    /// Whether it lets pass rare events only: of kinds that are not an order's daily life, or by this service itself.
    #[must_use]
    pub(crate) fn is_of_rare_events(&self) -> bool {
        let of_rare_kinds = !self.kinds.is_empty() && self.kinds.iter().all(|kind| !COMMON_KINDS.contains(&&**kind));
        of_rare_kinds || self.actor.as_deref().is_some_and(|actor| OWN_ACTORS.contains(&actor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_filters_are_of_rare_events() {
        let rare = |kinds: &[&str], actor: Option<&str>| {
            let kinds = kinds.iter().map(ToString::to_string).collect();
            EventFilter { kinds, actor: actor.map(str::to_owned), ..EventFilter::default() }.is_of_rare_events()
        };
        assert!(rare(&["configured"], None) && rare(&["configured", "recycled"], Some("key:7")));
        assert!(rare(&[], Some("cleanup")) && rare(&["released"], Some("recovery")));
        assert!(!rare(&[], None) && !rare(&["released"], None) && !rare(&["configured", "created"], Some("api")));
    }

    #[test]
    fn a_filter_lets_pass_what_it_names() {
        let event = RecordedEvent {
            position: EventPosition::before(Timestamp::from_unix_ms(5)),
            partition: PartitionId::new(1),
            kind: "changed".to_owned(),
            restaurant: RestaurantId::new(7).expect("valid"),
            order: Some(OrderId::new(Timestamp::from_unix_ms(1), RestaurantId::new(7).expect("valid"), 1)),
            number: None,
            status_before: None,
            status_after: None,
            version: Some(2),
            actor: Some("key:7".to_owned()),
            request_id: None,
            detail: None,
        };
        let at = |ms| Some(Timestamp::from_unix_ms(ms));
        let kinds = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let none = EventFilter::default;
        for (filter, passes) in [
            (none(), true),
            (EventFilter { from: at(5), to: at(6), ..none() }, true),
            (EventFilter { from: at(6), ..none() }, false),
            (EventFilter { to: at(5), ..none() }, false),
            (EventFilter { kinds: kinds(&["created", "changed"]), ..none() }, true),
            (EventFilter { kinds: kinds(&["created"]), ..none() }, false),
            (EventFilter { actor: Some("key:7".to_owned()), ..none() }, true),
            (EventFilter { actor: Some("key:8".to_owned()), ..none() }, false),
        ] {
            assert_eq!(filter.passes(&event), passes, "{filter:?}");
        }
        let anonymous = RecordedEvent { actor: None, order: None, ..event };
        assert!(none().passes(&anonymous));
        assert!(!EventFilter { actor: Some("api".to_owned()), ..none() }.passes(&anonymous));
    }

    #[test]
    fn a_cursor_reads_what_it_wrote() {
        let cursor = EventCursor {
            restaurant: RestaurantId::new(2_147_483_647).expect("valid"),
            position: EventPosition {
                at: Timestamp::from_unix_ms(Timestamp::MAX_MS),
                generation: 7,
                sequence: 1 << 62,
            },
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn other_texts_are_no_cursors() {
        let good = EventCursor {
            restaurant: RestaurantId::new(7).expect("valid"),
            position: EventPosition::before(Timestamp::from_unix_ms(1)),
        }
        .to_string();
        assert!(good.parse::<EventCursor>().is_ok());
        let broken = [
            String::new(),
            good[1..].to_owned(),
            format!("{good}0"),
            good.to_uppercase().replace("00000007", "0000000A"),
            format!("00000000{}", &good[8..]),
            format!("{}ffffffffffffffff{}", &good[..8], &good[24..]),
            format!("{}7fffffffffffffff{}", &good[..8], &good[24..]),
            format!("{}+{}", &good[..24], &good[25..]),
            "é".repeat(28),
        ];
        for text in broken {
            assert_eq!(text.parse::<EventCursor>(), Err(NoCursor), "{text}");
        }
    }
}
