//! The back-fill of other systems' exports: their files, columns, times and words.

use std::path::{Path, PathBuf};

use crate::support::daemon::Finished;
use crate::support::{Daemon, DaemonOptions, PATIENCE, eventually_true, scratch};
use chrono::{Duration, Utc};
use flate2::{Compression, write::GzEncoder};
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

async fn deployment() -> DaemonOptions {
    // No order is expired behind a test's back.
    let options = DaemonOptions::shared().await.with("NOWSERVING_CLEANUP_ENABLED", false);
    let migrated = options.run("migrate", &[]);
    assert!(migrated.status.success(), "{}", migrated.stderr);
    options
}

fn file(name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = scratch::folder("rows").join(name);
    std::fs::write(&path, text).expect("a file can be written");
    path
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("our folders have plain names")
}

fn run(options: &DaemonOptions, arguments: &[&str]) -> Finished {
    options.run("backfill", arguments)
}

/// The summary for machines of a run that took something.
fn summary(options: &DaemonOptions, arguments: &[&str]) -> Value {
    let done = run(options, &[arguments, &["--report-format", "json"]].concat());
    assert!(done.status.success(), "{}: {}\n{}", done.status, done.stdout, done.stderr);
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stdout))
}

/// How many rows there is a remark about, by its reason.
fn count(summary: &Value, reason: &str) -> u64 {
    let remarks = summary["remarks"].as_array().expect("a list");
    let of_it = remarks.iter().filter(|remark| remark["reason"] == reason);
    of_it.map(|remark| remark["count"].as_u64().expect("a count")).sum()
}

fn rows(summary: &Value) -> (u64, u64, u64) {
    let count = |name: &str| summary["rows"][name].as_u64().expect("a count");
    (count("live"), count("finished"), count("skipped"))
}

async fn live(daemon: &Daemon, restaurant: u32) -> Vec<Value> {
    let url = format!("{}/v1/restaurants/{restaurant}/orders?limit=1000", daemon.url());
    let answer = Client::new().get(url).send().await.expect("the daemon answers");
    let list: Value = answer.json().await.expect("JSON");
    list["orders"].as_array().expect("a list").clone()
}

/// The live order that another system knows by this id.
async fn order(daemon: &Daemon, restaurant: u32, id: &str) -> Value {
    let orders = live(daemon, restaurant).await;
    let found = orders.iter().find(|order| order["external_id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {orders:?}")).clone()
}

async fn database(options: &DaemonOptions) -> PgConnection {
    PgConnection::connect(options.database_url.as_deref().expect("it has one")).await.expect("Postgres answers")
}

/// A column of a finished order, as text.
async fn finished(connection: &mut PgConnection, id: &str, column: &str) -> Option<String> {
    let statement = format!("SELECT {column}::text FROM orders WHERE external_id = $1");
    let found: Option<Option<String>> =
        sqlx::query_scalar(AssertSqlSafe(statement)).bind(id).fetch_optional(connection).await.expect("it is asked");
    found.unwrap_or_else(|| panic!("no {id}"))
}

#[tokio::test]
async fn a_time_without_a_zone_is_refused_told_or_assumed() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let uuid = |n: u8| format!("6f0a1c52-93d4-4c0e-8f57-0d9a6be1d0{n:02}");
    // In Brisbane, ten minutes ago.
    let local = (Utc::now() + Duration::hours(10) - Duration::minutes(10)).format("%Y-%m-%d %H:%M:%S");
    let text = format!(
        "id,restaurant_id,status,created_at,display_order_number\n{},7,ready,{local},901\n\
         {},7,completed,2026-01-15 12:00:00,17\n{},7,completed,2026-01-15T12:00:00Z,18\n",
        uuid(1),
        uuid(2),
        uuid(3)
    );
    let path = file("local.csv", text);
    let done = run(&options, &[shown(&path)]);
    assert!(done.stdout.contains("1 time_without_zone: created_at has no zone"), "{}", done.stdout);
    assert!(done.stdout.contains("--time-zone") && done.stdout.contains("--assume-utc"), "{}", done.stdout);
    assert!(done.stdout.contains("taken live: 1, of these 1 with") && done.stdout.contains("taken finished: 1"));
    // The guest has the number in hand: it is theirs now, as it is not in the future.
    let has_it = || async {
        let now = Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
        let url = format!("{}/v1/restaurants/7/numbers/901?at={now}", daemon.url());
        let answer = Client::new().get(url).send().await.expect("the daemon answers");
        answer.json::<Value>().await.expect("JSON")["state"] == "live"
    };
    eventually_true(PATIENCE, has_it).await;
    let told = summary(&options, &["--time-zone", "Australia/Brisbane", shown(&path)]);
    assert_eq!((rows(&told), &told["rows"]["already_there"]), ((0, 1, 0), &json!(2)));
    let mut connection = database(&options).await;
    let created: String = sqlx::query_scalar(
        "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM orders
         WHERE display_order_number = 17",
    )
    .fetch_one(&mut connection)
    .await
    .expect("it is there");
    assert_eq!(created, "2026-01-15 02:00");

    let others = file(
        "others.csv",
        "id,restaurant_id,status,created_at,completed_at\nu1,7,done,2026-01-15 12:00,2026-01-15 11:59\n\
         u2,7,done,\"Jan 15, 2026 2:30 PM\",\nu3,7,done,1768478400,1768478400500\nu4,7,done,2026-01-15,\n",
    );
    let assumed = summary(&options, &["--assume-utc", shown(&others)]);
    assert_eq!(rows(&assumed), (0, 4, 0));
    assert_eq!(
        (count(&assumed, "zone_assumed"), count(&assumed, "time_moved"), count(&assumed, "date_alone")),
        (4, 1, 1)
    );
    assert_eq!(finished(&mut connection, "u3", "released_at").await.as_deref(), Some("2026-01-15 12:00:00.5+00"));
}

#[tokio::test]
async fn dates_of_three_numbers_need_an_order_and_clocks_are_put_back() {
    let options = deployment().await;
    let text = "id;restaurant_id;status;created_at\na;7;done;10/05/2026 2:30 PM\nb;7;done;25/10/2025 23:00\n\
                c;7;done;26/10/2025 02:30\nd;7;done;29/03/2026 02:30\n";
    let path = file("dates.csv", text);
    let done = run(&options, &[shown(&path), "--time-zone", "Europe/Berlin"]);
    assert!(!done.status.success() && done.stdout.contains("--date-order"), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("10/05/2026 2:30 PM\": which is the day"), "{}", done.stdout);
    assert!(done.stdout.contains("what is read is 2026-05-10T14:30:00Z"), "{}", done.stdout);
    let done = run(&options, &[shown(&path), "--time-zone", "Europe/Berlin", "--date-order", "dmy"]);
    assert!(
        done.stdout.contains("taken finished: 3") && done.stdout.contains("1 time_exists_twice"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("does not exist in Europe/Berlin"), "{}", done.stdout);
    let mut connection = database(&options).await;
    for (id, created) in [("a", "2026-05-10 12:30:00+00"), ("c", "2025-10-26 00:30:00+00")] {
        assert_eq!(finished(&mut connection, id, "created_at").await.as_deref(), Some(created));
    }
    for (flags, words) in [
        (["--time-zone", "Berlin"], "Europe/Berlin"),
        (["--date-order", "ydm"], "mdy"),
        (["--status", "paid=eaten"], "preparing"),
        (["--status", "paid"], "WORD=MEANING"),
        (["--encoding", "klingon"], "windows-1252"),
        (["--column", "when=Placed"], "created_at"),
        (["--restaurant", "0"], "1 to"),
        (["--dialect", "lightspeed"], "woocommerce"),
    ] {
        let done = run(&options, &[&flags[..], &[shown(&path)]].concat());
        assert!(!done.status.success() && done.stderr.contains(words), "{flags:?}: {}", done.stderr);
    }
}

#[tokio::test]
async fn an_export_of_shopify_is_read() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let at = (Utc::now() - Duration::minutes(20)).format("%Y-%m-%d %H:%M:%S +0000");
    let header = "Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Billing Name,Notes,Cancelled at,\
                  Id,Source,Created at";
    let text = format!(
        "{header}\n#1001,a@b.c,paid,{at},unfulfilled,,Ana,no onions,,501,web,{at}\n\
         #1002,a@b.c,paid,{at},fulfilled,{at},Bo,,,502,pos,{at}\n\
         #1003,a@b.c,pending,,unfulfilled,,Cy,,{at},503,iphone,{at}\n\
         #1004,a@b.c,paid,{at},,,Di,,,504,subscription bot,{at}\n\
         #1005,a@b.c,paid,{at},beamed,,Ed,,,505,web,{at}\n"
    );
    let path = file("orders_export_1.csv", text);
    let arguments = ["--dialect", "shopify", "--restaurant", "7", shown(&path)];
    let trial = summary(&options, &[&arguments[..], &["--dry-run"]].concat());
    assert_eq!((&trial["dry_run"], rows(&trial)), (&json!(true), (2, 2, 1)));
    let words = trial["words"].as_array().expect("a list");
    for word in [
        json!({"field": "status", "word": "paid", "meaning": "preparing", "rows": 4}),
        json!({"field": "status", "word": "beamed", "meaning": null, "rows": 1}),
        json!({"field": "order_source", "word": "subscription bot", "meaning": null, "rows": 1}),
    ] {
        assert!(words.contains(&word), "{word}: {words:?}");
    }
    let columns = trial["form"]["columns"].as_array().expect("a list");
    assert_eq!(columns.len(), 12);
    assert!(columns.contains(&json!({"column": "Billing Name", "field": "customer_name"})));
    assert!(columns.contains(&json!({"column": "Email", "field": null})));
    assert_eq!(live(&daemon, 7).await, Vec::<Value>::new(), "nothing is written");

    let done = run(&options, &[&arguments[..], &["--dry-run"]].concat());
    for line in ["| Billing Name", "| Email", "(passed over)", "read as csv, ',' between fields, UTF-8", "(not known)"]
    {
        assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
    }
    let taken = summary(
        &options,
        &[&arguments[..], &["--status", "beamed=ready", "--order-source", "subscription bot=api"]].concat(),
    );
    assert_eq!(rows(&taken), (3, 2, 0));
    let ana = order(&daemon, 7, "501").await;
    assert_eq!(
        (&ana["status"], &ana["customer_name"], &ana["note"]),
        (&json!("preparing"), &json!("Ana"), &json!("no onions"))
    );
    assert_eq!(order(&daemon, 7, "504").await["order_source"], "api");
    let mut connection = database(&options).await;
    assert_eq!(finished(&mut connection, "503", "status").await.as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn answers_of_apis_are_read_packed_or_not() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let at = (Utc::now() - Duration::minutes(20)).format("%Y-%m-%dT%H:%M:%S").to_string();
    let square = json!({"orders": [
        {"id": "sq-1", "location_id": "L1", "state": "OPEN", "created_at": format!("{at}Z"),
         "fulfillments": [{"type": "PICKUP", "state": "PREPARED", "pickup_details": {"recipient": {"display_name": "Ada"}}}]},
        {"id": "sq-2", "location_id": "L2", "state": "COMPLETED", "created_at": format!("{at}Z")},
        {"id": "sq-3", "location_id": "L9", "state": "OPEN", "created_at": format!("{at}Z")},
    ], "cursor": "x"});
    let map = file("map.csv", "theirs,ours\nL1,7\nL2,8\n");
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer_pretty(&mut packed, &square).expect("memory can be written");
    let packed = packed.finish().expect("memory can be written");
    let path = file("orders.json.gz", packed);
    let taken = summary(&options, &["--dialect", "square", "--restaurant-map", shown(&map), shown(&path)]);
    assert_eq!((rows(&taken), count(&taken, "bad_restaurant_id")), ((1, 1, 1), 1));
    assert_eq!(taken["form"]["compression"], "gzip");
    let ada = order(&daemon, 7, "sq-1").await;
    assert_eq!(
        (&ada["status"], &ada["order_type"], &ada["customer_name"]),
        (&json!("ready"), &json!("takeaway"), &json!("Ada"))
    );

    let woo = json!([
        {"id": 727, "number": "1727", "status": "processing", "date_created": "2001-01-01T00:00:00", "date_created_gmt": at,
         "billing": {"first_name": "Grace", "last_name": "Hopper"}, "customer_note": "quick", "created_via": "checkout"},
        {"id": 728, "number": "1728", "status": "failed", "date_created_gmt": at},
    ]);
    let path = file("woo.json", woo.to_string());
    let taken = summary(&options, &["--dialect", "woocommerce", "--restaurant", "9", "--jsonl", shown(&path)]);
    assert_eq!(rows(&taken), (1, 1, 0));
    let grace = order(&daemon, 9, "727").await;
    assert_eq!((&grace["display_order_number"], &grace["customer_name"]), (&json!(1727), &json!("Grace Hopper")));
    assert_eq!((&grace["order_source"], &grace["created_at"]), (&json!("web"), &json!(format!("{at}.000Z"))));

    let odoo = json!([{"id": 31, "config_id": 10, "state": "paid", "date_order": at.replace('T', " "), "tracking_number": "031"}]);
    let path = file("odoo.json", odoo.to_string());
    let taken = summary(&options, &["--dialect", "odoo", "--assume-utc", shown(&path)]);
    assert_eq!((rows(&taken), count(&taken, "zone_assumed")), ((1, 0, 0), 1));
    let paid = order(&daemon, 10, "31").await;
    assert_eq!((&paid["status"], &paid["display_order_number"]), (&json!("preparing"), &json!(31)));
}

#[tokio::test]
async fn an_encoding_is_asked_for_and_no_letter_is_lost() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let at = (Utc::now() - Duration::minutes(20)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let text = |names: [&[u8]; 2]| {
        let row = |id: &str, name: &[u8]| [format!("{id},7,new,{at},").as_bytes(), name, b"\n"].concat();
        [&b"id,restaurant_id,status,created_at,customer_name\n"[..], &row("w1", names[0]), &row("w2", names[1])]
            .concat()
    };
    let path = file("windows.csv", text([b"Zo\xeb", b"Ann"]));
    let first = summary(&options, &[shown(&path)]);
    assert_eq!((rows(&first), count(&first, "not_utf8")), ((1, 0, 1), 1));
    let meaning = first["remarks"][0]["meaning"].as_str().expect("text");
    assert!(meaning.contains("--encoding windows-1252"), "{meaning}");
    let then = summary(&options, &["--encoding", "cp1252", shown(&path)]);
    assert_eq!((rows(&then), &then["form"]["encoding"]), ((1, 0, 0), &json!("windows-1252")));
    assert_eq!(order(&daemon, 7, "w1").await["customer_name"], "Zoë");
    // Asked for where it is not so, it would make other letters of them.
    let path = file("utf8.csv", text(["Zoë".as_bytes(), b"Ann"]));
    let done = run(&options, &["--encoding", "windows-1252", shown(&path)]);
    assert!(!done.status.success() && done.stderr.contains("it is UTF-8, not windows-1252"), "{}", done.stderr);
}

#[tokio::test]
async fn words_for_nothing_are_nothing_and_counted() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let at = (Utc::now() - Duration::minutes(20)).format("%Y-%m-%dT%H:%M:%SZ");
    let mut text = "id,restaurant_id,status,created_at,completed_at,customer_name,table_number,note\n".to_owned();
    for (id, nothing) in [("n1", "NaN"), ("n2", "(null)"), ("n3", "#N/A"), ("n4", "niente")] {
        text += &format!("{id},7,new,{at},{nothing},{nothing},{nothing},{nothing}\n");
    }
    text += &format!("n5,7.00,new,{at},,Null,12.0,7.0\n");
    let path = file("nothing.csv", text);
    let taken = summary(&options, &["--null", "niente", shown(&path)]);
    assert_eq!(rows(&taken), (5, 0, 0));
    assert_eq!(taken["nothing"].as_array().map(Vec::len), Some(4));
    assert_eq!(taken["nothing"][0]["values"], 4);
    for id in ["n1", "n2", "n3", "n4"] {
        let order = order(&daemon, 7, id).await;
        assert!(
            order["customer_name"].is_null() && order["note"].is_null() && order["table_number"].is_null(),
            "{order}"
        );
    }
    let null = order(&daemon, 7, "n5").await;
    assert_eq!(
        (&null["customer_name"], &null["table_number"], &null["note"]),
        (&json!("Null"), &json!("12"), &json!("7.0"))
    );
}

#[tokio::test]
async fn tables_of_other_frameworks_are_read() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let mut connection = database(&options).await;
    let script = r#"
        CREATE TYPE their_state AS ENUM ('PROCESSING', 'DONE');
        CREATE TABLE "Order" ("id" numeric(30, 0), "restaurantId" numeric(10, 2), "orderStatus" their_state,
                              "createdAt" timestamptz, "completedAt" timestamptz, "displayNumber" numeric(6, 1),
                              "customerName" char(20), "metadata" json, "Legacy id" int);
        INSERT INTO "Order" VALUES
            (123456789012345678901234567890, 7, 'PROCESSING', now() - interval '5 min', 'infinity', 61, 'Ana', '{"b": 1}'),
            (2, 7, 'DONE', now() - interval '9 min', '-infinity', 62, 'Bo', NULL);
        CREATE VIEW naive AS SELECT 'v' || id AS id, "restaurantId" AS restaurant_id, "orderStatus" AS status,
                                    '2026-01-15 12:00'::timestamp AS placed FROM "Order" WHERE id = 2;
        CREATE VIEW twice AS SELECT id, id AS order_id, 7 AS restaurant_id, 'new' AS status, now() AS created_at
                             FROM "Order""#;
    sqlx::raw_sql(script).execute(&mut connection).await.expect("they can be made");
    let taken = summary(&options, &["--from-table", "\"Order\""]);
    assert_eq!((rows(&taken), &taken["rows"]["own_number"]), ((1, 1, 0), &json!(1)));
    let ana = order(&daemon, 7, "123456789012345678901234567890").await;
    assert_eq!((&ana["customer_name"], &ana["metadata"]), (&json!("Ana"), &json!({"b": 1})));
    assert_eq!(ana["display_order_number"], 61);

    let done = run(&options, &["--from-table", "naive"]);
    assert!(done.stderr.contains("no column created_at") && done.stderr.contains("--column"), "{}", done.stderr);
    let column = ["--from-table", "naive", "--column", "created_at=placed", "--time-zone", "Asia/Tokyo"];
    assert_eq!(rows(&summary(&options, &column)), (0, 1, 0));
    assert_eq!(finished(&mut connection, "v2", "created_at").await.as_deref(), Some("2026-01-15 03:00:00+00"));
    let done = run(&options, &["--from-table", "twice"]);
    assert!(done.stderr.contains("\"id\" and \"order_id\" are both id"), "{}", done.stderr);
}
