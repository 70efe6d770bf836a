//! The client: plain HTTP/1.1 connections that are kept open, as tills and proxies keep theirs.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::closed_loop::{self, Client, Looped};

/// Connections of a closed loop.
pub const CONNECTIONS: usize = 64;

/// One connection.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub async fn open(host: &str) -> Self {
        let stream = TcpStream::connect(host).await.expect("the daemon listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
        tokio::spawn(connection);
        Self { sender, host: host.to_owned() }
    }

    /// Sends a request and reads the answer to its end.
    pub async fn send(&mut self, call: Call) -> (StatusCode, Bytes) {
        let mut request = Request::builder().method(call.method).uri(call.path).header("host", &self.host);
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(key) = &call.api_key {
            request = request.header("authorization", &**key);
        }
        if !call.body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(call.body)).expect("a valid request");
        self.sender.ready().await.expect("the daemon keeps the connection");
        let response = self.sender.send_request(request).await.expect("the daemon answers");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    }

    /// As [`Connection::send`], for a call that must succeed.
    pub async fn ok(&mut self, call: Call) -> Bytes {
        let told = format!("{} {}", call.method, call.path);
        let (status, body) = self.send(call).await;
        assert!(status.is_success(), "{told}: {status} {}", String::from_utf8_lossy(&body));
        body
    }
}

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub method: &'static str,
    pub path: String,
    pub body: Bytes,
    pub idempotency_key: Option<String>,
    /// The whole header field: `Bearer nsk_…`.
    pub api_key: Option<Arc<str>>,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), ..Self::default() }
    }

    /// An order of an ordinary till: a body of 100 bytes.
    pub fn allocate(restaurant: u64) -> Self {
        const BODY: &str = concat!(
            r#"{"table_number":"12","order_source":"kiosk","order_type":"dine_in","#,
            r#""customer_name":"Ada","note":"salt"}"#
        );
        Self {
            method: "POST",
            path: format!("/v1/restaurants/{restaurant}/orders"),
            body: Bytes::from_static(BODY.as_bytes()),
            ..Self::default()
        }
    }

    /// A change of an order's status.
    pub fn status(id: &str, status: &str) -> Self {
        let body = format!(r#"{{"status":"{status}"}}"#).into();
        Self { method: "PATCH", path: format!("/v1/orders/{id}"), body, ..Self::default() }
    }

    /// A restaurant with room for as many orders as a run makes.
    pub fn widen(restaurant: u64) -> Self {
        let body = Bytes::from_static(br#"{"max_number":999999}"#);
        Self { method: "PUT", path: format!("/v1/restaurants/{restaurant}"), body, ..Self::default() }
    }
}

/// The value of a series without labels, or with exactly these.
pub fn sample(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// A connection of a closed loop. `call` makes the n-th request of all.
struct Caller<F> {
    connection: Connection,
    call: Arc<F>,
}

impl<F: Fn(u64) -> Call + Send + Sync + 'static> Client for Caller<F> {
    async fn step(&mut self, n: u64) {
        self.connection.ok((self.call)(n)).await;
    }
}

/// A closed loop of requests. `call` makes the n-th of all.
pub async fn closed_loop(
    host: &str,
    connections: usize,
    time: Duration,
    call: impl Fn(u64) -> Call + Send + Sync + 'static,
) -> Looped {
    let (call, mut callers) = (Arc::new(call), Vec::new());
    for _ in 0..connections {
        callers.push(Caller { connection: Connection::open(host).await, call: Arc::clone(&call) });
    }
    closed_loop::run(callers, time).await
}
