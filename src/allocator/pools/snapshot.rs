//! The proof that every number of a pool is in exactly one state, from one snapshot of a restaurant.
//!
//! By summing the runs and checking membership number by number, not by subtraction: a count that comes out right may
//! hide two errors.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    fields::{Fields, oddities},
    packed::take_pool,
};
use crate::{
    allocator::{
        Allocator, AllocatorError, StoredSettings,
        script::{
            self,
            record::{self, Packed},
            reply::{Reply, id_of},
        },
    },
    domain::{BusinessDay, NumberState, Order, OrderId, RangeId, RestaurantId, SelectionPolicy, Timestamp},
};

/// All that Redis holds of one restaurant, read at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSnapshot {
    /// The restaurant.
    pub restaurant: RestaurantId,
    /// The sequence of its partition at that instant.
    pub sequence: u64,
    /// Its settings.
    pub settings: StoredSettings,
    /// Where the ring of each range goes on, the main one first; 0 where it has none.
    pub cursors: Vec<u32>,
    /// The business date, and the orders that it has had.
    pub business_day: Option<BusinessDay>,
    /// What the pool counts as retiring: live, cooling.
    pub retiring: (u32, u32),
    /// Runs of free numbers: first and last.
    pub free: Vec<(u32, u32)>,
    /// Resting numbers in the order in which they are free again, with the instant they are free again.
    pub cooling: Vec<(Timestamp, u32)>,
    /// Live orders.
    pub live: Vec<Order>,
    /// Finished orders that are still here.
    pub kept: Vec<Order>,
    /// Number → its holder or last holder.
    pub holders: BTreeMap<u32, OrderId>,
    /// The partition's last stamp.
    pub stamp: Timestamp,
    /// What its fields and its quarantine are not as the settings say, in words.
    pub oddities: Vec<String>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
#[expect(missing_docs, reason = "the names and the Display text say it")]
pub enum Finding {
    /// A number of the pool is in no state at all.
    Leaked { number: u32 },
    /// A number is in two states.
    TwoStates { number: u32, states: Vec<NumberState> },
    /// Two live orders have one number.
    TwoHolders { number: u32, orders: Vec<OrderId> },
    /// A number is free or in two runs though it does not belong to the pool.
    Stray { number: u32 },
    /// A live order's number does not lead to it.
    LostHolder { number: u32, order: OrderId },
    /// A pointer leads to an order that is not here.
    Dangling { number: u32, order: OrderId },
    /// Something of the pool's own bookkeeping is off.
    Bookkeeping { what: String },
    /// Redis and the ledger disagree.
    Ledger { what: String },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leaked { number } => write!(f, "number {number} is neither free, live nor cooling"),
            Self::TwoStates { number, states } => write!(f, "number {number} is in several states at once: {states:?}"),
            Self::TwoHolders { number, orders } => {
                let orders: Vec<String> = orders.iter().map(ToString::to_string).collect();
                write!(f, "number {number} is held by several live orders: {}", orders.join(", "))
            }
            Self::Stray { number } => write!(f, "number {number} is free, but does not belong to the pool"),
            Self::LostHolder { number, order } => write!(f, "number {number} does not lead to its live order {order}"),
            Self::Dangling { number, order } => write!(f, "number {number} leads to order {order}, which is not here"),
            Self::Bookkeeping { what } | Self::Ledger { what } => f.write_str(what),
        }
    }
}

impl Allocator {
    /// Reads all of a restaurant at one instant; None where it has no settings yet.
    ///
    /// # Errors
    /// When Redis gives no usable answer.
    pub async fn snapshot(&self, restaurant: RestaurantId) -> Result<Option<PoolSnapshot>, AllocatorError> {
        let call = self.fenced(&script::SNAPSHOT_POOL, restaurant)?;
        let reply = self.run(call).await?;
        match reply.name() {
            "ok" => snapshot_of(restaurant, reply).map(Some),
            "unprovisioned" => Ok(None),
            _ => reply.unknown(),
        }
    }
}

fn snapshot_of(restaurant: RestaurantId, mut reply: Reply) -> Result<PoolSnapshot, AllocatorError> {
    let orders = |packed: Packed| -> Result<Vec<Order>, AllocatorError> {
        packed.iter().map(|(id, packed)| Ok(record::decode(id_of(id)?, packed)?)).collect()
    };
    let pool = take_pool(&mut reply, 2)?;
    let runs: Vec<(u32, u32)> = reply.take(4)?;
    let cooling: Vec<(u32, f64)> = reply.take(5)?;
    let holders: Vec<(u32, Vec<u8>)> = reply.take(8)?;
    let fields: Fields = reply.take(10)?;
    let free: Vec<(u32, u32)> = runs.into_iter().map(|(last, first)| (first, last)).collect();
    let cooling: Vec<_> = cooling.into_iter().map(|(number, free_at)| (instant_of(free_at), number)).collect();
    Ok(PoolSnapshot {
        oddities: oddities(&pool.stored.settings, &fields, &free, &cooling),
        restaurant,
        sequence: reply.int(1)?.cast_unsigned() - 1,
        settings: pool.stored,
        cursors: pool.cursors,
        business_day: pool.business_day,
        retiring: pool.retiring,
        free,
        cooling,
        live: orders(reply.take(6)?)?,
        kept: orders(reply.take(7)?)?,
        stamp: Timestamp::from_unix_ms(reply.int(9)?),
        holders: holders.iter().map(|(number, id)| Ok((*number, id_of(id)?))).collect::<Result<_, AllocatorError>>()?,
    })
}

/// The instant that a score of Redis is: whole milliseconds, far below what a double holds exactly.
#[expect(clippy::cast_possible_truncation, reason = "instants have 48 bits")]
pub(in crate::allocator) fn instant_of(score: f64) -> Timestamp {
    Timestamp::from_unix_ms(score as i64)
}

impl PoolSnapshot {
    /// All that is wrong with this restaurant in Redis; empty when every number is in exactly one state.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let settings = &self.settings.settings;
        let mut findings = Vec::new();
        let mut states: BTreeMap<u32, Vec<NumberState>> = BTreeMap::new();
        let is_member = settings.membership();
        let ranges = settings.range_runs();
        let is_reserved = |number: u32| settings.special.reservations.contains_key(&number);

        for &(first, last) in &self.free {
            if first > last {
                findings.push(bookkeeping(format!("the free run {first}..{last} is upside down")));
            }
            // Those that touch are two runs all the same: a number is given by its own range.
            if let Some((_, border)) = ranges.iter().find(|(min, max)| (*min..=*max).contains(&first) && last > *max) {
                findings.push(bookkeeping(format!("the run {first}..{last} goes past {border}, where a range ends")));
            }
            for cursor in self.cursors.iter().filter(|cursor| first < **cursor && **cursor <= last) {
                findings.push(bookkeeping(format!("the cursor {cursor} lies inside the run {first}..{last}")));
            }
            for number in first..=last {
                states.entry(number).or_default().push(NumberState::Free);
                if !is_member(number) || is_reserved(number) {
                    findings.push(Finding::Stray { number });
                }
            }
        }
        for &(_, number) in &self.cooling {
            states.entry(number).or_default().push(NumberState::Cooling);
        }
        for (number, orders) in self.live_by_number() {
            states.entry(number).or_default().push(NumberState::Live);
            if let [order] = orders[..] {
                if self.holders.get(&number) != Some(&order) {
                    findings.push(Finding::LostHolder { number, order });
                }
            } else {
                findings.push(Finding::TwoHolders { number, orders });
            }
        }

        for (&number, states) in states.iter().filter(|(_, states)| states.len() > 1) {
            findings.push(Finding::TwoStates { number, states: states.clone() });
        }
        for number in ranges.into_iter().flat_map(|(first, last)| first..=last) {
            if is_member(number) && !states.contains_key(&number) && !is_reserved(number) {
                findings.push(Finding::Leaked { number });
            }
        }
        findings.extend(self.dangling());
        findings.extend(self.wrong_counts());
        findings.extend(self.odd_rings());
        findings.extend(self.oddities.iter().cloned().map(bookkeeping));
        findings
    }

    /// Rings that go on outside of their range. Behind its last number, a ring begins anew; the main one may have been
    /// reset to whichever number the settings say.
    fn odd_rings(&self) -> Vec<Finding> {
        let settings = &self.settings.settings;
        let main = (RangeId::MAIN, settings.policy, settings.min_number, settings.max_number);
        let further =
            settings.ranges.iter().map(|range| (range.id.as_str(), range.policy, range.min_number, range.max_number));
        let ranges: Vec<_> = std::iter::once(main).chain(further).collect();
        if ranges.len() != self.cursors.len() {
            let (rings, ranges) = (self.cursors.len(), ranges.len());
            return vec![bookkeeping(format!("{ranges} ranges have {rings} rings"))];
        }
        let mut findings = Vec::new();
        for (at, ((id, policy, min, max), cursor)) in ranges.into_iter().zip(&self.cursors).enumerate() {
            let first_of_reset = settings.business_day.first_number.filter(|_| at == 0);
            let is_sound = match policy {
                SelectionPolicy::Sequential => (min..=max + 1).contains(cursor) || first_of_reset == Some(*cursor),
                SelectionPolicy::Lowest | SelectionPolicy::Random => *cursor == 0,
            };
            if !is_sound {
                let what = format!("the ring of the range {id}, {min} to {max}, goes on at {cursor}");
                findings.push(bookkeeping(what));
            }
        }
        findings
    }

    fn live_by_number(&self) -> BTreeMap<u32, Vec<OrderId>> {
        let mut by_number: BTreeMap<u32, Vec<OrderId>> = BTreeMap::new();
        for order in &self.live {
            by_number.entry(order.number.map_or(0, |n| n.get())).or_default().push(order.id);
        }
        by_number
    }

    fn dangling(&self) -> impl Iterator<Item = Finding> {
        let here: BTreeSet<OrderId> = self.live.iter().chain(&self.kept).map(|order| order.id).collect();
        self.holders
            .iter()
            .filter(move |(_, order)| !here.contains(order))
            .map(|(&number, &order)| Finding::Dangling { number, order })
    }

    fn wrong_counts(&self) -> Vec<Finding> {
        let is_member = self.settings.settings.membership();
        let outside = |numbers: &mut dyn Iterator<Item = u32>| {
            let belongs =
                |number: &u32| is_member(*number) || self.settings.settings.special.reservations.contains_key(number);
            u32::try_from(numbers.filter(|number| !belongs(number)).count()).unwrap_or(u32::MAX)
        };
        let live = outside(&mut self.live.iter().filter_map(|order| order.number).map(|n| n.get()));
        let cooling = outside(&mut self.cooling.iter().map(|(_, number)| *number));
        if (live, cooling) == self.retiring {
            return Vec::new();
        }
        vec![bookkeeping(format!(
            "retiring numbers are counted as {} live and {} cooling, but are {live} and {cooling}",
            self.retiring.0, self.retiring.1
        ))]
    }
}

fn bookkeeping(what: String) -> Finding {
    Finding::Bookkeeping { what }
}
