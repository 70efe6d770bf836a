//! A screen: follows a feed as a browser does, and keeps what it shows.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{Api, PATIENCE};

/// An event as it came over the wire. A comment has the name `:`.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub name: String,
    /// The last id that was sent with it, if one was.
    pub id: Option<String>,
    pub data: Value,
}

impl Told {
    /// Generation and sequence of its id.
    pub fn position(&self) -> Option<(u64, u64)> {
        let (generation, sequence) = self.id.as_deref()?.split_once('-')?;
        Some((generation.parse().ok()?, sequence.parse().ok()?))
    }
}

/// One stream, over a connection of its own.
pub struct Stream {
    lines: BufReader<TcpStream>,
    /// What has come of a line, and of an event, when reading was broken off.
    line: Vec<u8>,
    event: Event,
    pub head: String,
    pub retry_ms: Option<u64>,
}

/// The fields of an event that have come.
#[derive(Default)]
struct Event {
    name: Option<String>,
    id: Option<String>,
    data: String,
}

/// A screen of a restaurant.
pub struct Screen {
    pub path: String,
    pub key: Option<String>,
    /// As the browser keeps it.
    pub last_event_id: Option<String>,
    /// What it shows: order id → order.
    pub orders: BTreeMap<String, Value>,
    /// All that it was told, but for heartbeats.
    pub log: Vec<Told>,
}

impl Stream {
    /// Opens one.
    pub async fn open(url: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Self> {
        let address = url.strip_prefix("http://").expect("an http address");
        let stream = TcpStream::connect(address).await?;
        Self::over(stream, path, headers).await
    }

    /// Over a connection that was made in a special way.
    pub async fn over(mut stream: TcpStream, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Self> {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        stream.write_all((request + "\r\n").as_bytes()).await?;
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { lines, line: Vec::new(), event: Event::default(), head, retry_ms: None })
    }

    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// The next event; None at the end. May be broken off.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            let line = self.next_line().await?;
            match line.split_once(": ") {
                _ if line.is_empty() => {
                    let Event { name, id, data } = std::mem::take(&mut self.event);
                    if let Some(name) = name {
                        let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data:?}"));
                        return Some(Told { name, id, data });
                    }
                }
                Some(("", comment)) => {
                    return Some(Told { name: ":".to_owned(), id: None, data: comment.into() });
                }
                Some(("event", value)) => self.event.name = Some(value.to_owned()),
                Some(("id", value)) => self.event.id = Some(value.to_owned()),
                Some(("retry", value)) => self.retry_ms = value.parse().ok(),
                Some(("data", value)) => self.event.data += value,
                _ => panic!("no line of an event: {line:?}"),
            }
        }
    }

    /// As [`Stream::next`], which must come.
    pub async fn must(&mut self) -> Told {
        timeout(PATIENCE, self.next()).await.expect("an event comes").expect("the stream goes on")
    }

    /// The next event of this name.
    pub async fn until(&mut self, name: &str) -> Told {
        loop {
            let told = self.must().await;
            if told.name == name {
                return told;
            }
        }
    }

    /// A line of the body, whose chunks hold whole events. May be broken off.
    async fn next_line(&mut self) -> Option<String> {
        loop {
            self.lines.read_until(b'\n', &mut self.line).await.ok()?;
            // Where it is cut off there may be half a line.
            if !self.line.ends_with(b"\n") {
                return None;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line)).expect("UTF-8");
            let line = line.trim_end_matches(['\r', '\n']);
            // The size of a chunk: hexadecimal digits alone, as no line of an event.
            if !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit()) {
                if line == "0" {
                    return None;
                }
                continue;
            }
            return Some(line.to_owned());
        }
    }
}

impl Screen {
    pub fn of(restaurant: u32) -> Self {
        Self {
            path: format!("/v1/restaurants/{restaurant}/feed"),
            key: None,
            last_event_id: None,
            orders: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// Opens its stream, going on where it was.
    pub async fn connect(&self, url: &str) -> std::io::Result<Stream> {
        let bearer = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        headers.extend(self.last_event_id.as_deref().map(|id| ("Last-Event-ID", id)));
        Stream::open(url, &self.path, &headers).await
    }

    /// Shows what it was told.
    pub fn show(&mut self, told: Told) {
        if let Some(id) = &told.id {
            self.last_event_id = Some(id.clone());
        }
        match told.name.as_str() {
            "snapshot" => {
                self.orders.clear();
                for order in told.data["orders"].as_array().into_iter().flatten() {
                    self.put(order);
                }
            }
            "order" => self.put(&told.data["order"]),
            _ => {}
        }
        if told.name != "heartbeat" && told.name != ":" {
            self.log.push(told);
        }
    }

    fn put(&mut self, order: &Value) {
        let id = super::api::id(order).to_owned();
        let version = |order: &Value| order["version"].as_u64();
        if self.orders.get(&id).is_some_and(|known| version(known) > version(order)) {
            return;
        }
        match order["released_at"].is_null() {
            true => self.orders.insert(id, order.clone()),
            false => self.orders.remove(&id),
        };
    }

    /// Follows until it shows what is live, as one who asks is told.
    pub async fn until_it_shows_what_is_live(&mut self, stream: &mut Stream, api: &Api, restaurant: u32) {
        let start = std::time::Instant::now();
        loop {
            let live = api.live(restaurant).await;
            if live.iter().eq(self.orders.values()) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "it shows {:?}, live are {live:?}", self.orders);
            while let Ok(Some(told)) = timeout(Duration::from_millis(50), stream.next()).await {
                self.show(told);
            }
        }
    }
}

/// Reads nothing more, but holds the connection: what a screen does that hangs.
pub async fn hang(mut stream: Stream, until: impl Future<Output = ()>) -> Vec<u8> {
    until.await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.lines.read_to_end(&mut rest)).await;
    rest
}
