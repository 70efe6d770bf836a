//! The number in the guest's hand: its digits are taken, what was shown is kept, and leads to the order.

use crate::support::OwnRedis;

use super::*;

const SHOWN: [(&str, u64); 14] = [
    ("#1042", 1042),
    ("A-043", 43),
    ("No. 44", 44),
    ("№ 45", 45),
    ("１０４６", 1046),
    ("١٠٤٧", 1047),
    ("१०४८", 1048),
    ("๑๐๔๙", 1049),
    ("1,050", 1050),
    ("1.051", 1051),
    ("1 052", 1052),
    ("1’053", 1053),
    ("T5 #54", 54),
    (" 0055", 55),
];

fn export(status: &str, restaurant: u32) -> PathBuf {
    let mut rows = "id,restaurant_id,status,created_at,display_number\n".to_owned();
    for (n, (shown, _)) in SHOWN.iter().enumerate() {
        rows += &format!("{status}-{n},{restaurant},{status},{SAMPLE_DAY}T10:00:{n:02}Z,\"{shown}\"\n");
    }
    file("rows.csv", rows)
}

#[tokio::test]
async fn the_digits_are_the_number_and_what_was_shown_leads_to_the_order() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    for (status, restaurant, taken) in [("preparing", 7, "taken live: 14, of these 14"), ("closed", 8, "finished: 14")]
    {
        let report = back_fill(&options, &[shown(&export(status, restaurant))]);
        assert!(report.contains(taken) && !report.contains("number_"), "{report}");
    }
    let mut db = database(&options).await;
    settled(&mut db, 28).await;
    for restaurant in [7, 8] {
        for (text, number) in SHOWN {
            let orders = searched(&daemon, restaurant, text).await;
            let numbers: Vec<u64> =
                orders.iter().map(|order| order["display_order_number"].as_u64().expect("a number")).collect();
            assert_eq!(numbers, [number], "{text} in restaurant {restaurant}");
            let lookup = format!("/api/orders/lookup?restaurant_id={restaurant}&display_number={number}");
            assert_eq!(found(&daemon, &lookup).await["internal_order_id"], orders[0]["internal_order_id"], "{text}");
        }
    }
    // What we show is no old name.
    let orders = live(&daemon, 7).await;
    let order_number = |number: u64| {
        let order = orders.iter().find(|order| order["display_order_number"] == number).expect("it is there");
        order["order_number"].clone()
    };
    assert_eq!((order_number(1042), order_number(55)), (json!("#1042"), json!("R7-0055")));
    let ended = searched(&daemon, 8, "A-043").await;
    assert_eq!(ended[0]["display_number_formatted"], "A-043", "history is shown as it was");
    verified(&options);
}

#[tokio::test]
async fn a_number_that_is_not_to_be_had_is_listed_and_leads_to_the_order_all_the_same() {
    let redis = OwnRedis::start().await;
    let mut options = deployment().await;
    options.redis_url = Some(redis.url());
    let daemon = Daemon::start(&options);
    let settings = json!({"min_number": 1, "max_number": 60, "blocked_numbers": [13]});
    let url = format!("{}/v1/restaurants/7", daemon.url());
    assert!(Client::new().put(url).json(&settings).send().await.expect("it answers").status().is_success());
    let url = format!("{}/v1/restaurants/7/orders", daemon.url());
    let till: Value = Client::new().post(url).send().await.expect("it answers").json().await.expect("JSON");
    assert_eq!(till["display_order_number"], 1);
    let columns = "id,restaurant_id,status,created_at,display_number,order_number";
    let row = |id: &str, number: &str, order_number: &str| {
        format!("{id},7,ready,{SAMPLE_DAY}T10:00:00Z,{number},{order_number}\n")
    };
    let rows = [
        row("taken", "0001", ""),
        row("outside", "#0500", "R7-0500-B"),
        row("blocked", "13", ""),
        row("unclear", "12-A-5", ""),
        row("own", "7", ""),
        row("none", "", ""),
    ];
    let path = file("rows.csv", format!("{columns}\n{}", rows.concat()));
    let list = scratch::folder("report").join("remarks.jsonl");
    let report = back_fill(&options, &["--report", shown(&list), shown(&path)]);
    assert!(report.contains("taken live: 6, of these 1 with their own number"), "{report}");
    assert!(report.contains("4 number_changed: ") && report.contains("1 number_not_read: "), "{report}");

    let numbers = numbers(&daemon, 7, "external_id").await;
    let changed: BTreeMap<String, String> = remarks(&list)
        .iter()
        .filter(|remark| remark["reason"] == "number_changed")
        .map(|remark| (remark["id"].as_str().expect("text"), remark["detail"].as_str().expect("text")))
        .map(|(id, detail)| (id.to_owned(), detail.to_owned()))
        .collect();
    let expected = [("taken", "0001"), ("outside", "#0500"), ("blocked", "13"), ("unclear", "12-A-5")]
        .map(|(id, old)| (id.to_owned(), format!("{old} → {:04}", numbers[id])));
    assert_eq!(changed, BTreeMap::from(expected));

    let mut db = database(&options).await;
    settled(&mut db, 7).await;
    assert_old_numbers_lead(&daemon, &till).await;
    let orders = live(&daemon, 7).await;
    let order_number = |id: &str| {
        let order = orders.iter().find(|order| order["external_id"] == id).expect("it is there");
        order["order_number"].clone()
    };
    assert_eq!((order_number("taken"), order_number("outside")), (json!("0001"), json!("R7-0500-B")));

    // Another daemon finds them after Redis lost everything,
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    redis::cmd("FLUSHALL").exec_async(&mut redis.connect().await).await.expect("Redis answers");
    let daemon = Daemon::start(&options);
    eventually_true(PATIENCE, || async { get(&daemon, "/v1/restaurants/7/orders").await.0 == StatusCode::OK }).await;
    assert_eq!(live(&daemon, 7).await.len(), 7);
    assert_old_numbers_lead(&daemon, &till).await;
    assert!(back_fill(&options, &[shown(&path)]).contains("already there: 6"));
    // a change keeps the names,
    for order in live(&daemon, 7).await {
        patch(&daemon, &order["internal_order_id"], json!({"note": "soon"})).await;
    }
    assert_old_numbers_lead(&daemon, &till).await;
    verified(&options);
    // and so does the end, where they are in the ledger only.
    for order in live(&daemon, 7).await.into_iter().filter(|order| order["external_id"] != Value::Null) {
        patch(&daemon, &order["internal_order_id"], json!({"status": "completed"})).await;
    }
    assert_old_numbers_lead(&daemon, &till).await;
    verified(&options);
}

/// By search and by look-up; a number that a live order has leads to that one.
async fn assert_old_numbers_lead(daemon: &Daemon, till: &Value) {
    let ids = async |text: &str| -> Vec<Value> {
        searched(daemon, 7, text).await.iter().map(|order| order["external_id"].clone()).collect()
    };
    for (id, texts) in [
        ("taken", &["0001", "1"][..]),
        ("outside", &["#0500", "500", "0500", "R7-0500-B", "r7-0500-b"]),
        ("blocked", &["13", "0013"]),
        ("unclear", &["12-A-5", "12-a-5"]),
    ] {
        for text in texts {
            assert!(ids(text).await.contains(&json!(id)), "{text} leads to {id}: {:?}", ids(text).await);
        }
    }
    for (number, id) in [(500, "outside"), (13, "blocked")] {
        let lookup = format!("/api/orders/lookup?restaurant_id=7&display_number={number:04}");
        assert_eq!(found(daemon, &lookup).await["external_id"], id, "{number}");
        let path = format!("/v1/restaurants/7/numbers/{number}");
        let report = found(daemon, &path).await;
        assert_eq!(report["order"]["external_id"], id, "{number}");
        // At an instant, too: from when the order was made there, whatever became of it since.
        for time in ["10:00:00Z", "10:05:00.5Z"] {
            let then = found(daemon, &format!("{path}?at={SAMPLE_DAY}T{time}")).await;
            assert_eq!(then["order"], report["order"], "{number} at {time}");
        }
        let before = get(daemon, &format!("{path}?at={SAMPLE_DAY}T09:59:59.999Z")).await;
        assert!(before.0 == StatusCode::NOT_FOUND || before.1["order"].is_null(), "{number}: {before:?}");
    }
    let held = found(daemon, "/api/orders/lookup?restaurant_id=7&display_number=1").await;
    assert_eq!(held["internal_order_id"], till["internal_order_id"]);
}

/// An earlier version could not read the number, and left it out.
#[tokio::test]
async fn an_update_gives_orders_of_earlier_runs_the_numbers_in_their_guests_hands() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let rows = |shown: &str| {
        let columns = "id,restaurant_id,status,created_at,display_number";
        let row = |id: &str, status: &str| format!("{id},7,{status},{SAMPLE_DAY}T10:00:00Z,{shown}\n");
        file("rows.csv", format!("{columns}\n{}{}", row("a", "ready"), row("b", "closed")))
    };
    back_fill(&options, &[shown(&rows(""))]);
    let mut db = database(&options).await;
    settled(&mut db, 2).await;
    sqlx::raw_sql("DELETE FROM imported_orders").execute(&mut db).await.expect("it can be pretended");
    let path = rows("#1042");
    let report = back_fill(&options, &[shown(&path)]);
    assert!(report.contains("2 differs: "), "{report}");
    assert_eq!(searched(&daemon, 7, "#1042").await, Vec::<Value>::new());
    let report = back_fill(&options, &["--update", shown(&path)]);
    assert!(report.contains("updated: 1") && report.contains("1 differs: "), "{report}");
    let orders = searched(&daemon, 7, "#1042").await;
    assert_eq!(orders.iter().map(|order| &order["external_id"]).collect::<Vec<_>>(), [&json!("a")]);
    assert_eq!(orders[0]["order_number"], "#1042");
    let said = events(&daemon, &orders[0]["internal_order_id"]).await;
    assert_eq!(said.last().expect("events")["detail"]["changes"]["order_number"][1], "#1042");
    let report = back_fill(&options, &["--replace", shown(&path)]);
    assert!(report.contains("replaced: 1") && report.contains("already there: 1"), "{report}");
    let mut found: Vec<Value> =
        searched(&daemon, 7, "1042").await.iter().map(|order| order["external_id"].clone()).collect();
    found.sort_by_key(Value::to_string);
    assert_eq!(found, ["a", "b"]);
    verified(&options);
}

/// Of two that had one number there, the one counts that was open at the instant.
#[tokio::test]
async fn an_old_number_leads_to_the_order_that_was_open_then() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let url = format!("{}/v1/restaurants/7", daemon.url());
    let settings = json!({"min_number": 1, "max_number": 60});
    assert!(Client::new().put(url).json(&settings).send().await.expect("it answers").status().is_success());
    let rows =
        [("older", "10:00"), ("newer", "10:10")].map(|(id, at)| format!("{id},7,ready,{SAMPLE_DAY}T{at}:00Z,#500\n"));
    let path = file("rows.csv", format!("id,restaurant_id,status,created_at,display_number\n{}", rows.concat()));
    assert!(back_fill(&options, &[shown(&path)]).contains("taken live: 2, of these 0 with their own number"));
    settled(&mut database(&options).await, 2).await;
    let orders = live(&daemon, 7).await;
    let mut ended = Vec::new();
    for id in ["newer", "older"] {
        let order = orders.iter().find(|order| order["external_id"] == id).expect("it is live");
        let id = &order["internal_order_id"];
        patch(&daemon, id, json!({"status": "completed"})).await;
        let order = found(&daemon, &format!("/v1/orders/{}", id.as_str().expect("text"))).await;
        ended.push(order["released_at"].as_str().expect("a time").to_owned());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (at, id) in [(&ended[0], "older"), (&ended[1], "newer"), (&format!("{SAMPLE_DAY}T10:05:00Z"), "older")] {
        let found = found(&daemon, &format!("/v1/restaurants/7/numbers/500?at={at}")).await;
        assert_eq!(found["order"]["external_id"], id, "{at}: {found}");
    }
}
