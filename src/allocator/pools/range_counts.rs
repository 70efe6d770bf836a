//! How much of each range is in use, as `lua/lib/range_counts.lua` counts it.

use super::packed::take_pool;
use crate::{
    allocator::{AllocatorError, script::reply::Reply},
    domain::{PoolSettings, RangeId, RangeOccupancy},
};

/// Takes the counts out of a reply, in which they begin here; empty where the pool has no further ranges.
pub(super) fn take_range_counts(reply: &mut Reply, at: usize) -> Result<Vec<RangeOccupancy>, AllocatorError> {
    if reply.len() <= at {
        return Ok(Vec::new());
    }
    let settings = take_pool(reply, at)?.stored.settings;
    let walked_live = match reply.text(at + 2)? {
        "free" => false,
        "live" => true,
        other => return Err(AllocatorError::Bug(format!("ranges are counted by {other}"))),
    };
    let counts: Vec<u32> = reply.take(at + 3)?;
    let (names, capacities) = (names(&settings), settings.range_capacities());
    if counts.len() != 4 * names.len() {
        return Err(AllocatorError::Bug(format!("{} ranges have {} counts", names.len(), counts.len())));
    }
    let ranges = names.into_iter().zip(capacities).zip(counts.chunks_exact(4));
    let occupancy = ranges.map(|((id, capacity), counts)| {
        let (walked, resting, over) = (counts[0], counts[1], counts[2]);
        let capacity = capacity.saturating_sub(counts[3]);
        let held = capacity.saturating_sub(resting);
        let live = if walked_live { walked.min(held) } else { held.saturating_sub(walked) };
        // What has rested is free, though no call has looked yet.
        let free = held - live + over;
        let utilization = f64::from(capacity.saturating_sub(free)) / f64::from(capacity.max(1));
        RangeOccupancy { id, capacity, free, live, cooling: resting - over, utilization }
    });
    Ok(occupancy.collect())
}

/// The main range first.
fn names(settings: &PoolSettings) -> Vec<String> {
    let further = settings.ranges.iter().map(|range| range.id.as_str());
    std::iter::once(RangeId::MAIN).chain(further).map(str::to_owned).collect()
}
