//! The HTTP API as a client sees it, over real connections.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client of one daemon. Cheap to clone: clones share their connections.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
}

/// What the daemon answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The request, for the messages of assertions.
    request: String,
}

impl Api {
    /// Of the daemon at an address such as `http://127.0.0.1:40123`.
    pub fn at(url: &str) -> Self {
        Self::sending(url, HeaderMap::new())
    }

    /// As [`Api::at`], with an API key.
    pub fn with_key(url: &str, key: &str) -> Self {
        let value = HeaderValue::from_str(&format!("Bearer {key}")).expect("a key is plain text");
        Self::sending(url, [(reqwest::header::AUTHORIZATION, value)].into_iter().collect())
    }

    fn sending(url: &str, headers: HeaderMap) -> Self {
        // Not through a proxy of this machine.
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.default_headers(headers).build().expect("a client can be made");
        Self { client, url: url.to_owned() }
    }

    /// The same daemon over connections of its own.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request; an error is a connection that gave no answer.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, reqwest::Error> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = format!("{method} {path} {:?}", body.as_deref().map(String::from_utf8_lossy));
        let mut builder = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            builder = builder.header(name, HeaderValue::from_bytes(value).expect("a header value"));
        }
        if let Some(body) = body {
            builder = builder.body(body);
        }
        let mut response = builder.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = match headers.get("content-type") {
            Some(kind) if kind == "text/event-stream" => first_event(&mut response).await?,
            _ => response.text().await?,
        };
        Ok(Answer { status, headers, text, request })
    }

    /// Sends a request that must be answered.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &[u8])], body: Option<Vec<u8>>) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    /// With a JSON body.
    pub async fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.json_with(method, path, &[], body).await
    }

    /// With more headers and a JSON body.
    pub async fn json_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all: Vec<(&str, &[u8])> = vec![("content-type", b"application/json")];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        self.send(method, path, &all, Some(body.to_string().into_bytes())).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json("POST", path, &body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.json("PUT", path, &body).await
    }

    pub async fn patch(&self, id: &str, body: Value) -> Answer {
        self.json("PATCH", &format!("/v1/orders/{id}"), &body).await
    }

    /// Creates an order, which must work.
    pub async fn create(&self, restaurant: u32, body: Value) -> Value {
        self.post(&format!("/v1/restaurants/{restaurant}/orders"), body).await.ok(201)
    }

    /// As [`Api::create`], with an `Idempotency-Key`, and whatever comes of it.
    pub async fn create_with_key(&self, restaurant: u32, key: &str, body: &Value) -> Answer {
        let path = format!("/v1/restaurants/{restaurant}/orders");
        self.json_with("POST", &path, &[("idempotency-key", key)], body).await
    }

    pub async fn order(&self, id: &str) -> Answer {
        self.get(&format!("/v1/orders/{id}")).await
    }

    pub async fn release(&self, id: &str, immediate: bool) -> Answer {
        self.post(&format!("/v1/orders/{id}/release"), json!({ "immediate": immediate })).await
    }

    pub async fn reopen(&self, id: &str) -> Answer {
        self.post(&format!("/v1/orders/{id}/reopen"), json!({})).await
    }

    pub async fn configure(&self, restaurant: u32, settings: Value) -> Value {
        self.put(&format!("/v1/restaurants/{restaurant}"), settings).await.ok(200)
    }

    /// The slots, after checking that every number of the pool is in one state.
    pub async fn slots(&self, restaurant: u32) -> Value {
        let slots = self.get(&format!("/v1/restaurants/{restaurant}/slots")).await.ok(200);
        let count = |name: &str| slots[name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {slots}"));
        assert_eq!(count("free") + count("live") + count("cooling"), count("capacity"), "{slots}");
        slots
    }

    /// Its live orders, all in one page.
    pub async fn live(&self, restaurant: u32) -> Vec<Value> {
        let list = self.get(&format!("/v1/restaurants/{restaurant}/orders?limit=1000")).await.ok(200);
        list["orders"].as_array().expect("a list of orders").clone()
    }
}

/// A stream has no end: what it tells up to its first event that has data.
async fn first_event(response: &mut reqwest::Response) -> Result<String, reqwest::Error> {
    let mut text = String::new();
    while !(text.contains("\ndata: ") && text.ends_with("\n\n")) {
        let Some(chunk) = response.chunk().await? else { break };
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    Ok(text)
}

impl Answer {
    /// The body, which must be JSON; of a stream, the data of its first event.
    #[track_caller]
    pub fn value(&self) -> Value {
        let data = self.text.lines().find_map(|line| line.strip_prefix("data: "));
        serde_json::from_str(data.unwrap_or(&self.text))
            .unwrap_or_else(|error| panic!("{}: {error}: {:?}", self.request, self.text))
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.request, self.text);
        let value = self.value();
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.request);
        value
    }

    /// The body of a 503 for a store that is unreachable, whether or not the store had been sent the request.
    #[track_caller]
    pub fn away(&self) -> Value {
        let code = self.any_problem()["code"].clone();
        self.problem(503, if code == "outcome_unknown" { "outcome_unknown" } else { "unavailable" })
    }

    /// The body of a problem with this status and code, after checking all that every problem has.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.any_problem();
        assert_eq!((self.status, &problem["code"]), (status, &json!(code)), "{}: {problem}", self.request);
        problem
    }

    /// The body of a problem of whatever kind.
    #[track_caller]
    pub fn any_problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}: {}", self.request, self.text);
        let problem = self.value();
        assert_eq!(problem["status"], self.status, "{}: {problem}", self.request);
        let code = problem["code"].as_str().expect("a code is a word");
        assert_eq!(problem["type"], format!("urn:nowserving:problem:{code}"));
        for field in ["title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{}: {problem}", self.request);
        }
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{}", self.request);
        for fault in problem["errors"].as_array().into_iter().flatten() {
            for field in ["pointer", "code", "detail"] {
                assert!(fault[field].is_string(), "{}: {problem}", self.request);
            }
        }
        problem
    }

    /// The faults of a problem as `pointer code`, sorted.
    #[track_caller]
    pub fn faults(&self, status: u16, code: &str) -> Vec<String> {
        let problem = self.problem(status, code);
        let faults = problem["errors"].as_array().unwrap_or_else(|| panic!("{}: {problem}", self.request));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let mut faults: Vec<_> =
            faults.iter().map(|fault| format!("{} {}", text(&fault["pointer"]), text(&fault["code"]))).collect();
        faults.sort();
        faults
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The text of a field.
#[track_caller]
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is no text in {value}"))
}

/// The id of an order.
#[track_caller]
pub fn id(order: &Value) -> &str {
    text(order, "internal_order_id")
}

/// The number of an order.
#[track_caller]
pub fn number(order: &Value) -> u64 {
    order["display_order_number"].as_u64().unwrap_or_else(|| panic!("no number in {order}"))
}

/// The numbers of orders, in their order.
pub fn numbers<'a>(orders: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    orders.into_iter().map(number).collect()
}

/// One connection, to send what no client would.
pub struct Wire(Box<dyn Stream>);

/// What bytes go through, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Wire {
    pub async fn to(api: &Api) -> Self {
        let address = api.url().strip_prefix("http://").expect("an http address");
        Self::over(TcpStream::connect(address).await.expect("the daemon accepts"))
    }

    /// Over a connection that was made in a special way.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self(Box::new(stream))
    }

    /// Sends a GET, and reads its answer.
    pub async fn get(&mut self, path: &str) -> (u16, String, String) {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        self.read().await
    }

    /// Sends no more, but still reads.
    pub async fn half_close(&mut self) {
        self.0.shutdown().await.expect("the connection is open");
    }

    /// Waits until the daemon closes the connection: what it said before.
    pub async fn until_closed(&mut self) -> String {
        let mut said = Vec::new();
        // An end without a farewell is an end, too.
        self.0.read_to_end(&mut said).await.ok();
        String::from_utf8_lossy(&said).into_owned()
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // The daemon may have answered, and closed, before all was sent: the answer tells.
        self.0.write_all(bytes).await.ok();
    }

    /// Reads one answer: its status, its head, its body.
    pub async fn read(&mut self) -> (u16, String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("the daemon answers"));
        }
        let head = String::from_utf8(head).expect("ASCII").to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("the whole body comes");
        (status, head, String::from_utf8(body).expect("UTF-8"))
    }
}
