//! A bad network: a proxy that knows nothing of what it carries, and cuts, refuses, delays, swallows it, or loses the
//! answers. It can tell its clients apart by the loopback addresses that they come from.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::scratch;

/// Where something listens.
#[derive(Debug, Clone)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// A proxy before one server. It works until it is told not to.
pub struct Cut {
    address: Address,
    upstream: Arc<Mutex<Address>>,
    weather: watch::Sender<Weather>,
    lose_one: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

/// What a connection looks at.
#[derive(Clone)]
struct Sky {
    weather: watch::Receiver<Weather>,
    /// The next answer of all is lost, with its connection.
    lose_one: Arc<AtomicBool>,
}

/// What happens to connections.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Connections of an earlier age are cut.
    age: u64,
    refuse: bool,
    delay: Duration,
    blackhole: Blackhole,
    lose_answers: bool,
}

/// Whose bytes go nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Blackhole {
    #[default]
    Nobody,
    Everybody,
    /// Those that come from these addresses.
    Of(&'static [IpAddr]),
}

impl Blackhole {
    fn swallows(self, client: Option<IpAddr>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Of(clients) => client.is_some_and(|client| clients.contains(&client)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Cut {
    /// On a socket of its own; the name of its file can be chosen, as Postgres's clients do not let it be.
    pub fn unix(file: &str, upstream: Address) -> Self {
        let path = scratch::folder("cut").join(file);
        let listener = UnixListener::bind(&path).expect("a free path");
        let (upstream, weather, lose_one) = (Arc::new(Mutex::new(upstream)), watch::Sender::default(), Arc::default());
        let sky = Sky { weather: weather.subscribe(), lose_one: Arc::clone(&lose_one) };
        let to = Arc::clone(&upstream);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, None, Arc::clone(&to), sky.clone()));
            }
        });
        Self { address: Address::Unix(path), upstream, weather, lose_one, accepting }
    }

    /// On a free port of the loopback interface.
    pub async fn tcp(upstream: Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (upstream, weather, lose_one) = (Arc::new(Mutex::new(upstream)), watch::Sender::default(), Arc::default());
        let sky = Sky { weather: weather.subscribe(), lose_one: Arc::clone(&lose_one) };
        let to = Arc::clone(&upstream);
        let accepting = tokio::spawn(async move {
            while let Ok((client, from)) = listener.accept().await {
                client.set_nodelay(true).ok();
                tokio::spawn(carry(client, Some(from.ip()), Arc::clone(&to), sky.clone()));
            }
        });
        Self { address: Address::Tcp(address), upstream, weather, lose_one, accepting }
    }

    /// The path of its socket.
    pub fn socket(&self) -> &Path {
        let Address::Unix(path) = &self.address else { panic!("it listens on a port") };
        path
    }

    /// Such as `http://127.0.0.1:40123`.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.tcp_address())
    }

    /// Where it listens.
    pub fn tcp_address(&self) -> SocketAddr {
        let Address::Tcp(address) = self.address else { panic!("it listens on a socket") };
        address
    }

    /// Connections to come go to another server.
    pub fn lead_to(&self, upstream: Address) {
        *self.upstream.lock().expect("no holder panics") = upstream;
    }

    /// Cuts the connections that there are. New ones work.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.age += 1);
    }

    /// Cuts the connections that there are, and all new ones at once.
    pub fn refuse(&self) {
        self.weather.send_modify(|weather| *weather = Weather { age: weather.age + 1, refuse: true, ..*weather });
    }

    /// Everything takes this much longer, each way.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Half-open: bytes are taken and go nowhere, and nobody is told; nor is the server, when its client hangs up.
    pub fn blackhole(&self) {
        self.weather.send_modify(|weather| weather.blackhole = Blackhole::Everybody);
    }

    /// As [`Cut::blackhole`], for those only that come from these addresses.
    pub fn blackhole_from(&self, clients: &'static [IpAddr]) {
        self.weather.send_modify(|weather| weather.blackhole = Blackhole::Of(clients));
    }

    /// Requests arrive; where their answer should be, the connection ends.
    pub fn lose_answers(&self) {
        self.weather.send_modify(|weather| weather.lose_answers = true);
    }

    /// As [`Cut::lose_answers`], for the next answer on any of its connections only.
    pub fn lose_an_answer(&self) {
        self.lose_one.store(true, Ordering::Relaxed);
    }

    /// Ends what [`Cut::lose_an_answer`] has not brought about yet.
    pub fn lose_no_answer(&self) {
        self.lose_one.store(false, Ordering::Relaxed);
    }

    /// Ends all of it. Connections that lost bytes end with it.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| {
            let age = weather.age + u64::from(weather.blackhole != Blackhole::Nobody);
            *weather = Weather { age, ..Weather::default() };
        });
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(client: impl AsyncRead + AsyncWrite, from: Option<IpAddr>, upstream: Arc<Mutex<Address>>, mut sky: Sky) {
    let begun = *sky.weather.borrow_and_update();
    if begun.refuse {
        return;
    }
    let upstream = upstream.lock().expect("no holder panics").clone();
    let pumps = sky.clone();
    // A server that is not there is an end as well.
    let carried = async {
        match upstream {
            Address::Unix(path) => {
                if let Ok(server) = UnixStream::connect(path).await {
                    join(client, from, server, pumps).await;
                }
            }
            Address::Tcp(address) => {
                if let Ok(server) = TcpStream::connect(address).await {
                    server.set_nodelay(true).ok();
                    join(client, from, server, pumps).await;
                }
            }
        }
    };
    tokio::select! {
        () = carried => {}
        _ = sky.weather.wait_for(|now| now.age != begun.age) => {}
    }
}

/// Either end closes both.
async fn join(
    client: impl AsyncRead + AsyncWrite,
    from: Option<IpAddr>,
    server: impl AsyncRead + AsyncWrite,
    sky: Sky,
) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    tokio::select! {
        () = pump(from_client, to_server, from, &sky, Direction::ToServer) => {}
        () = pump(from_server, to_client, from, &sky, Direction::ToClient) => {}
    }
}

async fn pump(
    from: impl AsyncRead,
    to: impl AsyncWrite,
    client: Option<IpAddr>,
    Sky { weather, lose_one }: &Sky,
    direction: Direction,
) {
    tokio::pin!(from, to);
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Weather { delay, blackhole, lose_answers, .. } = *weather.borrow();
        if blackhole.swallows(client) {
            continue;
        }
        if direction == Direction::ToClient && (lose_answers || lose_one.swap(false, Ordering::Relaxed)) {
            return;
        }
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    if weather.borrow().blackhole.swallows(client) {
        std::future::pending().await
    }
}
