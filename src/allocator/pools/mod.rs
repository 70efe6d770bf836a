//! Pools in Redis: their settings, how much of them is in use, and what one number is doing.

pub(super) mod snapshot;

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    Allocator, AllocatorError,
    script::{
        self, Call, context_json, record,
        reply::{Read, Reply},
    },
};
use crate::domain::{
    BlockedNumbers, Context, DisplayNumber, NumberState, Order, OrderId, PartitionId, PoolOccupancy, PoolSettings,
    RestaurantId, SelectionPolicy, Timestamp, blocked::MOST_UNJOINED,
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
    /// Live orders older than the restaurant's active window.
    pub overdue: u32,
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
            "ok" => Ok(SeenSettings { stored: Some(take_pool(&mut reply, 1)?.stored), generation }),
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
        let reply = self.run(call).await?;
        match reply.name() {
            "ok" => count_of(&reply).map(Some),
            "unprovisioned" => Ok(None),
            _ => reply.unknown(),
        }
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

impl Call {
    /// Eight arguments: the settings of a pool, with the runs of its range that are not blocked, first and last, and with
    /// the members of the block set; spaces stand between both.
    pub(super) fn settings(self, settings: &PoolSettings) -> Self {
        let mut runs = String::new();
        for (first, last) in settings.unblocked_runs() {
            // Writing to a String cannot fail.
            let _ = write!(runs, "{first} {last} ");
        }
        self.number(settings.min_number)
            .number(settings.max_number)
            .arg(policy_code(settings.policy))
            .number(settings.cooldown_seconds)
            .number(settings.active_window_seconds)
            .arg(settings.format.as_str())
            .arg(runs)
            .arg(block_members(&settings.blocked_numbers))
    }
}

/// The members of the block set: single numbers, a member each, where there is nothing else and Redis packs them into one
/// piece of memory (its `set-max-intset-entries`); or all entries as one member, with commas between them.
fn block_members(blocked: &BlockedNumbers) -> String {
    let entries = blocked.to_string();
    if blocked.has_rules() || blocked.len() > MOST_UNJOINED { entries } else { entries.replace(',', " ") }
}

fn blocked_of(members: &[String]) -> Result<BlockedNumbers, AllocatorError> {
    members.join(",").parse().map_err(|error| AllocatorError::Bug(format!("a pool's block set: {error}")))
}

const fn policy_code(policy: SelectionPolicy) -> &'static str {
    match policy {
        SelectionPolicy::Sequential => "s",
        SelectionPolicy::Lowest => "l",
        SelectionPolicy::Random => "r",
    }
}

/// What `describe` in `lua/lib/describe.lua` answers.
pub(super) struct PoolFields {
    pub(super) stored: StoredSettings,
    pub(super) cursor: u32,
    pub(super) retiring: (u32, u32),
}

/// Takes a described pool out of a reply, and its blocked numbers, which come behind it.
pub(super) fn take_pool(reply: &mut Reply, at: usize) -> Result<PoolFields, AllocatorError> {
    type Raw = (u32, u32, u32, String, u32, u32, String, u32, u32, u32);
    let (
        version,
        min_number,
        max_number,
        policy,
        cooldown_seconds,
        active_window_seconds,
        format,
        cursor,
        live,
        cooling,
    ): Raw = reply.take(at)?;
    let policy = match policy.as_str() {
        "s" => SelectionPolicy::Sequential,
        "l" => SelectionPolicy::Lowest,
        "r" => SelectionPolicy::Random,
        other => return Err(AllocatorError::Bug(format!("policy of a pool is {other:?}"))),
    };
    let settings = PoolSettings {
        min_number,
        max_number,
        policy,
        cooldown_seconds,
        active_window_seconds,
        blocked_numbers: blocked_of(&reply.take::<Vec<String>>(at + 1)?)?,
        format: format.parse().map_err(record::BadRecord::new)?,
    };
    Ok(PoolFields { stored: StoredSettings { settings, version }, cursor, retiring: (live, cooling) })
}

fn count_of(reply: &Reply) -> Result<NumberCount, AllocatorError> {
    let (first, last, blocked) = (reply.uint(1)?, reply.uint(2)?, reply.uint(3)?);
    let (retiring_live, retiring_cooling) = (reply.uint(4)?, reply.uint(5)?);
    let (live, cooling, over, over_retiring) = (reply.uint(6)?, reply.uint(7)?, reply.uint(8)?, reply.uint(9)?);
    let capacity = last - first + 1 - blocked;
    let live_inside = live - retiring_live;
    // Retiring numbers whose rest is over are gone, though no call has looked yet.
    let retiring_at_rest = retiring_cooling - over_retiring;
    let cooling_inside = cooling - over - retiring_at_rest;
    let free = capacity.saturating_sub(live_inside).saturating_sub(cooling_inside);
    let oldest = reply.bytes(11)?;
    let oldest_live_at =
        if oldest.is_empty() { None } else { Some(super::script::reply::id_of(oldest).map(OrderId::created_at)?) };
    let occupancy = PoolOccupancy {
        capacity,
        free,
        live: live_inside,
        cooling: cooling_inside,
        blocked,
        reserved: 0,
        retiring: retiring_live + retiring_at_rest,
        utilization: f64::from(capacity - free) / f64::from(capacity.max(1)),
        next_free_at: reply.time(10)?,
        oldest_live_at,
    };
    Ok(NumberCount { occupancy, kept: reply.uint(12)?, overdue: reply.uint(13)? })
}

fn inspected(reply: &Reply) -> Result<Inspected, AllocatorError> {
    let state = match reply.text(1)? {
        "free" => Some(NumberState::Free),
        "live" => Some(NumberState::Live),
        "cooling" => Some(NumberState::Cooling),
        "blocked" => Some(NumberState::Blocked),
        "retiring" => Some(NumberState::Retiring),
        "outside" => None,
        _ => return reply.unknown(),
    };
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
