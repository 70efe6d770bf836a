//! Twice is once: an order is the same one however another export writes it.

use super::*;

const UUID: &str = "6f0a1c52-93d4-4c0e-8f57-0d9a6be1c0";

/// Two open and two ended orders, known by a UUID, by a number, and by a number beside an external id of their own.
fn first_export() -> String {
    format!(
        "id,restaurant_id,status,created_at,display_order_number,external_id,customer_name
{UUID}01,7,ready,2026-03-14 10:00:00.250+00,5,,Kofi
{UUID}02,7,closed,2026-03-14 10:00:01.251+00,6,,Lena
4711,7,served,2026-03-14 10:00:02.252+00,7,,Mateo
4712,7,closed,2026-03-14 10:00:03.253+00,8,,Nadia
4713,12,ready,2026-03-14 10:00:04.254+00,9,POS-9,Oskar
4714,12,closed,2026-03-14 10:00:05.255+00,10,POS-10,Ines
"
    )
}

/// The same orders, as other programs write them.
fn second_exports() -> Vec<(PathBuf, &'static str)> {
    let header = "id,restaurant_id,status,created_at,display_order_number,external_id,customer_name";
    let mut seconds = vec![header.to_owned()];
    let mut zones = vec![header.to_owned()];
    let mut floats = vec![header.to_owned()];
    let mut lines = Vec::new();
    for (n, row) in first_export().lines().skip(1).enumerate() {
        let fields: Vec<&str> = row.split(',').collect();
        let [id, restaurant, status, _, number, external, name] = fields[..] else { panic!("{row}") };
        let rest = format!("{number},{external},{name}");
        seconds.push(format!("{id},{restaurant},{status},2026-03-14T10:00:0{n}Z,{rest}"));
        // Zones of half an hour, and UUIDs in upper case.
        zones.push(format!("{},{restaurant},{status},2026-03-14T15:30:0{n}.25{n}000+05:30,{rest}", id.to_uppercase()));
        let plain_id = id.replace('-', "");
        let float_id = if id.len() < 9 { format!("{id}.0") } else { plain_id.clone() };
        floats.push(format!("{float_id},{restaurant},{status},2026-03-14 10:00:0{n}.25+00,{rest}"));
        let id = id.parse::<u64>().map_or(json!(plain_id), Value::from);
        let restaurant: u32 = restaurant.parse().expect("a number");
        lines.push(
            json!({"id": id, "restaurant_id": restaurant, "status": status, "created_at": format!("2026-03-14T03:00:0{n}-07:00"),
                   "display_order_number": number, "external_id": external, "customer_name": name})
            .to_string(),
        );
    }
    vec![
        (file("seconds.csv", seconds.join("\n")), "whole seconds"),
        (file("zones.csv", zones.join("\n")), "another zone, upper case"),
        (file("floats.csv", floats.join("\n")), "tenths, floats, no hyphens"),
        (file("lines.jsonl", lines.join("\n")), "JSON"),
    ]
}

#[tokio::test]
async fn another_export_of_the_same_orders_finds_them_all() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let report = back_fill(&options, &[shown(&file("first.csv", first_export()))]);
    assert!(report.contains("taken live: 3, of these 3") && report.contains("taken finished: 3"), "{report}");
    let mut db = database(&options).await;
    for (path, how) in second_exports() {
        // At once, also while the ledger does not have the open ones yet.
        let report = back_fill(&options, &[shown(&path)]);
        assert!(report.contains("already there: 6") && report.contains("skipped: 0"), "{how}: {report}");
        assert!(!report.contains("differs"), "{how}: {report}");
    }
    settled(&mut db, 6).await;
    assert_eq!(count(&mut db, "imported_orders WHERE source = 'default'").await, 6);
    assert_eq!(live(&daemon, 7).await.len() + live(&daemon, 12).await.len(), 3);
    verified(&options);
}

#[tokio::test]
async fn orders_of_earlier_versions_are_found_and_recorded() {
    let options = deployment().await;
    let _daemon = Daemon::start(&options);
    back_fill(&options, &[shown(&file("first.csv", first_export()))]);
    let mut db = database(&options).await;
    settled(&mut db, 6).await;
    for (path, how) in second_exports() {
        // An earlier version recorded nothing of them.
        sqlx::raw_sql("DELETE FROM imported_orders").execute(&mut db).await.expect("it can be pretended");
        for arguments in [vec!["--dry-run", shown(&path)], vec![shown(&path)]] {
            let report = back_fill(&options, &arguments);
            assert!(report.contains("already there: 6") && report.contains("skipped: 0"), "{how}: {report}");
        }
        assert_eq!(count(&mut db, "imported_orders").await, 6, "{how}");
    }
    assert_eq!(count(&mut db, "orders").await, 6);
}

#[tokio::test]
async fn orders_of_two_systems_are_two_orders_though_they_are_called_the_same() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let rows = "id,restaurant_id,status,created_at\n1,7,new,2026-03-14T10:00:00Z\n2,7,done,2026-03-14T10:00:00Z\n";
    let path = file("rows.csv", rows);
    for (source, taken) in [("till", 1), ("Web Shop", 1), ("TILL", 0), ("web shop ", 0)] {
        let report = back_fill(&options, &["--source", source, shown(&path)]);
        assert!(report.contains(&format!("taken live: {taken},")), "{source}: {report}");
        assert!(report.contains(&format!("taken finished: {taken}")), "{source}: {report}");
    }
    let mut db = database(&options).await;
    settled(&mut db, 4).await;
    // Without a name it is a third system.
    assert!(back_fill(&options, &[shown(&path)]).contains("taken live: 1,"));
    settled(&mut db, 6).await;
    assert_eq!(live(&daemon, 7).await.len(), 3);
    let bad = options.run("backfill", &["--source", " ", shown(&path)]);
    assert!(bad.status.code() == Some(1) && bad.stderr.contains("--source"), "{bad:?}");
}

#[tokio::test]
async fn an_order_of_another_source_is_left_alone() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let row = |name: &str| {
        let header = "id,restaurant_id,status,created_at,customer_name";
        file("rows.csv", format!("{header}\n{UUID}77,7,ready,2026-03-14T10:00:00Z,{name}\n"))
    };
    back_fill(&options, &["--source", "till", shown(&row("Ana"))]);
    let mut db = database(&options).await;
    settled(&mut db, 1).await;
    // A UUID is one order, whichever system says it.
    for flag in ["--update", "--replace"] {
        let report = back_fill(&options, &["--source", "shop", flag, shown(&row("Bo"))]);
        assert!(report.contains("already there: 1") && report.contains("other_source"), "{report}");
    }
    assert_eq!(live(&daemon, 7).await[0]["customer_name"], "Ana");
}

/// A run that was killed had recorded which order a row becomes, and had not made it.
#[tokio::test]
async fn what_was_recorded_and_not_taken_is_taken_under_its_id() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let path = file("first.csv", first_export());
    back_fill(&options, &["--dry-run", shown(&path)]);
    let mut db = database(&options).await;
    assert_eq!(count(&mut db, "imported_orders").await, 0, "a trial records nothing");
    // As a run with another export of them left it.
    let ids = ["019cebc9-e0d0-8000-8000-380000000001", "019cebc9-e4b8-8000-8000-380000000002"];
    for (id, key) in ids.iter().zip(["4711", "4712"]) {
        let row = "INSERT INTO imported_orders (source, restaurant_id, foreign_key, internal_order_id, imported_at)
                   VALUES ('default', 7, $1, $2::uuid, now())";
        sqlx::query(row).bind(key).bind(id).execute(&mut db).await.expect("it can be pretended");
    }
    let report = back_fill(&options, &[shown(&path)]);
    assert!(report.contains("taken live: 3,") && report.contains("taken finished: 3"), "{report}");
    settled(&mut db, 6).await;
    for (id, name) in ids.into_iter().zip(["Mateo", "Nadia"]) {
        assert_eq!(found(&daemon, &format!("/v1/orders/{id}")).await["customer_name"], name);
    }
    assert!(back_fill(&options, &[shown(&path)]).contains("already there: 6"));
}

#[tokio::test]
async fn two_runs_at_once_take_every_order_once() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let (open, ended) = (400, 3_600);
    let first = many(open, ended);
    // The other one writes zones, words and UUIDs otherwise.
    let text = std::fs::read_to_string(&first).expect("it is there");
    let second = file(
        "second.csv",
        text.replace("+00,", "+00:00,").to_uppercase().replacen(
            "ID,RESTAURANT_ID,STATUS,DISPLAY_ORDER_NUMBER,CREATED_AT,COMPLETED_AT",
            "id,restaurant_id,status,display_order_number,created_at,completed_at",
            1,
        ),
    );
    let runs = [first, second].map(|path| {
        let mut command = options.command("backfill");
        command.arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped());
        keeper::spawn(command).expect("it can be started")
    });
    for run in runs {
        let done = tokio::task::spawn_blocking(|| run.wait_with_output()).await.expect("it ends").expect("it ends");
        let report = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && report.contains("skipped: 0"), "{report}");
    }
    let mut db = database(&options).await;
    let all = i64::from(open + ended);
    settled(&mut db, all).await;
    assert_eq!(count(&mut db, "imported_orders").await, all);
    assert_eq!(count(&mut db, "order_events WHERE kind = 'imported'").await, all);
    let mut in_redis = 0;
    for restaurant in 1..=7 {
        in_redis += live(&daemon, restaurant).await.len();
    }
    assert_eq!(in_redis, 400);
    verified(&options);
}
