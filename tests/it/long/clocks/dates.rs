//! Business dates, as time goes by: a date ends while no daemon runs, Redis is lost, clocks do not agree.

use chrono::{Days, NaiveDate};

use super::*;

const PATH: &str = "/v1/restaurants/7/business-day";

/// A restaurant where a date has just begun by its clock, and orders do not grow old.
async fn configure(api: &Api, reset: &str) {
    let settings = json!({
        "time_zone": "Europe/Berlin", "active_window_seconds": 30 * DAY, "cooldown_seconds": 30 * DAY,
        "business_day": {"starts_at": "04:00", "reset": reset, "first_number": 2},
    });
    api.configure(7, settings).await;
}

impl World {
    /// Sets all clocks ahead so far that the business date has just ended, or is about to.
    async fn go_to_the_end_of_the_date(&self, api: &Api, seconds_behind: i64) {
        let ends_at = time(&api.get(PATH).await.ok(200), "ends_at");
        let ahead = (ends_at - Utc::now()).num_seconds() + seconds_behind;
        for clock in [&self.redis_clock, &self.postgres_clock, &self.daemon_clock] {
            clock.set(ahead);
        }
    }
}

fn place(order: &Value) -> (NaiveDate, u64) {
    let date = text(order, "business_date").parse().expect("a date");
    (date, order["daily_sequence"].as_u64().expect("a place"))
}

async fn new_order(api: &Api) -> Value {
    served(async || api.post("/v1/restaurants/7/orders", json!({})).await).await.ok(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_ends_while_no_daemon_runs_and_only_the_ring_begins_anew() {
    let world = World::new().await;
    let (daemon, api) = world.start();
    configure(&api, "daily").await;
    let first = new_order(&api).await;
    let (today, _) = place(&first);
    let mut orders = vec![first];
    for expected in 2..=4 {
        orders.push(new_order(&api).await);
        assert_eq!(place(&orders[expected as usize - 1]), (today, expected));
    }
    // Of 1 to 4, the second rests; the others are live.
    api.release(id(&orders[1]), false).await.ok(200);
    world.go_to_the_end_of_the_date(&api, -60).await;
    assert_eq!(place(&new_order(&api).await), (today, 5), "not before its end");
    assert!(daemon.terminate().0.success());
    world.redis_clock.set(world.ahead().await + 120);
    world.postgres_clock.set(world.ahead().await);
    world.daemon_clock.set(world.ahead().await);

    let (_daemon, api) = world.start();
    let told = served(async || api.get(PATH).await).await.ok(200);
    assert_eq!((text(&told, "date"), &told["orders"]), (&*(today + Days::new(1)).to_string(), &json!(0)));
    let next = new_order(&api).await;
    assert_eq!(place(&next), (today + Days::new(1), 1));
    // The ring begins at 2, which rests; 3, 4 and 5 are live.
    assert_eq!(number(&next), 6);
    for order in [&orders[0], &orders[2], &orders[3]] {
        assert_eq!(api.order(id(order)).await.ok(200), *order, "yesterday's orders are as they were");
    }
    let rests = api.get("/v1/restaurants/7/numbers/2").await.ok(200);
    assert_eq!((text(&rests, "state"), id(&rests["order"])), ("cooling", id(&orders[1])));
    assert_eq!(series(&api, "nowserving_ring_resets_total").await, Some(1.0));
    world.drained().await;
    world.assert_sound();
}

impl World {
    /// How many seconds Redis's clock is ahead.
    async fn ahead(&self) -> i64 {
        (self.now().await - Utc::now()).num_seconds()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_whose_clocks_do_not_agree_have_one_date() {
    let world = World::new().await;
    let (_one, one) = world.start();
    configure(&one, "none").await;
    let mut options = world.options.clone();
    let far_off = Clock::new();
    far_off.set(3 * DAY);
    options = options.with_clock(&far_off);
    let (_other, other) = started(&options);
    let (today, _) = place(&new_order(&one).await);
    world.go_to_the_end_of_the_date(&one, -3).await;
    let mut places = Vec::new();
    eventually_true(PATIENCE, || async { one.get(LIVE).await.status == 200 && other.get(LIVE).await.status == 200 })
        .await;
    // Over the end of the date, by turns.
    while places.iter().filter(|(date, _)| *date > today).count() < 20 {
        places.push(place(&new_order(&one).await));
        places.push(place(&new_order(&other).await));
        assert!(places.len() < 100_000, "the date does not end: {:?}", places.last());
    }
    let mut before = (today, 1);
    for place in places {
        let follows = (before.0, before.1 + 1);
        assert!(place == follows || place == (today + Days::new(1), 1), "{place:?} after {before:?}");
        before = place;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_and_its_places_go_on_after_redis_was_lost() {
    for reset in ["daily", "none"] {
        let world = World::new().await;
        let (_daemon, api) = world.start();
        configure(&api, reset).await;
        let (today, _) = place(&new_order(&api).await);
        let (yesterday, tomorrow) = (today - Days::new(1), today + Days::new(1));
        assert_eq!(place(&new_order(&api).await), (today, 2));
        let lose = async || {
            world.drained().await;
            world.flush().await;
            served(async || api.get(LIVE).await).await.ok(200);
        };
        lose().await;
        let third = new_order(&api).await;
        assert_eq!(place(&third), (today, 3), "{reset}");
        assert!(number(&third) > 2, "{reset}: the ring goes on");

        // The date was set back: the orders of the later one do not count, but keep their places.
        let set = async |date: NaiveDate| api.put(PATH, json!({"date": date})).await.ok(200);
        let back = set(yesterday).await;
        let fourth = new_order(&api).await;
        assert_eq!(place(&fourth), (yesterday, 1), "{reset}");
        lose().await;
        let told = api.get(PATH).await.ok(200);
        assert_eq!((&told["date"], &told["ends_at"], &told["orders"]), (&back["date"], &back["ends_at"], &json!(1)));
        assert_eq!(place(&new_order(&api).await), (yesterday, 2), "{reset}");
        assert_eq!(set(today).await["orders"], 3, "{reset}");
        assert_eq!(place(&new_order(&api).await), (today, 4), "{reset}");

        // And one that was set on, without an order in it yet.
        set(tomorrow).await;
        lose().await;
        assert_eq!(place(&new_order(&api).await), (tomorrow, 1), "{reset}");
        lose().await;
        assert_eq!(place(&new_order(&api).await), (tomorrow, 2), "{reset}");
        world.drained().await;
        world.assert_sound();
    }
}

/// It was set back, and its end came: the date behind it begins where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_comes_again_goes_on_behind_what_it_has_had() {
    let world = World::new().await;
    let (_daemon, api) = world.start();
    configure(&api, "daily").await;
    let (today, _) = place(&new_order(&api).await);
    api.put(PATH, json!({"date": today + Days::new(1)})).await.ok(200);
    for expected in 1..=3 {
        assert_eq!(place(&new_order(&api).await), (today + Days::new(1), expected));
    }
    api.put(PATH, json!({"date": today})).await.ok(200);
    assert_eq!(place(&new_order(&api).await), (today, 2));
    for lost in [false, true] {
        if lost {
            world.drained().await;
            world.flush().await;
        }
        let told = served(async || api.get(PATH).await).await.ok(200);
        assert_eq!((text(&told, "date"), &told["orders"]), (&*today.to_string(), &json!(2)));
    }
    world.go_to_the_end_of_the_date(&api, 60).await;
    assert_eq!(place(&new_order(&api).await), (today + Days::new(1), 4));
}
