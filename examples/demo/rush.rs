//! The guests: 200 restaurants of different sizes, whose orders come ever quicker and then fewer again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{interval, sleep},
};

const RESTAURANTS: u32 = 200;
/// Each of these restaurants has far too few numbers for its guests: there is one in so many.
const ONE_TOO_SMALL_IN: u32 = 40;
/// One guest in so many takes the food away, and is called; the others sit, and it is brought to them.
const ONE_CALLED_IN: u32 = 8;
/// How long an order is live, on average.
const HELD: Duration = Duration::from_secs(25);
const TICK: Duration = Duration::from_millis(100);

/// The rush, under way.
pub struct Rush(JoinHandle<()>);

impl Rush {
    /// Gives the restaurants their settings, and lets the guests in: `peak` orders a second at the height of it.
    ///
    /// # Errors
    /// Where the daemon does not take the settings.
    pub async fn begin(url: &str, peak: f64, lasts: Duration) -> Result<Self, String> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
        for restaurant in 1..=RESTAURANTS {
            let mut settings = json!({"max_number": numbers(restaurant), "cooldown_seconds": 30});
            if restaurant == busiest() {
                settings["name"] = json!("Central food hall");
            }
            let request = client.put(format!("{url}/v1/restaurants/{restaurant}")).json(&settings);
            let answer = request.send().await.and_then(reqwest::Response::error_for_status);
            answer.map_err(|error| format!("the settings of a restaurant are not taken: {error}"))?;
        }
        Ok(Self(tokio::spawn(guests(client, url.to_owned(), peak, lasts))))
    }

    /// Nobody comes any more.
    pub fn end(self) {
        self.0.abort();
    }
}

impl Drop for Rush {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The restaurant with the most guests: its screens are looked at.
pub fn busiest() -> u32 {
    (1..=RESTAURANTS).fold(1, |busiest, other| if trade(other) > trade(busiest) { other } else { busiest })
}

fn is_too_small(restaurant: u32) -> bool {
    restaurant.is_multiple_of(ONE_TOO_SMALL_IN)
}

/// The largest number of a restaurant: food halls have thousands, a kiosk has a hundred.
fn numbers(restaurant: u32) -> u32 {
    if is_too_small(restaurant) { 9 } else { [99, 199, 499, 999, 9999][(restaurant % 5) as usize] }
}

/// How much of the chain's trade a restaurant has, against the others.
fn trade(restaurant: u32) -> f64 {
    if is_too_small(restaurant) { 40.0 } else { f64::from(numbers(restaurant)).sqrt() }
}

async fn guests(client: reqwest::Client, url: String, peak: f64, lasts: Duration) {
    let all: f64 = (1..=RESTAURANTS).map(trade).sum();
    let began = Instant::now();
    let mut orders = JoinSet::new();
    let mut ticks = interval(TICK);
    let mut due = 0.0;
    loop {
        ticks.tick().await;
        // A tenth at first, all of it when two thirds are over.
        let passed = (began.elapsed().as_secs_f64() / lasts.as_secs_f64()).min(1.0);
        let rush = (passed / 2.0 * 1.5 * std::f64::consts::PI).sin().max(0.0);
        due += peak * (0.1 + 0.9 * rush) * TICK.as_secs_f64();
        while due >= 1.0 {
            due -= 1.0;
            let mut ticket = rand::random::<f64>() * all;
            let chosen = (1..=RESTAURANTS).find(|restaurant| {
                ticket -= trade(*restaurant);
                ticket < 0.0
            });
            orders.spawn(order(client.clone(), url.clone(), chosen.unwrap_or(RESTAURANTS)));
        }
        while orders.try_join_next().is_some() {}
    }
}

/// One order, from the till to the guest. What fails shows in the metrics.
async fn order(client: reqwest::Client, url: String, restaurant: u32) {
    let source = ["kiosk", "app", "pos", "kiosk"][rand::random_range(0..4)];
    let is_called = rand::random_range(0..ONE_CALLED_IN) == 0;
    let order_type = if is_called { "takeaway" } else { "dine_in" };
    let body = json!({"order_source": source, "order_type": order_type, "items": dishes()});
    let made = client.post(format!("{url}/v1/restaurants/{restaurant}/orders")).json(&body).send().await;
    let Ok(made) = made else { return };
    let Ok(made) = made.json::<Value>().await else { return };
    let Some(id) = made["internal_order_id"].as_str() else { return };
    let held = HELD.mul_f64(rand::random_range(0.5..1.5));
    let order = format!("{url}/v1/orders/{id}");
    // In the other restaurants nobody looks.
    if restaurant == busiest() {
        let to =
            async |status: &str| client.post(format!("{order}/status")).json(&json!({"status": status})).send().await;
        sleep(held.mul_f64(0.2)).await;
        to("preparing").await.ok();
        sleep(held.mul_f64(0.5)).await;
        if is_called {
            client.post(format!("{order}/calls")).json(&json!({"place": "Counter 2"})).send().await.ok();
        } else {
            to("ready").await.ok();
        }
        sleep(held.mul_f64(0.2)).await;
        to("served").await.ok();
        sleep(held.mul_f64(0.1)).await;
    } else {
        sleep(held).await;
    }
    client.post(format!("{order}/release")).send().await.ok();
}

/// What a guest eats, and where it is made.
fn dishes() -> Value {
    const DISHES: [(&str, &str); 6] = [
        ("Margherita", "oven"),
        ("Caesar salad", "cold"),
        ("Cheeseburger", "grill"),
        ("Fries", "grill"),
        ("Tagliatelle", "stove"),
        ("Lemonade", "bar"),
    ];
    let first = rand::random_range(0..DISHES.len());
    let chosen = (0..rand::random_range(1..4)).map(|more| {
        let (name, station) = DISHES[(first + more) % DISHES.len()];
        json!({"name": name, "quantity": rand::random_range(1..3), "station": station})
    });
    chosen.collect()
}
