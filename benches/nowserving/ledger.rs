//! Whether the ledger stays as quick as it was while it grows: the write-behind's own insert, and the look-ups that
//! the service makes, at some thousand orders and at 20 million.
//!
//! The bulk comes by `INSERT … SELECT` into the tables with all their indexes, as the back-fill leaves orders:
//! completed, each with one event. They are of the last ten days, over 40,000 restaurants, each with a name, a table
//! and an external id, so that every index has to grow with every order. At each size, what is measured goes through
//! the library: batches of a thousand events of whole lives, as the write-behind makes them of the outboxes, and
//! single look-ups, picked at random among all orders.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use nowserving::{
    config::{LedgerSettings, Settings},
    domain::{
        Context, DisplayNumber, Event, EventKind, NumberAfter, NumberFormat, Order, OrderDetails, OrderId, OrderSource,
        OrderStatus, OrderType, OutboxEntry, PartitionId, RestaurantId, SearchQuery, Timestamp,
    },
    ledger::{Ledger, PartitionBatch},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sqlx::{ConnectOptions, Executor, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{
    Plan,
    report::{Axis, Figure, Plot, Reference, Report, Series},
    rounds::Spread,
    support::OwnPostgres,
};

pub const GROUP: &str = "ledger";
/// The figure that the model looks up.
pub const BYTES: &str = "bytes on disk, order's whole life";

const PARTITIONS: u16 = 64;
const RESTAURANTS: u64 = 40_000;
const EVENTS: usize = 4;
/// Orders that begin with each batch: with their later events, a batch has a thousand.
const ORDERS_A_BATCH: usize = 250;
const COOLDOWN_SECONDS: u32 = 14_400;
/// The days that the bulk is spread over.
const SPAN: Duration = Duration::from_hours(240);
/// Rows of one statement of the bulk.
const CHUNK: u64 = 250_000;
const FIRST_NAMES: [&str; 20] = [
    "Ada",
    "Alan",
    "Barbara",
    "Carlos",
    "Chidi",
    "Donald",
    "Edith",
    "Frances",
    "Grace",
    "Hedy",
    "Ines",
    "Jun",
    "Katherine",
    "Leslie",
    "Margaret",
    "Niklaus",
    "Olga",
    "Priya",
    "Radia",
    "Tomasz",
];
const LAST_NAMES: [&str; 50] = [
    "Abara", "Allen", "Baker", "Bauer", "Brown", "Castro", "Chen", "Costa", "Cruz", "Diaz", "Dubois", "Edwards",
    "Evans", "Fischer", "Flores", "Garcia", "Gruber", "Hansen", "Haas", "Ibrahim", "Ito", "Jansen", "Jones", "Kaya",
    "Kim", "Kowalski", "Lang", "Lopez", "Meyer", "Mills", "Moreau", "Nguyen", "Novak", "Okafor", "Olsen", "Park",
    "Patel", "Quinn", "Reyes", "Rossi", "Sato", "Silva", "Singh", "Tanaka", "Urban", "Vargas", "Weber", "Xu", "Yilmaz",
    "Zhang",
];

// The arithmetic is that of `Bulk`. An id is built as `OrderId::at` does it: a restaurant of the bulk fits the id's
// lower bits, and the sign bit of the second half is that of the variant.
const FILL_ORDERS: &str = "
    INSERT INTO orders
        (internal_order_id, restaurant_id, display_order_number, display_number_formatted, number_format, order_number,
         order_number_given, status, table_number, order_source, order_type, external_id, customer_name,
         customer_name_folded, note, created_at, updated_at, released_at, cooldown_seconds, version, sequence)
    SELECT id, restaurant, number, lpad(number::text, 4, '0'), '{n:04}',
        'R' || restaurant || '-' || lpad(number::text, 4, '0'),
        false, 'completed', (1 + n % 40)::text, 'kiosk', 'dine_in', 'till-' || n, name,
        lower(name), 'salt', at, at + interval '15 minutes', at + interval '15 minutes', 14400, 4, 0
    FROM (
        SELECT n, restaurant, (1 + n / 40000 % 9999)::integer AS number, to_timestamp(micros / 1000 / 1000.0) AS at,
            ($5::text[])[1 + (n + n / 40000) % 20] || ' ' || ($6::text[])[1 + (n + n / 800000) % 50] AS name,
            (lpad(to_hex(micros / 1000), 12, '0') || '8000' || to_hex(
                (-9223372036854775808) | (restaurant::bigint << 43) | (micros % 1000 << 33) | n))::uuid AS id
        FROM (SELECT n, (1 + n * 7919 % 40000)::integer AS restaurant, $3 + n * $4 AS micros
              FROM generate_series($1::bigint, $2::bigint - 1) AS n) AS numbered
    ) AS made";

const FILL_EVENTS: &str = "
    INSERT INTO order_events
        (partition, generation, sequence, occurred_at, kind, restaurant_id, internal_order_id, display_order_number,
         status_after, version, actor)
    SELECT (n % 64)::smallint, 0, n, to_timestamp(micros / 1000 / 1000.0), 'imported', restaurant,
        (lpad(to_hex(micros / 1000), 12, '0') || '8000' || to_hex(
            (-9223372036854775808) | (restaurant::bigint << 43) | (micros % 1000 << 33) | n))::uuid,
        (1 + n / 40000 % 9999)::integer, 'completed', 4, 'backfill'
    FROM (SELECT n, (1 + n * 7919 % 40000)::integer AS restaurant, $3 + n * $4 AS micros
          FROM generate_series($1::bigint, $2::bigint - 1) AS n) AS numbered";

/// No commit waits for the disk: the bulk itself is not measured.
const IN_BULK: &str = "
    SET synchronous_commit = off;
    SET work_mem = '256MB'";

/// Bytes of each row of a table, with its indexes and without.
const SIZE: &str = "
    SELECT sum(pg_total_relation_size(relid))::float8, sum(pg_relation_size(relid))::float8
    FROM pg_partition_tree($1::regclass) WHERE isleaf";

/// What is measured at each size.
const MEASURED: [&str; 5] = [
    "write-behind's insert, event",
    "look-up by id",
    "look-up by number and time",
    "search by name",
    "search by external id",
];

pub async fn measure(plan: &Plan, report: &mut Report) {
    let sizes: &[u64] =
        plan.size(&[50_000, 150_000, 300_000], &[300_000, 1_000_000, 5_000_000, 10_000_000, 20_000_000]);
    let (batches, calls) = (plan.size(40, 100), plan.size(300, 1000));
    let last = *sizes.last().expect("there are sizes");
    let postgres = OwnPostgres::start_durable().await;
    let url = postgres.create_database("ledger").await;
    let ledger = prepare(&url).await;
    let mut bulk = Bulk::begin(&url, last, &ledger).await;
    let (mut kitchen, mut chance) = (Kitchen::default(), StdRng::seed_from_u64(plan.seed));

    let mut found: Vec<[Spread; MEASURED.len()]> = Vec::new();
    for size in sizes {
        let started = Instant::now();
        bulk.grow_to(*size).await;
        eprintln!("  {size} orders after {:.0} s", started.elapsed().as_secs_f64());
        let insert = kitchen.micros_an_event(&ledger, batches).await;
        let [id, number, name, external_id] = bulk.look_ups(&ledger, calls, &mut chance).await;
        found.push([insert, id, number, name, external_id]);
    }

    for (at, what) in MEASURED.iter().enumerate() {
        let reference = Reference { name: format!("at {} orders", shown(sizes[0])), value: found[0][at] };
        let (name, value) = (format!("{what}, at {} orders", shown(last)), found[sizes.len() - 1][at]);
        report.figure(Figure { group: GROUP, name, unit: "µs", value, reference, target: None, by_round: None });
    }
    report.figure(bulk.bytes(&kitchen).await);
    report.plots.push(plot(sizes, &found));
    report.note(
        GROUP,
        "The orders before the measured ones were inserted in bulk, each with one event, as the back-fill \
         leaves them; the measured inserts and look-ups go through the library, one at a time. After each \
         step the tables are vacuumed, as autovacuum would, and a checkpoint is made: the inserts behind it \
         log each page whole that they touch first, as they do after every checkpoint, and in a larger ledger \
         those are more.",
    );
}

/// The tables, and every partition open.
async fn prepare(url: &str) -> Ledger {
    let defaults = Settings::default().ledger;
    let settings = LedgerSettings { max_connections: 2, timeout_ms: 30_000, connect_timeout_ms: 30_000, ..defaults };
    let ledger = Ledger::connect(url, &settings).await.expect("Postgres answers");
    ledger.migrate().await.expect("the tables can be made");
    ledger.deployment(PARTITIONS).await.expect("Postgres answers");
    for partition in PartitionId::all(PARTITIONS) {
        let opened = ledger.advance_generation(partition, None, 1, "bench", 0).await.expect("Postgres answers");
        assert_eq!(opened, Some(0));
    }
    ledger
}

/// Orders that were there before: what the n-th is follows from n.
struct Bulk {
    url: String,
    orders: u64,
    /// When the first was created, and how far they lie apart, in µs.
    begin: u64,
    apart: u64,
}

impl Bulk {
    async fn begin(url: &str, most: u64, ledger: &Ledger) -> Self {
        let span = u64::try_from(SPAN.as_micros()).expect("days");
        let now = u64::try_from(chrono::Utc::now().timestamp_micros()).expect("after 1970");
        let bulk = Self { url: url.to_owned(), orders: 0, begin: now - span, apart: span / most };
        let at = |micros: u64| Timestamp::from_unix_ms((micros / 1000).cast_signed());
        ledger.ensure_months(at(bulk.begin), at(now)).await.expect("Postgres answers");
        bulk
    }

    /// Orders and events side by side: there are two cores.
    async fn grow_to(&mut self, orders: u64) {
        tokio::join!(self.fill(FILL_ORDERS, orders, true), self.fill(FILL_EVENTS, orders, false));
        self.orders = orders;
        let mut connection = connect(&self.url).await;
        for statement in ["VACUUM (ANALYZE) orders", "VACUUM (ANALYZE) order_events", "CHECKPOINT"] {
            connection.execute(statement).await.expect("Postgres answers");
        }
    }

    async fn fill(&self, statement: &'static str, to: u64, with_names: bool) {
        let mut connection = connect(&self.url).await;
        connection.execute(IN_BULK).await.expect("they are settings of a session");
        let mut from = self.orders;
        while from < to {
            let until = to.min(from + CHUNK);
            let mut insert = sqlx::query(statement)
                .bind(from.cast_signed())
                .bind(until.cast_signed())
                .bind(self.begin.cast_signed())
                .bind(self.apart.cast_signed());
            if with_names {
                insert = insert.bind(&FIRST_NAMES[..]).bind(&LAST_NAMES[..]);
            }
            let inserted = insert.execute(&mut connection).await.expect("the rows can be made");
            assert_eq!(inserted.rows_affected(), until - from);
            from = until;
        }
    }

    /// µs of each look-up: by id, by number and time, by name, by external id.
    async fn look_ups(&self, ledger: &Ledger, calls: usize, chance: &mut StdRng) -> [Spread; 4] {
        let mut micros = [const { Vec::new() }; 4];
        for _ in 0..calls {
            let n = chance.random_range(0..self.orders);
            let (id, restaurant) = (self.id(n), restaurant_of(n));
            let ended = id.created_at().plus_ms(900_000);

            let started = Instant::now();
            let order = ledger.order(id).await.expect("Postgres answers");
            micros[0].push(since(started));
            assert_eq!(order.expect("it is there").number, Some(number_of(n)));

            let started = Instant::now();
            let holder = ledger.holder_at(restaurant, number_of(n), ended).await.expect("Postgres answers");
            micros[1].push(since(started));
            assert_eq!(holder.expect("it is there").id, id);

            for (at, text) in [(2, name_of(n)), (3, format!("till-{n}"))] {
                let query = SearchQuery::parse(&text).expect("a good text");
                let started = Instant::now();
                let found = ledger.search(restaurant, &query, 50, None).await.expect("Postgres answers");
                micros[at].push(since(started));
                assert!(found.iter().any(|order| order.id == id), "{text} is not found");
            }
        }
        micros.map(Spread::of)
    }

    fn id(&self, n: u64) -> OrderId {
        let micros = self.begin + n * self.apart;
        let at = Timestamp::from_unix_ms((micros / 1000).cast_signed());
        OrderId::at(at, u16::try_from(micros % 1000).expect("a remainder"), restaurant_of(n), n)
    }

    /// What an order takes on disk with its four events.
    async fn bytes(&self, kitchen: &Kitchen) -> Figure {
        let mut connection = connect(&self.url).await;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let (orders, events) =
            ((self.orders + kitchen.created) as f64, (self.orders + kitchen.sequences.values().sum::<u64>()) as f64);
        let (mut with_indexes, mut without) = (0.0, 0.0);
        for (table, each_of) in [("orders", 1.0 / orders), ("order_events", 4.0 / events)] {
            let (all, heap): (f64, f64) =
                sqlx::query_as(SIZE).bind(table).fetch_one(&mut connection).await.expect("Postgres answers");
            with_indexes += all * each_of;
            without += heap * each_of;
        }
        Figure {
            group: GROUP,
            name: BYTES.to_owned(),
            unit: "B",
            value: Spread::once(with_indexes),
            reference: Reference { name: "without indexes".to_owned(), value: Spread::once(without) },
            target: None,
            by_round: None,
        }
    }
}

fn restaurant_of(n: u64) -> RestaurantId {
    RestaurantId::new((1 + n * 7919 % RESTAURANTS).cast_signed()).expect("in range")
}

fn number_of(n: u64) -> DisplayNumber {
    DisplayNumber::new((1 + n / RESTAURANTS % 9999).cast_signed()).expect("in range")
}

/// The orders of a restaurant have all names in turn.
fn name_of(n: u64) -> String {
    let pick = |names: &[&'static str], at: u64| names[usize::try_from(at).expect("small") % names.len()];
    format!(
        "{} {}",
        pick(&FIRST_NAMES, n + n / RESTAURANTS),
        pick(&LAST_NAMES, n + n / (RESTAURANTS * FIRST_NAMES.len() as u64))
    )
}

/// Orders that live now. With each batch some begin, and those of the three batches before have their next event.
#[derive(Default)]
struct Kitchen {
    created: u64,
    sequences: BTreeMap<PartitionId, u64>,
    /// The newest come first.
    live: VecDeque<Vec<Order>>,
}

impl Kitchen {
    /// µs of each event that the ledger writes, by batch.
    async fn micros_an_event(&mut self, ledger: &Ledger, batches: usize) -> Spread {
        let writer = Uuid::from_u128(rand::random());
        let mut micros = Vec::new();
        for round in 0..batches + EVENTS {
            let batch = self.batch();
            let events: usize = batch.iter().map(|part| part.entries.len()).sum();
            let started = Instant::now();
            let written = ledger.write(batch, writer, Duration::from_secs(2)).await.expect("Postgres answers");
            let took = since(started);
            assert_eq!((written.events, written.dead), (events, 0));
            assert_eq!(written.collisions, []);
            // The first few batches of all are not full, and those of a step find cold pages.
            if round >= EVENTS {
                #[expect(clippy::cast_precision_loss, reason = "a thousand")]
                micros.push(took / events as f64);
            }
        }
        Spread::of(micros)
    }

    fn batch(&mut self) -> Vec<PartitionBatch> {
        let now = Timestamp::from(chrono::Utc::now());
        self.live.truncate(EVENTS - 1);
        let mut parts = BTreeMap::new();
        for at in 0..self.live.len() {
            let status = [OrderStatus::Preparing, OrderStatus::Ready, OrderStatus::Completed][at];
            let mut orders = std::mem::take(&mut self.live[at]);
            for order in &mut orders {
                let before = order.status;
                let kind = changed(order, status, now);
                self.add(&mut parts, order, now, |order| kind(order, before));
            }
            self.live[at] = orders;
        }
        let mut created: Vec<Order> = (0..ORDERS_A_BATCH).map(|_| self.create(now)).collect();
        for order in &mut created {
            self.add(&mut parts, order, now, |order| EventKind::Created { order, idempotency: None });
        }
        self.live.push_front(created);
        parts.into_iter().map(|(partition, entries)| PartitionBatch { partition, generation: 1, entries }).collect()
    }

    fn create(&mut self, now: Timestamp) -> Order {
        let n = self.created;
        self.created += 1;
        let details = OrderDetails {
            table_number: Some((1 + n % 40).to_string()),
            order_source: Some(OrderSource::Kiosk),
            order_type: Some(OrderType::DineIn),
            external_id: Some(format!("live-{n}")),
            customer_name: Some(name_of(n)),
            note: Some("salt".to_owned()),
            metadata: None,
            items: None,
        };
        Order {
            id: OrderId::new(now, restaurant_of(n), n),
            number: Some(number_of(n)),
            given_at: Some(now),
            format: NumberFormat::default(),
            range: None,
            choice: nowserving::domain::Choice::Next,
            business_day: None,
            legacy_number: None,
            old_number: None,
            status: OrderStatus::Pending,
            details,
            updated_at: now,
            released_at: None,
            reopening: None,
            calls: None,
            cooldown_seconds: COOLDOWN_SECONDS,
            version: 1,
            sequence: 0,
        }
    }

    /// Gives an event its place, and puts it behind the others of its partition.
    fn add(
        &mut self,
        parts: &mut BTreeMap<PartitionId, Vec<OutboxEntry>>,
        order: &mut Order,
        at: Timestamp,
        kind: impl FnOnce(Order) -> EventKind,
    ) {
        let partition = order.restaurant().partition(PARTITIONS);
        let sequence = self.sequences.entry(partition).or_default();
        *sequence += 1;
        order.sequence = *sequence;
        let context = Context { request_id: Some(order.id.as_uuid().to_string()), ..Context::of("api") };
        let (generation, sequence) = (1, order.sequence);
        let event = Event { partition, generation, sequence, at, context, kind: kind(order.clone()) };
        // The bytes matter only to those that have to become dead letters.
        parts.entry(partition).or_default().push(OutboxEntry { sequence, generation, raw: vec![], event: Ok(event) });
    }
}

/// Moves an order on; how to tell of it.
fn changed(order: &mut Order, status: OrderStatus, now: Timestamp) -> fn(Order, OrderStatus) -> EventKind {
    order.status = status;
    order.version += 1;
    order.updated_at = now;
    if status.is_live() {
        return |order, before| EventKind::Changed { order, before };
    }
    order.released_at = Some(now);
    |order, before| {
        let number = NumberAfter::Cooling(order.cooling_until().expect("it was released"));
        EventKind::Released { order, before, number }
    }
}

fn plot(sizes: &[u64], found: &[[Spread; MEASURED.len()]]) -> Plot {
    let series = MEASURED.iter().enumerate().map(|(at, name)| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let points = sizes.iter().zip(found).map(|(size, found)| (*size as f64, found[at].median)).collect();
        Series { name: (*name).to_owned(), points }
    });
    Plot {
        group: GROUP,
        title: "The ledger as it grows".to_owned(),
        x: Axis::logarithmic("orders in the ledger"),
        y: Axis::logarithmic("µs"),
        series: series.collect(),
    }
}

fn shown(orders: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    crate::report::number(orders as f64)
}

fn since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e6
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a valid URL");
    options.connect().await.expect("Postgres answers")
}
