//! The log as JSON: every line about an order has both of its names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Api, Daemon, DaemonOptions, api};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What the start says to people, whatever the log's form.
const FOR_PEOPLE: [&str; 3] = ["listening on http://", "no API keys are asked for", "to see orders, open http://"];

/// The lines of a log. Whatever else there is must be for people.
fn lines(output: &str) -> Vec<Value> {
    let (json, other): (Vec<&str>, Vec<&str>) = output.lines().partition(|line| line.starts_with('{'));
    assert!(other.iter().all(|line| FOR_PEOPLE.iter().any(|start| line.starts_with(start))), "{other:?}");
    json.into_iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[tokio::test]
async fn each_change_is_a_line_with_both_names() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_LOG_FORMAT", "json");
    let daemon = Daemon::start(&options.with("NOWSERVING_LOG_FILTER", "info,nowserving::changes=debug"));
    let api = Api::at(daemon.url());
    api.put("/v1/restaurants/7", json!({"format": "A-{n:03}"})).await.ok(200);
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for round in 0..3 {
        let order = api.create(7, json!({"note": "secret \" {\n"})).await;
        let id = api::id(&order);
        let headers = [("x-request-id", "till-7"), ("durability", "ledger")];
        api.json_with("PATCH", &format!("/v1/orders/{id}"), &headers, &json!({"status": "ready"})).await.ok(200);
        api.release(id, round == 1).await.ok(200);
        let shown = api::text(&order, "display_number_formatted").to_owned();
        expected.insert(id.to_owned(), vec![shown; 3]);
    }
    let (status, output) = daemon.terminate();
    assert!(status.success());
    let changes: Vec<Value> =
        lines(&output).into_iter().filter(|line| line["target"] == "nowserving::changes").collect();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in changes.iter().filter(|line| line["kind"] != "configured") {
        assert_eq!((&line["restaurant_id"], &line["actor"]), (&json!(7), &json!("api")), "{line}");
        let number = api::text(line, "display_order_number").to_owned();
        found.entry(api::text(line, "internal_order_id").to_owned()).or_default().push(number);
    }
    assert_eq!(found, expected);
    let kinds: BTreeSet<&str> = changes.iter().map(|line| api::text(line, "kind")).collect();
    assert_eq!(kinds, ["changed", "configured", "created", "released"].into());
    for line in changes.iter().filter(|line| line["kind"] == "changed") {
        assert_eq!((&line["request_id"], &line["status"]), (&json!("till-7"), &json!("ready")), "{line}");
        assert_eq!((&line["span"]["durability"], &line["span"]["request_id"]), (&json!("ledger"), &json!("till-7")));
    }
    assert!(!output.contains("secret"), "what guests say stays out of the log");
}

#[tokio::test]
async fn a_callers_trace_is_in_the_log() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_LOG_FORMAT", "json");
    let daemon = Daemon::start(&options.with("NOWSERVING_LOG_FILTER", "info,nowserving::changes=debug"));
    let api = Api::at(daemon.url());
    let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let ask = async |traceparents: &[&str], request: &str| {
        let mut headers: Vec<(&str, &[u8])> = vec![("x-request-id", request.as_bytes())];
        headers.extend(traceparents.iter().map(|parent| ("traceparent", parent.as_bytes())));
        assert_eq!(api.send("POST", "/v1/restaurants/7/orders", &headers, None).await.status, 201);
    };
    ask(&[&good], "traced").await;
    ask(&[], "alone").await;
    ask(&["00-nonsense"], "nonsense").await;
    ask(&[&good, &good], "twice").await;
    let (_, output) = daemon.terminate();
    let traces: BTreeMap<String, Value> = lines(&output)
        .into_iter()
        .filter(|line| line["kind"] == "created")
        .map(|line| (api::text(&line, "request_id").to_owned(), line["span"]["trace_id"].clone()))
        .collect();
    let none = ["alone", "nonsense", "twice"].map(|request| (request.to_owned(), Value::Null));
    assert_eq!(traces, [("traced".to_owned(), json!(TRACE))].into_iter().chain(none).collect());
}
