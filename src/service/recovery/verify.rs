//! The proof of the invariants, on a running system.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    allocator::{Finding, PoolSnapshot},
    domain::{Order, OrderId, PartitionId, RestaurantId, Timestamp},
    ledger::{Overlap, Slot, SlotState},
    service::{Recovery, ServiceError},
};

/// What was found at one restaurant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// All that is wrong; empty when every invariant holds.
    pub findings: Vec<Finding>,
    /// Events of its partition that the ledger does not have yet; what they changed was not compared.
    pub behind: u64,
}

/// Redis and the ledger are read one after the other while orders go on changing: what is really wrong is still wrong
/// when one looks again.
const LOOKS: usize = 4;

/// How many events of a partition are looked at, and of its outbox at a time: the running system goes first.
const LATEST_EVENTS: u64 = 10_000;
const OUTBOX_PIECE: usize = 500;

/// How many of the latest orders of a restaurant are looked at.
const LATEST_ORDERS: u32 = 1_000;

impl Recovery {
    /// Proves, for one partition, that its latest events are there without a gap, in the ledger and in the outbox.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is unreachable.
    pub(crate) async fn verify_partition(&self, partition: PartitionId) -> Result<Vec<Finding>, ServiceError> {
        let mut findings = self.look_at_events(partition).await?;
        for _ in 1..LOOKS {
            if findings.is_empty() {
                break;
            }
            let again = self.look_at_events(partition).await?;
            findings.retain(|finding| again.contains(finding));
        }
        Ok(findings)
    }

    async fn look_at_events(&self, partition: PartitionId) -> Result<Vec<Finding>, ServiceError> {
        let progress = self.ledger.progress().await?;
        let recorded = progress.iter().find(|progress| progress.partition == partition);
        let Some((recorded, generation)) = recorded.and_then(|recorded| Some((recorded, recorded.generation?))) else {
            return Ok(Vec::new());
        };
        let mut findings = Vec::new();
        let missing = self.ledger.missing_events(partition, generation, recorded.sequence, LATEST_EVENTS).await?;
        if missing > 0 {
            let what = format!(
                "{missing} of the latest {LATEST_EVENTS} events are neither in order_events nor in dead_letters (those \
                 that were dropped from there are among them)"
            );
            findings.push(Finding::Ledger { what });
        }
        let mut last = recorded.sequence;
        while last < recorded.sequence + LATEST_EVENTS {
            let waiting = self.allocator.waiting_entries(partition, last, OUTBOX_PIECE).await?;
            for entry in &waiting {
                if entry.sequence != last + 1 || entry.generation != generation {
                    let (sequence, of) = (entry.sequence, entry.generation);
                    let what = format!("in the outbox, event {sequence} of generation {of} follows event {last}");
                    findings.push(Finding::Bookkeeping { what });
                }
                last = entry.sequence;
            }
            if waiting.len() < OUTBOX_PIECE {
                break;
            }
        }
        Ok(findings)
    }

    /// Proves, for one restaurant, that every number is in exactly one state and has one holder, and that Redis and the
    /// ledger agree. Changes nothing.
    ///
    /// # Errors
    /// Unavailable when Redis or the ledger is unreachable.
    pub async fn verify(&self, restaurant: RestaurantId) -> Result<Verified, ServiceError> {
        let mut verified = self.look(restaurant).await?;
        for _ in 1..LOOKS {
            if verified.findings.is_empty() {
                break;
            }
            let again = self.look(restaurant).await?;
            verified.findings.retain(|finding| again.findings.contains(finding));
            verified.behind = again.behind;
        }
        Ok(verified)
    }

    async fn look(&self, restaurant: RestaurantId) -> Result<Verified, ServiceError> {
        let partition = self.allocator.partition_of(restaurant);
        let progress = self.ledger.progress().await?;
        let durable = progress.iter().find(|p| p.partition == partition).map_or(0, |p| p.sequence);
        let Some(snapshot) = self.allocator.snapshot(restaurant).await? else {
            // Settings come into Redis before they come into the ledger.
            let only_there = self.ledger.settings(restaurant).await?.is_some();
            let what = "the ledger has settings of it, Redis does not".to_owned();
            let findings = if only_there { vec![Finding::Ledger { what }] } else { Vec::new() };
            return Ok(Verified { findings, behind: 0 });
        };
        let live = self.ledger.live_orders(restaurant).await?;
        let slots = self.ledger.slots(restaurant).await?;
        let mut findings = snapshot.findings();
        findings.extend(compare(&snapshot, durable, &live, &slots, self.allocator.now()?));
        findings.extend(self.compare_finished(&snapshot, durable).await?);
        findings.extend(self.compare_settings(&snapshot, durable).await?);
        findings.extend(self.overlapping_lives(restaurant).await?);
        Ok(Verified { findings, behind: snapshot.sequence.saturating_sub(durable) })
    }
}

impl Recovery {
    /// Finished orders that Redis still has, and the ledger should have too.
    async fn compare_finished(&self, snapshot: &PoolSnapshot, durable: u64) -> Result<Vec<Finding>, ServiceError> {
        let mut findings = Vec::new();
        for order in snapshot.kept.iter().filter(|order| order.sequence <= durable) {
            let row = self.ledger.order(order.id).await?;
            if row.as_ref().is_some_and(|row| same(row, order)) {
                continue;
            }
            let mut what = format!("the ledger does not have order {} as it ended", order.id);
            if row.is_none_or(|row| row.version < order.version) {
                what += &self.why_end_is_missing(order).await?;
            }
            findings.push(Finding::Ledger { what });
        }
        Ok(findings)
    }

    /// Durable means written or dead-lettered: what was not written, was dead-lettered.
    async fn why_end_is_missing(&self, order: &Order) -> Result<String, ServiceError> {
        let partition = self.allocator.partition_of(order.restaurant());
        Ok(match self.ledger.dead_letter_of(partition, order.sequence).await? {
            Some(letter) => format!(": its end waits as dead letter {letter} (`nowserving dead-letters list`)"),
            None => {
                ": its end was dead-lettered, it seems, and then dropped with `nowserving dead-letters drop`".to_owned()
            }
        })
    }

    /// Lives of one number that overlap, by the times that the ledger has of them.
    async fn overlapping_lives(&self, restaurant: RestaurantId) -> Result<Vec<Finding>, ServiceError> {
        let found = self.ledger.overlapping_lives(restaurant, LATEST_ORDERS).await?;
        let overlap = |Overlap { number, order, other, at }| {
            format!("by the ledger's times, orders {order} and {other} both had number {number} at {at}")
        };
        Ok(found.into_iter().map(|found| Finding::Ledger { what: overlap(found) }).collect())
    }

    async fn compare_settings(&self, snapshot: &PoolSnapshot, durable: u64) -> Result<Vec<Finding>, ServiceError> {
        if durable < snapshot.sequence {
            return Ok(Vec::new());
        }
        let row = self.ledger.settings(snapshot.restaurant).await?;
        let here = &snapshot.settings;
        let agrees = row.is_some_and(|row| {
            row.version > here.version || row.version == here.version && row.settings == here.settings
        });
        let what = "Redis and the ledger have different settings".to_owned();
        Ok(if agrees { Vec::new() } else { vec![Finding::Ledger { what }] })
    }
}

/// What Redis and the ledger say differently, as far as the ledger has been told.
fn compare(
    snapshot: &PoolSnapshot,
    durable: u64,
    ledger_live: &[Order],
    slots: &[Slot],
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut disagree = |what: String| findings.push(Finding::Ledger { what });
    let in_ledger: BTreeMap<OrderId, &Order> = ledger_live.iter().map(|order| (order.id, order)).collect();
    let slot_of: BTreeMap<u32, &Slot> = slots.iter().map(|slot| (slot.number.get(), slot)).collect();
    let live_here: BTreeMap<OrderId, &Order> = snapshot.live.iter().map(|order| (order.id, order)).collect();
    let kept_here: BTreeSet<OrderId> = snapshot.kept.iter().map(|order| order.id).collect();

    for order in snapshot.live.iter().filter(|order| order.sequence <= durable) {
        let number = order.number.map_or(0, |n| n.get());
        match in_ledger.get(&order.id) {
            None => disagree(format!("the ledger does not have the live order {}", order.id)),
            Some(row) if row.version < order.version => disagree(format!(
                "the ledger has version {} of order {}, Redis has {}",
                row.version, order.id, order.version
            )),
            Some(row) if row.version == order.version && !same(row, order) => {
                disagree(format!(
                    "Redis and the ledger describe version {} of order {} differently",
                    order.version, order.id
                ));
            }
            Some(_) => {}
        }
        if !slot_of.get(&number).is_some_and(|slot| slot.order == Some(order.id) && slot.state == SlotState::Live) {
            disagree(format!("the ledger does not have number {number} held by order {}", order.id));
        }
    }
    for row in ledger_live.iter().filter(|row| !live_here.contains_key(&row.id) && !kept_here.contains(&row.id)) {
        disagree(match row.number {
            Some(number) if row.status.is_final() => {
                format!("the ledger has number {number} held by order {}, which has ended", row.id)
            }
            _ => format!("the ledger has order {} as live, Redis does not hold it", row.id),
        });
    }
    if durable >= snapshot.sequence {
        // With events on their way the ledger may still count a rest that was ended early, or not yet one that began.
        let resting: BTreeMap<u32, Timestamp> =
            snapshot.cooling.iter().map(|(until, number)| (*number, *until)).collect();
        // Where Redis's clock was set back, rests were over that would not be by now.
        let by = now.max(snapshot.stamp);
        for slot in slots.iter().filter(|slot| matches!(slot.state, SlotState::Cooling(until) if until > by)) {
            if !resting.contains_key(&slot.number.get()) {
                disagree(format!("the ledger has number {} at rest, Redis does not", slot.number));
            }
        }
        // Numbers that were taken out lie among the resting ones until they are back, whatever the ledger says of them.
        let is_out = |number: &u32| snapshot.settings.settings.special.quarantine.contains_key(number);
        for (number, until) in resting.iter().filter(|(number, until)| **until > now && !is_out(number)) {
            if slot_of.get(number).is_none_or(|slot| slot.state != SlotState::Cooling(*until)) {
                disagree(format!("Redis has number {number} at rest until {until}, the ledger does not"));
            }
        }
    }
    findings
}

/// The sequence is not compared: the ledger need not say it. An imported order that kept its number, and was given
/// another one by recovery, has an old one in the ledger only.
fn same(row: &Order, order: &Order) -> bool {
    let old_number = order.old_number.as_ref().and(row.old_number.clone());
    let row = Order { sequence: order.sequence, old_number, ..row.clone() };
    row == *order
}
