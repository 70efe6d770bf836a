//! The client: plain HTTP/1.1 connections that are kept open, as tills and proxies keep theirs.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::closed_loop::{self, Client, Looped, Timed};

/// Connections of a closed loop.
pub const CONNECTIONS: usize = 64;

/// Where requests go, and as whose.
#[derive(Debug, Clone)]
pub struct Site {
    /// Host and port.
    pub host: String,
    /// With TLS: what certifies the server, and its name.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The whole header field: `Bearer nsk_…`.
    pub api_key: Option<Arc<str>>,
}

impl Site {
    /// A server of this run, which asks for no key.
    pub fn here(host: String) -> Self {
        Self { host, tls: None, api_key: None }
    }
}

/// One connection.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    api_key: Option<Arc<str>>,
}

impl Connection {
    pub async fn open(host: &str) -> Self {
        Self::to(&Site::here(host.to_owned())).await
    }

    pub async fn to(site: &Site) -> Self {
        Self::try_to(site).await.unwrap_or_else(|error| panic!("{} does not answer: {error}", site.host))
    }

    /// As [`Connection::to`], of a server that may not be there.
    pub async fn try_to(site: &Site) -> Result<Self, String> {
        let told = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(&site.host).await.map_err(|error| told(&error))?;
        stream.set_nodelay(true).expect("a TCP socket");
        let sender = match &site.tls {
            None => begin(stream).await?,
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                begin(connector.connect(name.clone(), stream).await.map_err(|error| told(&error))?).await?
            }
        };
        Ok(Self { sender, host: site.host.clone(), api_key: site.api_key.clone() })
    }

    /// Sends a request and reads the answer to its end.
    pub async fn send(&mut self, call: Call) -> (StatusCode, Bytes) {
        self.try_send(call).await.expect("the daemon keeps the connection, and answers")
    }

    /// As [`Connection::send`], to what may be no daemon.
    pub async fn try_send(&mut self, call: Call) -> hyper::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(call.method).uri(call.path).header("host", &self.host);
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(level) = call.durability {
            request = request.header("durability", level);
        }
        if let Some(key) = call.api_key.as_ref().or(self.api_key.as_ref()) {
            request = request.header("authorization", &**key);
        }
        if !call.body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(call.body)).expect("a valid request");
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// As [`Connection::send`], for a call that must succeed.
    pub async fn ok(&mut self, call: Call) -> Bytes {
        let told = format!("{} {}", call.method, call.path);
        let (status, body) = self.send(call).await;
        assert!(status.is_success(), "{told}: {status} {}", String::from_utf8_lossy(&body));
        body
    }
}

async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<http1::SendRequest<Full<Bytes>>, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
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
    /// The level that a change must have reached before it is answered.
    pub durability: Option<&'static str>,
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

    /// The live orders of a restaurant, as its kitchen sees them.
    pub fn kitchen_list(restaurant: u64) -> Self {
        Self::get(format!("/v1/restaurants/{restaurant}/orders"))
    }

    pub fn look_up(id: &str) -> Self {
        Self::get(format!("/v1/orders/{id}"))
    }

    /// The end of an order: its number rests.
    pub fn release(id: &str) -> Self {
        Self { method: "POST", path: format!("/v1/orders/{id}/release"), ..Self::default() }
    }

    /// A restaurant with room for as many orders as a run makes.
    pub fn widen(restaurant: u64) -> Self {
        let body = Bytes::from_static(br#"{"max_number":999999}"#);
        Self { method: "PUT", path: format!("/v1/restaurants/{restaurant}"), body, ..Self::default() }
    }
}

/// The sum of all series of a metric whose labels have all of these words in them.
pub fn total(metrics: &str, name: &str, words: &[&str]) -> f64 {
    let of_metric = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let wanted = labels.is_empty() || labels.starts_with('{');
        (wanted && words.iter().all(|word| labels.contains(word))).then(|| value.parse::<f64>().ok())?
    };
    metrics.lines().filter_map(of_metric).sum()
}

/// The value of a series without labels, or with exactly these.
pub fn sample(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// A connection of a closed loop. `call` makes the n-th request of all, and `answered` gets its answer.
struct Caller<F, A> {
    connection: Connection,
    call: Arc<F>,
    answered: Arc<A>,
}

impl<F, A> Client for Caller<F, A>
where
    F: Fn(u64) -> Call + Send + Sync + 'static,
    A: Fn(u64, Bytes) + Send + Sync + 'static,
{
    async fn step(&mut self, n: u64) {
        let body = self.connection.ok((self.call)(n)).await;
        (self.answered)(n, body);
    }
}

async fn callers<F, A>(site: &Site, connections: usize, call: F, answered: A) -> Vec<Caller<F, A>> {
    let (call, answered, mut callers) = (Arc::new(call), Arc::new(answered), Vec::new());
    for _ in 0..connections {
        let connection = Connection::to(site).await;
        callers.push(Caller { connection, call: Arc::clone(&call), answered: Arc::clone(&answered) });
    }
    callers
}

/// A closed loop of requests. `call` makes the n-th of all.
pub async fn closed_loop(
    host: &str,
    connections: usize,
    time: Duration,
    call: impl Fn(u64) -> Call + Send + Sync + 'static,
) -> Looped {
    timed_loop(&Site::here(host.to_owned()), connections, time, call).await.looped
}

/// As [`closed_loop`], with how long each request took.
pub async fn timed_loop(
    site: &Site,
    connections: usize,
    time: Duration,
    call: impl Fn(u64) -> Call + Send + Sync + 'static,
) -> Timed {
    closed_loop::run_timed(callers(site, connections, call, |_, _| ()).await, time).await
}

/// So many requests, each connection sending its next one when it has the answer to the last.
pub async fn counted_loop(
    site: &Site,
    connections: usize,
    requests: u64,
    call: impl Fn(u64) -> Call + Send + Sync + 'static,
    answered: impl Fn(u64, Bytes) + Send + Sync + 'static,
) -> Looped {
    closed_loop::run_steps(callers(site, connections, call, answered).await, requests).await
}

/// The id of the order that an answer shows.
pub fn order_id(body: &[u8]) -> String {
    let answer: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    answer["internal_order_id"].as_str().expect("an order has an id").to_owned()
}
