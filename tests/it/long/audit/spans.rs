//! Spans for a collector: one that listens, one that is unreachable, one that never answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use nowserving::domain::{OrderId, RestaurantId, Timestamp};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Is},
    trace::v1::Span,
};
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, api, eventually, eventually_true};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    /// Listens; gives its address.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let keep = async |State(Self(bodies)): State<Self>, body: Bytes| {
            bodies.lock().expect("no holder panics").push(body);
            StatusCode::OK
        };
        let routes = Router::new().route("/v1/traces", post(keep)).with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (collector, format!("http://{address}"))
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.0.lock().expect("no holder panics").clone()
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let decode = |body: Bytes| ExportTraceServiceRequest::decode(body).expect("protobuf of OTLP");
        self.bodies().into_iter().map(decode).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|spans| spans.scope_spans).flat_map(|spans| spans.spans).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(of: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.clone()) {
        Some(Is::StringValue(text)) => text,
        Some(Is::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    of.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}

async fn options(endpoint: &str) -> DaemonOptions {
    DaemonOptions::migrated().await.with("NOWSERVING_OTLP_ENDPOINT", endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_callers_trace_with_both_names_of_the_order() {
    let (collector, endpoint) = Collector::start().await;
    // Spans do not depend on what is logged.
    let options = options(&endpoint).await.with("NOWSERVING_LOG_FILTER", "warn");
    let daemon = Daemon::start(&options.with("NOWSERVING_OTLP_SERVICE_NAME", "numbers"));
    let api = Api::at(daemon.url());
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let headers =
        [("traceparent", parent.as_str()), ("authorization", "Bearer nsk_do-not-tell"), ("x-request-id", "till-7")];
    let created = api.json_with("POST", "/v1/restaurants/7/orders", &headers, &json!({"note": "do-not-tell"})).await;
    let order = created.ok(201);
    // Its caller does not export the trace, so neither does this part of it.
    let unsampled = format!("00-{}-{CALLER}-00", TRACE.replace('4', "5"));
    api.json_with("POST", "/v1/restaurants/7/orders", &[("traceparent", &unsampled)], &json!({})).await.ok(201);
    // No other caller's trace.
    api.order(api::id(&order)).await.ok(200);

    let named = |name: &'static str| {
        let collector = collector.clone();
        move || {
            let found = collector.spans().into_iter().find(|span| span.name == name);
            async move { found }
        }
    };
    let request = eventually(PATIENCE, named("POST /v1/restaurants/{restaurant_id}/orders")).await;
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.to_owned(), CALLER.to_owned()));
    assert_eq!(request.kind, 2, "a server's");
    let told = attributes(&request.attributes);
    let expected = [
        ("internal_order_id", api::id(&order)),
        ("display_order_number", "0001"),
        ("restaurant_id", "7"),
        ("request_id", "till-7"),
        ("status", "201"),
    ];
    for (name, value) in expected {
        assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}: {told:?}");
    }
    let script = eventually(PATIENCE, named("redis allocate")).await;
    assert_eq!((hex(&script.trace_id), &script.parent_span_id), (TRACE.to_owned(), &request.span_id));
    assert_eq!(script.kind, 3, "a client's");
    let alone = eventually(PATIENCE, named("GET /v1/orders/{internal_order_id}")).await;
    assert!(hex(&alone.trace_id) != TRACE && alone.parent_span_id.is_empty(), "{alone:?}");
    assert_eq!(attributes(&alone.attributes).get("internal_order_id").map(String::as_str), Some(api::id(&order)));

    // The last batch is sent before the end.
    api.get("/v1/restaurants/7/slots").await.ok(200);
    let (status, output) = daemon.terminate();
    assert!(status.success() && !output.contains("spans"), "{output}");
    let spans = collector.spans();
    assert!(spans.iter().any(|span| span.name == "GET /v1/restaurants/{restaurant_id}/slots"));
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE.replace('4', "5")), "an unsampled trace");
    assert!(spans.iter().all(|span| !span.parent_span_id.is_empty() || span.kind == 2), "background work is no trace");
    let resource = collector.requests()[0].resource_spans[0].resource.clone().expect("a resource");
    assert_eq!(attributes(&resource.attributes).get("service.name").map(String::as_str), Some("numbers"));
    let secret = b"do-not-tell";
    assert!(collector.bodies().iter().all(|body| !body.windows(secret.len()).any(|part| part == secret)));
}

/// A trace of its own for each caller, by number. As an id it is as small as can be: of those that a ratio above 0
/// draws.
fn trace(number: usize) -> String {
    format!("{number:032x}")
}

/// The spans of requests that a daemon has exported by its end, by their `x-request-id`.
fn requests_of(collector: &Collector) -> BTreeMap<String, Span> {
    let servers = collector.spans().into_iter().filter(|span| span.kind == 2);
    servers.filter_map(|span| Some((attributes(&span.attributes).remove("request_id")?, span))).collect()
}

/// A request of a caller who names a trace.
struct Traced {
    name: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    expected: u16,
    /// Whether the caller is good, so that its trace is gone on with.
    followed: bool,
}

impl Traced {
    fn new(name: &'static str, call: &str, headers: &[(&'static str, &str)], expected: u16, followed: bool) -> Self {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let method = ["GET", "POST", "PATCH"].into_iter().find(|known| *known == method).expect("one of these");
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { name, method, path: path.to_owned(), headers, expected, followed }
    }
}

/// Sends them to a daemon whose own ratio says the opposite of what the callers ask for; checks which are exported, and
/// in which trace.
async fn hold_against(options: DaemonOptions, callers: &[Traced]) {
    for asked in [true, false] {
        let (collector, endpoint) = Collector::start().await;
        let options = options.clone().with("NOWSERVING_OTLP_ENDPOINT", endpoint).with("NOWSERVING_LOG_FORMAT", "json");
        let options = options.with("NOWSERVING_OTLP_SAMPLE_RATIO", if asked { "0.0" } else { "1.0" });
        let daemon = Daemon::start(&options.with("NOWSERVING_LOG_FILTER", "warn,nowserving::http=debug"));
        let api = Api::at(daemon.url());
        for (number, caller) in callers.iter().enumerate() {
            let parent = format!("00-{}-{CALLER}-0{}", trace(number + 1), u8::from(asked));
            let mut headers: Vec<(&str, &[u8])> =
                vec![("traceparent", parent.as_bytes()), ("x-request-id", caller.name.as_bytes())];
            headers.extend(caller.headers.iter().map(|(name, value)| (*name, value.as_bytes())));
            let answer = api.send(caller.method, &caller.path, &headers, None).await;
            assert_eq!(answer.status, caller.expected, "{}: {answer:?}", caller.name);
        }
        let (status, output) = daemon.terminate();
        assert!(status.success(), "{output}");
        let exported = requests_of(&collector);
        for (number, caller) in callers.iter().enumerate() {
            let (name, trace) = (caller.name, trace(number + 1));
            let span = exported.get(name);
            assert_eq!(span.is_some(), caller.followed == asked, "{name}, asked: {asked}");
            if let Some(span) = span {
                assert_eq!(hex(&span.trace_id) == trace, caller.followed, "{name}");
                let parent = if caller.followed { CALLER } else { "" };
                assert_eq!(hex(&span.parent_span_id), parent, "{name}");
                let within = collector.spans().into_iter().filter(|inner| inner.parent_span_id == span.span_id);
                assert!(within.into_iter().all(|inner| inner.trace_id == span.trace_id), "{name}");
            }
            // The log names the trace that its caller has named, whichever caller that is.
            let mut lines = output.lines().filter(|line| line.contains(&format!("\"{name}\"")));
            let line = lines.find(|line| line.contains("answered")).unwrap_or_else(|| panic!("{name}: {output}"));
            let line: serde_json::Value = serde_json::from_str(line).expect("the log is JSON");
            assert_eq!(line["span"]["trace_id"], trace, "{name}: {line}");
        }
        // No part of a trace is exported by itself.
        let known: BTreeSet<_> = exported.values().map(|span| span.trace_id.clone()).collect();
        assert!(collector.spans().iter().all(|span| known.contains(&span.trace_id)), "{:#?}", collector.spans());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_caller_with_a_good_key_decides_what_is_exported() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys");
    let make = |arguments: &[&str]| {
        let made = options.run("keys", &[&["create", "--name", "x"], arguments].concat());
        assert!(made.status.success(), "{made:?}");
        format!("Bearer {}", made.stdout.trim())
    };
    let (till, some) = (make(&["--role", "till"]), make(&["--role", "till", "--restaurants", "7"]));
    let revoked = make(&["--role", "admin"]);
    assert!(options.run("keys", &["revoke", "3"]).status.success());
    let elsewhere = OrderId::new(Timestamp::from_unix_ms(1_700_000_000_000), RestaurantId::new(8).expect("an id"), 5);
    let here = OrderId::new(Timestamp::from_unix_ms(1_700_000_000_000), RestaurantId::new(7).expect("an id"), 5);
    let (create, slots) = ("POST /v1/restaurants/7/orders", "GET /v1/restaurants/7/slots");
    let unknown = "Bearer nsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    fn key(key: &str) -> (&'static str, &str) {
        ("authorization", key)
    }
    let callers = [
        Traced::new("good", create, &[key(&till)], 201, true),
        Traced::new("good-of-some", slots, &[key(&some)], 200, true),
        Traced::new("good-of-some-order", &format!("GET /v1/orders/{here}"), &[key(&some)], 404, true),
        Traced::new("none", create, &[], 401, false),
        Traced::new("unknown", create, &[key(unknown)], 401, false),
        Traced::new("revoked", slots, &[key(&revoked)], 401, false),
        Traced::new("no-key-at-all", slots, &[key("Basic bm9ib2R5OmtleQ")], 401, false),
        Traced::new("wrong-role", "GET /v1/keys", &[key(&till)], 403, false),
        Traced::new("wrong-restaurant", "GET /v1/restaurants/8/slots", &[key(&some)], 403, false),
        Traced::new("probe", "GET /healthz", &[], 200, false),
        Traced::new("page", "GET /openapi.json", &[key(&till)], 200, false),
        Traced::new("nothing-there", "GET /v1/nothing", &[key(&till)], 404, false),
        Traced::new("cross-origin", create, &[key(&till), ("origin", "https://evil.example")], 403, false),
        Traced::new("malformed", create, &[key(&till), ("host", "a b")], 400, false),
        // What is looked up before it is refused is a span within that of the request.
        Traced::new("wrong-order", &format!("GET /v1/orders/{elsewhere}"), &[key(&some)], 403, true),
    ];
    hold_against(options, &callers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_a_caller_that_is_let_in_decides_what_is_exported() {
    let options = DaemonOptions::migrated().await;
    let (create, slots) = ("POST /v1/restaurants/7/orders", "GET /v1/restaurants/7/slots");
    let callers = [
        Traced::new("till", create, &[], 201, true),
        Traced::new("probe", "GET /healthz", &[], 200, true),
        Traced::new("key-wanted", "POST /v1/keys", &[], 401, true),
        Traced::new("another-host", slots, &[("host", "evil.example")], 421, false),
        Traced::new("cross-origin", create, &[("origin", "null")], 403, false),
        Traced::new("cross-site", create, &[("sec-fetch-site", "cross-site")], 403, false),
        Traced::new("malformed", create, &[("host", "localhost@evil.example")], 400, false),
    ];
    hold_against(options, &callers).await;
}

/// What asks whether a line or a span is wanted, as the SQL library does, must not cost the next one its place in the
/// log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_keep_their_request_where_spans_are_exported() {
    let (collector, endpoint) = Collector::start().await;
    let options = options(&endpoint).await.with("NOWSERVING_LOG_FORMAT", "json");
    let daemon = Daemon::start(&options.with("NOWSERVING_LOG_FILTER", "warn,nowserving::http=debug"));
    let api = Api::at(daemon.url());
    let names: Vec<String> = (0..30).map(|number| format!("till-{number}")).collect();
    for name in &names {
        let headers = [("x-request-id", name.as_str())];
        api.json_with("POST", "/v1/restaurants/7/orders", &headers, &json!({})).await.ok(201);
    }
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    let answered: Vec<&str> = output.lines().filter(|line| line.contains("\"answered\"")).collect();
    for name in &names {
        let named = format!("\"request_id\":\"{name}\"");
        assert!(answered.iter().any(|line| line.contains(&named)), "{name}: {answered:#?}");
    }
    let exported = collector.spans().iter().filter(|span| span.kind == 2).count();
    assert_eq!(exported, names.len(), "one for each request");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_one_warning() {
    // Nothing listens there: the port was free, and is given back.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free").local_addr().expect("it is bound");
    let daemon = Daemon::start(&options(&format!("http://{free}/")).await);
    let api = Api::at(daemon.url());
    let warnings = |output: &str| output.matches("spans cannot be exported").count();
    for _ in 0..3 {
        api.create(7, json!({})).await;
        eventually_true(PATIENCE, || async { warnings(&daemon.output()) > 0 }).await;
    }
    let (status, output) = daemon.terminate();
    assert!(status.success());
    assert_eq!(warnings(&output), 1, "{output}");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_no_request() {
    // Connections are made, and nothing takes them.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let daemon = Daemon::start(&options(&format!("http://{address}")).await);
    let api = Api::at(daemon.url());
    let taken = listener.accept();
    api.create(7, json!({})).await;
    let _held = taken.await.expect("the daemon connects");
    for _ in 0..200 {
        api.create(7, json!({})).await;
    }
    let (status, _) = daemon.terminate();
    assert!(status.success(), "it ends all the same");
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_meant_is_refused() {
    for bad in ["127.0.0.1:4318", "https://collector:4318", "http://", "http://user:word@collector:4318", "http://a b"]
    {
        let refused = DaemonOptions::local().with("NOWSERVING_OTLP_ENDPOINT", bad).run("config", &[]);
        assert!(!refused.status.success() && refused.stderr.contains("OTLP_ENDPOINT"), "{bad}: {refused:?}");
        assert!(!refused.stderr.contains("word"), "{refused:?}");
    }
    for bad in ["1.5", "-0.1", "all"] {
        let refused = DaemonOptions::local().with("NOWSERVING_OTLP_SAMPLE_RATIO", bad).run("config", &[]);
        assert!(!refused.status.success(), "{bad}: {refused:?}");
    }
}
