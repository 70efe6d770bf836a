//! `POST /v1/orders/{internal_order_id}/calls`: a guest is told that an order is ready.

use serde_json::{Value, json};

use super::world::{api, backfill, called_in_ledger, findings, left_redis, ms, restaurant, time};
use crate::support::api::id;
use crate::support::{Answer, Api, PATIENCE, eventually};

async fn call(api: &Api, order: &Value, body: Value) -> Answer {
    api.post(&format!("/v1/orders/{}/calls", id(order)), body).await
}

/// Calls it as soon as that is a call of its own.
async fn call_again(api: &Api, order: &Value) -> Value {
    eventually(PATIENCE, || async {
        let answer = call(api, order, json!({})).await;
        answer.header("idempotent-replayed").is_none().then(|| answer.ok(200))
    })
    .await
}

/// What must come of a call: all is as it was, but for these.
fn called(before: &Value, now: &Value) -> Value {
    let mut expected = before.clone();
    expected["status"] = json!("ready");
    expected["version"] = json!(before["version"].as_u64().map(|version| version + 1));
    expected["call_count"] = json!(before["call_count"].as_u64().map(|count| count + 1));
    for field in ["updated_at", "last_called_at"] {
        expected[field] = now["updated_at"].clone();
    }
    expected
}

#[tokio::test]
async fn a_call_makes_an_order_ready_and_is_in_the_log() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({"note": "n"})).await;
    assert_eq!((&order["call_count"], &order["last_called_at"]), (&json!(0), &Value::Null));
    let answer = call(&api, &order, json!({"place": "Counter 2"})).await;
    let first = answer.ok(200);
    assert_eq!(first, called(&order, &first));
    assert_eq!((answer.header("etag"), answer.header("idempotent-replayed")), (Some("\"2\""), None));
    assert_eq!(api.order(id(&order)).await.ok(200), first);

    // The other screen, at once: one call.
    let answer = call(&api, &order, json!({"place": "Counter 3"})).await;
    assert_eq!((answer.ok(200), answer.header("idempotent-replayed")), (first.clone(), Some("true")));
    assert_eq!(answer.header("etag"), Some("\"2\""));
    // A repeat is one that comes later.
    let second = call_again(&api, &order).await;
    assert_eq!(second, called(&first, &second));
    assert!(ms(&second["last_called_at"]) - ms(&first["last_called_at"]) >= 3000);

    let events = async |path: &str| api.get(path).await.ok(200)["events"].as_array().expect("events").clone();
    let log = events(&format!("/v1/orders/{}/events", id(&order))).await;
    let kinds: Vec<_> = log.iter().map(|event| event["kind"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["created", "called", "called"]);
    let told = |event: &Value| ["status_before", "status_after", "version", "detail"].map(|field| event[field].clone());
    assert_eq!(told(&log[1]), [json!("pending"), json!("ready"), json!(2), json!({"place": "Counter 2"})]);
    assert_eq!(told(&log[2]), [json!("ready"), json!("ready"), json!(3), Value::Null]);
    let of_kind = events(&format!("/v1/restaurants/{restaurant}/events?kind=called")).await;
    assert_eq!(of_kind, [log[2].clone(), log[1].clone()]);

    // The count stays with the order, where only the ledger has it too.
    let found = api.get(&format!("/v1/restaurants/{restaurant}/search?q={}", id(&order))).await.ok(200);
    assert_eq!(found["orders"], json!([second]));
    let ended = api.release(id(&order), true).await.ok(200);
    assert_eq!((&ended["call_count"], &ended["last_called_at"]), (&json!(2), &second["last_called_at"]));
    left_redis(&ended).await;
    assert_eq!(api.order(id(&order)).await.ok(200), ended);
    assert_eq!(called_in_ledger(id(&order)).await["call_count"], json!(2));
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn screens_that_call_at_once_make_one_call_whatever_they_have_seen() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let path = format!("/v1/orders/{}/calls", id(&order));
    let one = || async { api.json_with("POST", &path, &[("if-match", "\"1\"")], &json!({})).await };
    let answers = futures_util::future::join_all((0..8).map(|_| one())).await;
    let made = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
    assert_eq!(made, 1);
    for answer in &answers {
        assert_eq!((&answer.ok(200)["call_count"], &answer.ok(200)["version"]), (&json!(1), &json!(2)));
    }
    // That it was called is what they asked for. A later one has to know what it calls.
    let stale = || async {
        let answer = one().await;
        (answer.status == 412).then_some(answer)
    };
    let answer = eventually(PATIENCE, || async { stale().await }).await;
    assert_eq!(answer.problem(412, "version_mismatch")["current_version"], 2);
    let matched = api.json_with("POST", &path, &[("if-match", "\"2\"")], &json!({})).await;
    assert_eq!((&matched.ok(200)["call_count"], matched.header("idempotent-replayed")), (&json!(2), None));
}

#[tokio::test]
async fn an_order_that_no_guest_waits_for_is_not_called() {
    let (api, restaurant) = (api().await, restaurant());
    for status in ["served", "held"] {
        let order = api.create(restaurant, json!({})).await;
        let order = api.patch(id(&order), json!({"status": status})).await.ok(200);
        let problem = call(&api, &order, json!({})).await.problem(409, "order_not_callable");
        assert_eq!((&problem["order_status"], &problem["allowed"]), (&json!(status), &json!(["preparing", "ready"])));
        assert_eq!(api.order(id(&order)).await.ok(200), order);
        // What was bumped by mistake goes back to the kitchen, and can be called again.
        let back = api.patch(id(&order), json!({"status": "preparing"})).await.ok(200);
        assert_eq!(call(&api, &back, json!({})).await.ok(200)["call_count"], 1);
    }
    for end in ["completed", "cancelled"] {
        let order = api.create(restaurant, json!({})).await;
        let order = api.patch(id(&order), json!({"status": end})).await.ok(200);
        call(&api, &order, json!({})).await.problem(409, "order_final");
        let path = format!("/v1/orders/{}/calls", id(&order));
        let stale = api.json_with("POST", &path, &[("if-match", "\"1\"")], &json!({})).await;
        assert_eq!(stale.problem(412, "version_mismatch")["current_version"], 2);
        assert_eq!(api.order(id(&order)).await.ok(200), order);
    }
    // Called off, it stays so.
    let order = api.create(restaurant, json!({})).await;
    api.patch(id(&order), json!({"status": "cancelled"})).await.ok(200);
    api.patch(id(&order), json!({"status": "preparing"})).await.problem(409, "order_final");
    assert_eq!(findings(restaurant).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_asked_rightly_is_refused() {
    let (api, restaurant) = (api().await, restaurant());
    let order = api.create(restaurant, json!({})).await;
    let path = format!("/v1/orders/{}/calls", id(&order));
    for (body, fault) in [
        (json!({"place": ""}), "/place invalid_value"),
        (json!({"place": "  "}), "/place invalid_value"),
        (json!({"place": "x".repeat(41)}), "/place too_long"),
        (json!({"place": "a\0"}), "/place nul_character"),
        (json!({"place": 2}), "/place wrong_type"),
        (json!({"at": "Counter 2"}), "/at unknown_field"),
        (json!([]), " wrong_type"),
    ] {
        assert_eq!(api.post(&path, body).await.faults(422, "invalid_body"), [fault]);
    }
    api.json_with("POST", &path, &[("if-match", "2")], &json!({})).await.problem(400, "invalid_if_match");
    api.json_with("POST", &path, &[("durability", "granite")], &json!({})).await.problem(400, "invalid_durability");
    api.post(&format!("{path}?place=x"), json!({})).await.problem(422, "invalid_parameter");
    let unknown = format!("/v1/orders/{}/calls", id(&order).replace(&id(&order)[..8], "01000000"));
    api.post(&unknown, json!({})).await.problem(404, "order_not_found");
    assert_eq!(api.order(id(&order)).await.ok(200), order, "a refused call changes nothing");

    // Without a body, and as durable as is asked for.
    let answer = api.send("POST", &path, &[("durability", b"ledger")], None).await;
    assert_eq!((&answer.ok(200)["call_count"], answer.header("durability")), (&json!(1), Some("ledger")));
    assert_eq!(called_in_ledger(id(&order)).await["call_count"], json!(1));
    let answer = api.send("POST", &path, &[("durability", b"ledger")], None).await;
    assert_eq!((&answer.ok(200)["call_count"], answer.header("durability")), (&json!(1), Some("ledger")));
}

/// Another system's order is called by its own id.
#[tokio::test]
async fn an_imported_order_is_called() {
    let (api, restaurant) = (api().await, restaurant());
    let foreign = uuid::Uuid::from_u128(rand::random());
    let created = time(chrono::Utc::now().timestamp_millis() - 60_000);
    backfill(&format!("id,restaurant_id,status,created_at\n{foreign},{restaurant},completed,{created}\n")).await;
    let path = format!("/v1/orders/{foreign}/calls");
    api.post(&path, json!({})).await.problem(409, "order_final");
}
