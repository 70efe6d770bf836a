//! The ledger against a real Postgres: exactly once, in order, nothing lost to one bad entry, and readers that agree.

use crate::support;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nowserving::{
    config::LedgerSettings,
    domain::{
        Calls, Context, DisplayNumber, Event, EventKind, IdempotencyDigest, Metadata, NumberAfter, Order, OrderDetails,
        OrderId, OrderSource, OrderStatus, OrderType, OutboxEntry, PartitionId, PoolSettings, Reopening, RestaurantId,
        SearchQuery, SelectionPolicy, SettingsChange, Timestamp,
    },
    ledger::{Collision, ImportedOrder, Ledger, LedgerError, PartitionBatch, SlotState, Written},
};
use proptest::prelude::*;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

const PARTITIONS: u16 = 4;
const LEASE: Duration = Duration::from_secs(1);
const WRITER: Uuid = Uuid::from_u128(1);
/// 2026-11-23T02:50:41.123Z
const STORY_BEGINS_MS: i64 = 1_795_402_241_123;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(STORY_BEGINS_MS + ms)
}

fn restaurant(id: i64) -> RestaurantId {
    RestaurantId::new(id).expect("valid")
}

fn number(number: i64) -> DisplayNumber {
    DisplayNumber::new(number).expect("valid")
}

fn patient() -> LedgerSettings {
    support::library::ledger_settings(10_000)
}

async fn connected(url: &str) -> Ledger {
    Ledger::connect(url, &patient()).await.expect("connects")
}

/// A migrated ledger whose partitions are all at the beginning of generation 1.
async fn ledger() -> (Ledger, PgConnection) {
    ledger_at(&support::fresh_database().await).await
}

async fn ledger_at(url: &str) -> (Ledger, PgConnection) {
    let ledger = connected(url).await;
    ledger.migrate().await.expect("migrates");
    ledger.deployment(PARTITIONS).await.expect("is made");
    for partition in PartitionId::all(PARTITIONS) {
        assert_eq!(ledger.advance_generation(partition, None, 1, "run", 0).await.expect("opens"), Some(0));
    }
    (ledger, PgConnection::connect(url).await.expect("connects"))
}

async fn count(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.expect(query)
}

/// The outbox of one partition, as it grows.
struct Outbox {
    partition: PartitionId,
    generation: u64,
    sequence: u64,
    entries: Vec<OutboxEntry>,
}

impl Outbox {
    fn new(partition: PartitionId) -> Self {
        Self { partition, generation: 1, sequence: 0, entries: Vec::new() }
    }

    fn of(restaurant: RestaurantId) -> Self {
        Self::new(restaurant.partition(PARTITIONS))
    }

    fn push(&mut self, kind: EventKind) {
        self.push_with(kind, Context::of("test"));
    }

    fn push_with(&mut self, kind: EventKind, context: Context) {
        self.sequence += 1;
        let (partition, generation, sequence) = (self.partition, self.generation, self.sequence);
        let at = at(i64::try_from(sequence).expect("small"));
        let event = Ok(Event { partition, generation, sequence, at, context, kind });
        self.entries.push(OutboxEntry { sequence, generation, raw: format!("entry {sequence}").into_bytes(), event });
    }

    fn push_unreadable(&mut self) {
        self.sequence += 1;
        let event = Err("not \0 an event".to_owned());
        self.entries.push(OutboxEntry {
            sequence: self.sequence,
            generation: self.generation,
            raw: vec![0xff, 0x00],
            event,
        });
    }

    /// All entries, as they would be read again and again until they are trimmed.
    fn batch(&self) -> PartitionBatch {
        PartitionBatch { partition: self.partition, generation: self.generation, entries: self.entries.clone() }
    }

    /// The entries from one index on.
    fn batch_from(&self, from: usize) -> PartitionBatch {
        PartitionBatch { entries: self.entries[from..].to_vec(), ..self.batch() }
    }
}

fn this_moment() -> Timestamp {
    Timestamp::from(chrono::Utc::now())
}

fn order(restaurant: RestaurantId, display: i64, created_ms: i64) -> Order {
    Order {
        id: OrderId::new(at(created_ms), restaurant, created_ms.cast_unsigned() << 20 | display.cast_unsigned()),
        number: Some(number(display)),
        given_at: Some(at(created_ms)),
        format: "{n:04}".parse().expect("valid"),
        range: None,
        choice: nowserving::domain::Choice::Next,
        business_day: None,
        legacy_number: None,
        old_number: None,
        status: OrderStatus::Pending,
        details: OrderDetails::default(),
        updated_at: at(created_ms),
        released_at: None,
        reopening: None,
        calls: None,
        cooldown_seconds: 60,
        version: 1,
        sequence: 1,
    }
}

fn ended(order: &Order, ms: i64) -> Order {
    Order {
        status: OrderStatus::Completed,
        updated_at: at(ms),
        released_at: Some(at(ms)),
        version: order.version + 1,
        ..order.clone()
    }
}

fn reopened(order: &Order, ms: i64) -> Order {
    let count = order.reopening.map_or(0, |reopening| reopening.count) + 1;
    Order {
        status: OrderStatus::Preparing,
        updated_at: at(ms),
        released_at: None,
        reopening: Some(Reopening { count, at: at(ms) }),
        version: order.version + 1,
        ..order.clone()
    }
}

fn taken_back(order: &Order) -> EventKind {
    EventKind::Reopened { order: order.clone(), before: OrderStatus::Completed }
}

fn created(order: &Order) -> EventKind {
    EventKind::Created { order: order.clone(), idempotency: None }
}

fn released(order: &Order) -> EventKind {
    let until = order.cooling_until().expect("has ended");
    EventKind::Released { order: order.clone(), before: OrderStatus::Pending, number: NumberAfter::Cooling(until) }
}

async fn write(ledger: &Ledger, batch: Vec<PartitionBatch>) -> Written {
    ledger.write(batch, WRITER, LEASE).await.expect("is written")
}

mod schema {
    use super::*;

    #[tokio::test]
    async fn an_empty_database_is_migrated_once_and_by_one() {
        let migrations = || std::fs::read_dir("migrations").expect("it is there").count();
        let url = support::fresh_database().await;
        let (ledger, other) = (connected(&url).await, connected(&url).await);
        assert!(matches!(ledger.progress().await, Err(LedgerError::Schema { .. })));
        assert_eq!(ledger.pending_migrations().await.expect("reads").len(), migrations());
        let (one, two) = tokio::join!(ledger.migrate(), other.migrate());
        one.and(two).expect("both take turns");
        ledger.migrate().await.expect("nothing is left to do");
        assert!(ledger.pending_migrations().await.expect("reads").is_empty());
    }

    #[tokio::test]
    async fn a_deployment_is_made_once_and_then_compared() {
        let url = support::fresh_database().await;
        let ledger = connected(&url).await;
        ledger.migrate().await.expect("migrates");
        let (one, two) = tokio::join!(ledger.deployment(8), ledger.deployment(8));
        assert_eq!(one.expect("is made"), two.expect("is found"));
        assert!(matches!(ledger.deployment(9).await, Err(LedgerError::Mismatch { .. })));
        assert_eq!(ledger.progress().await.expect("reads").len(), 8);
    }

    #[tokio::test]
    async fn months_are_made_by_many_at_once() {
        let url = support::fresh_database().await;
        let (ledger, mut db) = ledger_at(&url).await;
        let (other, clone) = (connected(&url).await, ledger.clone());
        let (from, to) = (at(0), at(300 * 86_400_000));
        let (a, b, c) =
            tokio::join!(ledger.ensure_months(from, to), other.ensure_months(from, to), clone.ensure_months(from, to));
        a.and(b).and(c).expect("all find them there");
        let made = "SELECT count(*) FROM pg_inherits WHERE inhparent IN ('orders'::regclass, 'order_events'::regclass)";
        assert_eq!(count(&mut db, made).await, 2 * 11);
    }

    #[tokio::test]
    async fn what_is_away_is_away_and_keeps_its_password() {
        let url = "postgres://somebody:s3cret@127.0.0.1:1/nowhere";
        let settings = LedgerSettings { connect_timeout_ms: 300, ..patient() };
        let ledger = Ledger::lazy(url, &settings).expect("does not connect");
        for error in [ledger.check().await, ledger.progress().await.map(drop), ledger.migrate().await] {
            let error = error.expect_err("nothing listens");
            assert!(matches!(error, LedgerError::Unreachable { .. }), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
        let error = Ledger::lazy("postgres://u:s3cret@[bad/x", &patient()).expect_err("no URL");
        assert!(matches!(error, LedgerError::Url(_)) && !format!("{error} {error:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn generations_are_opened_by_one() {
        let (ledger, _) = ledger().await;
        let partition = PartitionId::new(2);
        let (one, two) = tokio::join!(
            ledger.advance_generation(partition, Some(1), 2, "a", 0),
            ledger.advance_generation(partition, Some(1), 2, "b", 0)
        );
        assert!(one.expect("asks").is_some() ^ two.expect("asks").is_some());
        assert_eq!(ledger.progress().await.expect("reads")[2].generation, Some(2));
        assert_eq!(ledger.advance_generation(partition, None, 3, "c", 0).await.expect("asks"), None);
    }
}

mod writing {
    use super::*;

    /// Forty orders of one restaurant, half of them ended.
    fn story(restaurant: RestaurantId) -> Outbox {
        let mut outbox = Outbox::of(restaurant);
        for n in 1..=40 {
            let order = order(restaurant, n, n);
            outbox.push(created(&order));
            if n % 2 == 0 {
                outbox.push(released(&ended(&order, n + 1)));
            }
        }
        outbox
    }

    async fn assert_story_is_there(ledger: &Ledger, db: &mut PgConnection, restaurant: RestaurantId) {
        assert_eq!(count(db, "SELECT count(*) FROM orders").await, 40);
        assert_eq!(count(db, "SELECT count(*) FROM order_events").await, 60);
        assert_eq!(ledger.live_orders(restaurant).await.expect("reads").len(), 20);
        let cooling = |slot: &&nowserving::ledger::Slot| slot.state != SlotState::Live;
        assert_eq!(ledger.slots(restaurant).await.expect("reads").iter().filter(cooling).count(), 20);
        let progress = ledger.progress().await.expect("reads");
        assert_eq!(progress[restaurant.partition(PARTITIONS).index()].sequence, 60);
    }

    #[tokio::test]
    async fn a_batch_sent_twice_is_written_once() {
        let (ledger, mut db) = ledger().await;
        let outbox = story(restaurant(7));
        assert_eq!(write(&ledger, vec![outbox.batch()]).await.events, 60);
        let again = write(&ledger, vec![outbox.batch()]).await;
        assert_eq!((again.events, again.positions[0].sequence), (0, 60));
        let overlapping = write(&ledger, vec![outbox.batch_from(30)]).await;
        assert_eq!(overlapping.events, 0);
        assert_story_is_there(&ledger, &mut db, restaurant(7)).await;
    }

    #[tokio::test]
    async fn two_writers_of_one_partition_write_once() {
        let (ledger, mut db) = ledger().await;
        let outbox = story(restaurant(7));
        let writer = |id, step: usize| {
            let (ledger, entries, outbox) = (ledger.clone(), outbox.entries.len(), outbox.batch());
            async move {
                let mut written = 0;
                for upto in (step..=entries).step_by(step) {
                    let batch = PartitionBatch { entries: outbox.entries[..upto].to_vec(), ..outbox.clone() };
                    let done = ledger.write(vec![batch], Uuid::from_u128(id), LEASE).await.expect("is written");
                    assert!(done.gaps.is_empty());
                    written += done.events;
                }
                written
            }
        };
        let (one, two) = tokio::join!(writer(1, 3), writer(2, 5));
        let rest = write(&ledger, vec![outbox.batch()]).await.events;
        assert_eq!(one + two + rest, 60);
        assert_story_is_there(&ledger, &mut db, restaurant(7)).await;
    }

    #[tokio::test]
    async fn a_partition_that_another_writer_holds_is_left_out() {
        let (ledger, mut db) = ledger().await;
        let (held, free) = (PartitionId::new(0), PartitionId::new(1));
        let mut lock = db.begin().await.expect("begins");
        sqlx::query("SELECT FROM outbox_progress WHERE partition = 0 FOR UPDATE")
            .execute(&mut *lock)
            .await
            .expect("locks");
        let batch = || vec![Outbox::new(free).batch(), Outbox::new(held).batch()];
        let written = write(&ledger, batch()).await;
        assert_eq!(written.busy, [held]);
        assert_eq!(written.positions.iter().map(|position| position.partition).collect::<Vec<_>>(), [free]);
        lock.rollback().await.expect("lets go");
        assert!(write(&ledger, batch()).await.busy.is_empty());
        let progress = ledger.progress().await.expect("reads");
        assert_eq!(progress[0].writer, Some(WRITER), "the lease is visible while it runs");
    }

    #[tokio::test]
    async fn what_does_not_continue_the_ledger_is_refused() {
        let (ledger, mut db) = ledger().await;
        let outbox = story(restaurant(7));
        let gap = write(&ledger, vec![outbox.batch_from(1)]).await;
        assert_eq!((gap.events, gap.gaps[0].found, gap.positions.len()), (0, 2, 0));
        let other = PartitionBatch { generation: 2, ..outbox.batch() };
        assert_eq!(write(&ledger, vec![other]).await.gaps[0].recorded.generation, Some(1));
        assert_eq!(count(&mut db, "SELECT count(*) FROM order_events").await, 0);
        assert_eq!(write(&ledger, vec![outbox.batch()]).await.events, 60);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_no_half() {
        let (ledger, mut db) = ledger().await;
        let outbox = story(restaurant(7));
        for _ in 0..20 {
            // Too short for the first; a later one may find all of it written.
            let write = ledger.write(vec![outbox.batch()], WRITER, LEASE);
            drop(tokio::time::timeout(Duration::from_micros(300), write).await);
            let begun = count(&mut db, "SELECT count(*) FROM order_events").await;
            assert!(begun == 0 || begun == 60);
            if begun == 60 {
                break;
            }
        }
        write(&ledger, vec![outbox.batch()]).await;
        // The last of the dropped ones may still hold the row.
        while write(&ledger, vec![outbox.batch()]).await.positions.is_empty() {}
        assert_story_is_there(&ledger, &mut db, restaurant(7)).await;
    }

    #[tokio::test]
    async fn everything_about_an_order_is_kept() {
        let (ledger, mut db) = ledger().await;
        let mut outbox = Outbox::of(restaurant(7));
        let metadata = serde_json::json!({"z": [1, 2.5, {"é": null}], "a": "\\u0000", "big": u64::MAX});
        let full = Order {
            format: "A-{n:03}".parse().expect("valid"),
            range: None,
            choice: nowserving::domain::Choice::Next,
            business_day: None,
            legacy_number: Some("Old 7".to_owned()),
            details: OrderDetails {
                table_number: Some("T'1\"".to_owned()),
                order_source: Some(OrderSource::Kiosk),
                order_type: Some(OrderType::DriveThru),
                external_id: Some("x\\y".to_owned()),
                customer_name: Some("Žofie 😀".to_owned()),
                note: Some("{no,array}".to_owned()),
                metadata: metadata.as_object().cloned().map(Metadata::from),
                items: serde_json::from_value(
                    serde_json::json!([{"name": "Žemle 😀", "quantity": 999, "station": "{}"}, {"name": "x"}]),
                )
                .expect("items"),
            },
            calls: Some(Calls { count: u16::MAX, last_at: at(7) }),
            ..order(restaurant(7), 42, 5)
        };
        let digest = IdempotencyDigest { key: [7; 16], body: [8; 16] };
        outbox.push(EventKind::Created { order: full.clone(), idempotency: Some(digest) });
        let changed = Order { version: 2, status: OrderStatus::Ready, ..full.clone() };
        outbox.push(EventKind::Changed { order: changed.clone(), before: OrderStatus::Pending });
        write(&ledger, vec![outbox.batch()]).await;
        assert_eq!(ledger.order(full.id).await.expect("reads").as_ref(), Some(&changed));

        let last = ended(&changed, 9);
        outbox.push(released(&last));
        write(&ledger, vec![outbox.batch()]).await;
        assert_eq!(ledger.order(full.id).await.expect("reads").as_ref(), Some(&last));
        let kept = "SELECT count(*) FROM orders WHERE idempotency_key = decode(repeat('07', 16), 'hex')
                    AND idempotency_body = decode(repeat('08', 16), 'hex') AND display_number_formatted = 'A-042'
                    AND order_number = 'Old 7'";
        assert_eq!(count(&mut db, kept).await, 1);
        let audit = "SELECT count(*) FROM order_events WHERE kind = 'released' AND status_before = 'pending'
                     AND status_after = 'completed' AND display_order_number = 42 AND version = 3 AND actor = 'test'";
        assert_eq!(count(&mut db, audit).await, 1);
        assert_eq!(ledger.order(order(restaurant(7), 1, 1).id).await.expect("reads"), None);
    }

    #[tokio::test]
    async fn settings_and_aliases_are_kept() {
        let (ledger, _) = ledger().await;
        let mut outbox = Outbox::of(restaurant(7));
        let change = |version, min_number| SettingsChange {
            restaurant: restaurant(7),
            settings: PoolSettings {
                min_number,
                policy: SelectionPolicy::Random,
                blocked_numbers: [13, 666].into(),
                format: "A-{n}".parse().expect("valid"),
                ..PoolSettings::default()
            },
            version,
        };
        assert_eq!(ledger.settings(restaurant(7)).await.expect("reads"), None);
        outbox.push(EventKind::Configured(change(1, 5)));
        outbox.push(EventKind::Configured(change(2, 6)));
        let order = order(restaurant(7), 42, 5);
        let foreign_id = Uuid::from_u128(0xf0);
        let context = Context { foreign_id: Some(foreign_id), ..Context::of("backfill") };
        outbox.push_with(EventKind::Imported { order: order.clone() }, context);
        write(&ledger, vec![outbox.batch()]).await;
        assert_eq!(ledger.settings(restaurant(7)).await.expect("reads"), Some(change(2, 6)));
        assert_eq!(ledger.by_alias(foreign_id).await.expect("reads"), Some(order.id));
        assert_eq!(ledger.by_alias(WRITER).await.expect("reads"), None);
        outbox.push(EventKind::Configured(change(3, 9)));
        write(&ledger, vec![outbox.batch()]).await;
        assert_eq!(ledger.settings(restaurant(7)).await.expect("reads"), Some(change(3, 9)));
    }

    #[tokio::test]
    async fn blocked_numbers_are_kept_as_they_were_written() {
        let (ledger, mut db) = ledger().await;
        let mut outbox = Outbox::of(restaurant(7));
        for (version, blocked) in (1..).zip(["", "13", "*4*", "13,400-499,500,*4*,??", "7,9", "1-99"]) {
            let blocked_numbers = blocked.parse().expect("well-formed");
            let settings = PoolSettings { blocked_numbers, ..PoolSettings::default() };
            let change = SettingsChange { restaurant: restaurant(7), settings, version };
            outbox.push(EventKind::Configured(change.clone()));
            write(&ledger, vec![outbox.batch()]).await;
            assert_eq!(ledger.settings(restaurant(7)).await.expect("reads"), Some(change), "{blocked}");
        }
        // A daemon from before ranges and patterns knows nothing of them: what it writes is all there is.
        let by_an_older_daemon = "UPDATE restaurants SET version = version + 1, blocked_numbers = '{8}'";
        sqlx::query(by_an_older_daemon).execute(&mut db).await.expect("writes");
        let read = ledger.settings(restaurant(7)).await.expect("reads").expect("it has some");
        assert_eq!((read.version, read.settings.blocked_numbers), (7, [8].into()));
    }

    #[tokio::test]
    async fn a_month_that_was_removed_is_made_again() {
        let (ledger, mut db) = ledger().await;
        let mut outbox = Outbox::of(restaurant(7));
        outbox.push(created(&order(restaurant(7), 1, 1)));
        write(&ledger, vec![outbox.batch()]).await;
        sqlx::raw_sql("DROP TABLE orders_y2026m11, order_events_y2026m11").execute(&mut db).await.expect("drops");
        outbox.push(created(&order(restaurant(7), 2, 2)));
        let written = write(&ledger, vec![outbox.batch()]).await;
        assert_eq!((written.events, written.dead), (1, 0));
    }
}

mod poison {
    use super::*;

    #[tokio::test]
    async fn bad_entries_become_dead_letters_and_the_rest_is_written() {
        let (ledger, mut db) = ledger().await;
        let (one, two) = (restaurant(1), restaurant(7));
        assert_ne!(one.partition(PARTITIONS), two.partition(PARTITIONS));
        let mut outboxes = [Outbox::of(one), Outbox::of(two)];
        for n in 1..=50 {
            for (outbox, restaurant) in outboxes.iter_mut().zip([one, two]) {
                let mut order = order(restaurant, n, n);
                match n {
                    7 | 31 => order.details.note = Some("a\0b".to_owned()),
                    32 => order.number = None,
                    40 => {
                        outbox.push_unreadable();
                        continue;
                    }
                    41 => order.id = OrderId::new(Timestamp::from_unix_ms(5), restaurant, 1),
                    _ => {}
                }
                outbox.push(created(&order));
            }
        }
        let written = write(&ledger, outboxes.iter().map(Outbox::batch).collect()).await;
        assert_eq!((written.events, written.dead), (90, 10));
        assert_eq!(written.positions.iter().map(|position| position.sequence).collect::<Vec<_>>(), [50, 50]);
        assert_eq!(count(&mut db, "SELECT count(*) FROM orders").await, 90);
        assert_eq!(count(&mut db, "SELECT count(*) FROM order_events").await, 90);
        assert_eq!(count(&mut db, "SELECT count(*) FROM display_order_slots").await, 90);
        let dead: Vec<(i64, Option<String>, Vec<u8>)> =
            sqlx::query_as("SELECT sequence, sqlstate, entry FROM dead_letters WHERE partition = $1 ORDER BY sequence")
                .bind(one.partition(PARTITIONS).as_i16())
                .fetch_all(&mut db)
                .await
                .expect("reads");
        let states: Vec<(i64, Option<&str>)> = dead.iter().map(|(n, state, _)| (*n, state.as_deref())).collect();
        let (nul, check) = (Some("22021"), Some("23514"));
        assert_eq!(states, [(7, nul), (31, nul), (32, check), (40, None), (41, check)]);
        assert_eq!((dead[0].2.as_slice(), dead[3].2.as_slice()), (b"entry 7".as_slice(), [0xff, 0x00].as_slice()));
        assert_eq!(ledger.health().await.expect("reads").dead_letters, 10);

        let again = write(&ledger, outboxes.iter().map(Outbox::batch).collect()).await;
        assert_eq!((again.events, again.dead), (0, 0));
    }

    /// One number goes from order to order, with bad entries in between.
    #[tokio::test]
    async fn the_rest_of_a_batch_stays_in_order() {
        let (ledger, _) = ledger().await;
        let r = restaurant(7);
        let mut outbox = Outbox::of(r);
        for n in 1..=10 {
            let order = order(r, 42, n * 10);
            outbox.push(created(&order));
            outbox.push(created(&Order {
                details: OrderDetails { note: Some("\0".to_owned()), ..OrderDetails::default() },
                ..super::order(r, 43, n * 10)
            }));
            if n < 10 {
                outbox.push(released(&ended(&order, n * 10 + 5)));
            }
        }
        let written = write(&ledger, vec![outbox.batch()]).await;
        assert_eq!((written.events, written.dead, written.collisions), (19, 10, vec![]));
        let slots = ledger.slots(r).await.expect("reads");
        let [slot] = &slots[..] else { panic!("{slots:?}") };
        assert_eq!((slot.state, slot.allocated_at), (SlotState::Live, at(100)));
    }

    #[tokio::test]
    async fn a_batch_of_nothing_but_poison_is_passed() {
        let (ledger, _) = ledger().await;
        let mut outbox = Outbox::of(restaurant(7));
        for n in 1..=5 {
            let mut order = order(restaurant(7), n, n);
            order.details.note = Some("\0".to_owned());
            outbox.push(created(&order));
        }
        let written = write(&ledger, vec![outbox.batch()]).await;
        assert_eq!((written.events, written.dead, written.positions[0].sequence), (0, 5, 5));
    }
}

mod numbers {
    use super::*;

    fn collision(restaurant: RestaurantId, display: i64, order: &Order, other: &Order) -> Collision {
        Collision { restaurant, number: number(display), order: order.id, other: other.id }
    }

    #[tokio::test]
    async fn a_live_holder_is_never_overwritten() {
        let (ledger, _) = ledger().await;
        let r = restaurant(7);
        let mut outbox = Outbox::of(r);
        let (holder, rival) = (order(r, 42, 1), order(r, 42, 2));
        outbox.push(created(&holder));
        assert!(write(&ledger, vec![outbox.batch()]).await.collisions.is_empty());
        outbox.push(created(&rival));
        assert_eq!(write(&ledger, vec![outbox.batch()]).await.collisions, [collision(r, 42, &rival, &holder)]);
        outbox.push(released(&ended(&rival, 3)));
        assert_eq!(write(&ledger, vec![outbox.batch()]).await.collisions, [collision(r, 42, &rival, &holder)]);
        let slots = ledger.slots(r).await.expect("reads");
        assert_eq!((slots[0].order, slots[0].state), (Some(holder.id), SlotState::Live));
        outbox.push(released(&ended(&holder, 4)));
        assert!(write(&ledger, vec![outbox.batch()]).await.collisions.is_empty());
        assert_eq!(ledger.slots(r).await.expect("reads")[0].state, SlotState::Cooling(at(60_004)));
        // Both orders are in the ledger all the same.
        assert_eq!(ledger.order(rival.id).await.expect("reads").map(|order| order.version), Some(2));
    }

    #[tokio::test]
    async fn collisions_inside_one_batch_are_found() {
        let (ledger, _) = ledger().await;
        let r = restaurant(7);
        let mut outbox = Outbox::of(r);
        let (holder, rival) = (order(r, 42, 1), order(r, 42, 2));
        outbox.push(created(&holder));
        outbox.push(created(&rival));
        assert_eq!(write(&ledger, vec![outbox.batch()]).await.collisions, [collision(r, 42, &rival, &holder)]);
        assert_eq!(ledger.slots(r).await.expect("reads")[0].order, Some(holder.id));
    }

    #[tokio::test]
    async fn of_two_orders_that_were_lost_the_longer_rest_counts() {
        for at_once in [true, false] {
            let (ledger, _) = ledger().await;
            let r = restaurant(7);
            let mut outbox = Outbox::of(r);
            let (first, second) = (order(r, 42, 1), order(r, 42, 10));
            outbox.push(created(&first));
            for order in &[ended(&first, 4), ended(&second, 14)] {
                let EventKind::Released { number, .. } = released(order) else { panic!("it is released") };
                let number = Some(number);
                outbox.push(EventKind::Restated { order: order.clone(), number, idempotency: None });
                if !at_once {
                    write(&ledger, vec![outbox.batch()]).await;
                }
            }
            if at_once {
                write(&ledger, vec![outbox.batch()]).await;
            }
            let slots = ledger.slots(r).await.expect("reads");
            assert_eq!((slots[0].order, slots[0].state), (Some(second.id), SlotState::Cooling(at(60_014))));
        }
    }

    #[tokio::test]
    async fn who_had_a_number_and_when() {
        let (ledger, mut db) = ledger().await;
        let r = restaurant(7);
        let mut outbox = Outbox::of(r);
        const MONTH: i64 = 31 * 86_400_000;
        let orders = [order(r, 42, 1), order(r, 42, MONTH), order(r, 42, MONTH + 10)];
        for (place, order) in orders.iter().enumerate() {
            outbox.push(created(order));
            if place < 2 {
                outbox.push(released(&ended(order, order.created_at().unix_ms() - STORY_BEGINS_MS + 5)));
            }
        }
        outbox.push(created(&super::order(r, 43, 2)));
        write(&ledger, vec![outbox.batch()]).await;
        let holder = async |ms| ledger.holder_at(r, number(42), at(ms)).await.expect("reads").map(|order| order.id);
        assert_eq!(holder(0).await, None);
        assert_eq!(holder(1).await, Some(orders[0].id));
        assert_eq!(holder(MONTH - 1).await, Some(orders[0].id));
        assert_eq!(holder(MONTH).await, Some(orders[1].id));
        assert_eq!(holder(MONTH + 9).await, Some(orders[1].id));
        assert_eq!(holder(i64::MAX / 2).await, Some(orders[2].id));
        let last = ledger.last_holder(r, number(42)).await.expect("reads");
        assert_eq!(last.as_ref(), Some(&orders[2]));
        // Those from before it was stored when a number was given count by when they were made, and so does what is imported
        // of a time before them.
        sqlx::query("UPDATE orders SET given_at = NULL WHERE internal_order_id <> $1")
            .bind(orders[0].id.as_uuid())
            .execute(&mut db)
            .await
            .expect("it is a test's own");
        assert_eq!(holder(MONTH - 1).await, Some(orders[0].id));
        assert_eq!(holder(MONTH + 9).await, Some(orders[1].id));
        assert_eq!(holder(i64::MAX / 2).await, Some(orders[2].id));
        assert_eq!(ledger.last_holder(restaurant(8), number(42)).await.expect("reads"), None);
    }

    /// From which a rebuild fills Redis.
    #[tokio::test]
    async fn a_pool_is_read_with_what_is_live_and_what_rests() {
        let (ledger, _) = ledger().await;
        let r = restaurant(7);
        let mut outbox = Outbox::of(r);
        let (live, resting) = (order(r, 41, 1), order(r, 42, 2));
        outbox.push(created(&live));
        outbox.push(created(&resting));
        let resting = ended(&resting, 50);
        outbox.push(released(&resting));
        write(&ledger, vec![outbox.batch()]).await;
        let settings = SettingsChange { restaurant: r, settings: PoolSettings::default(), version: 1 };
        let images = ledger.pool_images(vec![settings], at(0)).await.expect("reads");
        let [image] = &images[..] else { panic!("{images:?}") };
        assert_eq!(image.live.iter().map(|order| order.id).collect::<Vec<_>>(), [live.id]);
        assert_eq!(image.cooling, [(resting.cooling_until().expect("it has ended"), number(42))]);
        assert_eq!(image.last_given, [(None, number(42))]);
        assert!(image.odd_cooldowns.is_empty(), "no rest gives way");
        // Where rests give way, it must be known when they began.
        let of = |cooldown_seconds| {
            let least = PoolSettings { cooldown_seconds, cooldown_min_seconds: Some(1), ..PoolSettings::default() };
            SettingsChange { restaurant: r, settings: least, version: 2 }
        };
        for (cooldown, odd) in [(resting.cooldown_seconds, vec![]), (7, vec![(number(42), resting.cooldown_seconds)])] {
            let images = ledger.pool_images(vec![of(cooldown)], at(0)).await.expect("reads");
            assert_eq!(images[0].odd_cooldowns, odd.into_iter().collect());
        }
    }

    /// Which may be later than the order was asked for.
    #[tokio::test]
    async fn a_number_is_held_from_when_it_was_given() {
        let (ledger, _) = ledger().await;
        let r = restaurant(7);
        let mut outbox = Outbox::of(r);
        let first = order(r, 42, 1);
        outbox.push(created(&first));
        outbox.push(released(&ended(&first, 50)));
        let second = Order { given_at: Some(at(60)), ..order(r, 42, 40) };
        outbox.push(created(&second));
        write(&ledger, vec![outbox.batch()]).await;
        let slots = ledger.slots(r).await.expect("reads");
        assert_eq!(
            slots.iter().map(|slot| (slot.order, slot.allocated_at)).collect::<Vec<_>>(),
            [(Some(second.id), at(60))]
        );
        let holder = async |ms| ledger.holder_at(r, number(42), at(ms)).await.expect("reads").map(|order| order.id);
        assert_eq!((holder(45).await, holder(60).await), (Some(first.id), Some(second.id)));
    }

    #[tokio::test]
    async fn rows_whose_rest_is_over_are_purged_a_few_at_a_time() {
        let (ledger, mut db) = ledger().await;
        let now = Timestamp::from_unix_ms(count(&mut db, "SELECT (extract(epoch FROM now()) * 1000)::bigint").await);
        let since_story = now.unix_ms() - STORY_BEGINS_MS;
        let r = restaurant(7);
        let mut outbox = Outbox::of(r);
        // Rests of a minute that began an hour ago, that ended just now, and that go on.
        for (n, ended_ms) in [(1, -3_600_000), (2, -61_000), (3, 0), (4, -3_600_000), (5, -3_600_000)] {
            let order = order(r, n, since_story - 7_200_000);
            outbox.push(created(&order));
            outbox.push(released(&ended(&order, since_story + ended_ms)));
        }
        outbox.push(created(&order(r, 6, since_story)));
        write(&ledger, vec![outbox.batch()]).await;
        let mut removed = 0;
        for _ in 0..4 {
            let purged = ledger.purge_slots(this_moment(), 2).await.expect("purges");
            removed += purged.removed;
            if purged.wrapped {
                break;
            }
        }
        assert_eq!(removed, 3);
        let left: Vec<u32> = ledger.slots(r).await.expect("reads").iter().map(|slot| slot.number.get()).collect();
        assert_eq!(left, [2, 3, 6]);
        assert_eq!(ledger.purge_slots(this_moment(), 100).await.expect("purges").removed, 0);
    }
}

/// The ledger against a plain model that takes one event at a time, sense or nonsense.
mod folding {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Act {
        Create,
        Change,
        Rest,
        Free,
        Recycle,
        Reopen,
    }

    fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
        let act = prop_oneof![
            4 => Just(Act::Create),
            2 => Just(Act::Change),
            4 => Just(Act::Rest),
            2 => Just(Act::Free),
            1 => Just(Act::Recycle),
            2 => Just(Act::Reopen),
        ];
        prop::collection::vec((0..7_usize, act), 1..60)
    }

    #[derive(Default)]
    struct Model {
        orders: BTreeMap<OrderId, Order>,
        /// Number → holder, and until when it rests.
        rows: BTreeMap<DisplayNumber, (OrderId, Option<Timestamp>)>,
        collisions: BTreeSet<Collision>,
    }

    impl Model {
        fn take(&mut self, kind: &EventKind, order: &Order) {
            let stage = |order: &Order| {
                (order.reopening.map_or(0, |reopening| reopening.count), order.status.is_final(), order.version)
            };
            if self.orders.get(&order.id).is_none_or(|known| stage(known) < stage(order)) {
                self.orders.insert(order.id, order.clone());
            }
            let number = order.number.expect("all have one");
            let other = self.rows.get(&number).copied().filter(|(holder, _)| *holder != order.id);
            let (row, stands_in_the_way) = match kind {
                EventKind::Created { .. } | EventKind::Reopened { .. } => {
                    (Some((order.id, None)), other.is_some_and(|(_, rests)| rests.is_none()))
                }
                EventKind::Released { number: NumberAfter::Cooling(until), .. } => {
                    (Some((order.id, Some(*until))), other.is_some_and(|(_, rests)| rests.is_none()))
                }
                EventKind::Released { .. } | EventKind::Recycled { .. } => (None, other.is_some()),
                _ => return,
            };
            match (other, row) {
                (Some((other, _)), _) if stands_in_the_way => {
                    let restaurant = order.restaurant();
                    self.collisions.insert(Collision { restaurant, number, order: order.id, other });
                }
                (_, Some(row)) => drop(self.rows.insert(number, row)),
                (_, None) => drop(self.rows.remove(&number)),
            }
        }
    }

    /// Seven orders that share three numbers.
    fn play(outbox: &mut Outbox, model: &mut Model, r: RestaurantId, acts: &[(usize, Act)]) {
        let mut orders: Vec<Order> = (0..7).map(|i| Order { version: 0, ..order(r, 1 + i % 3, i) }).collect();
        for (place, (which, act)) in (100_i64..).zip(acts) {
            let order = &mut orders[*which];
            let before = order.status;
            if !matches!(act, Act::Recycle) || order.version == 0 {
                order.version += 1;
            }
            order.updated_at = at(place);
            let (status, released_at) = match act {
                Act::Create => (OrderStatus::Pending, None),
                Act::Change => (OrderStatus::Ready, None),
                Act::Rest | Act::Free => (OrderStatus::Completed, Some(at(place))),
                Act::Recycle => (order.status, order.released_at),
                Act::Reopen => (OrderStatus::Preparing, None),
            };
            (order.status, order.released_at) = (status, released_at);
            if matches!(act, Act::Reopen) {
                order.reopening = reopened(order, place).reopening;
            }
            let order = order.clone();
            let kind = match act {
                Act::Create => created(&order),
                Act::Change => EventKind::Changed { order: order.clone(), before },
                Act::Rest => released(&order),
                Act::Free => EventKind::Released { order: order.clone(), before, number: NumberAfter::Free },
                Act::Recycle => EventKind::Recycled { order: order.clone() },
                Act::Reopen => taken_back(&order),
            };
            model.take(&kind, &order);
            outbox.push(kind);
        }
    }

    /// In one batch or in several.
    #[tokio::test]
    async fn a_reopened_order_is_live_again_with_its_number() {
        let r = restaurant(7);
        for size in [1, 2, 3] {
            let (ledger, mut db) = ledger().await;
            let mut outbox = Outbox::of(r);
            let first = order(r, 1, 1);
            let ended = ended(&first, 2);
            let again = reopened(&ended, 3);
            for kind in [created(&first), released(&ended), taken_back(&again)] {
                outbox.push(kind);
            }
            for entries in outbox.entries.chunks(size) {
                let batch = PartitionBatch { entries: entries.to_vec(), ..outbox.batch() };
                assert_eq!(write(&ledger, vec![batch]).await.collisions, []);
            }
            assert_eq!(ledger.order(first.id).await.expect("reads"), Some(again.clone()), "in batches of {size}");
            assert_eq!(ledger.live_orders(r).await.expect("reads"), std::slice::from_ref(&again));
            let slots = ledger.slots(r).await.expect("reads");
            assert_eq!((slots.len(), slots[0].state, slots[0].allocated_at), (1, SlotState::Live, at(1)));
            let images = ledger.pool_images(vec![settings_of(r)], at(0)).await.expect("reads");
            assert_eq!((&images[0].live, images[0].cooling.len()), (&vec![again.clone()], 0), "as a rebuild reads it");
            // Who had the number is one order, whichever of its lives it is.
            for ms in [1, 2, 3, 99] {
                assert_eq!(ledger.holder_at(r, number(1), at(ms)).await.expect("reads"), Some(again.clone()));
            }
            let statuses = [(0, None), (1, Some(OrderStatus::Pending)), (2, Some(OrderStatus::Completed))];
            for (ms, status) in
                statuses.into_iter().chain([(3, Some(OrderStatus::Preparing)), (9, Some(OrderStatus::Preparing))])
            {
                assert_eq!(ledger.status_at(first.id, at(ms)).await.expect("reads"), status, "at {ms}");
            }
            let logged = "SELECT count(*) FROM order_events WHERE kind = 'reopened' AND status_before = 'completed'
                          AND status_after = 'preparing' AND version = 3";
            assert_eq!(count(&mut db, logged).await, 1);
            let bad = sqlx::query("UPDATE orders SET reopened_at = NULL WHERE reopenings > 0").execute(&mut db).await;
            assert!(bad.is_err(), "how often and when belong together");
        }
    }

    fn settings_of(restaurant: RestaurantId) -> SettingsChange {
        SettingsChange { restaurant, settings: PoolSettings::default(), version: 1 }
    }

    /// However late it comes, and at whichever version: the end before a reopening does not win, and the end behind it does.
    #[tokio::test]
    async fn reopenings_count_before_ends_and_ends_before_versions() {
        let r = restaurant(7);
        let first = order(r, 1, 1);
        let later = |order: Order, version| Order { version, ..order };
        let once = reopened(&ended(&first, 2), 3);
        let end_before = later(ended(&first, 4), 40);
        let gone_on = later(Order { status: OrderStatus::Ready, ..first.clone() }, 50);
        let end_behind = later(ended(&once, 5), 4);
        let twice = reopened(&end_behind, 6);
        for (written, late) in
            [(&once, &end_before), (&once, &gone_on), (&end_behind, &end_before), (&twice, &end_behind)]
        {
            for at_once in [false, true] {
                let (ledger, _) = ledger_at(&support::fresh_database().await).await;
                let mut outbox = Outbox::of(r);
                outbox.push(created(&first));
                let changed = |order: &Order| EventKind::Changed { order: order.clone(), before: OrderStatus::Pending };
                outbox.push(changed(written));
                outbox.push(changed(late));
                for entries in outbox.entries.chunks(if at_once { 3 } else { 1 }) {
                    write(&ledger, vec![PartitionBatch { entries: entries.to_vec(), ..outbox.batch() }]).await;
                }
                assert_eq!(ledger.order(first.id).await.expect("reads").as_ref(), Some(written), "{late:?}");
            }
        }
    }

    #[test]
    fn batches_of_any_size_come_to_the_same_as_single_events() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
        let (ledger, mut db) = runtime.block_on(ledger());
        let outboxes = std::cell::RefCell::new(BTreeMap::<PartitionId, Outbox>::new());
        let restaurants = std::cell::Cell::new(0);
        let total = std::cell::Cell::new(0);
        let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(acts in acts(), sizes in prop::collection::vec(1..25_usize, 1..8))| {
            restaurants.set(restaurants.get() + 1);
            let r = restaurant(restaurants.get());
            let mut outboxes = outboxes.borrow_mut();
            let partition = r.partition(PARTITIONS);
            let outbox = outboxes.entry(partition).or_insert_with(|| Outbox::new(partition));
            outbox.entries.clear();
            let mut model = Model::default();
            play(outbox, &mut model, r, &acts);
            total.set(total.get() + acts.len());

            runtime.block_on(async {
                let mut collisions = BTreeSet::new();
                let mut rest = outbox.entries.as_slice();
                for size in sizes.iter().cycle() {
                    let (now, later) = rest.split_at((*size).min(rest.len()));
                    let batch = PartitionBatch { entries: now.to_vec(), ..outbox.batch() };
                    let written = write(&ledger, vec![batch]).await;
                    prop_assert_eq!((written.events, written.dead), (now.len(), 0));
                    collisions.extend(written.collisions);
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
                for (id, order) in &model.orders {
                    let stored = ledger.order(*id).await.expect("reads");
                    prop_assert_eq!(stored.as_ref(), Some(order));
                }
                let state = |until: Option<Timestamp>| until.map_or(SlotState::Live, SlotState::Cooling);
                let slots = ledger.slots(r).await.expect("reads");
                let slots: Vec<_> = slots.iter().map(|slot| (slot.number, slot.order, slot.state)).collect();
                let rows: Vec<_> = model.rows.iter().map(|(n, (order, until))| (*n, Some(*order), state(*until))).collect();
                prop_assert_eq!(slots, rows);
                prop_assert_eq!(collisions, model.collisions);
                Ok(())
            })?;
        });
        let events = runtime.block_on(count(&mut db, "SELECT count(*) FROM order_events"));
        assert_eq!(usize::try_from(events), Ok(total.get()));
    }
}

mod searching {
    use super::*;

    const NAMES: [&str; 19] = [
        "Ana",
        "ANASTASIA",
        "Žofie",
        "żaneta",
        "Li",
        "50% off_",
        "İpek",
        "ΣΟΦΟΣ",
        "Jose\u{301}",
        "José",
        "Łukasz",
        "Straße",
        "O’Brien",
        "'",
        "ﬁ Ǆ",
        "Nguyễn",
        "山田　太郎",
        "Андрей",
        "が\u{ad}か",
    ];
    const CODES: [&str; 10] = ["T1", "t12", "42", "R7-0042", "É1", "x%", "#1,042", "Old 07", "#?!", "No. 42"];

    fn orders() -> Vec<Order> {
        let pick = |from: &[&str], i: usize| from.get(i % (from.len() + 2)).map(|text| (*text).to_owned());
        let formats = ["{n:04}", "A-{n:03}", "1{n}", "{n}", "№{n:02}!", "Ｂ {n} ٤"];
        let mut orders = Vec::new();
        for i in 0..300_usize {
            let ms = i64::try_from(i).expect("small") * 400_000_000;
            let r = restaurant(if i % 10 == 0 { 8 } else { 7 });
            let mut order = order(r, i64::try_from(i % 23 + i % 2 * 30).expect("small") + 1, ms);
            order.format = formats[i % formats.len()].parse().expect("valid");
            order.legacy_number = if i % 11 == 0 { pick(&CODES, i / 11) } else { None };
            order.details.customer_name = pick(&NAMES, i);
            order.details.table_number = pick(&CODES, i / 3);
            order.details.external_id = pick(&CODES, i / 7);
            orders.push(ended(&order, ms + 1));
        }
        orders
    }

    fn texts(orders: &[Order]) -> BTreeSet<String> {
        let mut texts: BTreeSet<String> = NAMES.iter().chain(&CODES).map(|text| (*text).to_owned()).collect();
        for (at, name) in NAMES.iter().enumerate() {
            let letters: Vec<char> = name.chars().collect();
            let sizes = if at < 8 { 1..=4 } else { 3..=3 };
            for part in sizes.flat_map(|size| letters.windows(size).map(String::from_iter).collect::<Vec<_>>()) {
                texts.extend([part.to_lowercase(), part.to_uppercase(), part]);
            }
        }
        for order in orders.iter().step_by(17) {
            let id = order.id.to_string();
            texts.extend([8, 9, 11, 18, 24, 36].map(|digits| id[..digits].to_owned()));
            texts.extend(order.formatted_number());
            texts.extend(order.order_number().map(|text| text.to_lowercase()));
            texts.extend(order.number.map(|number| format!("00{number}")));
        }
        for order in orders.iter().step_by(43) {
            for shown in [order.formatted_number(), order.order_number()].into_iter().flatten() {
                let wide =
                    |c: char| char::from_u32(u32::from(c) + 0xfee0).filter(|_| c.is_ascii_graphic()).unwrap_or(c);
                texts.extend([format!("#{shown}"), format!("No. {shown}"), shown.replace(['-', ' ', '!'], "")]);
                texts.extend([shown.replace('0', ""), shown.replace('-', " 0"), shown.chars().map(wide).collect()]);
            }
        }
        let more =
            ["é1", "nothing", "\\", "%", "_", "jose", "JOSÉ", "strasse", "obrien", "o'b", "fi dž", "が", "か", "''"];
        texts.extend(more.map(str::to_owned));
        texts.extend(
            ["1042", "#1042", "1.042", "old7", "OLD-7", "#?!", "#", "e1", "42!", "٤٢", "r7 42", "b 4", "第42号"]
                .map(str::to_owned),
        );
        texts.retain(|text| SearchQuery::parse(text).is_ok());
        texts
    }

    #[tokio::test]
    async fn the_ledger_finds_what_the_rules_say() {
        let (ledger, mut db) = ledger().await;
        let mut orders = orders();
        let mut outboxes = [restaurant(7), restaurant(8)].map(Outbox::of);
        if outboxes[0].partition == outboxes[1].partition {
            panic!("the test needs two partitions");
        }
        for order in &orders {
            outboxes[usize::from(order.restaurant().get() == 8)].push(released(order));
        }
        write(&ledger, outboxes.iter().map(Outbox::batch).collect()).await;
        orders.sort_by_key(|order| std::cmp::Reverse(order.id));
        for analyzed in [false, true] {
            if analyzed {
                sqlx::raw_sql("ANALYZE").execute(&mut db).await.expect("analyzes");
            }
            for text in texts(&orders) {
                let query = SearchQuery::parse(&text).expect("valid");
                let expected: Vec<&Order> =
                    orders.iter().filter(|order| order.restaurant() == restaurant(7) && query.matches(order)).collect();
                let found = ledger.search(restaurant(7), &query, 1000, None).await.expect(&text);
                assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{text:?}");
                if let [_, second, third, ..] = expected.as_slice() {
                    let page = ledger.search(restaurant(7), &query, 1, Some(second.id)).await.expect(&text);
                    assert_eq!(page.iter().collect::<Vec<_>>(), [*third], "{text:?}");
                }
            }
        }
    }
}

mod importing {
    use super::*;

    fn old_order(n: i64) -> ImportedOrder {
        // Years ago, a month apart; every third without a number.
        let r = restaurant(7);
        let created_ms = -n * 31 * 86_400_000 - 200_000_000_000;
        let order = ended(&order(r, 1 + n % 99, created_ms), created_ms + 60_000);
        let number = order.number.filter(|_| n % 3 != 0);
        let order = Order { number, legacy_number: Some(format!("OLD-{n}")), version: 1, sequence: 0, ..order };
        ImportedOrder { order, foreign_id: (n % 2 == 0).then(|| Uuid::from_u128(n.cast_unsigned().into())) }
    }

    #[tokio::test]
    async fn an_import_run_twice_doubles_nothing() {
        let (ledger, mut db) = ledger().await;
        let orders: Vec<ImportedOrder> = (0..30).map(old_order).collect();
        let (first, rest) = orders.split_at(12);
        assert_eq!(ledger.import_finished(first.to_vec(), this_moment()).await.expect("imports").len(), 12);
        assert_eq!(ledger.import_finished(orders.clone(), this_moment()).await.expect("imports").len(), rest.len());
        assert!(ledger.import_finished(orders.clone(), this_moment()).await.expect("imports").is_empty());
        assert_eq!(count(&mut db, "SELECT count(*) FROM orders").await, 30);
        let events = "SELECT count(*) FROM order_events WHERE kind = 'imported' AND generation = 0";
        assert_eq!(count(&mut db, events).await, 30);
        for imported in &orders {
            assert_eq!(ledger.order(imported.order.id).await.expect("reads").as_ref(), Some(&imported.order));
            if let Some(foreign_id) = imported.foreign_id {
                assert_eq!(ledger.by_alias(foreign_id).await.expect("reads"), Some(imported.order.id));
            }
        }
    }

    #[tokio::test]
    async fn an_order_known_under_another_id_is_left_out() {
        let (ledger, mut db) = ledger().await;
        let known = old_order(2);
        ledger.import_finished(vec![known.clone()], this_moment()).await.expect("imports");
        let again = ImportedOrder { foreign_id: known.foreign_id, ..old_order(4) };
        assert!(ledger.import_finished(vec![again], this_moment()).await.expect("imports").is_empty());
        assert_eq!(count(&mut db, "SELECT count(*) FROM orders").await, 1);
    }

    #[tokio::test]
    async fn an_import_is_taken_wholly_or_not_at_all() {
        let (ledger, mut db) = ledger().await;
        let mut bad = old_order(1);
        bad.order.details.note = Some("\0".to_owned());
        let refused = ledger.import_finished(vec![old_order(2), bad], this_moment()).await;
        assert!(matches!(refused, Err(LedgerError::Content { .. })), "{refused:?}");
        assert_eq!(count(&mut db, "SELECT count(*) FROM orders").await, 0);
        assert_eq!(count(&mut db, "SELECT count(*) FROM order_aliases").await, 0);
    }
}

mod before {
    use serde_json::{Value, json};

    use super::*;

    async fn details(db: &mut PgConnection) -> Vec<(String, Option<String>, Value)> {
        let query = "SELECT kind, status_before, coalesce(detail, 'null') FROM order_events ORDER BY sequence";
        sqlx::query_as(query).fetch_all(db).await.expect("answers")
    }

    fn settings(max_number: u32, version: u32) -> EventKind {
        let settings = PoolSettings { max_number, ..PoolSettings::default() };
        EventKind::Configured(SettingsChange { restaurant: restaurant(7), settings, version })
    }

    fn maxima(detail: &Value) -> (Option<&Value>, &Value) {
        let before = detail.get("before").map(|before| before.get("max_number").unwrap_or(before));
        (before, &detail["after"]["max_number"])
    }

    #[tokio::test]
    async fn settings_say_what_they_replace_wherever_a_batch_ends() {
        for cut in 0..=5 {
            let (ledger, mut db) = ledger().await;
            let mut outbox = Outbox::of(restaurant(7));
            // Version 4 is lost; 5 is said again.
            for (max_number, version) in [(10, 1), (20, 2), (30, 3), (50, 5), (50, 5)] {
                outbox.push(settings(max_number, version));
            }
            let first = PartitionBatch { entries: outbox.entries[..cut].to_vec(), ..outbox.batch() };
            ledger.write(vec![first], WRITER, LEASE).await.expect("is written");
            ledger.write(vec![outbox.batch()], WRITER, LEASE).await.expect("is written");
            let found = details(&mut db).await;
            let found: Vec<_> = found.iter().map(|(_, _, detail)| maxima(detail)).collect();
            let (null, ten, twenty) = (Value::Null, json!(10), json!(20));
            let (thirty, fifty) = (json!(30), json!(50));
            let expected =
                [(Some(&null), &ten), (Some(&ten), &twenty), (Some(&twenty), &thirty), (None, &fifty), (None, &fifty)];
            assert_eq!(found, expected, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn an_order_that_is_said_again_says_what_the_ledger_had() {
        let (ledger, mut db) = ledger().await;
        let mut outbox = Outbox::of(restaurant(7));
        let mut known = order(restaurant(7), 1, 1);
        known.details.note = Some("no onions".to_owned());
        let mut newer = Order { status: OrderStatus::Ready, version: 3, ..known.clone() };
        newer.details = OrderDetails { customer_name: Some("Ada".to_owned()), ..OrderDetails::default() };
        let unknown = order(restaurant(7), 2, 2);
        let again = |order: &Order| EventKind::Restated { order: order.clone(), number: None, idempotency: None };
        outbox.push(EventKind::Created { order: known.clone(), idempotency: None });
        ledger.write(vec![outbox.batch()], WRITER, LEASE).await.expect("is written");
        for order in [&newer, &unknown, &newer, &known] {
            outbox.push(again(order));
        }
        ledger.write(vec![outbox.batch()], WRITER, LEASE).await.expect("is written");
        let changes = json!({"changes": {"note": ["no onions", null], "customer_name": [null, "Ada"]}});
        let restated = |before: Option<&str>, detail: Value| ("restated".to_owned(), before.map(str::to_owned), detail);
        assert_eq!(
            details(&mut db).await,
            [
                ("created".to_owned(), None, Value::Null),
                restated(Some("pending"), changes),
                restated(None, Value::Null),
                restated(Some("ready"), Value::Null),
                restated(None, Value::Null),
            ]
        );
    }
}

mod metadata {
    use garde::Validate;

    use super::*;

    /// A number as a person may write it, or a text, or a word of JSON.
    fn leaf() -> impl Strategy<Value = String> {
        let float = any::<u64>().prop_map(f64::from_bits).prop_filter("JSON has no other", |number| number.is_finite());
        let odd = prop::sample::select(vec![
            "-0",
            "-0.0",
            "0.000",
            "0e7",
            "1.0",
            "1.50",
            "10e-1",
            "1e16",
            "-1e17",
            "1E+18",
            "1e19",
            "1e20",
            "1e300",
            "1e308",
            "5e-324",
            "1e-320",
            "2.2250738585072014e-308",
            "12345678901234567.0",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551616.0",
            "89014103211118510720",
            "0.1234567890123456789012345",
            "123456789.123456789123456789",
            "1e-400",
            "null",
            "true",
            "false",
            "\"\\u0000\"",
            "\"\\\\u0000\"",
            "\"\\ud83c\\udf2e\"",
            "\"\\uffff\"",
            "\"\"",
        ]);
        prop_oneof![
            4 => odd.prop_map(str::to_owned),
            2 => float.clone().prop_map(|number| format!("{number}")),
            2 => float.prop_map(|number| format!("{number:E}")),
            1 => (any::<i64>(), -330..=310_i32).prop_map(|(digits, exponent)| format!("{digits}.25e{exponent}")),
            1 => any::<i64>().prop_map(|number| number.to_string()),
            1 => any::<u64>().prop_map(|number| number.to_string()),
            2 => any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
        ]
    }

    /// JSON as text, so that each number keeps its spelling.
    fn json() -> impl Strategy<Value = String> {
        leaf().prop_recursive(5, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
                object(inner.clone()),
                // Some are as deep as may be, and deeper.
                (inner, 0..130_usize).prop_map(|(inner, n)| format!("{}{inner}{}", "[".repeat(n), "]".repeat(n))),
            ]
        })
    }

    fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let key = prop_oneof![Just(String::new()), Just("k".to_owned()), any::<String>()];
        prop::collection::vec((key, value), 0..6).prop_map(|fields| {
            let field = |(key, value)| format!("{}:{value}", serde_json::json!(key));
            format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(","))
        })
    }

    /// What the door makes of it; None where it refuses it. (The API and the back-fill refuse rounded integers, too.)
    fn accepted(text: &str) -> Option<OrderDetails> {
        let details: OrderDetails = serde_json::from_str(&format!("{{\"metadata\":{text}}}")).ok()?;
        let metadata = details.metadata.as_ref()?;
        (details.validate().is_ok() && !metadata.has_rounded_numbers()).then_some(details)
    }

    #[test]
    fn what_the_door_accepts_comes_back_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
        let (ledger, _db) = runtime.block_on(ledger());
        let outbox = std::cell::RefCell::new(Outbox::of(restaurant(7)));
        let (made, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(texts in prop::collection::vec(object(json()), 1..12))| {
            let mut outbox = outbox.borrow_mut();
            outbox.entries.clear();
            let (mut live, mut finished): (Vec<Order>, Vec<ImportedOrder>) = (Vec::new(), Vec::new());
            for text in texts {
                let Some(details) = accepted(&text) else {
                    refused.set(refused.get() + 1);
                    continue;
                };
                made.set(made.get() + 1);
                let first = order(restaurant(7), 1 + made.get() % 999_999, made.get());
                if made.get() % 3 == 0 {
                    let order = Order { sequence: 0, details, ..ended(&first, made.get() + 1) };
                    finished.push(ImportedOrder { order, foreign_id: None });
                    continue;
                }
                // From nothing to this, and from this to the same in another field.
                let nested = Metadata::from(serde_json::Map::from_iter([("n".to_owned(), serde_json::json!(1.0))]));
                let before = OrderDetails { metadata: Some(nested), ..OrderDetails::default() };
                let changed = Order { version: 2, details, ..first.clone() };
                outbox.push(created(&Order { details: before.clone(), ..first }));
                let context = Context { before: changed.details.changed_since(&before), ..Context::of("test") };
                let sent = serde_json::to_string(&context).expect("is JSON");
                prop_assert_eq!(serde_json::from_str::<Context>(&sent).ok(), Some(context.clone()));
                outbox.push_with(EventKind::Changed { order: changed.clone(), before: OrderStatus::Pending }, context);
                live.push(changed);
            }
            runtime.block_on(async {
                let written = write(&ledger, vec![outbox.batch()]).await;
                prop_assert_eq!((written.events, written.dead), (2 * live.len(), 0));
                prop_assert_eq!(ledger.import_finished(finished.clone(), this_moment()).await.expect("imports").len(), finished.len());
                for order in live.iter().chain(finished.iter().map(|imported| &imported.order)) {
                    let text = serde_json::to_string(&order.details).expect("is JSON");
                    // As Redis keeps it.
                    let from_redis: OrderDetails = serde_json::from_str(&text).expect("is JSON");
                    let from_ledger = ledger.order(order.id).await.expect("reads").expect("is there").details;
                    prop_assert_eq!(&serde_json::to_string(&from_redis).expect("is JSON"), &text);
                    prop_assert_eq!(&serde_json::to_string(&from_ledger).expect("is JSON"), &text);
                    prop_assert_eq!((&from_redis, &from_ledger), (&order.details, &order.details));
                }
                for order in &live {
                    let events = ledger.order_events(order.id, None, 9).await.expect("reads").events;
                    let changes = events.last().and_then(|event| event.detail.clone()).unwrap_or_default();
                    let after = &changes["changes"]["metadata"][1];
                    let metadata = serde_json::to_value(&order.details.metadata).expect("is JSON");
                    prop_assert!(after == &metadata || changes.is_null(), "{changes} {metadata}");
                }
                Ok(())
            })?;
        });
        assert!(made.get() > 500 && refused.get() > 50, "{} were taken, {} refused", made.get(), refused.get());
    }
}
