//! Orders that are here already: what their rows have otherwise is said, updated or taken again, and the audit log says so.

use super::*;

const HEADER: &str = "id,restaurant_id,status,created_at,completed_at,display_number,customer_name,note,table_number";

fn rows(rows: &[&str]) -> PathBuf {
    file("rows.csv", format!("{HEADER}\n{}\n", rows.join("\n")))
}

/// The one order that has this external id.
async fn order(daemon: &Daemon, external_id: &str) -> Value {
    let found = searched(daemon, 7, external_id).await;
    let mut found = found.into_iter().filter(|order| order["external_id"] == external_id);
    let order = found.next().unwrap_or_else(|| panic!("no order {external_id}"));
    assert_eq!(found.next(), None, "{external_id} is there once");
    order
}

#[tokio::test]
async fn live_orders_take_over_what_their_rows_have_otherwise() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let first = rows(&[
        "a,7,accepted,2026-03-14T10:00:00Z,,11,Ana,no onions,4",
        "b,7,ready,2026-03-14T10:00:01Z,,12,Bruno,,",
        "c,7,ready,2026-03-14T10:00:02Z,,13,Chidi,,",
        "d,7,ready,2026-03-14T10:00:03Z,,14,Dmitri,,",
        "e,7,closed,2026-03-14T10:00:04Z,2026-03-14T11:00:00Z,15,Emre,,",
    ]);
    let second = rows(&[
        // Renamed and moved on; its note is not in the export any more.
        "a,7,ready,2026-03-14T10:00:00Z,,11,Ana María,,5",
        "b,7,closed,2026-03-14T10:00:01Z,2026-03-14T10:30:00Z,12,Bruno,,",
        "c,7,cancelled,2026-03-14T10:00:02Z,,13,Chidi,never came,",
        "d,7,ready,2026-03-14T10:00:03Z,,14,Dmitri,,",
        "e,7,closed,2026-03-14T10:00:04Z,2026-03-14T11:00:00Z,15,Emre B.,,",
    ]);
    back_fill(&options, &[shown(&first)]);
    let mut db = database(&options).await;
    settled(&mut db, 5).await;
    let before = live(&daemon, 7).await;

    // It is said, and nothing is done.
    let list = scratch::folder("report").join("remarks.jsonl");
    for trial in [&["--dry-run"][..], &[]] {
        let arguments = [trial, &["--report", shown(&list), shown(&second)]].concat();
        let report = back_fill(&options, &arguments);
        assert!(report.contains("already there: 5") && report.contains("3 differs: "), "{report}");
        assert!(report.contains("2 orders have ended there and are still live here"), "{report}");
        let said: Vec<Value> = remarks(&list).into_iter().filter(|remark| remark["reason"] == "differs").collect();
        let said: Vec<(&str, &str)> = said
            .iter()
            .map(|remark| (remark["id"].as_str().expect("text"), remark["detail"].as_str().expect("text")))
            .collect();
        let of_a = "customer_name, table_number, status";
        assert_eq!(said, [("a", of_a), ("c", "note"), ("e", "customer_name")]);
    }
    let trial = back_fill(&options, &["--dry-run", "--update", shown(&second)]);
    assert!(trial.contains("would be updated: 3"), "{trial}");
    assert_eq!(live(&daemon, 7).await, before);

    let report = back_fill(&options, &["--update", shown(&second)]);
    assert!(report.contains("updated: 3") && report.contains("already there: 2"), "{report}");
    let a = order(&daemon, "a").await;
    assert_eq!((&a["customer_name"], &a["table_number"]), (&json!("Ana María"), &json!("5")));
    assert_eq!((&a["note"], &a["status"]), (&json!("no onions"), &json!("ready")));
    assert_eq!((&a["display_order_number"], &a["version"]), (&json!(11), &json!(2)));
    assert_eq!(order(&daemon, "b").await["status"], "completed");
    let c = order(&daemon, "c").await;
    assert_eq!((&c["status"], &c["note"]), (&json!("cancelled"), &json!("never came")));
    assert_eq!(order(&daemon, "d").await["version"], 1);
    assert_eq!(order(&daemon, "e").await["customer_name"], "Emre", "it had ended");

    let said = events(&daemon, &a["internal_order_id"]).await;
    let last = said.last().expect("events");
    assert_eq!((&last["kind"], &last["actor"]), (&json!("changed"), &json!("backfill")));
    assert_eq!((&last["status_before"], &last["status_after"]), (&json!("preparing"), &json!("ready")));
    let detail = &last["detail"];
    assert_eq!(detail["changes"]["customer_name"], json!(["Ana", "Ana María"]));
    assert_eq!((&detail["changes"]["table_number"], &detail["source"]), (&json!(["4", "5"]), &json!("default")));
    let said = events(&daemon, &c["internal_order_id"]).await;
    assert_eq!(said.last().expect("events")["kind"], "released");

    // Again: nothing is left to be done.
    let report = back_fill(&options, &["--update", shown(&second)]);
    assert!(report.contains("already there: 5") && !report.contains("updated: "), "{report}");
    assert_eq!(order(&daemon, "a").await["version"], 2);
    verified(&options);
}

#[tokio::test]
async fn a_row_that_is_older_than_the_kitchens_work_does_not_take_it_back() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let row = |status: &str, name: &str| {
        let header = "id,restaurant_id,status,created_at,updated_at,customer_name";
        file("rows.csv", format!("{header}\na,7,{status},2026-03-14T10:00:00Z,2026-03-14T10:05:00Z,{name}\n"))
    };
    back_fill(&options, &[shown(&row("accepted", "Ana"))]);
    let a = order(&daemon, "a").await;
    patch(&daemon, &a["internal_order_id"], json!({"status": "ready"})).await;
    let report = back_fill(&options, &["--update", shown(&row("accepted", "Ana B."))]);
    assert!(report.contains("updated: 1"), "{report}");
    let a = order(&daemon, "a").await;
    assert_eq!((&a["status"], &a["customer_name"]), (&json!("ready"), &json!("Ana B.")));
}

#[tokio::test]
async fn what_was_taken_wrongly_is_taken_again() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let made = Client::new().post(format!("{}/v1/restaurants/7/orders", daemon.url()));
    let made = made.json(&json!({"external_id": "a"})).send().await.expect("it answers");
    let made: Value = made.json().await.expect("JSON");
    let uuid = "6f0a1c52-93d4-4c0e-8f57-0d9a6be1c0aa";
    let first = rows(&[
        // Two hours off, and a name in a wrong encoding.
        &format!("{uuid},7,closed,2026-03-14T10:00:00Z,2026-03-14T10:30:00Z,21,JosÃ©,,"),
        // In this system, `done` says nothing of the end.
        "b,7,done,2026-03-14T10:00:01Z,,22,Bruno,,9",
        "c,7,closed,2026-03-14T10:00:02Z,2026-03-14T11:00:00Z,23,Chidi,,",
        "d,7,ready,2026-03-14T10:00:03Z,,24,Dmitri,by mistake,",
        "e,7,ready,2026-03-14T10:00:04Z,,25,EmrÃ©,,",
    ]);
    let second = rows(&[
        &format!("{uuid},7,closed,2026-03-14T08:00:00Z,2026-03-14T08:30:00Z,#21,José,,"),
        "b,7,accepted,2026-03-14T10:00:01Z,,22,Bruno,,9",
        "c,7,closed,2026-03-14T10:00:02Z,2026-03-14T11:00:00Z,23,Chidi,,",
        "d,7,cancelled,2026-03-14T10:00:03Z,,24,Dmitri,,",
        "e,7,ready,2026-03-14T10:00:04Z,,25,Emré,,",
    ]);
    back_fill(&options, &["--source", "shop", shown(&first)]);
    let mut db = database(&options).await;
    settled(&mut db, 6).await;
    // One of them ends here.
    let e = order(&daemon, "e").await;
    patch(&daemon, &e["internal_order_id"], json!({"status": "completed"})).await;
    let key = format!("{}:*", options.namespace);
    let bytes = uuid::Uuid::parse_str(e["internal_order_id"].as_str().expect("text")).expect("a UUID").into_bytes();
    let url = options.redis_url.clone().expect("it has one");
    eventually_true(PATIENCE * 2, || async { !holds(&url, &key, &bytes).await }).await;
    let jose = found(&daemon, &format!("/v1/orders/{uuid}")).await;
    let bruno = order(&daemon, "b").await;
    assert_eq!(bruno["status"], "completed");

    let trial = back_fill(&options, &["--source", "shop", "--replace", "--dry-run", shown(&second)]);
    assert!(trial.contains("would be replaced: 4"), "{trial}");
    // By another name, these are the orders of another system.
    let list = scratch::folder("report").join("remarks.jsonl");
    let report = back_fill(&options, &["--source", "shop", "--replace", "--report", shown(&list), shown(&second)]);
    assert!(report.contains("replaced: 3") && report.contains("taken live: 1, of these 1 with"), "{report}");
    assert!(report.contains("already there: 1"), "{report}");
    assert_eq!(remarks(&list).iter().filter(|remark| remark["reason"] == "replaced").count(), 4);

    // It has another time, and so another id; all that led to it leads to it still.
    let again = found(&daemon, &format!("/v1/orders/{uuid}")).await;
    assert_eq!((&again["customer_name"], &again["display_number_formatted"]), (&json!("José"), &json!("#21")));
    assert_eq!(again["created_at"], "2026-03-14T08:00:00.000Z");
    assert_eq!(again["released_at"], "2026-03-14T08:30:00.000Z");
    assert_ne!(again["internal_order_id"], jose["internal_order_id"]);
    let former = jose["internal_order_id"].as_str().expect("text");
    assert_eq!(found(&daemon, &format!("/v1/orders/{former}")).await, again);
    let said = events(&daemon, &again["internal_order_id"]).await;
    let said = said.iter().find(|event| event["kind"] == "replaced").expect("the audit log says so");
    assert_eq!((&said["actor"], &said["detail"]["source"]), (&json!("backfill"), &json!("shop")));
    assert_eq!(said["detail"]["previous_id"], jose["internal_order_id"]);
    assert_eq!(said["detail"]["changes"]["customer_name"], json!(["JosÃ©", "José"]));

    // It is live after all, with its number.
    let bruno_again = order(&daemon, "b").await;
    assert_eq!((&bruno_again["status"], &bruno_again["display_order_number"]), (&json!("preparing"), &json!(22)));
    assert_eq!(bruno_again["internal_order_id"], bruno["internal_order_id"]);
    let said = events(&daemon, &bruno["internal_order_id"]).await;
    let mut kinds: Vec<&str> = said.iter().map(|event| event["kind"].as_str().expect("text")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["imported", "imported", "replaced"]);

    let dmitri = order(&daemon, "d").await;
    assert_eq!((&dmitri["status"], &dmitri["note"]), (&json!("cancelled"), &Value::Null));
    let said = events(&daemon, &dmitri["internal_order_id"]).await;
    let last = said.last().expect("events");
    assert_eq!((&last["kind"], &last["detail"]["replaced"]), (&json!("released"), &json!(true)));

    // What it lived through here stays; how it is described does not.
    let e = order(&daemon, "e").await;
    assert_eq!((&e["status"], &e["customer_name"]), (&json!("completed"), &json!("Emré")));
    // No import made this one.
    let url = format!("/v1/orders/{}", made["internal_order_id"].as_str().expect("text"));
    assert_eq!(found(&daemon, &url).await["version"], 1);

    settled(&mut db, 6).await;
    let report = back_fill(&options, &["--source", "shop", "--replace", shown(&second)]);
    assert!(report.contains("already there: 5"), "again, nothing is left to be done: {report}");
    verified(&options);
}

#[tokio::test]
async fn orders_of_another_source_or_of_none_are_not_replaced() {
    let options = deployment().await;
    let daemon = Daemon::start(&options);
    let row = |name: &str| rows(&[&format!("a,7,closed,2026-03-14T10:00:00Z,,31,{name},,")]);
    back_fill(&options, &["--source", "till", shown(&row("Ana"))]);
    let report = back_fill(&options, &["--source", "shop", "--replace", shown(&row("Bo"))]);
    assert!(report.contains("taken finished: 1"), "{report}");
    let mut names: Vec<Value> =
        searched(&daemon, 7, "a").await.iter().map(|order| order["customer_name"].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["Ana", "Bo"]);
    let both = options.run("backfill", &["--update", "--replace", "rows.csv"]);
    assert!(both.status.code() == Some(1) && both.stderr.contains("--replace"), "{both:?}");
}
