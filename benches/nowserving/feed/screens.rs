//! Screens: each a socket that follows a restaurant's feed and notes what it is told of which order, and when.

use std::{
    cell::RefCell,
    io::ErrorKind,
    rc::Rc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    runtime,
    sync::{Semaphore, oneshot},
    task::{JoinSet, LocalSet},
    time::timeout,
};

/// Screens that are opened at once.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_mins(2);

/// A change that a screen was told of.
#[derive(Debug)]
pub struct Arrival {
    pub order: OrderText,
    pub status: String,
    /// When its last byte was read.
    pub at: Instant,
}

/// The id of an order as it is written.
pub type OrderText = [u8; 36];

/// Some screens that are connected.
pub struct Screens {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Vec<Arrival>>,
}

impl Screens {
    /// Connects one for each restaurant that is named, and waits until each shows how things stand.
    pub async fn open(host: &str, restaurants: impl Iterator<Item = u64>) -> Self {
        let (host, restaurants) = (host.to_owned(), restaurants.collect::<Vec<u64>>());
        let (stop, stopped) = oneshot::channel();
        let (say, opened) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            LocalSet::new().block_on(&runtime, follow(host, restaurants, say, stopped))
        });
        timeout(PATIENCE, opened).await.expect("they are opened in time").expect("all are opened");
        Self { stop, thread }
    }

    /// Closes them: what they were told meanwhile.
    pub async fn close(self) -> Vec<Arrival> {
        self.stop.send(()).expect("they go on until they are told to stop");
        tokio::task::spawn_blocking(|| self.thread.join()).await.expect("it is waited for").expect("no screen fails")
    }
}

async fn follow(
    host: String,
    restaurants: Vec<u64>,
    opened: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
) -> Vec<Arrival> {
    let (shared, places) = (Rc::new(RefCell::new(Shared::new())), Rc::new(Semaphore::new(AT_ONCE)));
    let (mut opening, mut screens) = (JoinSet::new(), JoinSet::new());
    for restaurant in restaurants {
        let (host, shared, places) = (host.clone(), Rc::clone(&shared), Rc::clone(&places));
        opening.spawn_local(async move {
            let _place = places.acquire().await.expect("it stays open");
            let mut screen = Screen::connect(&host, restaurant, shared).await;
            while !screen.is_open {
                screen.read().await;
            }
            screen
        });
    }
    while let Some(screen) = opening.join_next().await {
        let mut screen = screen.expect("no screen fails");
        screens.spawn_local(async move {
            loop {
                screen.read().await;
            }
        });
    }
    opened.send(()).expect("it is waited for");
    tokio::select! {
        _ = stopped => {}
        Some(failed) = screens.join_next() => panic!("a screen ends before it is told to: {failed:?}"),
    }
    screens.shutdown().await;
    shared.take().arrivals
}

/// What the screens share: each needs it for a moment only.
#[derive(Default)]
struct Shared {
    arrivals: Vec<Arrival>,
    buffer: Vec<u8>,
}

impl Shared {
    fn new() -> Self {
        Self { arrivals: Vec::new(), buffer: vec![0; 1 << 16] }
    }
}

struct Screen {
    stream: TcpStream,
    /// Whether it shows how things stand.
    is_open: bool,
    /// What came of an event that is not whole yet.
    part: Vec<u8>,
    shared: Rc<RefCell<Shared>>,
}

impl Screen {
    async fn connect(host: &str, restaurant: u64, shared: Rc<RefCell<Shared>>) -> Self {
        let mut stream = TcpStream::connect(host).await.expect("the daemon accepts connections");
        let request = format!("GET /v1/restaurants/{restaurant}/feed HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the daemon reads");
        Self { stream, is_open: false, part: Vec::new(), shared }
    }

    /// Takes in what has come, once something has.
    async fn read(&mut self) {
        self.stream.readable().await.expect("the connection is kept");
        let shared = &mut *self.shared.borrow_mut();
        let count = match self.stream.try_read(&mut shared.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the connection is kept: {error}"),
        };
        assert!(count > 0, "a stream ends: {}", String::from_utf8_lossy(&self.part));
        let at = Instant::now();
        self.part.extend_from_slice(&shared.buffer[..count]);
        let mut begin = 0;
        // An event ends with an empty line; the lines of HTTP end otherwise.
        while let Some(length) = find(&self.part[begin..], b"\n\n") {
            let event = &self.part[begin..begin + length];
            begin += length + 2;
            if find(event, b"event: order\n").is_some() {
                let after = |name: &[u8]| find(event, name).map(|found| &event[found + name.len()..]);
                let order = after(br#""internal_order_id":""#).and_then(<[u8]>::first_chunk).copied();
                let status = after(br#""status":""#).and_then(|rest| rest.split(|byte| *byte == b'"').next());
                let (order, status) = order.zip(status).expect("an order has an id and a status");
                shared.arrivals.push(Arrival { order, status: String::from_utf8_lossy(status).into_owned(), at });
            }
            self.is_open |= find(event, b"event: snapshot\n").is_some();
            assert!(find(event, b"event: reset\n").is_none(), "the screens are fast enough");
        }
        self.part.drain(..begin);
        if self.part.is_empty() {
            self.part = Vec::new();
        }
    }
}

/// Where some bytes stand first.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|found| found == wanted)
}
