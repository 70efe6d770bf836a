//! A browser that shows a page of the service: it keeps the cookie, and says what browsers say of its requests.

use serde_json::{Value, json};

use super::client::call;
use crate::support::Api;
use crate::support::api::{Answer, text};

/// What a browser sends with requests of a page of the service itself.
pub const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A browser on a screen.
pub struct Browser {
    pub api: Api,
    /// The name and the value of its cookie.
    pub cookie: String,
}

impl Browser {
    /// One that has begun a pairing, and the code that it shows.
    pub async fn waiting(api: &Api, page: &str, restaurant: u32) -> (Self, String) {
        let body = json!({"page": page, "restaurant_id": restaurant});
        let answer = api.json_with("POST", "/v1/pairings", &[OWN], &body).await;
        let begun = answer.ok(201);
        (Self { api: api.clone(), cookie: cookie_of(&answer) }, text(&begun, "code").to_owned())
    }

    /// One that was paired by an admin; and its screen.
    pub async fn paired(api: &Api, admin: &str, role: &str, restaurant: u32) -> (Self, Value) {
        let page = if role == "kitchen" { "kitchen" } else { "board" };
        let (browser, code) = Self::waiting(api, page, restaurant).await;
        let new = json!({"code": code, "restaurant_id": restaurant, "role": role, "name": format!("a {role}")});
        let screen = call(api, admin, "POST", "/v1/screens", Some(&new)).await.ok(201);
        (browser, screen)
    }

    /// The same browser, which is led to another daemon.
    pub fn at(&self, api: &Api) -> Self {
        Self { api: api.clone(), cookie: self.cookie.clone() }
    }

    /// The text of the key that the cookie holds.
    pub fn key(&self) -> &str {
        self.cookie.split_once('=').expect("a name and a value").1
    }

    /// A request with the cookie and these headers alone.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut all: Vec<(&str, &[u8])> = vec![("cookie", self.cookie.as_bytes())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        if body.is_some() {
            all.push(("content-type", b"application/json"));
        }
        self.api.send(method, path, &all, body.map(|body| body.to_string().into_bytes())).await
    }

    /// A request of a page of the service itself.
    pub async fn own(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.send(method, path, &[OWN], body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.own("GET", path, None).await
    }

    /// How far the pairing has come.
    pub async fn state(&self) -> Value {
        self.get("/v1/pairings/current").await.ok(200)
    }
}

/// The name and the value of the cookie that an answer sets.
#[track_caller]
pub fn cookie_of(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {answer:?}"));
    let (pair, attributes) = set.split_once("; ").expect("attributes");
    let attributes: Vec<_> = attributes.split("; ").collect();
    for expected in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=34560000"] {
        assert!(attributes.contains(&expected), "{set}");
    }
    assert!(!attributes.contains(&"Secure"), "it came by plain HTTP: {set}");
    assert!(pair.starts_with("nowserving_screen=nsk_"), "{set}");
    pair.to_owned()
}
