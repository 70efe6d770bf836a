//! The packed order: how Redis holds one, the Rust side of `lua/lib/record.lua`.

use crate::{
    allocator::AllocatorError,
    domain::{
        BusinessDay, Calls, Choice, DisplayNumber, NumberFormat, Order, OrderDetails, OrderId, OrderStatus, RangeId,
        Reopening, Timestamp,
        business_day::{date_of, days_of},
        order::OrderStatus as Status,
    },
};

/// What scripts write, and so what a partition is laid out in. Those before it are still read: the outbox of an earlier
/// version has them, and so has what is loaded from it.
pub(in crate::allocator) const LAYOUT: u8 = 4;
/// Layout 2 with the reopenings of an order that has any.
const REOPENED_LAYOUT: u8 = 3;
const HEAD_BYTES: usize = 44;

// Flags, as in `lua/lib/record.lua`.
const WAS_REOPENED: u8 = 1;
const WAS_CALLED: u8 = 2;
const WAS_WISHED: u8 = 4;
const WAS_RESERVED: u8 = 8;
const RESERVED_IS_LIVE: u8 = 16;
const RESERVED_RESTS: u8 = 32;
const ALL_FLAGS: u8 = 63;

const fn choice_flag(choice: Choice) -> u8 {
    match choice {
        Choice::Next => 0,
        Choice::Wished => WAS_WISHED,
        Choice::Reserved => WAS_RESERVED,
        Choice::ReservedIsLive => RESERVED_IS_LIVE,
        Choice::ReservedRests => RESERVED_RESTS,
    }
}

fn choice_of(flags: u8) -> Choice {
    let mut choices = [Choice::Wished, Choice::Reserved, Choice::ReservedIsLive, Choice::ReservedRests].into_iter();
    choices.rfind(|choice| flags & choice_flag(*choice) != 0).unwrap_or_default()
}

/// Ids and packed orders.
pub(in crate::allocator) type Packed = Vec<(Vec<u8>, Vec<u8>)>;

/// Token, version, and when it was made.
const TOKEN_BYTES: usize = 18;

/// Bytes that are not a packed order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a packed order: {0}")]
pub struct BadRecord(String);

impl BadRecord {
    pub(in crate::allocator) fn new(why: impl ToString) -> Self {
        Self(why.to_string())
    }
}

impl From<BadRecord> for AllocatorError {
    fn from(error: BadRecord) -> Self {
        Self::Bug(error.to_string())
    }
}

/// The number that stands for a status in Redis: its place in [`OrderStatus::ALL`].
pub(in crate::allocator) fn status_code(status: OrderStatus) -> u8 {
    status as u8
}

pub(in crate::allocator) fn status_of(code: u8) -> Result<OrderStatus, BadRecord> {
    Status::ALL.get(usize::from(code)).copied().ok_or_else(|| BadRecord::new(format!("status {code}")))
}

/// Lays out the tail behind the range's id, as `allocate` and `restore` take it: the script puts in format and range.
pub(in crate::allocator) fn tail_behind_range(names: NamesThere<'_>, details: &OrderDetails) -> Vec<u8> {
    let mut tail = Vec::with_capacity(128);
    write_names_there(&mut tail, names);
    write_details(&mut tail, details);
    tail
}

/// Lays out the whole tail, as `transition` and `release` take it.
pub(in crate::allocator) fn tail(order: &Order) -> Vec<u8> {
    let mut tail = shown(&order.format, order.range.as_ref());
    let names = NamesThere { legacy_number: order.legacy_number.as_deref(), old_number: order.old_number.as_deref() };
    write_names_there(&mut tail, names);
    write_details(&mut tail, &order.details);
    tail
}

/// How a range shows its numbers, and what it is called: the beginning of the tail.
pub(in crate::allocator) fn shown(format: &NumberFormat, range: Option<&RangeId>) -> Vec<u8> {
    let mut shown = Vec::with_capacity(16);
    for text in [format.as_str(), range.map_or("", RangeId::as_str)] {
        shown.push(u8::try_from(text.len()).expect("formats have at most 32 bytes, ids 16"));
        shown.extend_from_slice(text.as_bytes());
    }
    shown
}

/// What another system called an imported order; each at most 64 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NamesThere<'a> {
    /// See [`Order::legacy_number`].
    pub(crate) legacy_number: Option<&'a str>,
    /// See [`Order::old_number`].
    pub(crate) old_number: Option<&'a str>,
}

/// Stands between the two names. Where there is only the first, it is left out.
const BETWEEN_NAMES: char = '\u{1f}';

fn write_names_there(tail: &mut Vec<u8>, names: NamesThere<'_>) {
    let mut both = names.legacy_number.unwrap_or_default().to_owned();
    if names.old_number.is_some() || both.contains(BETWEEN_NAMES) {
        both.push(BETWEEN_NAMES);
        both.push_str(names.old_number.unwrap_or_default());
    }
    tail.push(u8::try_from(both.len()).expect("each of them has at most 64 bytes"));
    tail.extend_from_slice(both.as_bytes());
}

fn read_names_there(text: &str) -> (Option<String>, Option<String>) {
    let (legacy, old) = text.rsplit_once(BETWEEN_NAMES).unwrap_or((text, ""));
    let some = |name: &str| Some(name).filter(|name| !name.is_empty()).map(str::to_owned);
    (some(legacy), some(old))
}

fn write_details(tail: &mut Vec<u8>, details: &OrderDetails) {
    // An order without details has an empty body: two bytes fewer for the most common one.
    if *details != OrderDetails::default() {
        serde_json::to_writer(tail, details).expect("details are plain JSON, and a Vec takes every write");
    }
}

/// Packs a whole order, without tokens. `free_at` is when the rest of its number ends, if it is final; where the caller
/// does not say, that follows from the order.
pub(in crate::allocator) fn encode(order: &Order, free_at: Option<Timestamp>) -> Result<Vec<u8>, BadRecord> {
    let number = order.number.ok_or_else(|| BadRecord::new("an order in Redis has a number"))?;
    let mut packed = Vec::with_capacity(HEAD_BYTES + 160);
    packed.push(LAYOUT);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let was = flag(order.reopening.is_some(), WAS_REOPENED) | flag(order.calls.is_some(), WAS_CALLED);
    packed.push(choice_flag(order.choice) | was);
    packed.push(status_code(order.status));
    packed.extend_from_slice(&number.get().to_be_bytes()[1..]);
    packed.extend_from_slice(&order.version.to_be_bytes());
    write_time(&mut packed, Some(order.updated_at));
    write_time(&mut packed, order.given_at);
    write_time(&mut packed, order.released_at);
    packed.extend_from_slice(&order.cooldown_seconds.to_be_bytes());
    packed.extend_from_slice(&order.sequence.to_be_bytes()[2..]);
    let (date, place) = order.business_day.map_or((0, 0), |day| (days_of(day.date), day.sequence));
    packed.extend_from_slice(&date.to_be_bytes());
    packed.extend_from_slice(&place.to_be_bytes()[1..]);
    packed.push(0);
    if order.status.is_final() {
        write_time(&mut packed, free_at.or_else(|| order.cooling_until()));
    }
    if let Some(Reopening { count, at }) = order.reopening {
        packed.extend_from_slice(&count.to_be_bytes());
        write_time(&mut packed, Some(at));
    }
    if let Some(Calls { count, last_at }) = order.calls {
        packed.extend_from_slice(&count.to_be_bytes());
        write_time(&mut packed, Some(last_at));
    }
    packed.extend_from_slice(&tail(order));
    Ok(packed)
}

fn write_time(packed: &mut Vec<u8>, at: Option<Timestamp>) {
    packed.extend_from_slice(&at.map_or(0, Timestamp::unix_ms).to_be_bytes()[2..]);
}

/// When the rest of a packed final order's number ends, or ended; None of a live one, and where a layout did not say it.
pub(in crate::allocator) fn free_at(packed: &[u8]) -> Option<Timestamp> {
    let layout = *packed.first()?;
    let (status, head) = if layout == LAYOUT { (packed.get(2)?, HEAD_BYTES) } else { (packed.get(1)?, 38) };
    let status = status_of(*status).ok()?;
    let mut rest = Reader(packed.get(head..)?);
    (layout > 1 && status.is_final()).then(|| rest.time().ok()).flatten()
}

pub(in crate::allocator) fn decode(id: OrderId, packed: &[u8]) -> Result<Order, BadRecord> {
    let mut rest = Reader(packed);
    let layout = rest.byte()?;
    if !(1..=LAYOUT).contains(&layout) {
        return Err(BadRecord::new(format!("layout {layout}")));
    }
    let flags = match layout {
        LAYOUT => rest.byte()?,
        REOPENED_LAYOUT => WAS_REOPENED,
        _ => 0,
    };
    if flags > ALL_FLAGS {
        return Err(BadRecord::new(format!("flags {flags}")));
    }
    let status = status_of(rest.byte()?)?;
    let number = DisplayNumber::new(rest.uint(3)?.cast_signed()).map_err(BadRecord::new)?;
    let version = rest.u32()?;
    let updated_at = rest.time()?;
    // Layout 1 did not say it, and knew one token.
    let given_at = if layout == 1 { None } else { rest.maybe_time()? };
    let released_at = rest.maybe_time()?;
    let cooldown_seconds = rest.u32()?;
    let sequence = rest.uint(6)?;
    let business_day = if layout == LAYOUT {
        let date = date_of(u16::try_from(rest.uint(2)?).map_err(BadRecord::new)?);
        let sequence = u32::try_from(rest.uint(3)?).map_err(BadRecord::new)?;
        date.map(|date| BusinessDay { date, sequence })
    } else {
        None
    };
    let (mut reopening, mut calls) = (None, None);
    if layout == 1 {
        rest.take(8)?;
    } else {
        let tokens = usize::from(rest.byte()?) * TOKEN_BYTES;
        rest.take(if status.is_final() { 6 } else { 0 })?;
        if flags & WAS_REOPENED != 0 {
            reopening = Some(Reopening { count: rest.u32()?, at: rest.time()? });
        }
        if flags & WAS_CALLED != 0 {
            let count = u16::try_from(rest.uint(2)?).map_err(BadRecord::new)?;
            calls = Some(Calls { count, last_at: rest.time()? });
        }
        rest.take(tokens)?;
    }
    let format_bytes = rest.byte()?.into();
    let format: NumberFormat = rest.text(format_bytes)?.parse().map_err(BadRecord::new)?;
    let range_bytes = if layout == LAYOUT { rest.byte()?.into() } else { 0 };
    let range = match rest.text(range_bytes)? {
        "" => None,
        id => Some(id.parse().map_err(BadRecord::new)?),
    };
    let names_bytes = rest.byte()?.into();
    let (legacy_number, old_number) = read_names_there(rest.text(names_bytes)?);
    let details = match rest.0 {
        [] => OrderDetails::default(),
        json => serde_json::from_slice(json).map_err(BadRecord::new)?,
    };
    Ok(Order {
        id,
        number: Some(number),
        given_at: given_at.or(Some(id.created_at())),
        format,
        range,
        choice: choice_of(flags),
        business_day,
        legacy_number,
        old_number,
        status,
        details,
        updated_at,
        released_at,
        reopening,
        calls,
        cooldown_seconds,
        version,
        sequence,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadRecord> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| BadRecord::new("cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BadRecord> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn uint(&mut self, count: usize) -> Result<u64, BadRecord> {
        Ok(self.take(count)?.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    fn u32(&mut self) -> Result<u32, BadRecord> {
        u32::try_from(self.uint(4)?).map_err(BadRecord::new)
    }

    fn time(&mut self) -> Result<Timestamp, BadRecord> {
        Ok(Timestamp::from_unix_ms(self.uint(6)?.cast_signed()))
    }

    fn maybe_time(&mut self) -> Result<Option<Timestamp>, BadRecord> {
        Ok(Some(self.time()?).filter(|at| at.unix_ms() > 0))
    }

    fn text(&mut self, count: usize) -> Result<&'a str, BadRecord> {
        std::str::from_utf8(self.take(count)?).map_err(BadRecord::new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::RestaurantId;

    proptest! {
        #[test]
        fn orders_survive_the_round_trip(
            number in 1..=999_999_i64,
            status in 0..8_usize,
            version: u32,
            cooldown_seconds: u32,
            sequence in 0..(1_u64 << 48),
            at in 1..Timestamp::MAX_MS,
            note in proptest::option::of("\\PC{0,80}"),
            legacy_number in proptest::option::of("[A-Z\u{1f}]{1,64}"),
            old_number in proptest::option::of("\\PC{1,16}"),
            reopened in proptest::option::of((1_u32.., 1..Timestamp::MAX_MS)),
            called in proptest::option::of((1_u16.., 1..Timestamp::MAX_MS)),
            range in proptest::option::of("[a-z0-9_-]{1,16}"),
            choice in 0..5_usize,
            day in proptest::option::of((1_u16.., 0..1_u32 << 24)),
        ) {
            let order = Order {
                id: OrderId::new(Timestamp::from_unix_ms(at), RestaurantId::new(7).expect("valid"), 42),
                number: DisplayNumber::new(number).ok(),
                given_at: Some(Timestamp::from_unix_ms(at)),
                format: "A-{n:03}".parse().expect("valid"),
                range: range.and_then(|id| id.parse().ok()),
                choice: [
                    Choice::Next, Choice::ReservedIsLive, Choice::ReservedRests, Choice::Wished, Choice::Reserved,
                ][choice],
                business_day: day.and_then(|(days, sequence)| Some(BusinessDay { date: date_of(days)?, sequence })),
                legacy_number,
                old_number,
                status: OrderStatus::ALL[status],
                details: OrderDetails { note, ..OrderDetails::default() },
                updated_at: Timestamp::from_unix_ms(at),
                released_at: OrderStatus::ALL[status].is_final().then_some(Timestamp::from_unix_ms(at)),
                reopening: reopened.map(|(count, at)| Reopening { count, at: Timestamp::from_unix_ms(at) }),
                calls: called.map(|(count, at)| Calls { count, last_at: Timestamp::from_unix_ms(at) }),
                cooldown_seconds,
                version,
                sequence,
            };
            let packed = encode(&order, None).expect("has a number");
            prop_assert_eq!(packed[0], LAYOUT);
            prop_assert_eq!(free_at(&packed), order.cooling_until());
            prop_assert_eq!(decode(order.id, &packed), Ok(order));
        }

        #[test]
        fn other_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let id = OrderId::new(Timestamp::from_unix_ms(1), RestaurantId::new(7).expect("valid"), 42);
            let _ = decode(id, &bytes);
        }
    }
}
