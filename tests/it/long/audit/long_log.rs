//! A long log of one restaurant: whatever is asked of it, one call reads a bounded part, and all calls together all of
//! it.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Duration, Utc};
use nowserving::domain::{OrderId, RestaurantId, Timestamp};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::support::{Api, Daemon, DaemonOptions, api};

/// Orders of restaurant 7, each of which has four events; two other restaurants' events lie between them.
const ORDERS: i64 = 125_000;
/// From the first to the last of them.
const DAYS: i64 = 150;
/// Events of one order that a client changes all the time.
const CHANGES: i64 = 8000;
/// At how many events one call looks at most, and how many more are read to put those of one instant in order.
const LOOKED_AT: u64 = 5000;
const AT_ONE_INSTANT: u64 = 200;

struct Log {
    options: DaemonOptions,
    daemon: Daemon,
    begins: DateTime<Utc>,
    /// An order with few events, in the middle, and the one with many.
    quiet: OrderId,
    busy: OrderId,
}

async fn log() -> &'static Log {
    static LOG: OnceCell<Log> = OnceCell::const_new();
    LOG.get_or_init(make_log).await
}

async fn make_log() -> Log {
    let options = DaemonOptions::migrated().await;
    let begins = Utc::now() - Duration::days(DAYS + 1);
    let order = |restaurant: i64, n: i64| {
        let at = Timestamp::from(begins + Duration::days(DAYS) * i32::try_from(n).expect("few") / 125_000);
        OrderId::new(at, RestaurantId::new(restaurant).expect("valid"), n.cast_unsigned())
    };
    let mut db = connect(&options).await;
    let months = "SELECT ensure_month(day::date)
                  FROM generate_series($1::timestamptz, $1 + $2 * interval '1 day', interval '10 days') AS day";
    let days = i32::try_from(DAYS + 10).expect("few");
    sqlx::query(months).bind(begins).bind(days).execute(&mut db).await.expect("months are made");
    let ids: Vec<Uuid> =
        (0..ORDERS).flat_map(|n| [7, 8 + n % 50].map(|restaurant| order(restaurant, n).as_uuid())).collect();
    // 120 s between orders; each has its events 30 s apart.
    let insert = "INSERT INTO order_events (partition, generation, sequence, occurred_at, kind, restaurant_id,
             internal_order_id, display_order_number, status_before, status_after, version, actor, request_id)
         SELECT 1, 1, 4 * n + step, $2 + (n / 2) * $3 * interval '1 ms' + step * interval '20 s',
                (ARRAY['created', 'changed', 'changed', 'released'])[step],
                CASE n % 2 WHEN 1 THEN 7 ELSE 8 + (n / 2 - 1) % 50 END, id, 42, 'ready', 'ready', step,
                CASE WHEN n % 80001 = 1 AND step = 2 THEN 'key:9' WHEN n % 30001 = 1 AND step = 4 THEN 'cleanup'
                     ELSE 'key:1' END, 'a-request'
         FROM unnest($1::uuid[]) WITH ORDINALITY AS o (id, n), generate_series(1, 4) AS step ORDER BY n, step";
    let step_ms = DAYS * 86_400_000 / ORDERS;
    let insert = sqlx::query(insert).bind(&ids).bind(begins).bind(step_ms);
    insert.execute(&mut db).await.expect("events are written");
    let (quiet, busy) = (order(7, ORDERS / 2), order(7, ORDERS / 3));
    let more = "INSERT INTO order_events (partition, generation, sequence, occurred_at, kind, restaurant_id,
             internal_order_id, display_order_number, status_before, status_after, version, actor)
         SELECT 1, 2, n, $2 + n * interval '1 s', 'changed', 7, $1, 42, 'ready', 'held', n,
                CASE n WHEN 4000 THEN 'key:9' ELSE 'key:1' END FROM generate_series(1, $3) AS n
         UNION ALL
         SELECT 1, 3, n, $2 + n * interval '9 days', 'configured', 7, NULL, NULL, NULL, NULL, n, 'key:1'
         FROM generate_series(1, 9) AS n";
    let more = sqlx::query(more).bind(busy.as_uuid()).bind(busy.created_at().to_datetime());
    more.bind(i32::try_from(CHANGES).expect("few")).execute(&mut db).await.expect("events are written");
    let daemon = Daemon::start(&options);
    Log { options, daemon, begins, quiet, busy }
}

async fn connect(options: &DaemonOptions) -> PgConnection {
    PgConnection::connect(options.database_url.as_deref().expect("a database")).await.expect("connects")
}

/// The places of all events that a condition lets pass, newest first.
async fn places(db: &mut PgConnection, condition: &str) -> Vec<(i64, i64)> {
    let query = format!(
        "SELECT generation, sequence FROM order_events WHERE restaurant_id = 7 AND {condition}
         ORDER BY occurred_at DESC, generation DESC, sequence DESC"
    );
    sqlx::query_as(AssertSqlSafe(query)).fetch_all(db).await.expect("answers")
}

/// All events of a list, and in how many calls they came.
async fn read(api: &Api, path: &str) -> (Vec<(i64, i64)>, usize) {
    let (mut found, mut calls, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let list = api.get(&format!("{path}{sign}limit=1000&cursor={cursor}")).await.ok(200);
        calls += 1;
        let events = list["events"].as_array().expect("a list of events");
        let number = |event: &Value, field: &str| event[field].as_i64().expect("a number");
        found.extend(events.iter().map(|event| (number(event, "generation"), number(event, "sequence"))));
        match list["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return (found, calls),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_is_found_in_parts() {
    let log = log().await;
    let (api, mut db) = (Api::at(log.daemon.url()), connect(&log.options).await);
    let (quiet, busy) = (log.quiet, log.busy);
    let (from, to) = (log.begins + Duration::days(40), log.begins + Duration::days(44));
    let looked_at = usize::try_from(LOOKED_AT).expect("few");
    let all = places(&mut db, "true").await.len();
    assert!(all > 500_000, "{all} events");
    let whole = 2 + all / looked_at;
    let after_busy = format!("occurred_at >= '{}'", busy.created_at());
    let since_busy = 2 + places(&mut db, &after_busy).await.len() / looked_at;
    let window = format!("occurred_at >= '{from}' AND occurred_at < '{to}'");
    let in_window = 2 + places(&mut db, &window).await.len() / looked_at;
    let utc = |at: DateTime<Utc>| Timestamp::from(at).to_string();
    let window_query = format!("from={}&to={}", utc(from), utc(to));
    let rare = "kind IN ('configured', 'recycled')";
    for (query, condition, calls) in [
        ("actor=key:9", "actor = 'key:9'", whole),
        ("actor=key:404", "false", whole),
        ("actor=key:9&kind=released", "actor = 'key:9' AND kind = 'released'", whole),
        ("kind=released&actor=key:9&kind=changed", "actor = 'key:9'", whole),
        (&format!("{window_query}&actor=key:404"), "false", in_window),
        (&format!("{window_query}&kind=created"), &format!("{window} AND kind = 'created'"), 2 * in_window + 2),
        // What is rare in each restaurant has an index of its own.
        ("kind=configured", "kind = 'configured'", 1),
        ("kind=configured,recycled", rare, 1),
        ("kind=configured&actor=key:9", "false", 1),
        ("kind=renumbered", "false", 1),
        ("actor=cleanup", "actor = 'cleanup'", 1),
        ("actor=cleanup&kind=released", "actor = 'cleanup'", 1),
        ("actor=recovery", "false", 1),
        (&format!("order={quiet}"), &format!("internal_order_id = '{quiet}'"), 1),
        (&format!("order={quiet}&actor=key:9"), "false", 1),
        (&format!("order={quiet}&kind=released"), &format!("internal_order_id = '{quiet}' AND kind = 'released'"), 1),
        (
            &format!("order={busy}&actor=key:9"),
            &format!("internal_order_id = '{busy}' AND actor = 'key:9'"),
            since_busy,
        ),
        (&format!("order={busy}&kind=configured"), "false", 1),
        (&format!("order={busy}"), &format!("internal_order_id = '{busy}'"), since_busy + 9),
    ] {
        let (found, made) = read(&api, &format!("/v1/restaurants/7/events?{query}")).await;
        assert_eq!(found, places(&mut db, condition).await, "{query}");
        assert!(made <= calls, "{query} took {made} calls, not {calls}");
        // A call that looked at more would need fewer of them.
        assert!(calls != whole || made >= all / looked_at, "{query} took {made} calls for {all} events");
    }
    let (found, calls) = read(&api, &format!("/v1/orders/{busy}/events")).await;
    let mut due = places(&mut db, &format!("internal_order_id = '{busy}'")).await;
    due.reverse();
    assert_eq!(found, due);
    assert!(calls <= since_busy + 9, "{calls} calls");
    assert_eq!(read(&api, &format!("/v1/orders/{quiet}/events")).await.0.len(), 4);
}

/// The queries by which events are read, as they are prepared.
fn queries() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let all = fs::read_dir(folder).expect(".sqlx").map(|file| {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let described: Value = serde_json::from_str(&text).expect("JSON");
        api::text(&described, "query").to_owned()
    });
    all.filter(|query| query.contains("FROM order_events") && query.contains("passes!")).collect()
}

/// How many rows a plan reads from tables, those included that it lets go of. (What a bitmap takes from an index before
/// that shows in the buffers: an order's entries there take a page for a thousand.)
fn rows_read(plan: &Value) -> u64 {
    let count = |field: &str| plan[field].as_f64().unwrap_or_default();
    let own = match api::text(plan, "Node Type") {
        kind if kind.contains("Scan") && !["Subquery Scan", "Bitmap Index Scan"].contains(&kind) => {
            (count("Actual Rows") + count("Rows Removed by Filter") + count("Rows Removed by Index Recheck"))
                * count("Actual Loops")
        }
        _ => 0.0,
    };
    let below = plan["Plans"].as_array().into_iter().flatten().map(rows_read).sum::<u64>();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of rows")]
    let own = own as u64;
    own + below
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_reads_more_than_a_part_of_it() {
    let log = log().await;
    let mut db = connect(&log.options).await;
    let queries = queries();
    let kinds = "an order's events, a restaurant's by either index, a restaurant's forwards, and a partition's";
    assert_eq!(queries.len(), 5, "{kinds}");
    let (quiet, busy) = (log.quiet, log.busy);
    let (first, last) = ("'1970-01-01T00:00:00Z'", "'9999-12-31T00:00:00Z'");
    let middle = format!("'{}'", busy.created_at());
    for analyzed in [false, true] {
        if analyzed {
            sqlx::query("ANALYZE order_events").execute(&mut db).await.expect("is analyzed");
        }
        for (n, query) in queries.iter().enumerate() {
            let mut arguments = Vec::new();
            for order in [quiet, busy] {
                if query.contains("internal_order_id = $1") {
                    arguments.push(format!("'{order}', {first}, 1000"));
                    continue;
                }
                if query.contains("partition = $1") {
                    for restaurant in ["7", "8", "404", "NULL"] {
                        for from in [0, 250_000] {
                            let up_to = from + LOOKED_AT;
                            arguments.push(format!("1, 1, {from}, {up_to}, {first}, {restaurant}, 501"));
                        }
                    }
                    continue;
                }
                let forwards = query.contains("occurred_at >= $2");
                for (at, end) in [(first, last), (middle.as_str(), last), (last, first), (middle.as_str(), first)] {
                    for filter in [
                        "'{}', 'key:9', NULL".to_owned(),
                        "'{}', 'key:404', NULL".to_owned(),
                        "'{configured}', NULL, NULL".to_owned(),
                        "'{released,changed}', 'cleanup', NULL".to_owned(),
                        format!("'{{}}', NULL, '{order}'"),
                        format!("'{{}}', 'key:9', '{order}'"),
                        "'{}', NULL, NULL".to_owned(),
                    ] {
                        if forwards == (end == last) {
                            arguments.push(format!("7, {at}, 0, 0, {end}, {filter}, {LOOKED_AT}, 1001"));
                        }
                    }
                }
            }
            assert!(!arguments.is_empty());
            let prepare = format!("PREPARE part_{analyzed}_{n} AS {query}");
            sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut db).await.expect("a good query");
            for (mode, arguments) in
                arguments.iter().flat_map(|all| ["force_generic_plan", "force_custom_plan"].map(|mode| (mode, all)))
            {
                let set = format!("SET plan_cache_mode = {mode}");
                sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut db).await.expect("is set");
                let explain =
                    format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE part_{analyzed}_{n} ({arguments})");
                let plan: Value =
                    sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut db).await.expect("is explained");
                let plan = &plan[0]["Plan"];
                let rows = rows_read(plan);
                let buffers = plan["Shared Hit Blocks"].as_u64().zip(plan["Shared Read Blocks"].as_u64());
                let buffers = buffers.map(|(hit, read)| hit + read).expect("numbers");
                let what =
                    format!("{mode}, analyzed: {analyzed}, {arguments}: {rows} rows, {buffers} buffers, {plan:#}");
                assert!(rows <= LOOKED_AT + AT_ONE_INSTANT, "{what}");
                // A row and its entry in the index, and a few pages of each month.
                assert!(buffers <= 2 * LOOKED_AT + 500, "{what}");
            }
        }
    }
}
