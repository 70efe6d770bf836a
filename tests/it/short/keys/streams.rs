//! Streams of the feed under a key: what they show, and until when.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::{asking, call, make};
use crate::support::screen::Told;
use crate::support::{Api, Daemon, PATIENCE, Screen};

/// The name of the customer and the note of the order in an event.
fn shown(told: &Told) -> (&Value, &Value) {
    let order = match told.name.as_str() {
        "snapshot" => &told.data["orders"][0],
        _ => &told.data["order"],
    };
    assert!(order["display_order_number"].is_u64(), "{told:?}");
    (&order["customer_name"], &order["note"])
}

#[tokio::test]
async fn each_stream_shows_what_its_key_may_see_until_that_is_revoked() {
    let options = asking().await;
    let till = make(&options, &["--role", "admin"]);
    let board = make(&options, &["--role", "screen", "--restaurants", "7"]);
    let board_with_names = make(&options, &["--role", "screen", "--restaurants", "7", "--shows-names"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let order = json!({ "customer_name": "José", "note": "no onions" });
    let made = call(&api, &till, "POST", "/v1/restaurants/7/orders", Some(&order)).await.ok(201);
    let path = format!("/v1/orders/{}/calls", made["internal_order_id"].as_str().expect("an id"));
    let (name, note) = (&json!("José"), &json!("no onions"));
    let expected = [(name, note), (&Value::Null, &Value::Null), (name, &Value::Null)];
    let mut streams = Vec::new();
    // They share what goes over the wire where they see the same.
    for key in [&till, &board, &board_with_names, &till, &board] {
        let screen = Screen { key: Some(key.clone()), ..Screen::of(7) };
        streams.push(screen.connect(api.url()).await.expect("a stream"));
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        assert_eq!(shown(&stream.must().await), expected[at % 3], "stream {at}");
    }
    call(&api, &till, "POST", &path, None).await.ok(200);
    for (at, stream) in streams.iter_mut().enumerate() {
        for name in ["order", "call"] {
            let told = stream.must().await;
            assert_eq!((told.name.as_str(), shown(&told)), (name, expected[at % 3]), "stream {at}");
        }
    }
    call(&api, &till, "DELETE", "/v1/keys/2", None).await.ok(200);
    let begun = std::time::Instant::now();
    for at in [1, 4] {
        let end = timeout(PATIENCE, async {
            loop {
                match streams[at].next().await {
                    Some(told) => assert!([":", "heartbeat"].contains(&told.name.as_str()), "{told:?}"),
                    None => return,
                }
            }
        });
        end.await.expect("it ends");
    }
    // At once, not with the next heartbeat.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let screen = Screen { key: Some(board), ..Screen::of(7) };
    assert_eq!(screen.connect(api.url()).await.expect("an answer").status(), 401);
    call(&api, &till, "POST", "/v1/restaurants/7/orders", Some(&order)).await.ok(201);
    assert_eq!(shown(&streams[2].until("order").await), expected[2], "those of other keys go on");
}
