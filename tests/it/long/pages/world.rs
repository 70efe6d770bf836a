//! A restaurant with a screen: a daemon, a browser, and the network between them.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::cut::Address;
use crate::support::{Api, Cut, Daemon, DaemonOptions, PATIENCE, api, eventually};

/// The restaurant of the screens.
pub const RESTAURANT: u32 = 7;

/// The page shows what the feed tells.
pub const IS_LIVE: &str = "document.documentElement.dataset.link === 'live'";

/// What lies between the daemon and the browser is last: it ends last.
pub struct World {
    pub browser: Browser,
    /// Past the proxy.
    pub api: Api,
    pub options: DaemonOptions,
    pub daemon: Daemon,
    pub network: Cut,
}

impl World {
    /// With a daemon that asks for no keys.
    pub async fn start() -> Self {
        Self::with(DaemonOptions::migrated().await, Browser::start().await).await
    }

    pub async fn with(options: DaemonOptions, browser: Browser) -> Self {
        let daemon = Daemon::start(&options);
        let address = daemon.url().strip_prefix("http://").and_then(|address| address.parse().ok());
        let network = Cut::tcp(Address::Tcp(address.expect("an address"))).await;
        let api = Api::at(daemon.url());
        Self { browser, api, options, daemon, network }
    }

    /// A page as the browser is led to it: through the network.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.network.http_url())
    }

    /// Opens a page, and waits until it shows what there is.
    pub async fn show(&self, path: &str) {
        self.browser.open(&self.url(path)).await;
        self.browser.until(IS_LIVE).await;
    }

    /// An order with this number.
    pub async fn order(&self, number: u32, mut details: Value) -> Value {
        details["requested_number"] = json!(number);
        self.api.create(RESTAURANT, details).await
    }

    /// Calls an order: where it was called within the last seconds, once that is a call of its own.
    pub async fn call(&self, order: &Value, place: Option<&str>) -> Value {
        let path = format!("/v1/orders/{}/calls", api::id(order));
        let body = place.map_or(json!({}), |place| json!({ "place": place }));
        eventually(PATIENCE, || async {
            let answer = self.api.post(&path, body.clone()).await;
            answer.header("idempotent-replayed").is_none().then(|| answer.ok(200))
        })
        .await
    }

    pub async fn to(&self, order: &Value, status: &str) -> Value {
        self.api.post(&format!("/v1/orders/{}/status", api::id(order)), json!({ "status": status })).await.ok(200)
    }

    /// Bumps an order in the kitchen by touch. A second tap within a moment would be a slip of the finger.
    pub async fn bump(&self, order: &Value) {
        self.browser.until("performance.now() > (window.bumpedAt || 0) + 750").await;
        self.browser.click(&format!(".card[data-order=\"{}\"] .bump", api::id(order))).await;
        self.browser.run("window.bumpedAt = performance.now();").await;
    }

    /// The order as it is now.
    pub async fn now(&self, order: &Value) -> Value {
        self.api.order(api::id(order)).await.ok(200)
    }

    /// Turns the sound on as a person does, and notes all that is said from then on.
    pub async fn listen(&self) {
        self.note_what_is_said().await;
        self.browser.until("document.documentElement.dataset.sound === 'blocked'").await;
        self.browser.click("[data-hook=sound]").await;
        self.browser.until("document.documentElement.dataset.sound === 'on'").await;
    }

    pub async fn note_what_is_said(&self) {
        let note = "window.said = []; document.addEventListener('nowserving:say', (event) => said.push(event.detail));";
        self.browser.run(note).await;
    }

    /// What was said, once it is so many calls: the number, its clips, and whether they sounded here.
    pub async fn said(&self, calls: usize) -> Vec<(String, String, bool)> {
        let said = self.browser.until(&format!("window.said.length >= {calls} && window.said")).await;
        let one = |call: &Value| {
            let clips = call["clips"].as_array().expect("clips").iter().map(|clip| clip.as_str().expect("a clip"));
            let clips = clips.collect::<Vec<_>>().join(" ");
            (api::text(call, "number").to_owned(), clips, call["spoken"] == true)
        };
        said.as_array().expect("calls").iter().map(one).collect()
    }
}

/// The number of an order in a list of the board, as an expression.
pub fn on_board(list: &str, order: &Value) -> String {
    format!("document.querySelector('[data-hook=\"{list}\"] li[data-order=\"{}\"]')", api::id(order))
}

/// The card of an order in the kitchen, with these words behind its selector.
pub fn card(order: &Value, further: &str) -> String {
    format!("document.querySelector('.card[data-order=\"{}\"]{further}')", api::id(order))
}
