//! Orders that are here already: what their rows have otherwise is said, updated or taken again.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    ACTOR,
    foreign::{Again, BackFillBatch, BackFillRefusal, BackFilled, ForeignOrder, Import, Known},
    identity::Standing,
};
use crate::{
    allocator::{Changed, OrderUpdate},
    domain::{Context, Order, OrderDetails, OrderId, OrderStatus, Timestamp},
    ledger::{After, LedgerError, Replacement},
    service::{Orders, ServiceError, trail},
};

/// How often a change is built anew when another one came between reading and writing.
const ATTEMPTS: usize = 8;

/// Times of one second are one time: another export writes them without a fraction.
const SECOND_MS: i64 = 1000;

impl Orders {
    /// Settles the orders of a batch that are here already, as far as they stay here: `in_redis` are those that Redis has.
    pub(super) async fn settle_known(
        &self,
        batch: &mut BackFillBatch,
        standings: &HashMap<usize, Standing>,
        in_redis: HashMap<usize, Order>,
        import: &Import,
    ) -> Result<(), ServiceError> {
        let elsewhere = |at: &usize| match standings.get(at) {
            Some(Standing::Elsewhere(source)) => Some(source.clone()),
            _ => None,
        };
        let asked: Vec<OrderId> = batch
            .pending()
            .filter(|(at, _)| !in_redis.contains_key(at) && standings.get(at) != Some(&Standing::New))
            .map(|(_, order)| order.id)
            .collect();
        let in_ledger = if asked.is_empty() { Vec::new() } else { self.ledger.orders(&asked).await? };
        let in_ledger: HashMap<OrderId, Order> = in_ledger.into_iter().map(|order| (order.id, order)).collect();
        let mut again = Vec::new();
        for at in batch.pending().map(|(at, _)| at).collect::<Vec<_>>() {
            let row = &batch.orders[at];
            let outcome = if let Some(order) = in_redis.get(&at) {
                match elsewhere(&at) {
                    Some(source) => BackFilled::Known(known(order, row, Some(source))),
                    None if order.status.is_live() => self.settle_live(order.clone(), row, import).await?,
                    None => BackFilled::Known(known(order, row, None)),
                }
            } else {
                let Some(order) = in_ledger.get(&row.id) else { continue };
                let replaced = order.status.is_final() && import.again == Again::Replace && elsewhere(&at).is_none();
                let replacement = if replaced { replacement(order, row, import, self.allocator.now()?) } else { None };
                match replacement {
                    Some((replacement, fields)) => {
                        again.push((at, replacement, fields));
                        continue;
                    }
                    None => BackFilled::Known(known(order, row, elsewhere(&at))),
                }
            };
            batch.settle([(at, outcome)]);
        }
        self.take_again(batch, again, import.trial).await
    }

    /// A live order: with leave to, it takes over what the row says.
    async fn settle_live(
        &self,
        mut order: Order,
        row: &ForeignOrder,
        import: &Import,
    ) -> Result<BackFilled, ServiceError> {
        if import.again == Again::Leave {
            return Ok(BackFilled::Known(known(&order, row, None)));
        }
        let whole = import.again == Again::Replace;
        let settled = |fields: Vec<String>| match (fields.is_empty(), whole) {
            (true, _) => BackFilled::Known(Known::default()),
            (false, true) => BackFilled::Replaced(fields),
            (false, false) => BackFilled::Updated(fields),
        };
        for _ in 0..ATTEMPTS {
            let wanted = as_row(&order, row, whole);
            let status = status_after(&order, row);
            let mut fields = names(&changes(&order, &wanted));
            fields.extend(status.map(|_| "status".to_owned()));
            if fields.is_empty() || import.trial {
                return Ok(settled(fields));
            }
            if wanted.old_number != order.old_number {
                let (shown, number) = row.shown_beside(None, &order.format).unzip();
                self.ledger.note_shown_number(order.id, shown.as_deref(), number.flatten()).await?;
            }
            let mut before = wanted.details.changed_since(&order.details);
            if wanted.order_number() != order.order_number() {
                before.insert("order_number".to_owned(), json!(order.order_number()));
            }
            let context =
                Context { before, source: Some(import.source.clone()), replaced: whole, ..Context::of(ACTOR) };
            let rewritten = (!is_same(&wanted, &order)).then_some(&wanted);
            let update = OrderUpdate { status, expected_version: Some(order.version), rewritten, context: &context };
            let ends = status.is_some_and(OrderStatus::is_final);
            let changed = match ends {
                true => self.allocator.release(order.id, update, false, false).await?,
                false => self.allocator.transition(order.id, update).await?,
            };
            match changed {
                Changed::Done(order) | Changed::Replayed { order, .. } => {
                    trail::order(if ends { "released" } else { "changed" }, &order, &context);
                    return Ok(settled(fields));
                }
                // It ended meanwhile, or is gone by now: it is not revived.
                Changed::Final(order) | Changed::Forbidden(order) => {
                    return Ok(BackFilled::Known(known(&order, row, None)));
                }
                Changed::Absent => return Ok(BackFilled::Known(Known::default())),
                Changed::Version(now) => order = now,
            }
        }
        Ok(BackFilled::Known(known(&order, row, None)))
    }

    /// Takes ended orders again. Those that are live there are live here from now on: they are left to be taken.
    async fn take_again(
        &self,
        batch: &mut BackFillBatch,
        again: Vec<(usize, Replacement, Vec<String>)>,
        trial: bool,
    ) -> Result<(), ServiceError> {
        if trial {
            batch.settle(again.into_iter().map(|(at, _, fields)| (at, BackFilled::Replaced(fields))));
            return Ok(());
        }
        // All at once; where the ledger refuses content, in halves of halves until the orders at fault stand alone.
        let mut waiting = vec![again];
        while let Some(mut part) = waiting.pop() {
            if part.is_empty() {
                continue;
            }
            let replacements: Vec<Replacement> = part.iter().map(|(_, replacement, _)| replacement.clone()).collect();
            match (self.ledger.replace_imported(replacements, self.allocator.now()?).await, part.as_slice()) {
                (Ok(done), _) => {
                    for (at, replacement, fields) in part {
                        if !done.contains(&replacement.before.id) {
                            let known = known(&replacement.before, &batch.orders[at], None);
                            batch.settle([(at, BackFilled::Known(known))]);
                        } else if let After::Live(id, _) = replacement.after {
                            batch.orders[at].id = id;
                            batch.orders[at].replaces = true;
                        } else {
                            batch.settle([(at, BackFilled::Replaced(fields))]);
                        }
                    }
                }
                (Err(LedgerError::Content { reason, .. }), [(at, ..)]) => {
                    batch.settle([(*at, BackFilled::Refused(BackFillRefusal::Content(reason)))]);
                }
                (Err(LedgerError::Content { .. }), _) => {
                    let second = part.split_off(part.len() / 2);
                    waiting.extend([second, part]);
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// How an order that is left as it is differs from its row.
fn known(order: &Order, row: &ForeignOrder, other_source: Option<String>) -> Known {
    let mut differs = names(&changes(order, &as_row(order, row, false)));
    if order.status.is_live() {
        let status = status_after(order, row).filter(|status| status.is_live());
        differs.extend(status.map(|_| "status".to_owned()));
    } else if row.status != order.status && (row.status.is_final() || was_taken_as_ended(order)) {
        differs.push("status".to_owned());
    }
    if was_taken_as_ended(order) && !is_same_time(order.created_at(), row.created_at) {
        differs.push("created_at".to_owned());
    }
    Known { still_live: order.status.is_live() && row.status.is_final(), differs, other_source }
}

/// Whether an import brought it as one that had ended. The others had a life here: what came of it stays.
fn was_taken_as_ended(order: &Order) -> bool {
    order.sequence == 0
}

/// The order with what a row says of it: what the row does not have stays, unless the row is the whole truth.
fn as_row(order: &Order, row: &ForeignOrder, whole: bool) -> Order {
    let details = if whole { row.details.clone() } else { over(&order.details, &row.details) };
    named_as_row(Order { details, ..order.clone() }, order, row)
}

/// The order with the names that its row has. A name that was known is not lost because a row does not have it.
fn named_as_row(wanted: Order, held: &Order, row: &ForeignOrder) -> Order {
    let old_number = match row.shown_number {
        Some(_) => row.old_number(wanted.number, &wanted.format),
        None => held.old_number.clone(),
    };
    let legacy_number = row.legacy_number.clone().or_else(|| held.legacy_number.clone());
    let legacy_number = legacy_number.filter(|legacy| Some(legacy) != old_number.as_ref());
    Order { legacy_number, old_number, ..wanted }
}

fn over(held: &OrderDetails, row: &OrderDetails) -> OrderDetails {
    let (held, row) = (held.clone(), row.clone());
    OrderDetails {
        table_number: row.table_number.or(held.table_number),
        order_source: row.order_source.or(held.order_source),
        order_type: row.order_type.or(held.order_type),
        external_id: row.external_id.or(held.external_id),
        customer_name: row.customer_name.or(held.customer_name),
        note: row.note.or(held.note),
        metadata: row.metadata.or(held.metadata),
        items: row.items.or(held.items),
    }
}

/// The status that a live order gets from its row; None where it keeps its own. The end comes from wherever it is said. A
/// row that says itself that it is older than the latest change here does not take back what that was.
fn status_after(order: &Order, row: &ForeignOrder) -> Option<OrderStatus> {
    if row.status == order.status {
        return None;
    }
    let says_when = row.updated_at > row.created_at;
    let is_older = order.version > 1 && says_when && row.updated_at < order.updated_at;
    let follows = row.status.is_final() || order.status.may_become(row.status) && !is_older;
    follows.then_some(row.status)
}

fn is_same(a: &Order, b: &Order) -> bool {
    (&a.details, &a.legacy_number, &a.old_number) == (&b.details, &b.legacy_number, &b.old_number)
}

fn is_same_time(a: Timestamp, b: Timestamp) -> bool {
    (a.unix_ms() - b.unix_ms()).abs() < SECOND_MS
}

/// What takes the place of an order that has ended, and the fields that are others then; None where none is.
fn replacement(
    order: &Order,
    row: &ForeignOrder,
    import: &Import,
    now: Timestamp,
) -> Option<(Replacement, Vec<String>)> {
    let stays = is_same_time(order.created_at(), row.created_at) && order.restaurant() == row.restaurant;
    let id = if stays { order.id } else { row.id_from(&import.source, 0) };
    let mut shown = row.shown_there();
    let (after, wanted) = if !was_taken_as_ended(order) {
        shown = row.shown_beside(order.number, &order.format);
        let wanted = Order { version: order.version + 1, updated_at: now, ..as_row(order, row, true) };
        (After::Ended(Box::new(wanted.clone())), wanted)
    } else if row.status.is_live() {
        let wanted = Order { id, status: row.status, released_at: None, ..as_row(order, row, true) };
        (After::Live(id, row.status), wanted)
    } else {
        let wanted = Order { version: order.version + 1, ..row.as_finished(id).order };
        let mut wanted = named_as_row(wanted, order, row);
        // Another spelling of a time is no other time.
        let kept = |held: Option<Timestamp>, new: Option<Timestamp>| match (held, new) {
            (Some(held), Some(new)) if is_same_time(held, new) => Some(held),
            (_, new) => new,
        };
        wanted.released_at = kept(order.released_at, wanted.released_at);
        wanted.updated_at = kept(Some(order.updated_at), Some(wanted.updated_at)).unwrap_or(now);
        (After::Ended(Box::new(wanted.clone())), wanted)
    };
    let changes = changes(order, &wanted);
    if changes.is_empty() {
        return None;
    }
    let fields = names(&changes);
    let mut detail = json!({ "source": import.source, "changes": changes });
    if id != order.id && was_taken_as_ended(order) {
        detail["previous_id"] = json!(order.id);
    }
    if row.shown_number.is_none() {
        shown = order.old_number.clone().map(|old| (old, order.number_there()));
    }
    Some((Replacement { before: order.clone(), after, shown, detail }, fields))
}

/// What differs between two states of an order: `{"note": ["old", "new"]}`.
fn changes(before: &Order, after: &Order) -> Map<String, Value> {
    let mut now = after.details.to_fields();
    let details = after.details.changed_since(&before.details).into_iter();
    let mut changes: Map<String, Value> =
        details.map(|(name, held)| (name.clone(), json!([held, now.remove(&name).unwrap_or_default()]))).collect();
    let mut compare = |name: &str, held: Value, new: Value| {
        if held != new {
            changes.insert(name.to_owned(), json!([held, new]));
        }
    };
    compare("status", json!(before.status), json!(after.status));
    compare("restaurant_id", json!(before.restaurant()), json!(after.restaurant()));
    compare("created_at", json!(before.created_at()), json!(after.created_at()));
    compare("released_at", json!(before.released_at), json!(after.released_at));
    compare("display_order_number", json!(before.number), json!(after.number));
    compare("display_number_formatted", json!(before.formatted_number()), json!(after.formatted_number()));
    compare("order_number", json!(before.order_number()), json!(after.order_number()));
    compare("old_number", json!(before.old_number), json!(after.old_number));
    changes
}

fn names(changes: &Map<String, Value>) -> Vec<String> {
    changes.keys().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NumberFormat, RestaurantId};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_795_402_241_250 + ms)
    }

    fn row(status: OrderStatus) -> ForeignOrder {
        let restaurant = RestaurantId::new(7).expect("valid");
        ForeignOrder {
            id: super::super::back_filled_id(at(0), restaurant, "4711"),
            key: "4711".to_owned(),
            restaurant,
            created_at: at(0),
            foreign_id: None,
            number: "42".parse().ok(),
            format: NumberFormat::default(),
            shown_number: Some("42".to_owned()),
            legacy_number: None,
            business_day: None,
            status,
            details: OrderDetails { note: Some("no onions".to_owned()), ..OrderDetails::default() },
            updated_at: at(0),
            released_at: at(0),
            replaces: false,
        }
    }

    fn live(status: OrderStatus, version: u32) -> Order {
        let row = row(OrderStatus::Completed);
        let taken = row.as_finished(row.id).order;
        Order { status, version, released_at: None, sequence: 9, updated_at: at(60_000), ..taken }
    }

    fn import(again: Again) -> Import {
        Import { source: "square".to_owned(), again, trial: false }
    }

    #[test]
    fn a_row_gives_what_it_has_and_takes_nothing_away_unless_it_is_the_whole_truth() {
        let order = live(OrderStatus::Ready, 1);
        let details = OrderDetails { customer_name: Some("Ana".to_owned()), ..OrderDetails::default() };
        let row = ForeignOrder { details, ..row(OrderStatus::Ready) };
        let updated = as_row(&order, &row, false);
        assert_eq!(updated.details.note.as_deref(), Some("no onions"));
        assert_eq!(names(&changes(&order, &updated)), ["customer_name"]);
        assert_eq!(names(&changes(&order, &as_row(&order, &row, true))), ["customer_name", "note"]);
    }

    #[test]
    fn what_the_kitchen_did_since_is_not_taken_back() {
        use OrderStatus::*;
        let later = |ms, status| ForeignOrder { updated_at: at(ms), ..row(status) };
        for (order, row, status) in [
            (live(Preparing, 1), row(Ready), Some(Ready)),
            (live(Ready, 1), row(Ready), None),
            (live(Ready, 2), later(30_000, Preparing), None),
            (live(Ready, 1), later(30_000, Preparing), Some(Preparing)),
            (live(Ready, 2), later(90_000, Preparing), Some(Preparing)),
            (live(Ready, 2), row(Preparing), Some(Preparing)),
            (live(Ready, 1), row(Pending), None),
            (live(Ready, 2), later(30_000, Cancelled), Some(Cancelled)),
            (live(Ready, 2), row(Expired), Some(Expired)),
        ] {
            assert_eq!(status_after(&order, &row), status, "{:?} {:?}", order.status, row.status);
        }
    }

    #[test]
    fn another_spelling_of_a_row_replaces_nothing() {
        let first = row(OrderStatus::Completed);
        let taken = first.as_finished(first.id).order;
        assert_eq!(replacement(&taken, &first, &import(Again::Replace), at(99)), None);
        let second = ForeignOrder { created_at: at(-250), updated_at: at(-250), released_at: at(-250), ..first };
        assert_eq!(replacement(&taken, &second, &import(Again::Replace), at(99)), None);
    }

    #[test]
    fn what_was_taken_wrongly_is_taken_again() {
        let first = row(OrderStatus::Completed);
        let taken = first.as_finished(first.id).order;
        let again = |row: &ForeignOrder| replacement(&taken, row, &import(Again::Replace), at(99)).expect("it differs");
        // Two hours off, as by a time zone: the order gets another id, and is found under the former one.
        let moved = ForeignOrder { created_at: at(7_200_000), released_at: at(7_200_000), ..first.clone() };
        let (replacement, fields) = again(&moved);
        assert_eq!(fields, ["created_at", "released_at"]);
        let After::Ended(order) = replacement.after else { panic!("it has ended") };
        assert_eq!((order.created_at(), order.version), (at(7_200_000), 2));
        assert_eq!(replacement.detail["previous_id"], json!(taken.id));
        // The word was misunderstood: it is live there.
        let (replacement, fields) = again(&ForeignOrder { status: OrderStatus::Preparing, ..first.clone() });
        assert!(fields.contains(&"status".to_owned()));
        assert_eq!(replacement.after, After::Live(taken.id, OrderStatus::Preparing));
    }

    #[test]
    fn a_life_that_was_lived_here_stays() {
        let lived =
            Order { status: OrderStatus::Cancelled, released_at: Some(at(70_000)), ..live(OrderStatus::Ready, 3) };
        let details = OrderDetails { note: Some("sin cebolla".to_owned()), ..OrderDetails::default() };
        let row = ForeignOrder { details, created_at: at(7_200_000), ..row(OrderStatus::Preparing) };
        let (replacement, fields) = replacement(&lived, &row, &import(Again::Replace), at(99)).expect("it differs");
        assert_eq!(fields, ["note"]);
        let After::Ended(order) = replacement.after else { panic!("it is not revived") };
        assert_eq!((order.id, order.status, order.version), (lived.id, OrderStatus::Cancelled, 4));
    }
}
