//! Every kind of call, sent again after another till has changed what it is about.

use nowserving::{
    allocator::{Allocated, AllocatorError, Build, Called, Changed, Configured, Recycled, Reopened},
    config::WriteBehindSettings,
    domain::{IdempotencyDigest, OrderDetails, OrderStatus, Timestamp},
    ledger::Ledger,
    write_behind::WriteBehind,
};
use tokio_util::sync::CancellationToken;

use super::till::{PARTITION, Till, done, restaurant, settings, while_lost};
use crate::support::{PATIENCE, Proxy, eventually_true, fresh_database, library, redis_url};

/// A till that loses answers, and another one that does not.
async fn tills(max_number: u32, cooldown_seconds: u32) -> (Proxy, Till, Till) {
    let url = redis_url().await;
    let socket = url.strip_prefix("unix://").expect("the tests' Redis is on a socket");
    let proxy = Proxy::start(socket.as_ref());
    let cook = Till::first(&url, &settings(max_number, cooldown_seconds)).await;
    let till = cook.through("till", &proxy.url());
    // The first call of a business date only asks for it: here it is an order that gets lost.
    cook.begin_business_date(&url).await;
    (proxy, till, cook)
}

#[tokio::test]
async fn a_change_is_not_made_again_over_another_one() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let changed = while_lost(&proxy, id.as_bytes(), till.to(id, OrderStatus::Preparing), async || {
        done(cook.to(id, OrderStatus::Ready).await);
    });
    let Ok(Changed::Replayed { order, version }) = changed.await else { panic!("it was made before") };
    assert_eq!((version, order.version, order.status), (2, 3, OrderStatus::Ready), "the cook's change stands");
    assert_eq!(cook.story().await, ["first configured", "first created", "till changed", "first changed"]);
}

#[tokio::test]
async fn a_change_is_not_made_again_after_many_others() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let changed = while_lost(&proxy, id.as_bytes(), till.to(id, OrderStatus::Preparing), async || {
        for _ in 0..100 {
            done(cook.to(id, OrderStatus::Ready).await);
            done(cook.to(id, OrderStatus::Held).await);
        }
    });
    let Ok(Changed::Replayed { order, version: 2 }) = changed.await else { panic!("it was made before") };
    assert_eq!((order.version, order.status), (202, OrderStatus::Held));
}

#[tokio::test]
async fn a_change_that_changed_nothing_changes_nothing_later() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    done(cook.to(id, OrderStatus::Preparing).await);
    let changed = while_lost(&proxy, id.as_bytes(), till.to(id, OrderStatus::Preparing), async || {
        done(cook.to(id, OrderStatus::Ready).await);
    });
    let Ok(Changed::Replayed { order, version: 2 }) = changed.await else { panic!("it was served before") };
    assert_eq!((order.version, order.status), (3, OrderStatus::Ready));
}

#[tokio::test]
async fn a_change_is_known_where_the_order_has_ended_since() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let changed = while_lost(&proxy, id.as_bytes(), till.to(id, OrderStatus::Preparing), async || {
        done(cook.release(id, false).await);
    });
    let Ok(Changed::Replayed { order, version: 2 }) = changed.await else { panic!("it was made before") };
    assert_eq!((order.version, order.status), (3, OrderStatus::Completed));
}

#[tokio::test]
async fn a_change_of_an_expected_version_is_not_held_against_its_own_first_copy() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let order = cook.new_order().await;
    let (note, id) = ("no onions", order.id);
    let changed = while_lost(&proxy, id.as_bytes(), till.rewrite(&order, note), async || {}).await;
    let Ok(Changed::Replayed { order: first, version: 2 }) = changed else { panic!("{changed:?}") };
    assert_eq!(first.details.note.as_deref(), Some(note));

    let changed = while_lost(&proxy, id.as_bytes(), till.rewrite(&first, "no salt"), async || {
        done(cook.rewrite(&cook.order(id).await, "no pepper").await);
    });
    let Ok(Changed::Replayed { order, version: 3 }) = changed.await else { panic!("it was made before") };
    assert_eq!((order.version, order.details.note.as_deref()), (4, Some("no pepper")));
    // Another caller that still knows the first version is told so.
    assert!(matches!(till.rewrite(&first, "no rice").await, Ok(Changed::Version(_))));
}

#[tokio::test]
async fn a_call_is_not_made_again_over_what_came_since() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let called = while_lost(&proxy, id.as_bytes(), till.call(id), async || {
        done(cook.to(id, OrderStatus::Served).await);
    });
    let Ok(Called::Replayed { order, version: 2 }) = called.await else { panic!("it was made before") };
    assert_eq!((order.version, order.status), (3, OrderStatus::Served), "the guest has it");
    assert_eq!(order.calls.map(|calls| calls.count), Some(1));
    assert_eq!(cook.story().await[2..], ["till called", "first changed"]);
}

/// The second copy comes when the first call is no longer a recent one.
#[tokio::test]
async fn a_call_whose_answer_is_lost_for_long_is_one_call() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let called = while_lost(&proxy, id.as_bytes(), till.call(id), async || {
        let again = async || matches!(cook.call(id).await, Ok(Called::Done(_)));
        eventually_true(PATIENCE, || async { again().await }).await;
    });
    let Ok(Called::Replayed { order, version: 2 }) = called.await else { panic!("it was made before") };
    assert_eq!((order.version, order.calls.map(|calls| calls.count)), (3, Some(2)));
    assert_eq!(cook.story().await[2..], ["till called", "first called"]);
}

#[tokio::test]
async fn a_release_takes_no_number_from_its_next_holder() {
    let (proxy, till, cook) = tills(1, 60).await;
    let id = cook.new_order().await.id;
    let mut next = None;
    let released = while_lost(&proxy, id.as_bytes(), till.release(id, true), async || {
        next = Some(cook.new_order().await);
    });
    let Ok(Changed::Replayed { order, version: 2 }) = released.await else { panic!("it was made before") };
    assert_eq!((order.id, order.status), (id, OrderStatus::Completed));
    assert_eq!(cook.snapshot().await.live, Vec::from_iter(next), "the number is the next order's");
    assert_eq!(cook.story().await.iter().filter(|event| event.contains("released")).count(), 1);
}

#[tokio::test]
async fn a_reopening_is_not_made_again_over_the_end_that_came_since() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    done(cook.release(id, false).await);
    let reopened = while_lost(&proxy, id.as_bytes(), till.reopen(id), async || {
        done(cook.release(id, false).await);
    });
    let Ok(Reopened::Replayed { order, version: 3 }) = reopened.await else { panic!("it was made before") };
    assert_eq!((order.version, order.status), (4, OrderStatus::Completed), "the cook's end stands");
    let story = cook.story().await;
    assert_eq!(story[2..], ["first released", "till reopened", "first released"]);
    assert_eq!(cook.snapshot().await.cooling.len(), 1);
}

#[tokio::test]
async fn a_release_is_not_made_again_over_the_reopening_that_came_since() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let released = while_lost(&proxy, id.as_bytes(), till.release(id, false), async || {
        assert!(matches!(cook.reopen(id).await, Ok(Reopened::Done(_))));
    });
    let Ok(Changed::Replayed { order, version: 2 }) = released.await else { panic!("it was made before") };
    assert_eq!((order.version, order.status), (3, OrderStatus::Preparing), "the reopening stands");
    assert_eq!(cook.snapshot().await.live, [order]);
}

#[tokio::test]
async fn the_end_of_a_rest_does_not_end_the_next_one() {
    let (proxy, till, cook) = tills(1, 60).await;
    let ended = done(cook.release(cook.new_order().await.id, false).await);
    let recycled = while_lost(&proxy, ended.id.as_bytes(), till.recycle(&ended), async || {
        done(cook.release(cook.new_order().await.id, false).await);
    });
    assert_eq!(recycled.await.expect("Redis answers"), Recycled::Replayed);
    let snapshot = cook.snapshot().await;
    assert_eq!((snapshot.cooling.len(), snapshot.live.len()), (1, 0), "the second rest goes on");
    assert_eq!(cook.story().await.iter().filter(|event| event.contains("recycled")).count(), 1);
}

#[tokio::test]
async fn settings_are_not_put_again_over_those_of_another_manager() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let (ours, theirs) = (settings(50, 60), settings(70, 90));
    let json = serde_json::to_vec(&ours).expect("plain JSON");
    let put = while_lost(&proxy, &json, till.configure(&ours), async || {
        assert_eq!(cook.configure(&theirs).await.expect("Redis answers"), Configured::Done(3));
    });
    assert_eq!(put.await.expect("Redis answers"), Configured::Replayed(2));
    let stored = cook.allocator.settings(restaurant()).await.expect("Redis answers").expect("it has some");
    assert_eq!((stored.settings, stored.version), (theirs, 3));
    assert_eq!(cook.story().await.len(), 3);
}

#[tokio::test]
async fn an_order_is_made_once_though_it_has_ended_since() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let digest = IdempotencyDigest { key: [7; 16], body: [8; 16] };
    let details = OrderDetails::default();
    let context = till.context();
    let both = [digest.key, digest.body].concat();
    let made = till.allocator.allocate(restaurant(), &details, Some(digest), &context);
    let made = while_lost(&proxy, &both, made, async || {
        let live = cook.allocator.live_orders(restaurant()).await.expect("Redis answers");
        done(cook.release(live[0].id, true).await);
    });
    let Ok(Allocated::New(order)) = made.await else { panic!("it is its own order") };
    assert_eq!(order.status, OrderStatus::Completed);
    assert_eq!(cook.story().await, ["first configured", "till created", "first released"]);
}

async fn redis_now_ms(redis: &str) -> i64 {
    let client = redis::Client::open(redis).expect("a valid URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.expect("Redis answers");
    seconds * 1000 + micros / 1000
}

/// Waits until a call that was made just now is too old to be served.
async fn until_too_old(redis: &str) {
    let made = redis_now_ms(redis).await;
    eventually_true(PATIENCE, || async { redis_now_ms(redis).await > made + 10_000 }).await;
}

/// A call of a daemon whose clock is ahead is fresh for longer, and remembered for as long as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_known_for_as_long_as_its_call_is_fresh() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let url = redis_url().await;
    let id = till.new_order().await.id;
    done(till.to(id, OrderStatus::Preparing).await);
    // Made nearly a second from now: token and time are an argument, behind name, sha, count, 4 keys and 3 arguments.
    let mut call = proxy.recorded("EVALSHA").pop().expect("it went through the proxy");
    let made = redis_now_ms(&url).await + 900;
    call[3 + 4 + 3] = [b"a token.".as_slice(), &made.to_be_bytes()[2..]].concat();
    let client = redis::Client::open(url.as_str()).expect("a valid URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let mut send = async || -> String {
        let reply: redis::Value = redis::cmd("EVALSHA").arg(&call[1..]).query_async(&mut redis).await.expect("answers");
        let redis::Value::Array(reply) = reply else { panic!("{reply:?}") };
        redis::from_redis_value(reply[0].clone()).expect("a name")
    };
    let sent = redis_now_ms(&url).await;
    assert_eq!(send().await, "ok");
    assert_eq!(send().await, "replayed");
    // It was served more than ten seconds ago, and made less than ten seconds ago; others have changed the order since.
    eventually_true(PATIENCE, || async { redis_now_ms(&url).await > sent + 10_100 }).await;
    done(cook.to(id, OrderStatus::Ready).await);
    let answer = send().await;
    assert!(redis_now_ms(&url).await <= made + 10_000, "the machine is too slow for this test");
    assert_eq!(answer, "replayed");
    assert_eq!(cook.order(id).await.status, OrderStatus::Ready);
    eventually_true(PATIENCE, || async { redis_now_ms(&url).await > made + 10_000 }).await;
    assert_eq!(send().await, "late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_that_comes_too_late_says_that_the_outcome_is_unknown() {
    let unknown = |result: String| assert!(result.starts_with("Err(OutcomeUnknown"), "{result}");
    let url = redis_url().await;
    let late = async || until_too_old(&url).await;
    let change = async {
        let (proxy, till, cook) = tills(9999, 60).await;
        let id = cook.new_order().await.id;
        unknown(format!("{:?}", while_lost(&proxy, id.as_bytes(), till.to(id, OrderStatus::Ready), late).await));
        // And it is known to the next call, as it is.
        assert_eq!(cook.order(id).await.version, 2);
        done(till.to(id, OrderStatus::Held).await);
    };
    let release = async {
        let (proxy, till, cook) = tills(1, 60).await;
        let id = cook.new_order().await.id;
        let lost = while_lost(&proxy, id.as_bytes(), till.release(id, true), async || {
            cook.new_order().await;
            late().await;
        });
        unknown(format!("{:?}", lost.await));
        assert_eq!(cook.snapshot().await.live.len(), 1);
    };
    let configure = async {
        let (proxy, till, cook) = tills(9999, 60).await;
        let json = serde_json::to_vec(&settings(5, 5)).expect("plain JSON");
        unknown(format!("{:?}", while_lost(&proxy, &json, till.configure(&settings(5, 5)), late).await));
        assert_eq!(cook.story().await.len(), 2);
    };
    let recycle = async {
        let (proxy, till, cook) = tills(1, 60).await;
        let ended = done(cook.release(cook.new_order().await.id, false).await);
        let lost = while_lost(&proxy, ended.id.as_bytes(), till.recycle(&ended), async || {
            done(cook.release(cook.new_order().await.id, false).await);
            late().await;
        });
        unknown(format!("{:?}", lost.await));
        assert_eq!(cook.snapshot().await.cooling.len(), 1);
    };
    let allocate = async {
        let (proxy, till, cook) = tills(9999, 60).await;
        let context = serde_json::to_vec(&till.context()).expect("plain JSON");
        unknown(format!("{:?}", while_lost(&proxy, &context, till.allocate(), late).await));
        assert_eq!(cook.snapshot().await.live.len(), 1, "there is no second order");
    };
    tokio::join!(change, release, configure, recycle, allocate);
}

#[tokio::test]
async fn a_key_finds_its_order_when_its_repeat_comes_too_late() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let digest = IdempotencyDigest { key: [7; 16], body: [8; 16] };
    let both = [digest.key, digest.body].concat();
    let (details, context, url) = (OrderDetails::default(), till.context(), redis_url().await);
    let made = till.allocator.allocate(restaurant(), &details, Some(digest), &context);
    let made = while_lost(&proxy, &both, made, async || until_too_old(&url).await).await;
    let live = cook.snapshot().await.live;
    assert_eq!(live.len(), 1, "there is no second order");
    assert!(matches!(made, Ok(Allocated::Replayed { id, .. }) if id == live[0].id), "{made:?}");
}

/// The ledger has the end of an order long before a repeat of its release is too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_known_for_as_long_as_its_repeat_may_come() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let (url, timeout_ms) = (fresh_database().await, 10_000);
    let ledger = Ledger::connect(&url, &library::ledger_settings(timeout_ms)).await.expect("Postgres answers");
    ledger.migrate().await.expect("it is empty");
    ledger.deployment(1).await.expect("it is new");
    let opened = ledger.advance_generation(PARTITION, None, 1, cook.run_id.as_str(), 0).await;
    assert_eq!(opened.expect("Postgres answers"), Some(0));
    let settings = WriteBehindSettings { enabled: true, batch_size: 100, transactions: 1, fill_ms: 1 };
    let writer = WriteBehind::new(cook.allocator.clone(), ledger.clone(), settings, PATIENCE);
    let stop = CancellationToken::new();
    let writing = tokio::spawn(writer.run(stop.clone(), |_, _| {}));

    let (id, redis) = (cook.new_order().await.id, redis_url().await);
    let released = while_lost(&proxy, id.as_bytes(), till.release(id, false), async || {
        let sent = redis_now_ms(&redis).await;
        eventually_true(PATIENCE, || async {
            let order = ledger.order(id).await.expect("Postgres answers");
            order.is_some_and(|order| order.status.is_final())
        })
        .await;
        // It may come for two seconds more.
        eventually_true(PATIENCE, || async { redis_now_ms(&redis).await > sent + 8000 }).await;
    })
    .await;
    assert!(matches!(&released, Ok(Changed::Replayed { version: 2, .. })), "{released:?}");
    stop.cancel();
    writing.await.expect("it ends");
}

#[tokio::test]
async fn across_a_generation_the_outcome_is_unknown() {
    let (proxy, till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let changed = while_lost(&proxy, id.as_bytes(), till.to(id, OrderStatus::Ready), async || {
        let allocator = &cook.allocator;
        assert!(allocator.fence_off(PARTITION, 1, &cook.run_id).await.expect("Redis answers"));
        let build = Build { partition: PARTITION, generation: 2, run_id: cook.run_id.clone() };
        let start = Timestamp::from_unix_ms(0);
        allocator.begin_build(&build, 3, start, b"0123456789abcdef", false).await.expect("no other daemon builds");
        allocator.finish_build(&build).await.expect("no other daemon builds");
    })
    .await;
    assert!(matches!(changed, Err(AllocatorError::OutcomeUnknown(_))), "{changed:?}");
    // One that was not sent twice is known not to have been made.
    till.open(1);
    assert!(matches!(till.to(id, OrderStatus::Held).await, Err(AllocatorError::Closed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_changes_than_are_remembered_have_to_wait() {
    let (_proxy, _till, cook) = tills(9999, 60).await;
    let id = cook.new_order().await.id;
    let other = cook.new_order().await.id;
    let mut made = 0;
    loop {
        match cook.to(id, if made % 2 == 0 { OrderStatus::Ready } else { OrderStatus::Held }).await {
            Ok(Changed::Done(_)) => made += 1,
            Err(AllocatorError::Busy) => break,
            other => panic!("{other:?}"),
        }
        assert!(made <= 100_000, "it never ends");
    }
    assert!(made >= 255, "only {made}");
    assert!(matches!(cook.release(id, true).await, Err(AllocatorError::Busy)));
    done(cook.to(other, OrderStatus::Ready).await);
    // Seconds later there is room again.
    eventually_true(PATIENCE, || async {
        match cook.release(id, true).await {
            Ok(Changed::Done(_)) => true,
            Err(AllocatorError::Busy) => false,
            other => panic!("{other:?}"),
        }
    })
    .await;
}
