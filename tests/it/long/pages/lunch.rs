//! A restaurant at lunch, for screens to show.

use chrono::{Duration, Utc};
use serde_json::{Value, json};

use super::world::{RESTAURANT, World};
use crate::support::{PATIENCE, eventually, scratch};

/// What guests eat, and where it is made.
const DISHES: [(&str, &str, Option<&str>); 8] = [
    ("Margherita", "oven", None),
    ("Caesar salad", "cold", Some("no croutons")),
    ("Fries", "grill", None),
    ("Cheeseburger", "grill", Some("well done")),
    ("Lemonade", "bar", None),
    ("Tagliatelle al ragù", "stove", None),
    ("Veggie wrap", "cold", Some("extra sauce, cut in half")),
    ("Tiramisù", "cold", None),
];
const SOURCES: [&str; 4] = ["kiosk", "app", "pos", "kiosk"];
const TYPES: [&str; 3] = ["takeaway", "dine_in", "takeaway"];

impl World {
    /// Fills the restaurant with orders that came one after the other over the last minutes: so many of each kind.
    pub async fn lunch(&self, first: u32, preparing: u32, ready: u32, not_collected: u32) {
        let settings = json!({ "name": "Trattoria Aurora", "time_zone": "Europe/Rome", "format": "{n}" });
        self.api.configure(RESTAURANT, settings).await;
        let all = preparing + ready + not_collected;
        let orders: String = (0..all).map(|nth| format!("{}\n", order(first, nth, all, preparing))).collect();
        let file = scratch::folder("lunch").join("orders.jsonl");
        std::fs::write(&file, orders).expect("a file can be made in our own folder");
        let taken = self.options.run("backfill", &[file.to_str().expect("a plain name")]);
        assert!(taken.status.success(), "{taken:?}");
        let live = eventually(PATIENCE, || async {
            let live = self.api.live(RESTAURANT).await;
            (live.len() == all as usize).then_some(live)
        })
        .await;
        let mut called: Vec<&Value> = live.iter().filter(|order| order["status"] == "pending").collect();
        called.truncate((ready + not_collected) as usize);
        // Those that came first are ready first.
        for (nth, order) in called.into_iter().enumerate() {
            let calls = if nth < not_collected as usize { 3 } else { 1 };
            for _ in 0..calls {
                self.call(order, nth.is_multiple_of(3).then_some("Counter 2")).await;
            }
        }
    }
}

/// An order as another system wrote it down.
fn order(first: u32, nth: u32, all: u32, preparing: u32) -> Value {
    let pick = |many: usize| nth as usize % many;
    let age = Duration::seconds(i64::from(all - nth) * 50 + 20);
    let number = first + nth;
    let items = (0..=pick(3)).map(|more| {
        let (name, station, note) = DISHES[(pick(8) + more * 3) % 8];
        json!({ "name": name, "quantity": 1 + (pick(5) + more) % 3, "note": note, "station": station })
    });
    let is_ready = nth < all - preparing;
    json!({
        "id": format!("6f0a1c52-93d4-4c0e-8f57-{number:012}"),
        "restaurant_id": RESTAURANT,
        "status": if is_ready || nth.is_multiple_of(3) { "pending" } else { "preparing" },
        "display_order_number": number,
        "order_source": SOURCES[pick(4)],
        "order_type": TYPES[pick(3)],
        "table_number": (TYPES[pick(3)] == "dine_in").then(|| format!("{}", 1 + nth % 9)),
        "note": (nth % 7 == 3).then_some("Allergy: nuts"),
        "items": items.collect::<Vec<_>>(),
        "created_at": (Utc::now() - age).to_rfc3339(),
    })
}
