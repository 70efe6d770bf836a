//! Redis holds something that no script of ours wrote: what it touches is not served, says so, and nothing else minds.

use crate::support::api::{id, number};
use crate::support::{Api, Daemon, DaemonOptions, OwnRedis, PATIENCE, eventually, eventually_true};
use serde_json::json;

/// A daemon with a Redis of its own, four partitions, and restaurants whose partitions differ.
struct World {
    redis: OwnRedis,
    options: DaemonOptions,
    daemon: Daemon,
    api: Api,
}

impl World {
    async fn new() -> Self {
        let redis = OwnRedis::start().await;
        let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 4);
        options.redis_url = Some(redis.url());
        let daemon = Daemon::start(&options);
        let api = Api::at(daemon.url());
        Self { redis, options, daemon, api }
    }

    /// The restaurant that is in a partition with the key of its pool, and one that is in another partition.
    async fn two_restaurants(&self) -> ((u32, u16), (u32, u16)) {
        let mut found = Vec::new();
        for restaurant in 1.. {
            self.api.create(restaurant, json!({})).await;
            let keys: Vec<String> = self.redis(&["KEYS", &format!("*:pool:{restaurant}")]).await;
            let tag = keys[0].split(['{', '}']).nth(1).expect("keys have the tag of their partition");
            let partition: u16 = tag.parse().expect("a partition");
            if found.iter().all(|(_, known)| *known != partition) {
                found.push((restaurant, partition));
            }
            if let [one, other] = found[..] {
                return (one, other);
            }
        }
        unreachable!("restaurants are spread")
    }

    async fn redis<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = redis::cmd(words[0]).arg(&words[1..]).query_async(&mut self.redis.connect().await).await;
        answer.expect("Redis answers")
    }

    fn key(&self, partition: u16, kind: &str) -> String {
        format!("{}:{{{partition}}}:{kind}", self.options.namespace)
    }

    /// Waits until the ledger has an order as it is.
    async fn is_written(&self, order: &serde_json::Value) {
        let path = format!("/v1/orders/{}/events", id(order));
        eventually_true(PATIENCE, || async {
            let events = self.api.get(&path).await;
            events.status == 200 && events.value()["events"].as_array().is_some_and(|events| !events.is_empty())
        })
        .await;
    }

    async fn create(&self, restaurant: u32) -> serde_json::Value {
        let path = format!("/v1/restaurants/{restaurant}/orders");
        eventually(PATIENCE, || async {
            let answer = self.api.post(&path, json!({})).await;
            (answer.status == 201).then(|| answer.ok(201))
        })
        .await
    }

    /// Whether new orders, a change and a release of a live order, the list of live orders, and a search in the past
    /// are served. All that is not is a 503.
    async fn served(&self, restaurant: u32, live: &serde_json::Value) -> [bool; 5] {
        let path = |rest: &str| format!("/v1/restaurants/{restaurant}/{rest}");
        let answers = [
            self.api.post(&path("orders"), json!({})).await,
            self.api.patch(id(live), json!({"status": "ready"})).await,
            self.api.release(id(live), false).await,
            self.api.get(&path("orders")).await,
            self.api.get(&path("search?q=1&include_completed=true")).await,
        ];
        answers.map(|answer| {
            let served = answer.status < 300;
            if !served {
                answer.problem(503, "unavailable");
            }
            served
        })
    }

    /// Waits until a restaurant is not served, and `/readyz` names what is odd; gives the reason.
    async fn closed(&self, restaurant: u32, odd: &str) -> String {
        let path = format!("/v1/restaurants/{restaurant}/orders");
        eventually(PATIENCE, || async {
            if self.api.post(&path, json!({})).await.status != 503 {
                return None;
            }
            let ready = self.api.get("/readyz").await;
            let reasons = ready.value()["reasons"].to_string();
            reasons.contains(odd).then_some(reasons)
        })
        .await
    }
}

/// Whatever is put into one outbox, the other partitions are served and written.
#[tokio::test(flavor = "multi_thread")]
async fn an_odd_entry_closes_its_partition_alone_until_it_is_gone() {
    let world = World::new().await;
    let ((restaurant, partition), (other, _)) = world.two_restaurants().await;
    let outbox = world.key(partition, "outbox");
    let entries: [&[&str]; 4] = [
        // Fields of no order, an id that no sequence has, and what looks like ours and is not.
        &["hello", "world"],
        &["e", "1 created  pending ", "i", "x", "o", "y"],
        &["e", "not a head", "i", "0123456789abcdef", "o", "", "x", "{}"],
        &["e", "18446744073709551616 created 1 0 ", "i", "0123456789abcdef", "o", "zz", "x", "{}"],
    ];
    for (round, entry) in entries.into_iter().enumerate() {
        let last = world.create(restaurant).await;
        world.is_written(&last).await;
        // The id is of the clock, as it comes, or any other.
        let new_id = ["*", "9999-7", "18446744073709551615-18446744073709551615", "*"][round];
        let added: String = world.redis(&[&["XADD", &outbox, new_id], entry].concat()).await;
        let reason = world.closed(restaurant, &added).await;
        assert!(reason.contains(&outbox), "round {round}: {reason}");
        for _ in 0..3 {
            let order = world.api.create(other, json!({})).await;
            world.is_written(&order).await;
        }
        world.api.get("/readyz").await.ok(200);
        let advice = world.options.run("doctor", &[]);
        assert_eq!(advice.status.code(), Some(2), "{advice:?}");
        assert!(advice.stdout.contains(&added), "{advice:?}");

        // It opens again by itself, with all that it had.
        assert_eq!(world.redis::<u32>(&["XDEL", &outbox, &added]).await, 1);
        let next = world.create(restaurant).await;
        world.is_written(&next).await;
        world.api.order(id(&last)).await.ok(200);
        assert!(number(&next) > number(&last));
    }
    let verified = world.options.run("verify", &[]);
    assert!(verified.status.success(), "{verified:?}");
    assert!(!world.daemon.output().contains("panicked"), "{}", world.daemon.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_concerns_its_restaurant_alone() {
    let world = World::new().await;
    let ((restaurant, partition), (other, _)) = world.two_restaurants().await;
    // So that some numbers are not in the run that is being used up.
    world.api.configure(restaurant, json!({"blocked_numbers": [5000]})).await;
    // Of the restaurant only: new orders, changes, releases, lists and searches.
    for (kind, served) in [
        ("pool", [false, true, false, true, true]),
        // The next number lies in the pool itself.
        ("free", [true; 5]),
        ("order", [false, false, false, false, false]),
    ] {
        let live = world.create(restaurant).await;
        world.is_written(&live).await;
        let (key, aside) = (world.key(partition, &format!("{kind}:{restaurant}")), "aside");
        let () = world.redis(&["RENAME", &key, aside]).await;
        let () = world.redis(&["SET", &key, "x"]).await;
        assert_eq!(world.served(restaurant, &live).await, served, "{kind}");
        world.api.create(other, json!({})).await;
        let () = world.redis(&["DEL", &key]).await;
        let () = world.redis(&["RENAME", aside, &key]).await;
        world.create(restaurant).await;
        world.api.order(id(&live)).await.ok(200);
    }
    // Of the partition: nothing of it is served.
    let last = world.create(restaurant).await;
    world.is_written(&last).await;
    let outbox = world.key(partition, "outbox");
    eventually_true(PATIENCE, || async { world.redis::<u64>(&["XLEN", &outbox]).await == 0 }).await;
    let () = world.redis(&["SET", &outbox, "x"]).await;
    world.closed(restaurant, &outbox).await;
    assert_eq!(world.served(restaurant, &last).await, [false; 5]);
    let order = world.api.create(other, json!({})).await;
    world.is_written(&order).await;
    let () = world.redis(&["DEL", &outbox]).await;
    let next = world.create(restaurant).await;
    world.is_written(&next).await;
    let verified = world.options.run("verify", &[]);
    assert!(verified.status.success(), "{verified:?}");
}
