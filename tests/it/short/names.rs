//! Names and former numbers that an earlier version wrote: found all the while, and folded anew month by month.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use nowserving::{
    domain::{DisplayNumber, Order, OrderDetails, OrderId, OrderStatus, RestaurantId, SearchQuery, Timestamp},
    ledger::{Detached, FoldedPiece, ImportedOrder, Ledger, MonthlyTable, StoredMonth},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{self, Api, Daemon, DaemonOptions, PATIENCE, api::numbers, eventually_true};

const DAY_MS: i64 = 86_400_000;
/// 2026-09-10
const BEGIN_MS: i64 = 1_789_000_000_000;
const NAMES: [&str; 9] =
    ["Ana", "José", "Jose\u{301} ", "ŁUKASZ", "O’Brien", "Straße", "山田　太郎", "Anne-Marie", "İpek \u{ad}Ｚ"];
const CALLED: [&str; 4] = ["#1,042", "Old-07", "№ 9", "#?!"];
const TEXTS: [&str; 22] = [
    "ana",
    "Ana",
    "josé",
    "jose",
    "jose\u{301}",
    "łukasz",
    "lukasz",
    "o’brien",
    "obrien",
    "strasse",
    "straße",
    "山田",
    "anne-m",
    "anne",
    "ipek",
    "#1,042",
    "1042",
    "old-07",
    "old 7",
    "9",
    "№9",
    "#?!",
];

fn restaurant() -> RestaurantId {
    RestaurantId::new(7).expect("valid")
}

/// Orders of three months, as another system left them.
fn orders() -> Vec<Order> {
    let order = |n: i64| {
        let at = Timestamp::from_unix_ms(BEGIN_MS + n * DAY_MS);
        let pick = |from: &[&str]| {
            usize::try_from(n).ok().and_then(|n| from.get(n % (from.len() + 1)).map(|t| (*t).to_owned()))
        };
        Order {
            id: OrderId::new(at, restaurant(), n.cast_unsigned()),
            number: DisplayNumber::new(100 + n).ok(),
            given_at: Some(at),
            format: "{n:04}".parse().expect("valid"),
            range: None,
            choice: nowserving::domain::Choice::Next,
            business_day: None,
            legacy_number: pick(&CALLED),
            old_number: None,
            status: OrderStatus::Completed,
            details: OrderDetails { customer_name: pick(&NAMES), ..OrderDetails::default() },
            updated_at: at,
            released_at: Some(at),
            reopening: None,
            calls: None,
            cooldown_seconds: 60,
            version: 1,
            sequence: 0,
        }
    };
    (0..70).map(order).collect()
}

async fn run(db: &mut PgConnection, statement: &str) -> u64 {
    let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(db).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected()
}

async fn count(db: &mut PgConnection, from: &str) -> i64 {
    let query = AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
    sqlx::query_scalar(query).fetch_one(db).await.unwrap_or_else(|error| panic!("{from}: {error}"))
}

/// Leaves the orders as a version before migration 17 wrote them.
async fn written_the_earlier_way(ledger: &Ledger, db: &mut PgConnection) {
    let imported = orders().into_iter().map(|order| ImportedOrder { order, foreign_id: None }).collect();
    let now = Timestamp::from(Utc::now());
    assert_eq!(ledger.import_finished(imported, now).await.expect("imports").len(), 70);
    for order in orders() {
        let folded =
            order.details.customer_name.map(|name| name.chars().flat_map(char::to_lowercase).collect::<String>());
        sqlx::query("UPDATE orders SET customer_name_folded = $1 WHERE internal_order_id = $2")
            .bind(folded)
            .bind(order.id.as_uuid())
            .execute(&mut *db)
            .await
            .expect("is there");
    }
    assert!(run(db, "DELETE FROM legacy_numbers").await > 0);
}

async fn ledger() -> (Ledger, PgConnection) {
    let url = support::fresh_database().await;
    let ledger = Ledger::connect(&url, &support::library::ledger_settings(10_000)).await.expect("connects");
    ledger.migrate().await.expect("migrates");
    ledger.deployment(4).await.expect("is made");
    (ledger, PgConnection::connect(&url).await.expect("connects"))
}

async fn found(ledger: &Ledger, text: &str) -> BTreeSet<OrderId> {
    let query = SearchQuery::parse(text).expect("valid");
    let found = ledger.search(restaurant(), &query, 1000, None).await.expect(text);
    found.into_iter().map(|order| order.id).collect()
}

async fn left(ledger: &Ledger) -> Vec<NaiveDate> {
    let months = ledger.folded_months().await.expect("reads");
    months.into_iter().filter(|(_, is_folded)| !is_folded).map(|(month, _)| month).collect()
}

fn expected(text: &str) -> BTreeSet<OrderId> {
    let query = SearchQuery::parse(text).expect("valid");
    orders().into_iter().filter(|order| query.matches(order)).map(|order| order.id).collect()
}

#[tokio::test]
async fn nothing_that_was_found_is_lost_while_names_are_folded_anew() {
    let (ledger, mut db) = ledger().await;
    written_the_earlier_way(&ledger, &mut db).await;
    let mut before = Vec::new();
    for text in TEXTS {
        before.push(found(&ledger, text).await);
        assert!(before.last().is_some_and(|found| found.is_subset(&expected(text))), "{text}");
    }
    let at = |text: &str| TEXTS.iter().position(|other| *other == text).expect("one of them");
    for (found_now, found_later) in
        [("straße", "strasse"), ("łukasz", "lukasz"), ("#1,042", "1042"), ("old-07", "old 7")]
    {
        assert!(!before[at(found_now)].is_empty() && before[at(found_later)].is_empty(), "{found_now}");
    }

    let months = left(&ledger).await;
    assert!(months.len() >= 3 && months.is_sorted_by(|a, b| a > b), "the newest first: {months:?}");
    let (mut seen, mut renewed) = (0, 0);
    for month in months {
        loop {
            // A daemon that begins anew goes on where the last one ended.
            let piece = ledger.clone().fold_piece(month, 7).await.expect("folds");
            (seen, renewed) = (seen + piece.seen, renewed + piece.renewed);
            for (text, before) in TEXTS.iter().zip(&before) {
                let found = found(&ledger, text).await;
                assert!(before.is_subset(&found) && found.is_subset(&expected(text)), "{text}, after {seen}");
            }
            if piece.is_last {
                break;
            }
            assert_eq!(piece.seen, 7);
        }
    }
    assert_eq!(seen, 70, "each is looked at once");
    assert!(renewed > 0 && renewed < 70, "{renewed}: most names are the same either way");
    assert_eq!(left(&ledger).await, []);
    for text in TEXTS {
        assert_eq!(found(&ledger, text).await, expected(text), "{text}");
    }
    let again = ledger.fold_piece(NaiveDate::from_ymd_opt(2026, 10, 1).expect("a day"), 7).await.expect("answers");
    assert_eq!(again, FoldedPiece { seen: 0, renewed: 0, is_last: true });
}

#[tokio::test]
async fn daemons_that_fold_one_month_at_once_take_turns() {
    let (ledger, mut db) = ledger().await;
    written_the_earlier_way(&ledger, &mut db).await;
    let month = NaiveDate::from_ymd_opt(2026, 10, 1).expect("a day");
    let (mut seen, mut is_over) = (0, false);
    while !is_over {
        let pieces = [ledger.fold_piece(month, 3), ledger.fold_piece(month, 3), ledger.fold_piece(month, 3)];
        for piece in futures_util::future::join_all(pieces).await {
            let piece = piece.expect("folds");
            seen += piece.seen;
            is_over |= piece.is_last;
        }
    }
    assert_eq!(seen, 31, "the orders of October, each once");
}

#[tokio::test]
async fn what_a_daemon_of_an_earlier_version_writes_is_looked_at_again() {
    let (ledger, mut db) = ledger().await;
    let at = Timestamp::from_unix_ms(BEGIN_MS);
    ledger.ensure_months(at, at).await.expect("makes it");
    let month = left(&ledger).await[0];
    assert!(ledger.fold_piece(month, 7).await.expect("folds").is_last);
    assert_eq!(left(&ledger).await, []);
    // One of this version, and what an earlier one says of itself.
    run(&mut db, "INSERT INTO daemons (id, servers, name_fold) VALUES (gen_random_uuid(), '{}', 1)").await;
    assert_eq!(left(&ledger).await, []);
    let earlier = "INSERT INTO daemons (id, servers, tasks) VALUES ('00000000-0000-0000-0000-000000000009', '{}', '[]')
                   ON CONFLICT (id) DO UPDATE SET seen_at = now()";
    run(&mut db, earlier).await;
    assert_eq!(left(&ledger).await, [month]);
    assert!(ledger.fold_piece(month, 7).await.expect("folds").is_last);
    run(&mut db, earlier).await;
    assert_eq!(left(&ledger).await, [], "it only says that it still runs");
}

#[tokio::test]
async fn what_orders_were_called_goes_with_them() {
    let (ledger, mut db) = ledger().await;
    let order = orders().swap_remove(0);
    let last = orders().swap_remove(65);
    assert!(order.legacy_number.is_some() && last.legacy_number.is_some());
    let imported = [order, last].map(|order| ImportedOrder { order, foreign_id: None }).to_vec();
    ledger.import_finished(imported, Timestamp::from(Utc::now())).await.expect("imports");
    assert_eq!(count(&mut db, "legacy_numbers").await, 2);
    let first_day = NaiveDate::from_ymd_opt(2026, 9, 1).expect("a day");
    let month = StoredMonth { table: MonthlyTable::Orders, first_day };
    let recent = Timestamp::from(Utc::now()).plus_ms(DAY_MS);
    assert_eq!(ledger.detach_month(month, recent).await.expect("answers"), Detached::Done);
    assert_eq!(ledger.drop_detached().await.expect("answers"), ["dropped_orders_y2026m09"]);
    assert_eq!(count(&mut db, "legacy_numbers").await, 1);
}

async fn months_to_fold(api: &Api) -> Option<f64> {
    let text = api.get("/metrics").await.text;
    text.lines().find_map(|line| line.strip_prefix("nowserving_ledger_months_to_fold ")?.parse().ok())
}

/// A daemon does it by itself, but not beside one of an earlier version: that would not find what is folded anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_folds_names_anew_once_no_earlier_one_runs() {
    let options = DaemonOptions::migrated().await;
    let url = options.database_url.as_deref().expect("a database");
    let ledger = Ledger::connect(url, &support::library::ledger_settings(10_000)).await.expect("connects");
    let mut db = PgConnection::connect(url).await.expect("connects");
    written_the_earlier_way(&ledger, &mut db).await;
    let soon: DateTime<Utc> = Utc::now() + chrono::TimeDelta::hours(1);
    run(&mut db, &format!("INSERT INTO daemons (id, servers, seen_at) VALUES (gen_random_uuid(), '{{}}', '{soon}')"))
        .await;

    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let search = async |q: &str| {
        let path = format!("/v1/restaurants/7/search?q={q}&include_completed=true&limit=1000");
        numbers(api.get(&path).await.ok(200)["orders"].as_array().expect("orders")).len()
    };
    eventually_true(PATIENCE, || async { months_to_fold(&api).await.is_some_and(|months| months >= 3.0) }).await;
    assert_eq!((search("lukasz").await, count(&mut db, "folded_months").await), (0, 0));
    assert_eq!(search("%C5%82ukasz").await, 7, "in the earlier way");
    let said = options.run("doctor", &[]).stdout;
    assert!(said.contains("are found as an earlier version found them"), "{said}");
    assert!(daemon.terminate().0.success());

    run(&mut db, "DELETE FROM daemons").await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    // The months ahead are made meanwhile, and found empty a minute later at the latest.
    eventually_true(PATIENCE * 4, || async {
        left(&ledger).await.is_empty() && months_to_fold(&api).await == Some(0.0)
    })
    .await;
    let path = "/v1/restaurants/7/search?q=lukasz&include_completed=true&limit=1000";
    let found = api.get(path).await.ok(200);
    assert_eq!(found["orders"].as_array().map(Vec::len), Some(7));
    assert_eq!(found["orders"][0]["customer_name"], json!("ŁUKASZ"), "as it was given");
    let said = options.run("doctor", &[]).stdout;
    assert!(said.contains("names are folded in every month as they are searched for"), "{said}");
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
}
