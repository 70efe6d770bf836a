//! The feed: a screen is told what was acknowledged, in order and without gaps, and told so where it is not the present.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::net::TcpSocket;

use crate::support::api::{id, number};
use crate::support::screen::{Stream, Told, hang};
use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, OwnRedis, PATIENCE, Screen, eventually_true};

const RESTAURANT: u32 = 7;
const FEED: &str = "/v1/restaurants/7/feed";

fn start(options: &DaemonOptions) -> (Daemon, Api) {
    let daemon = Daemon::start(options);
    let api = Api::at(daemon.url());
    (daemon, api)
}

/// The kind and the order of an `order` event.
fn kind(told: &Told) -> (String, Value) {
    assert_eq!(told.name, "order", "{told:?}");
    (told.data["kind"].as_str().expect("a kind").to_owned(), told.data["order"].clone())
}

async fn to(api: &Api, order: &Value, status: &str) -> Value {
    api.post(&format!("/v1/orders/{}/status", id(order)), json!({ "status": status })).await.ok(200)
}

#[tokio::test]
async fn a_stream_begins_with_how_things_stand_and_tells_each_change() {
    let (_daemon, api) = start(&DaemonOptions::migrated().await);
    let first = api.create(RESTAURANT, json!({ "customer_name": "José" })).await;
    let mut stream = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
    assert_eq!(stream.status(), 200);
    assert!(stream.head.contains("content-type: text/event-stream"), "{}", stream.head);
    let snapshot = stream.must().await;
    assert_eq!((snapshot.name.as_str(), &snapshot.data["orders"]), ("snapshot", &json!([first])));
    assert_eq!(snapshot.data["pool"]["live"], 1);
    assert!(stream.retry_ms.is_some_and(|ms| (1_000..3_000).contains(&ms)));

    let second = api.create(RESTAURANT, json!({})).await;
    let prepared = to(&api, &first, "preparing").await;
    let called = api.post(&format!("/v1/orders/{}/calls", id(&first)), json!({ "place": "Counter 2" })).await.ok(200);
    let patched = api.patch(id(&second), json!({ "note": "no onions" })).await.ok(200);
    let released = api.release(id(&second), false).await.ok(200);
    let mut positions = vec![snapshot.position().expect("a position")];
    for (expected_kind, expected) in [
        ("created", &second),
        ("changed", &prepared),
        ("called", &called),
        ("changed", &patched),
        ("released", &released),
    ] {
        let told = stream.must().await;
        let (kind, order) = kind(&told);
        assert_eq!((kind.as_str(), &order), (expected_kind, expected));
        if expected_kind == "called" {
            // Who is cut off in between is told both again: else the call would never be heard.
            assert_eq!(told.id, None);
            let call = stream.must().await;
            assert_eq!(call.name, "call");
            positions.push(call.position().expect("a position"));
            assert_eq!((&call.data["order"], &call.data["place"]), (&called, &json!("Counter 2")));
        } else {
            positions.push(told.position().expect("a position"));
        }
    }
    assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
    // What is said of one restaurant is not told in another one.
    let mut other = Stream::open(api.url(), "/v1/restaurants/8/feed", &[]).await.expect("a stream");
    assert_eq!(other.must().await.data["orders"], json!([]));
    api.configure(RESTAURANT, json!({ "name": "Zur Post", "max_calls": 5, "accent_colour": "#aa3300" })).await;
    let settings = stream.until("settings").await;
    let restaurant = &settings.data["restaurant"];
    assert_eq!((&restaurant["name"], &restaurant["max_calls"]), (&json!("Zur Post"), &json!(5)));
    let beat = other.until("heartbeat").await;
    assert!(beat.data["at"].is_string() && beat.id.is_none(), "{beat:?}");
}

/// Between two heartbeats nothing is sent for longer than another connection may be idle.
#[tokio::test]
async fn a_stream_is_not_cut_off_as_idle() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_IDLE_TIMEOUT_MS", 1000);
    let (_daemon, api) = start(&options);
    let mut stream = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
    assert_eq!(stream.must().await.name, "snapshot");
    assert_eq!(stream.must().await.name, "heartbeat");
}

#[tokio::test]
async fn changes_by_another_daemon_are_told_too() {
    let options = DaemonOptions::migrated().await;
    let ((_one, one), (_other, other)) = (start(&options), start(&options));
    let mut stream = Stream::open(one.url(), FEED, &[]).await.expect("a stream");
    stream.until("snapshot").await;
    for turn in 0..50 {
        let order = other.create(RESTAURANT, json!({})).await;
        let told = stream.until("order").await;
        assert_eq!(kind(&told), ("created".to_owned(), order), "{turn}");
    }
}

/// From what the room has kept, from the outbox, and from the audit log.
#[tokio::test]
async fn a_stream_goes_on_where_it_was() {
    let redis = OwnRedis::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 1);
    options.redis_url = Some(redis.url());
    options.migrate();
    let ((_one, one), (_two, two), (_three, three)) = (start(&options), start(&options), start(&options));
    // Their settings are told, too.
    for restaurant in [RESTAURANT, 8] {
        one.configure(restaurant, json!({})).await;
    }
    let mut screen = Screen::of(RESTAURANT);
    let mut stream = screen.connect(one.url()).await.expect("a stream");
    screen.show(stream.must().await);
    drop(stream);
    for api in [&one, &two, &three] {
        let order = one.create(RESTAURANT, json!({})).await;
        one.post(&format!("/v1/orders/{}/calls", id(&order)), json!({ "place": "3" })).await.ok(200);
        // Of another restaurant of the partition.
        one.create(8, json!({})).await;
        if std::ptr::eq(api, &three) {
            until_trimmed(&redis, &options).await;
        }
        let mut stream = screen.connect(api.url()).await.expect("a stream");
        let (created, called, call) = (stream.must().await, stream.must().await, stream.must().await);
        assert_eq!((kind(&created).0.as_str(), id(&created.data["order"])), ("created", id(&order)));
        assert_eq!((kind(&called).0.as_str(), id(&called.data["order"])), ("called", id(&order)));
        assert_eq!((call.name.as_str(), &call.data["place"]), ("call", &json!("3")));
        for told in [created, called, call] {
            screen.show(told);
        }
        screen.until_it_shows_what_is_live(&mut stream, &one, RESTAURANT).await;
    }
    assert!(screen.log.iter().all(|told| told.name != "reset"));
}

#[tokio::test]
async fn what_cannot_be_gone_on_with_begins_anew() {
    let (_daemon, api) = start(&DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 1));
    let order = api.create(RESTAURANT, json!({})).await;
    for (last, reason) in [
        ("nonsense", "unknown_position"),
        ("1", "unknown_position"),
        ("-1-5", "unknown_position"),
        ("1-99999999", "unknown_position"),
        ("1-18446744073709551615", "unknown_position"),
        ("77-1", "generation"),
    ] {
        let mut stream = Stream::open(api.url(), FEED, &[("Last-Event-ID", last)]).await.expect("a stream");
        let (reset, snapshot) = (stream.must().await, stream.must().await);
        assert_eq!((reset.name.as_str(), &reset.data["reason"]), ("reset", &json!(reason)), "{last}");
        assert_eq!((snapshot.name.as_str(), &snapshot.data["orders"]), ("snapshot", &json!([order])), "{last}");
    }
    let mut stream = Stream::open(api.url(), "/v1/feed", &[("Last-Event-ID", "0:9")]).await.expect("a stream");
    let (reset, snapshot) = (stream.must().await, stream.must().await);
    assert_eq!((reset.name.as_str(), snapshot.name.as_str()), ("reset", "snapshot"));
}

/// What is too long ago is not in the audit log any more: to tell the rest would leave a gap.
#[tokio::test]
async fn what_the_audit_log_has_in_part_is_not_gone_on_with() {
    let redis = OwnRedis::start().await;
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 1);
    options.redis_url = Some(redis.url());
    let ((_one, one), (_two, two)) = (start(&options), start(&options));
    one.configure(RESTAURANT, json!({})).await;
    let mut screen = Screen::of(RESTAURANT);
    let mut stream = screen.connect(one.url()).await.expect("a stream");
    screen.show(stream.must().await);
    drop(stream);
    let (first, second) = (one.create(RESTAURANT, json!({})).await, one.create(RESTAURANT, json!({})).await);
    until_trimmed(&redis, &options).await;
    let url = options.database_url.as_deref().expect("a database");
    let mut ledger = PgConnection::connect(url).await.expect("Postgres answers");
    let forget = "DELETE FROM order_events WHERE sequence = (SELECT max(sequence) - 1 FROM order_events)";
    let forgotten = sqlx::query(forget).execute(&mut ledger).await.expect("Postgres answers");
    assert_eq!(forgotten.rows_affected(), 1);
    let mut stream = screen.connect(two.url()).await.expect("a stream");
    let (reset, snapshot) = (stream.must().await, stream.must().await);
    assert_eq!((reset.name.as_str(), &reset.data["reason"]), ("reset", &json!("unknown_position")));
    assert_eq!((snapshot.name.as_str(), &snapshot.data["orders"]), ("snapshot", &json!([first, second])));
}

/// Waits until the outbox of the one partition is empty: the ledger has all.
async fn until_trimmed(redis: &OwnRedis, options: &DaemonOptions) {
    let outbox = format!("{}:{{0}}:outbox", options.namespace);
    let redis = redis.connect().await;
    eventually_true(PATIENCE, || {
        let (mut redis, outbox) = (redis.clone(), outbox.clone());
        async move { redis::cmd("XLEN").arg(outbox).query_async::<u64>(&mut redis).await == Ok(0) }
    })
    .await;
}

/// A stream of the whole chain has no snapshot to be put right with: it ends, and the client comes back with what it has.
#[tokio::test]
async fn a_stream_of_the_chain_that_may_have_missed_something_ends() {
    let mut redis = OwnRedis::start().await;
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 2);
    options.redis_url = Some(redis.url());
    let (_daemon, api) = start(&options);
    let mut stream = Stream::open(api.url(), "/v1/feed", &[]).await.expect("a stream");
    let mut last = stream.until("snapshot").await.id.expect("it says where it begins");
    redis.restart().await;
    assert_eq!(stream.until("reset").await.data["reason"], "generation");
    assert_eq!(tokio::time::timeout(PATIENCE, stream.next()).await, Ok(None));
    eventually_true(PATIENCE, || async { api.get("/readyz").await.status == 200 }).await;
    let order = api.create(RESTAURANT, json!({})).await;
    // The other partition may be there only later; the client comes back again then.
    let mut reasons = BTreeSet::new();
    let begun = Instant::now();
    let found = 'back: loop {
        assert!(begun.elapsed() < PATIENCE, "it is not told: {reasons:?}");
        let mut stream = Stream::open(api.url(), "/v1/feed", &[("Last-Event-ID", &last)]).await.expect("an answer");
        while let Ok(Some(told)) = tokio::time::timeout(PATIENCE, stream.next()).await {
            match told.name.as_str() {
                "reset" => _ = reasons.insert(told.data["reason"].as_str().expect("a reason").to_owned()),
                "order" => break 'back told,
                // Who begins anew asks for what is live, and follows it.
                "snapshot" => {
                    last = told.id.expect("it says where it begins");
                    let path = format!("/v1/orders/{}/status", id(&order));
                    api.post(&path, json!({ "status": "ready" })).await.ok(200);
                }
                _ => {}
            }
        }
    };
    assert_eq!(id(&found.data["order"]), id(&order));
    assert!(reasons.contains("unknown_position"), "{reasons:?}");
}

#[tokio::test]
async fn the_whole_chain_is_told_to_those_who_follow_it() {
    let options = DaemonOptions::migrated().await;
    let ((_one, one), (_two, two)) = (start(&options), start(&options));
    let mut stream = Stream::open(one.url(), "/v1/feed", &[]).await.expect("a stream");
    let snapshot = stream.until("snapshot").await;
    let mut created = BTreeSet::new();
    for restaurant in 1..40 {
        created.insert(id(&two.create(restaurant, json!({})).await).to_owned());
    }
    let mut told = BTreeSet::new();
    while told != created {
        let event = stream.until("order").await;
        assert_eq!(event.id, None);
        assert!(told.insert(id(&event.data["order"]).to_owned()), "told twice: {event:?}");
    }
    let last = stream.until("heartbeat").await.id.expect("it says how far all was told");
    drop(stream);
    let missed = one.create(3, json!({})).await;
    for (api, last) in [(&one, &last), (&two, &last)] {
        let mut stream = Stream::open(api.url(), "/v1/feed", &[("Last-Event-ID", last)]).await.expect("a stream");
        assert_eq!(kind(&stream.until("order").await), ("created".to_owned(), missed.clone()));
    }
    // From the very beginning: all of them again.
    let id_of_all = snapshot.id.expect("it says where it began");
    let mut stream = Stream::open(two.url(), "/v1/feed", &[("Last-Event-ID", &id_of_all)]).await.expect("a stream");
    created.insert(id(&missed).to_owned());
    while !created.is_empty() {
        created.remove(id(&stream.until("order").await.data["order"]));
    }
}

/// A stream that is not read is not waited for: it begins anew, and others notice nothing.
#[tokio::test]
async fn a_slow_screen_begins_anew_and_holds_up_no_other() {
    let (_daemon, api) = start(&DaemonOptions::migrated().await);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = api.url().strip_prefix("http://").expect("http").parse().expect("an address");
    let slow = Stream::over(socket.connect(address).await.expect("a connection"), FEED, &[]).await.expect("a stream");
    let mut screen = Screen::of(RESTAURANT);
    let mut quick = screen.connect(api.url()).await.expect("a stream");
    screen.show(quick.must().await);
    // More than the buffers of both ends hold, and for longer than a room keeps what comes.
    let item = json!({ "name": "n".repeat(100), "note": "n".repeat(200) });
    let (sender, taken) = tokio::sync::oneshot::channel::<()>();
    let reader = tokio::spawn(hang(slow, async {
        taken.await.ok();
    }));
    let (began, mut made) = (Instant::now(), 0);
    while made < 600 || began.elapsed() < Duration::from_secs(4) {
        let orders = (0..50).map(|_| async {
            let order = api.create(RESTAURANT, json!({ "items": vec![&item; 40] })).await;
            api.release(id(&order), true).await.ok(200);
        });
        futures_util::future::join_all(orders).await;
        made += 50;
        while let Ok(Some(told)) = tokio::time::timeout(Duration::from_millis(1), quick.next()).await {
            assert_ne!(told.name, "reset");
            screen.show(told);
        }
    }
    // It is found too slow when it takes what it was sent.
    sender.send(()).expect("it hangs");
    eventually_true(PATIENCE, || metric(&api, "nowserving_feed_resets_total{reason=\"slow\"}")).await;
    screen.until_it_shows_what_is_live(&mut quick, &api, RESTAURANT).await;
    reader.abort();
}

async fn metric(api: &Api, series: &str) -> bool {
    let text = api.get("/metrics").await.text;
    text.lines().any(|line| line.strip_prefix(series).is_some_and(|value| value.trim() != "0"))
}

#[tokio::test]
async fn streams_end_at_once_when_the_daemon_stops() {
    let (mut daemon, api) = start(&DaemonOptions::migrated().await);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
        stream.until("snapshot").await;
        streams.push(stream);
    }
    daemon.signal(Signal::SIGTERM);
    let mut retries = BTreeSet::new();
    for stream in &mut streams {
        assert_eq!(stream.until("reset").await.data["reason"], "closing");
        assert_eq!(tokio::time::timeout(PATIENCE, stream.next()).await, Ok(None));
        retries.insert(stream.retry_ms.expect("when to come back"));
    }
    assert!(retries.len() > 5, "all would come back at once: {retries:?}");
    let status = daemon.wait();
    assert!(status.success(), "{status}");
}

/// Streams have a limit of their own, and take no place of requests.
#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let options = DaemonOptions::migrated().await;
    let options = options.with("NOWSERVING_HTTP_MAX_STREAMS", 3).with("NOWSERVING_HTTP_MAX_CONCURRENT_REQUESTS", 1);
    let (_daemon, api) = start(&options);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
        stream.until("snapshot").await;
        streams.push(stream);
    }
    api.create(RESTAURANT, json!({})).await;
    let refused = api.get(FEED).await;
    refused.problem(503, "too_many_streams");
    assert!(refused.header("retry-after").is_some());
    assert!(metric(&api, "nowserving_feed_streams{scope=\"restaurant\"}").await);
    streams.pop();
    eventually_true(PATIENCE, || async { api.get(FEED).await.status == 200 }).await;
}

#[tokio::test]
async fn the_feed_goes_on_without_postgres() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await;
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let (_daemon, api) = start(&options);
    let mut stream = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
    stream.until("snapshot").await;
    postgres.stop();
    let order = api.create(RESTAURANT, json!({})).await;
    assert_eq!(kind(&stream.until("order").await), ("created".to_owned(), order.clone()));
    // One that is new sees it as well.
    let mut late = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
    assert_eq!(late.until("snapshot").await.data["orders"], json!([order]));
    late.until("heartbeat").await;
}

/// A screen that cannot be told the truth is told that, and afterwards what is true.
#[tokio::test]
async fn without_redis_no_stream_says_that_it_is_the_present() {
    let mut redis = OwnRedis::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_PARTITIONS", 1);
    options.redis_url = Some(redis.url());
    options.migrate();
    let (_daemon, api) = start(&options);
    let order = api.create(RESTAURANT, json!({})).await;
    let mut screen = Screen::of(RESTAURANT);
    let mut stream = screen.connect(api.url()).await.expect("a stream");
    screen.show(stream.until("snapshot").await);
    stream.until("heartbeat").await;
    redis.stop();
    let beat = stream.must().await;
    assert_eq!(beat.name, ":", "{beat:?}");
    // What is known of the restaurant may not be how things stand.
    for path in [FEED, "/v1/feed"] {
        let away = Stream::open(api.url(), path, &[]).await.expect("an answer");
        assert_eq!(away.status(), 503, "{}", away.head);
        assert!(away.head.contains("retry-after: "), "{}", away.head);
    }
    redis.restart().await;
    let reset = stream.until("reset").await;
    assert_eq!(reset.data["reason"], "generation");
    let snapshot = stream.must().await;
    assert_eq!(number(&snapshot.data["orders"][0]), number(&order));
    screen.show(snapshot);
    api.create(RESTAURANT, json!({})).await;
    screen.until_it_shows_what_is_live(&mut stream, &api, RESTAURANT).await;
    stream.until("heartbeat").await;
}

/// As a number that was mistyped has none.
#[tokio::test]
async fn a_restaurant_says_whether_it_has_settings_of_its_own() {
    let (_daemon, api) = start(&DaemonOptions::migrated().await);
    let mut stream = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
    let configured = |told: &Told| told.data["restaurant"]["configured"].clone();
    assert_eq!(configured(&stream.until("snapshot").await), false);
    api.create(RESTAURANT, json!({})).await;
    assert_eq!(configured(&stream.until("settings").await), true);
    let mut again = Stream::open(api.url(), FEED, &[]).await.expect("a stream");
    assert_eq!(configured(&again.until("snapshot").await), true);
}

#[tokio::test]
async fn a_head_has_no_body_and_an_unknown_restaurant_no_feed() {
    let (_daemon, api) = start(&DaemonOptions::migrated().await.with("NOWSERVING_AUTO_PROVISION", false));
    api.get(FEED).await.problem(404, "restaurant_not_found");
    api.get("/v1/restaurants/0/feed").await.problem(422, "invalid_parameter");
    api.get("/v1/restaurants/7/feed?x=1").await.problem(422, "invalid_parameter");
    api.configure(RESTAURANT, json!({})).await;
    let head = api.send("HEAD", FEED, &[], None).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    eventually_true(PATIENCE, || async { !metric(&api, "nowserving_feed_streams{scope=\"restaurant\"}").await }).await;
}
