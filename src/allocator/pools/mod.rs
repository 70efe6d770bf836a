//! Pools in Redis: their settings, how much of them is in use, and what one number is doing.

pub(super) mod business_date;
mod fields;
pub(super) mod packed;
mod range_counts;
pub(super) mod snapshot;

use std::collections::BTreeSet;

use self::range_counts::take_range_counts;
use super::{
    Allocator, AllocatorError,
    script::{
        self, context_json, record,
        reply::{Read, Reply},
    },
};
use crate::domain::{
    Context, DisplayNumber, NumberState, Order, OrderId, PartitionId, PoolOccupancy, PoolSettings, RestaurantId,
    Timestamp,
};

/// Outcome of giving a restaurant settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configured {
    /// They are in force, as this version.
    Done(u32),
    /// This very call was made before, as this version, and its answer was lost. Others may have changed them since.
    Replayed(u32),
    /// It had some already, and was to be left alone then.
    Exists,
    /// They are at another version than was expected, or were built anew since.
    Moved,
}

/// A restaurant's settings, and where they were seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenSettings {
    /// None where it has none yet.
    pub stored: Option<StoredSettings>,
    /// The generation under which they were seen: in another one, a version may be that of other settings.
    pub generation: u64,
}

/// A restaurant's settings, as Redis holds them.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSettings {
    /// The settings.
    pub settings: PoolSettings,
    /// Counts their changes, from 1.
    pub version: u32,
}

/// What one number is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// None outside the range.
    pub state: Option<NumberState>,
    /// Its holder or last holder, as far as Redis knows.
    pub order: Option<Order>,
}

/// A restaurant, as the background work looks at it.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberCount {
    /// Its numbers by state.
    pub occupancy: PoolOccupancy,
    /// Finished orders that are still here.
    pub kept: u32,
    /// Seconds after which a live order counts as forgotten.
    pub active_window_seconds: u32,
    /// Whether an order may have been served for so long that clean-up is to complete it.
    pub is_served_due: bool,
}

/// A walk over the live orders of a restaurant that looks for served ones.
#[derive(Debug, Clone, Copy)]
pub struct ServedWalk {
    restaurant: RestaurantId,
    token: [u8; 16],
    /// What is served since, is so later.
    began: Timestamp,
}

impl Allocator {
    /// Gives a restaurant settings. With `only_if_new`, one that has some is left alone.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn configure(
        &self,
        restaurant: RestaurantId,
        settings: &PoolSettings,
        only_if_new: bool,
        context: &Context,
    ) -> Result<Configured, AllocatorError> {
        // That there are none yet is so under any generation.
        let expected = only_if_new.then_some((0, None));
        match self.put_settings(restaurant, settings, expected, context).await? {
            Configured::Moved => Ok(Configured::Exists),
            configured => Ok(configured),
        }
    }

    /// Gives a restaurant settings in place of those that were seen, and only of those.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn reconfigure(
        &self,
        restaurant: RestaurantId,
        settings: &PoolSettings,
        seen: &SeenSettings,
        context: &Context,
    ) -> Result<Configured, AllocatorError> {
        let version = seen.stored.as_ref().map_or(0, |stored| stored.version);
        self.put_settings(restaurant, settings, Some((version, Some(seen.generation))), context).await
    }

    /// With the version that is expected, 0 for none yet, and the generation that it is one of.
    async fn put_settings(
        &self,
        restaurant: RestaurantId,
        settings: &PoolSettings,
        expected: Option<(u32, Option<u64>)>,
        context: &Context,
    ) -> Result<Configured, AllocatorError> {
        let partition = self.partition_of(restaurant);
        let json = serde_json::to_vec(settings).expect("settings are plain JSON");
        let text = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
        let version = text(expected.map(|(version, _)| version.into()));
        let generation = text(expected.and_then(|(_, generation)| generation));
        let reply = self
            .run_in_time(partition, |token| {
                let call = self.fenced(&script::CONFIGURE_POOL, restaurant)?.number(restaurant);
                let call = call.arg(&version).arg(&generation).settings(settings);
                Ok(call.arg(&json).arg(context_json(context)).arg(token))
            })
            .await?;
        if matches!(reply.name(), "ok" | "replayed") {
            self.note(partition, &reply, reply.int(2)?.cast_unsigned());
        }
        match reply.name() {
            "ok" => Ok(Configured::Done(reply.uint(1)?)),
            "replayed" => Ok(Configured::Replayed(reply.uint(1)?)),
            "busy" => Err(AllocatorError::Busy),
            "version" => Ok(Configured::Moved),
            _ => reply.unknown(),
        }
    }

    /// The settings of a restaurant; None where it has none yet.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn settings(&self, restaurant: RestaurantId) -> Result<Option<StoredSettings>, AllocatorError> {
        Ok(self.see_settings(restaurant).await?.stored)
    }

    /// As [`Allocator::settings`], with what [`Allocator::reconfigure`] needs to know of them.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn see_settings(&self, restaurant: RestaurantId) -> Result<SeenSettings, AllocatorError> {
        let call = self.fenced(&script::READ_SETTINGS, restaurant)?;
        let mut reply = self.run(call).await?;
        let generation = reply.generation();
        match reply.name() {
            "ok" => Ok(SeenSettings { stored: Some(packed::take_pool(&mut reply, 1)?.stored), generation }),
            "unprovisioned" => Ok(SeenSettings { stored: None, generation }),
            _ => reply.unknown(),
        }
    }

    /// How much of a pool is in use, and what waits there for the background work; None where it has no settings yet.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn count_numbers(&self, restaurant: RestaurantId) -> Result<Option<NumberCount>, AllocatorError> {
        let call = self.fenced(&script::COUNT_NUMBERS, restaurant)?;
        let mut reply = self.run(call).await?;
        match reply.name() {
            "ok" => {
                let is_oldest_unknown = reply.uint(11).is_ok();
                let ranges = take_range_counts(&mut reply, 16)?;
                let mut count = count_of(reply)?;
                count.occupancy.ranges = ranges;
                if is_oldest_unknown {
                    count.occupancy.oldest_live_at = self.find_oldest(restaurant).await?.map(OrderId::created_at);
                }
                Ok(Some(count))
            }
            "unprovisioned" => Ok(None),
            _ => reply.unknown(),
        }
    }

    /// How many live orders are older than their restaurant's active window. They are walked only where the oldest one is.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn overdue(&self, restaurant: RestaurantId, count: &NumberCount) -> Result<u32, AllocatorError> {
        let Some(oldest) = count.occupancy.oldest_live_at else { return Ok(0) };
        let cutoff = self.now()?.plus_ms(-i64::from(count.active_window_seconds) * 1000);
        if oldest >= cutoff {
            return Ok(0);
        }
        let live = self.live_orders(restaurant).await?;
        let overdue = live.iter().filter(|order| order.active_from() < cutoff).count();
        Ok(u32::try_from(overdue).unwrap_or(u32::MAX))
    }

    /// The oldest live order of a restaurant that has many: their ids are walked, and the oldest is noted for those that ask
    /// next.
    async fn find_oldest(&self, restaurant: RestaurantId) -> Result<Option<OrderId>, AllocatorError> {
        let token: [u8; 16] = rand::random();
        let note = async |id: &[u8]| {
            let call = self.fenced(&script::NOTE_OLDEST, restaurant)?;
            self.run(call.arg(token).arg(id)).await
        };
        note(&[]).await?;
        let oldest = self.live_ids(restaurant).await?.first().copied();
        if let Some(oldest) = oldest {
            note(oldest.as_bytes()).await?;
        }
        Ok(oldest)
    }

    /// Begins a walk over the live orders of a restaurant that looks for served ones.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn begin_served_walk(&self, restaurant: RestaurantId) -> Result<ServedWalk, AllocatorError> {
        let token = rand::random();
        let reply = self.note_served(restaurant, token, None).await?;
        match reply.name() {
            "ok" => Ok(ServedWalk { restaurant, token, began: reply.time(1)?.unwrap_or(Timestamp::from_unix_ms(0)) }),
            _ => reply.unknown(),
        }
    }

    /// Notes since when the oldest served order is so that the walk has found and left; None: it has left none. The next walk
    /// is due by that.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn end_served_walk(&self, walk: ServedWalk, oldest: Option<Timestamp>) -> Result<(), AllocatorError> {
        let since = oldest.map_or(walk.began, |oldest| oldest.min(walk.began));
        let reply = self.note_served(walk.restaurant, walk.token, Some(since)).await?;
        // Another walk has begun, or an order has come back that this one cannot have seen.
        if matches!(reply.name(), "ok" | "moved") { Ok(()) } else { reply.unknown() }
    }

    async fn note_served(
        &self,
        restaurant: RestaurantId,
        token: [u8; 16],
        since: Option<Timestamp>,
    ) -> Result<Reply, AllocatorError> {
        let since = since.map_or(String::new(), |since| since.unix_ms().to_string());
        self.run(self.fenced(&script::NOTE_SERVED, restaurant)?.arg(token).arg(since)).await
    }

    /// What one number is doing; None where the restaurant has no settings yet.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn inspect(
        &self,
        restaurant: RestaurantId,
        number: DisplayNumber,
    ) -> Result<Option<Inspected>, AllocatorError> {
        let call = self.fenced(&script::INSPECT_NUMBER, restaurant)?.number(number);
        let reply = self.run(call).await?;
        match reply.name() {
            "ok" => inspected(&reply).map(Some),
            "unprovisioned" => Ok(None),
            _ => reply.unknown(),
        }
    }

    /// Puts leaked numbers to rest; answers with those that were. Each is proved anew by the script.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn reclaim(
        &self,
        restaurant: RestaurantId,
        numbers: &[DisplayNumber],
        context: &Context,
    ) -> Result<Vec<u32>, AllocatorError> {
        let mut reclaimed = Vec::new();
        for some in numbers.chunks(100) {
            let mut call =
                self.fenced(&script::RECLAIM_NUMBERS, restaurant)?.number(restaurant).arg(context_json(context));
            for number in some {
                call = call.number(number);
            }
            let reply = self.run(call).await?;
            if reply.name() != "ok" {
                return reply.unknown();
            }
            self.note(self.partition_of(restaurant), &reply, reply.int(1)?.cast_unsigned());
            for at in 2..reply.len() {
                reclaimed.push(reply.uint(at)?);
            }
        }
        Ok(reclaimed)
    }

    /// The restaurants of a partition that have settings, in ascending order.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn restaurants(&self, partition: PartitionId) -> Result<Vec<RestaurantId>, AllocatorError> {
        let fence = self.partitions.fence(partition)?;
        let mut found = BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let mut reads = redis::pipe();
            reads.cmd("SSCAN").arg(self.keys.restaurants(partition)).arg(cursor).arg("COUNT").arg(1000);
            let ((next, ids),): ((u64, Vec<i64>),) = self.read(&fence, Read::Short, reads).await?;
            for id in ids {
                found.insert(RestaurantId::new(id).map_err(|e| AllocatorError::Bug(e.to_string()))?);
            }
            if next == 0 {
                return Ok(found.into_iter().collect());
            }
            cursor = next;
        }
    }
}

fn count_of(mut reply: Reply) -> Result<NumberCount, AllocatorError> {
    let blocked = reply.uint(1)?;
    let (retiring_live, retiring_cooling) = (reply.uint(2)?, reply.uint(3)?);
    let (live, cooling, over, over_retiring) = (reply.uint(4)?, reply.uint(5)?, reply.uint(6)?, reply.uint(7)?);
    // Numbers that are kept for tables: in the ranges, held, resting; and numbers that are taken out.
    let (reserved, held, at_rest, quarantined): (u32, u32, u32, u32) = reply.take(14)?;
    let capacity = (reply.uint(13)? - blocked).saturating_sub(reserved + quarantined);
    let live_inside = live.saturating_sub(retiring_live + held);
    // Retiring numbers whose rest is over are gone, though no call has looked yet.
    let retiring_at_rest = retiring_cooling - over_retiring;
    let cooling_inside = (cooling - over).saturating_sub(retiring_at_rest + at_rest + quarantined);
    let free = capacity.saturating_sub(live_inside).saturating_sub(cooling_inside);
    let oldest = reply.bytes(9)?;
    let oldest_live_at =
        if oldest.is_empty() { None } else { Some(super::script::reply::id_of(oldest).map(OrderId::created_at)?) };
    let occupancy = PoolOccupancy {
        capacity,
        free,
        live: live_inside,
        cooling: cooling_inside,
        blocked,
        reserved,
        quarantined,
        retiring: retiring_live + retiring_at_rest,
        utilization: f64::from(capacity - free) / f64::from(capacity.max(1)),
        next_free_at: reply.time(8)?,
        oldest_live_at,
        ranges: Vec::new(),
    };
    Ok(NumberCount {
        occupancy,
        kept: reply.uint(10)?,
        active_window_seconds: reply.uint(12)?,
        is_served_due: !reply.bytes(15)?.is_empty(),
    })
}

fn inspected(reply: &Reply) -> Result<Inspected, AllocatorError> {
    let state = Some(reply.state(1)?).filter(|state| *state != NumberState::Outside);
    let order = match reply.bytes(2)? {
        [] => None,
        id_and_packed => {
            let (id, packed) = id_and_packed.split_at_checked(16).ok_or_else(|| record::BadRecord::new("cut short"))?;
            Some(record::decode(super::script::reply::id_of(id)?, packed)?)
        }
    };
    Ok(Inspected { state, order })
}

/// The instant from which a restaurant's live orders count as forgotten.
#[must_use]
pub(crate) fn active_since(settings: &PoolSettings, now: Timestamp) -> Timestamp {
    now.plus_ms(-i64::from(settings.active_window_seconds) * 1000)
}
