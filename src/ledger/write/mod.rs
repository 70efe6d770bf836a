//! The write-behind transaction: exactly once, in order, with any number of writers.
//!
//! One transaction locks the progress of its partitions, drops what is recorded, writes what is new and moves the
//! progress. Whatever happens, either all of it is there or nothing is; sent again, it finds itself recorded.

pub(super) mod batch;
pub(super) mod before;
pub(super) mod dead_letters;
pub(super) mod events;
pub(super) mod fold;
pub(super) mod import;
pub(super) mod imported;
pub(super) mod replace;
pub(super) mod slots;

use std::time::Duration;

use uuid::Uuid;

use self::{
    batch::{Due, DueEntry},
    before::State,
    dead_letters::{Unwritable, bury},
    events::EventColumns,
    fold::{SlotChange, SlotKey, fold},
};
use super::{
    Collision, Ledger, LedgerError, PartitionBatch, Written,
    db::{connect::in_task, session::Session},
    recovery::progress::{self, IfLocked},
    tables::{
        business_dates,
        months::Month,
        orders, restaurants,
        rows::{self, OrderColumns},
    },
};
use crate::domain::{Event, PartitionId};

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All at once; content that Postgres refuses fails everything.
    Whole,
    /// In halves of halves where content is refused, until the entries at fault stand alone.
    Halving,
}

impl Ledger {
    /// Writes the next entries of some partitions, each at most once in the batch, and takes or renews `writer`'s lease
    /// on them.
    ///
    /// Entries that Postgres refuses for what they hold, and those that cannot be read, are put to the dead letters.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`]; nothing is written, or after `Unreachable` perhaps everything: the same
    /// batch may be sent again in any case.
    pub async fn write(
        &self,
        batch: Vec<PartitionBatch>,
        writer: Uuid,
        lease: Duration,
    ) -> Result<Written, LedgerError> {
        let ledger = self.clone();
        in_task(async move { ledger.write_or_halve(&batch, writer, lease, IfLocked::Leave).await }).await
    }

    /// As [`Ledger::write`], for entries that callers wait for: where another writer holds a partition, it waits for that
    /// one's end.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub(crate) async fn write_awaited(
        &self,
        batch: Vec<PartitionBatch>,
        writer: Uuid,
        lease: Duration,
    ) -> Result<Written, LedgerError> {
        let ledger = self.clone();
        in_task(async move { ledger.write_or_halve(&batch, writer, lease, IfLocked::Await).await }).await
    }

    async fn write_or_halve(
        &self,
        batch: &[PartitionBatch],
        writer: Uuid,
        lease: Duration,
        if_locked: IfLocked,
    ) -> Result<Written, LedgerError> {
        self.ensure(months_of(batch)).await?;
        match self.write_once(batch, writer, lease, if_locked, Mode::Whole).await {
            Err(error @ LedgerError::Content { .. }) => {
                // A month that is known here may have been let go of since, by any daemon.
                if error.is_missing_month() {
                    self.months.forget();
                    self.ensure(months_of(batch)).await?;
                }
                self.write_once(batch, writer, lease, if_locked, Mode::Halving).await
            }
            done => done,
        }
    }

    async fn write_once(
        &self,
        batch: &[PartitionBatch],
        writer: Uuid,
        lease: Duration,
        if_locked: IfLocked,
        mode: Mode,
    ) -> Result<Written, LedgerError> {
        let partitions: Vec<PartitionId> = batch.iter().map(|part| part.partition).collect();
        self.transaction(async |transaction| {
            let locked = progress::lock(transaction, &partitions, if_locked).await?;
            let due = Due::of(batch, &locked);
            let outcome = write_due(transaction, &due.entries, mode).await?;
            progress::advance(transaction, &due.positions, &due.stamps(), writer, lease).await?;
            let is_locked = |partition: &PartitionId| locked.iter().any(|position| position.partition == *partition);
            Ok(Written {
                events: outcome.events,
                dead: outcome.dead,
                positions: due.positions,
                busy: partitions.iter().copied().filter(|partition| !is_locked(partition)).collect(),
                gaps: due.gaps,
                collisions: outcome.collisions,
            })
        })
        .await
    }
}

/// The months of the rows that these entries make.
fn months_of(batch: &[PartitionBatch]) -> Vec<Month> {
    let events = batch.iter().flat_map(|part| &part.entries).filter_map(|entry| entry.event.as_ref().ok());
    let mut months: Vec<Month> = events.flat_map(Month::of_event).collect();
    months.sort_unstable();
    months.dedup();
    months
}

#[derive(Default)]
struct Outcome {
    events: usize,
    dead: usize,
    collisions: Vec<Collision>,
}

async fn write_due(connection: &mut Session<'_>, entries: &[DueEntry<'_>], mode: Mode) -> Result<Outcome, LedgerError> {
    let (mut readable, mut dead) = (Vec::with_capacity(entries.len()), Vec::new());
    for due in entries {
        match &due.entry.event {
            Ok(event) => readable.push((*due, event)),
            Err(reason) => dead.push(Unwritable { due: *due, sqlstate: None, reason: reason.clone() }),
        }
    }
    let collisions = match mode {
        Mode::Whole => write_events(connection, &readable).await?,
        Mode::Halving => write_in_halves(connection, &readable, &mut dead).await?,
    };
    // By position: ids are given in this order, and letters are listed and tried again by id.
    dead.sort_unstable_by_key(|letter| (letter.due.partition, letter.due.generation, letter.due.entry.sequence));
    bury(connection, &dead).await?;
    Ok(Outcome { events: entries.len() - dead.len(), dead: dead.len(), collisions })
}

/// Writes all entries but those that are refused, which become dead letters. The entries stay in their order: the first
/// half is done with before the second begins.
async fn write_in_halves<'a>(
    connection: &mut Session<'_>,
    entries: &[(DueEntry<'a>, &'a Event)],
    dead: &mut Vec<Unwritable<'a>>,
) -> Result<Vec<Collision>, LedgerError> {
    let mut collisions = Vec::new();
    let mut waiting = vec![entries];
    while let Some(part) = waiting.pop() {
        let written = connection.attempt(async |connection| write_events(connection, part).await).await;
        match (written, part) {
            (Ok(found), _) => collisions.extend(found),
            (Err(LedgerError::Content { sqlstate, reason }), [(due, _)]) => {
                dead.push(Unwritable { due: *due, sqlstate: Some(sqlstate), reason });
            }
            (Err(LedgerError::Content { .. }), part) => {
                let (first, second) = part.split_at(part.len() / 2);
                waiting.extend([second, first]);
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(collisions)
}

/// Writes what the entries come to: seldom more than five statements, whatever their number.
async fn write_events(
    connection: &mut Session<'_>,
    entries: &[(DueEntry<'_>, &Event)],
) -> Result<Vec<Collision>, LedgerError> {
    let changes = write_records(connection, entries).await?;
    slots::write(connection, &changes).await
}

/// Writes all that the entries come to but for what becomes of numbers: answers with that, since an event that comes late
/// must not undo what has happened to a number since.
async fn write_records(
    connection: &mut Session<'_>,
    entries: &[(DueEntry<'_>, &Event)],
) -> Result<Vec<(SlotKey, Vec<SlotChange>)>, LedgerError> {
    let folded = fold(entries.iter().map(|(_, event)| *event));
    let mut order_columns = OrderColumns::default();
    for order in &folded.orders {
        order_columns.push(order.order, order.idempotency);
    }
    let mut state = State::before(connection, entries.iter().map(|(_, event)| *event)).await?;
    let mut event_columns = EventColumns::default();
    for (due, event) in entries {
        event_columns.push(due, event, &state.pass(event));
    }
    rows::upsert(connection, &order_columns).await?;
    events::insert(connection, &event_columns).await?;
    restaurants::upsert(connection, &folded.settings).await?;
    business_dates::set(connection, &folded.dates).await?;
    orders::insert_aliases(connection, &folded.aliases).await?;
    Ok(folded.slots)
}
