//! The packed order: how Redis holds one, the Rust side of `lua/lib/record.lua`.

use crate::{
    allocator::AllocatorError,
    domain::{
        DisplayNumber, NumberFormat, Order, OrderDetails, OrderId, OrderStatus, Timestamp, order::OrderStatus as Status,
    },
};

/// What scripts write, and so what a partition is laid out in.
pub(in crate::allocator) const LAYOUT: u8 = 2;
const HEAD_BYTES: usize = 38;

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

/// Lays out the tail behind its format, as `allocate` and `restore` take it: the script puts the format in.
pub(in crate::allocator) fn tail_behind_format(legacy_number: Option<&str>, details: &OrderDetails) -> Vec<u8> {
    let mut tail = Vec::with_capacity(128);
    write_legacy_number(&mut tail, legacy_number);
    write_details(&mut tail, details);
    tail
}

/// Lays out the whole tail, as `transition` and `release` take it.
pub(in crate::allocator) fn tail(order: &Order) -> Vec<u8> {
    let format = order.format.as_str().as_bytes();
    let mut tail = vec![u8::try_from(format.len()).expect("formats are at most 32 bytes")];
    tail.extend_from_slice(format);
    write_legacy_number(&mut tail, order.legacy_number.as_deref());
    write_details(&mut tail, &order.details);
    tail
}

fn write_legacy_number(tail: &mut Vec<u8>, legacy_number: Option<&str>) {
    let legacy = legacy_number.unwrap_or_default().as_bytes();
    tail.push(u8::try_from(legacy.len()).expect("legacy numbers are at most 64 bytes"));
    tail.extend_from_slice(legacy);
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
    packed.push(status_code(order.status));
    packed.extend_from_slice(&number.get().to_be_bytes()[1..]);
    packed.extend_from_slice(&order.version.to_be_bytes());
    write_time(&mut packed, Some(order.updated_at));
    write_time(&mut packed, order.given_at);
    write_time(&mut packed, order.released_at);
    packed.extend_from_slice(&order.cooldown_seconds.to_be_bytes());
    packed.extend_from_slice(&order.sequence.to_be_bytes()[2..]);
    packed.push(0);
    if order.status.is_final() {
        write_time(&mut packed, free_at.or_else(|| order.cooling_until()));
    }
    packed.extend_from_slice(&tail(order));
    Ok(packed)
}

fn write_time(packed: &mut Vec<u8>, at: Option<Timestamp>) {
    packed.extend_from_slice(&at.map_or(0, Timestamp::unix_ms).to_be_bytes()[2..]);
}

/// When the rest of a packed final order's number ends, or ended; None of a live one.
pub(in crate::allocator) fn free_at(packed: &[u8]) -> Option<Timestamp> {
    let (layout, status) = (*packed.first()?, status_of(*packed.get(1)?).ok()?);
    let mut rest = Reader(packed.get(HEAD_BYTES..)?);
    (layout == LAYOUT && status.is_final()).then(|| rest.time().ok()).flatten()
}

pub(in crate::allocator) fn decode(id: OrderId, packed: &[u8]) -> Result<Order, BadRecord> {
    let mut rest = Reader(packed);
    let layout = rest.byte()?;
    if !(1..=LAYOUT).contains(&layout) {
        return Err(BadRecord::new(format!("layout {layout}")));
    }
    let status = status_of(rest.byte()?)?;
    let number = DisplayNumber::new(rest.uint(3)?.cast_signed()).map_err(BadRecord::new)?;
    let version = rest.u32()?;
    let updated_at = rest.time()?;
    // Layout 1, which an outbox of an earlier version may hold, did not say it, and knew one token.
    let given_at = if layout == 1 { None } else { rest.maybe_time()? };
    let released_at = rest.maybe_time()?;
    let cooldown_seconds = rest.u32()?;
    let sequence = rest.uint(6)?;
    if layout == 1 {
        rest.take(8)?;
    } else {
        let tokens = usize::from(rest.byte()?) * TOKEN_BYTES;
        let free_at = if status.is_final() { 6 } else { 0 };
        rest.take(free_at + tokens)?;
    }
    let format_bytes = rest.byte()?.into();
    let format: NumberFormat = rest.text(format_bytes)?.parse().map_err(BadRecord::new)?;
    let legacy_bytes = rest.byte()?.into();
    let legacy_number = Some(rest.text(legacy_bytes)?).filter(|text| !text.is_empty()).map(str::to_owned);
    let details = match rest.0 {
        [] => OrderDetails::default(),
        json => serde_json::from_slice(json).map_err(BadRecord::new)?,
    };
    Ok(Order {
        id,
        number: Some(number),
        given_at: given_at.or(Some(id.created_at())),
        format,
        legacy_number,
        status,
        details,
        updated_at,
        released_at,
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
            legacy_number in proptest::option::of("[A-Z]{1,8}"),
        ) {
            let order = Order {
                id: OrderId::new(Timestamp::from_unix_ms(at), RestaurantId::new(7).expect("valid"), 42),
                number: DisplayNumber::new(number).ok(),
                given_at: Some(Timestamp::from_unix_ms(at)),
                format: "A-{n:03}".parse().expect("valid"),
                legacy_number,
                status: OrderStatus::ALL[status],
                details: OrderDetails { note, ..OrderDetails::default() },
                updated_at: Timestamp::from_unix_ms(at),
                released_at: OrderStatus::ALL[status].is_final().then_some(Timestamp::from_unix_ms(at)),
                cooldown_seconds,
                version,
                sequence,
            };
            let packed = encode(&order, None).expect("has a number");
            prop_assert_eq!(decode(order.id, &packed), Ok(order));
        }

        #[test]
        fn other_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let id = OrderId::new(Timestamp::from_unix_ms(1), RestaurantId::new(7).expect("valid"), 42);
            let _ = decode(id, &bytes);
        }
    }
}
