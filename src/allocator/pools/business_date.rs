//! The business date of a restaurant: read, and set by hand.

use chrono::NaiveDate;

use super::{Allocator, AllocatorError};
use crate::{
    allocator::script::{self, context_json, keys::KeyKind, record, reply::Reply},
    domain::{
        BusinessDay, Context, DateRules, PartitionId, PresentDate, RestaurantId, Timestamp,
        business_day::{date_of, days_of},
    },
    metrics,
};

/// A restaurant's business date, as Redis has it at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDate {
    /// The stamp of what would happen then.
    pub now: Timestamp,
    /// By which dates follow each other.
    pub(crate) rules: DateRules,
    /// The date, and how many orders it has had; None before the first one.
    pub day: Option<BusinessDay>,
    /// When it ends; at 1970-01-01 where the next order asks for that.
    pub ends_at: Timestamp,
    /// The dates ahead of it that have had orders.
    pub ahead: Vec<BusinessDay>,
    /// The most places that orders here have of the date that was asked for, and of each later one.
    pub most_places: Vec<BusinessDay>,
    /// When the date was set by hand, as the script says it.
    set_at: String,
}

/// The business date that Redis holds of a restaurant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldDate {
    /// Whose.
    pub restaurant: RestaurantId,
    /// Its latest date.
    pub date: NaiveDate,
    /// When that ends, or has ended.
    pub ends_at: Timestamp,
}

/// Outcome of setting a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateSet {
    /// It is in force.
    Done,
    /// This very call was made before, and its answer was lost.
    Replayed,
    /// Another date is there than was seen.
    Moved,
    /// It is more than a day from the date that it is by UTC: this one.
    Far(NaiveDate),
    /// The restaurant has no settings yet.
    Unprovisioned,
}

impl SeenDate {
    /// The date that an order would belong to which was made then.
    #[must_use]
    pub(crate) fn present(&self) -> PresentDate {
        let rules = self.rules;
        match self.day {
            Some(day) if self.now < self.ends_at => {
                PresentDate { rules, date: day.date, ends_at: self.ends_at, orders: day.sequence }
            }
            day => {
                let (date, ends_at) = rules.following(day.map(|day| day.date), self.now);
                let had = day.iter().chain(&self.ahead).find(|known| known.date == date);
                PresentDate { rules, date, ends_at, orders: had.map_or(0, |known| known.sequence) }
            }
        }
    }
}

impl Allocator {
    /// The business date of a restaurant, and the most places that orders in Redis have of the date `asked` and of later
    /// ones; None where it has no settings yet.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn see_business_date(
        &self,
        restaurant: RestaurantId,
        asked: Option<NaiveDate>,
    ) -> Result<Option<SeenDate>, AllocatorError> {
        let call = self.fenced(&script::INSPECT_BUSINESS_DATE, restaurant)?;
        let reply = self.run(call.number(asked.map_or(0, days_of))).await?;
        match reply.name() {
            "ok" => seen(&reply).map(Some),
            "unprovisioned" => Ok(None),
            _ => reply.unknown(),
        }
    }

    /// Sets the business date of a restaurant in place of the one that was seen, and only of that one. `had` is the most
    /// places that are known of the new one and of later ones.
    ///
    /// # Errors
    /// When Redis gives no usable answer; a repeat is harmless.
    pub async fn set_business_date(
        &self,
        restaurant: RestaurantId,
        seen: &SeenDate,
        (date, ends_at): (NaiveDate, Timestamp),
        had: &[BusinessDay],
        context: &Context,
    ) -> Result<DateSet, AllocatorError> {
        let partition = self.partition_of(restaurant);
        let before = seen.day.map_or(0, |day| days_of(day.date));
        let reply = self
            .run_in_time(partition, |token| {
                let call = self.fenced(&script::SET_BUSINESS_DATE, restaurant)?.number(restaurant).arg(token);
                let call = call.number(before).arg(&seen.set_at).number(days_of(date)).number(ends_at.unix_ms());
                Ok(call.arg(packed_dates(had)).arg(context_json(context)))
            })
            .await?;
        if matches!(reply.name(), "ok" | "replayed") {
            self.note(partition, &reply, reply.int(1)?.cast_unsigned());
        }
        match reply.name() {
            "ok" => {
                if reply.text(2)? == "reset" {
                    metrics::rings_reset();
                }
                Ok(DateSet::Done)
            }
            "replayed" => Ok(DateSet::Replayed),
            "busy" => Err(AllocatorError::Busy),
            "moved" => Ok(DateSet::Moved),
            "far" => {
                let (utc, _) = DateRules::default().at(Timestamp::from_unix_ms(reply.int(1)?));
                Ok(DateSet::Far(utc))
            }
            "unprovisioned" => Ok(DateSet::Unprovisioned),
            _ => reply.unknown(),
        }
    }
}

impl Allocator {
    /// The business dates that Redis holds of a partition's restaurants, whether it is open or not; of those that have had
    /// one.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub(crate) async fn held_dates(&self, partition: PartitionId) -> Result<Vec<HeldDate>, AllocatorError> {
        let mut ids = redis::cmd("SMEMBERS");
        ids.arg(self.keys.restaurants(partition));
        let ids: Vec<i64> = self.connections.send(partition, &ids).await?;
        let restaurants: Vec<RestaurantId> = ids.into_iter().filter_map(|id| RestaurantId::new(id).ok()).collect();
        let mut held = Vec::new();
        for some in restaurants.chunks(READ_AT_ONCE) {
            let mut reads = redis::pipe();
            for restaurant in some {
                reads.cmd("HGET").arg(self.keys.of(KeyKind::Pool, *restaurant)).arg("day");
            }
            let days: Vec<Option<Vec<u8>>> = self.connections.pipeline(partition, None, &reads).await?;
            held.extend(some.iter().zip(days).filter_map(|(restaurant, day)| held_date(*restaurant, &day?)));
        }
        Ok(held)
    }
}

/// Pools that are read at a time.
const READ_AT_ONCE: usize = 500;

/// As the field `day` of a pool has it: date 2 B, its end ms 6 B, and more.
fn held_date(restaurant: RestaurantId, day: &[u8]) -> Option<HeldDate> {
    let (days, rest) = day.split_at_checked(2)?;
    let ends = rest.get(..6)?.iter().fold(0, |ms, byte| ms << 8 | i64::from(*byte));
    let date = date_of(u16::from_be_bytes(days.try_into().ok()?))?;
    Some(HeldDate { restaurant, date, ends_at: Timestamp::from_unix_ms(ends) })
}

fn seen(reply: &Reply) -> Result<SeenDate, AllocatorError> {
    let days = |at| Ok::<_, AllocatorError>(u16::try_from(reply.uint(at)?).map_err(record::BadRecord::new)?);
    let sequence = reply.uint(4)?;
    Ok(SeenDate {
        now: Timestamp::from_unix_ms(reply.int(1)?),
        day: date_of(days(2)?).map(|date| BusinessDay { date, sequence }),
        ends_at: Timestamp::from_unix_ms(reply.int(3)?),
        rules: reply.text(5)?.parse().map_err(record::BadRecord::new)?,
        ahead: dates_of(reply.bytes(6)?),
        set_at: reply.text(7)?.to_owned(),
        most_places: dates_of(reply.bytes(8)?),
    })
}

/// What a date has of an element of the pool's field `da`, as `lua/lib/business_day.lua` has it.
const DATE_BYTES: usize = 5;

fn dates_of(packed: &[u8]) -> Vec<BusinessDay> {
    let dates = packed.chunks_exact(DATE_BYTES).filter_map(|bytes| {
        let sequence = bytes[2..].iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
        Some(BusinessDay { date: date_of(u16::from_be_bytes([bytes[0], bytes[1]]))?, sequence })
    });
    dates.collect()
}

/// The other way round.
pub(in crate::allocator) fn packed_dates(dates: &[BusinessDay]) -> Vec<u8> {
    let pack = |day: &BusinessDay| {
        let [_, sequence @ ..] = day.sequence.to_be_bytes();
        [days_of(day.date).to_be_bytes().as_slice(), &sequence].concat()
    };
    dates.iter().flat_map(pack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_ahead_are_read_as_they_are_written() {
        let day = |text: &str, sequence| BusinessDay { date: text.parse().expect("a date"), sequence };
        let dates = vec![day("2026-11-30", 1), day("2026-12-01", 70_000)];
        assert_eq!(dates_of(&packed_dates(&dates)), dates);
        assert_eq!(dates_of(&[]), []);
    }
}
