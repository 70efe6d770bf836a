//! Deployments of several Redis servers that belong to one test: Sentinel with replicas, and a cluster.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nowserving::local::binaries;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, InfoDict, RedisError, RedisResult, Value};

use super::cut::{Address, Cut};
use super::keeper::{self, OnOurDeath};
use super::{PATIENCE, eventually, eventually_true, scratch};

/// The name under which the sentinels know the master.
pub const SERVICE: &str = "orders";

/// One server on a port of loopback.
pub struct Node {
    pub port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Node {
    /// Starts one on a free port; of two ports, where it needs the one 10000 above, too.
    pub async fn start(arguments: &[&str]) -> Self {
        let folder = scratch::folder("node");
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        let mut node = Self { port: free_port(), folder, arguments, process: None };
        node.restart().await;
        node
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Its process; it must run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Starts it on the same data and port.
    pub async fn restart(&mut self) {
        self.end(Signal::SIGTERM);
        let program = binaries::redis_server().expect("Redis is installed: `make test` sees to it");
        let mut command = Command::new(program);
        // Sentinel keeps what it learns in the file that it was started with.
        let config = self.folder.join("conf");
        if !config.exists() {
            std::fs::write(&config, self.config()).expect("a file can be made in our own folder");
        }
        command.arg(&config);
        if self.is_sentinel() {
            command.arg("--sentinel");
        }
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("a log can be made in our own folder");
        let mut wrapped = keeper::wrap(&command, OnOurDeath::Kill);
        wrapped.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).current_dir(&self.folder);
        self.process = Some(keeper::spawn(wrapped).expect("setpriv (of util-linux) can be started"));
        eventually_true(PATIENCE, || async { self.answers().await }).await;
    }

    fn config(&self) -> String {
        let mut lines = vec![format!("port {}", self.port), "bind 127.0.0.1".to_owned()];
        lines.push(format!("dir {}", self.folder.display()));
        lines.extend(self.arguments.iter().cloned());
        lines.join("\n") + "\n"
    }

    fn is_sentinel(&self) -> bool {
        self.arguments.iter().any(|line| line.starts_with("sentinel "))
    }

    /// Waits until so many replicas have all that it has. `WAIT` over a connection that wrote nothing waits for
    /// nothing.
    pub async fn replicated(&self, replicas: usize) {
        eventually_true(PATIENCE, || async {
            let info: redis::InfoDict = self.send("INFO replication").await;
            let text = |name: &str| info.get::<String>(name).unwrap_or_default();
            let offset = format!("offset={},", text("master_repl_offset"));
            (0..replicas).all(|replica| text(&format!("slave{replica}")).contains(&offset))
        })
        .await;
    }

    /// Ends it as a crash would.
    pub fn kill9(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Makes it hang until [`Node::resume`].
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Ends the hanging.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn end(&mut self, how: Signal) {
        self.signal(how);
        self.signal(Signal::SIGCONT);
        if let Some(mut process) = self.process.take() {
            process.wait().expect("a child can be waited for");
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            // A child that was not waited for: the pid is its own.
            kill(Pid::from_raw(i32::try_from(process.id()).expect("pids are small")), signal).ok();
        }
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    /// Sends it a command, given as words.
    pub async fn try_send<T: FromRedisValue>(&self, words: &str) -> RedisResult<T> {
        let mut words = words.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap_or_default());
        cmd.arg(words.collect::<Vec<_>>());
        cmd.query_async(&mut self.connect().await?).await
    }

    pub async fn send<T: FromRedisValue>(&self, words: &str) -> T {
        self.try_send(words).await.unwrap_or_else(|error| panic!("{}: {words}: {error}", self.address()))
    }

    async fn answers(&self) -> bool {
        // Also one that wants a password, or is still loading, is there.
        let is_there = |error: RedisError| error.code() == Some("NOAUTH");
        self.try_send::<String>("PING").await.map_or_else(is_there, |_| true)
    }

    async fn info(&self, name: &str) -> Option<String> {
        self.try_send::<InfoDict>("INFO").await.ok()?.get(name)
    }

    async fn is_master(&self) -> bool {
        self.info("role").await.as_deref() == Some("master")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            eprintln!("what the Redis at {} said:\n{log}", self.address());
        }
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A port that is free now, with the one 10000 above it, which a cluster's node takes too. Below those that the system
/// gives to clients, so that none of them takes it first; each process begins elsewhere.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 500).expect("small") * 18;
    loop {
        let port = 11_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 9000;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// What every server that keeps orders has.
const DATA: [&str; 3] = ["appendonly yes", "save \"\"", "maxmemory-policy noeviction"];

/// Where replicas come from when they go to their master: a [`Cut`] can tell them from others.
pub const FROM_REPLICAS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Where sentinels come from.
pub const FROM_SENTINELS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// A master, two replicas and three sentinels.
pub struct Sentinel {
    /// The first master comes first.
    pub servers: Vec<Node>,
    pub sentinels: Vec<Node>,
    /// What all others reach the first master through, where it is so.
    pub door: Option<Cut>,
}

impl Sentinel {
    pub async fn start() -> Self {
        Self::start_with(&[], None).await
    }

    /// With more settings of the servers; and with the first master behind a proxy that led nowhere so far.
    pub async fn start_with(settings: &[&str], door: Option<Cut>) -> Self {
        let from_replicas = format!("bind-source-addr {FROM_REPLICAS}");
        // Protected mode takes other addresses of loopback for strangers.
        let own = [
            "min-replicas-to-write 1",
            "repl-diskless-sync-delay 0",
            "protected-mode no",
            "replica-announce-ip 127.0.0.1",
            &from_replicas,
        ];
        let data = [&DATA[..], &own, settings].concat();
        // As a replica, too, the first one is known by its door.
        let announce = door.as_ref().map(|door| format!("replica-announce-port {}", door.tcp_address().port()));
        let master = [&data[..], &announce.as_deref().map_or(vec![], |line| vec![line])].concat();
        let master = Node::start(&master).await;
        if let Some(door) = &door {
            door.lead_to(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], master.port))));
        }
        let port = door.as_ref().map_or(master.port, |door| door.tcp_address().port());
        let follow = format!("replicaof 127.0.0.1 {port}");
        let replica = [&data[..], &[follow.as_str()]].concat();
        let servers = vec![master, Node::start(&replica).await, Node::start(&replica).await];
        let (monitor, from_sentinels) =
            (format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 2"), format!("bind-source-addr {FROM_SENTINELS}"));
        let watch = [
            monitor.as_str(),
            &from_sentinels,
            "sentinel announce-ip 127.0.0.1",
            "sentinel down-after-milliseconds orders 1000",
            "sentinel failover-timeout orders 5000",
            "sentinel parallel-syncs orders 2",
        ];
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Node::start(&watch).await);
        }
        let all = Self { servers, sentinels, door };
        all.settle().await;
        all
    }

    /// Starts a server that is dead, as a replica of the one that is the master now.
    pub async fn restart_as_replica(&mut self, at: usize) {
        let master = self.master().await;
        self.servers[at].restart().await;
        if master != at {
            let follow = format!("REPLICAOF 127.0.0.1 {}", self.known_port(master));
            self.servers[at].send::<Value>(&follow).await;
        }
    }

    /// The port that the others know a server by.
    fn known_port(&self, at: usize) -> u16 {
        match &self.door {
            Some(door) if at == 0 => door.tcp_address().port(),
            _ => self.servers[at].port,
        }
    }

    /// With the address of a sentinel that nobody is, to begin with.
    pub fn url(&self) -> String {
        let places: Vec<String> = self.sentinels.iter().map(Node::address).collect();
        format!("redis+sentinel://127.0.0.1:1,{}/{SERVICE}", places.join(","))
    }

    /// Waits until replicas follow, and sentinels know of each other and of the replicas.
    async fn settle(&self) {
        eventually_true(PATIENCE, || async {
            let mut ready = self.servers[0].info("min_slaves_good_slaves").await.as_deref() == Some("2");
            for sentinel in &self.sentinels {
                let state: Vec<(String, String)> = sentinel.send(&format!("SENTINEL MASTER {SERVICE}")).await;
                let is = |name: &str, value: &str| state.iter().any(|(key, found)| key == name && found == value);
                ready &= is("num-slaves", "2") && is("num-other-sentinels", "2") && is("flags", "master");
            }
            ready
        })
        .await;
    }

    /// The server that most sentinels call the master, once it is one.
    pub async fn master(&self) -> usize {
        eventually(PATIENCE, || async {
            let mut votes = vec![0; self.servers.len()];
            for sentinel in &self.sentinels {
                let named: Option<(String, u16)> =
                    sentinel.try_send(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {SERVICE}")).await.ok()?;
                let (_, port) = named?;
                let at = (0..self.servers.len()).find(|at| self.known_port(*at) == port)?;
                votes[at] += 1;
            }
            let at = votes.iter().position(|votes| *votes == self.sentinels.len())?;
            self.servers[at].is_master().await.then_some(at)
        })
        .await
    }

    /// Waits until another one than `old` is the master, and a replica follows it.
    pub async fn fail_over_from(&self, old: usize) -> usize {
        eventually(PATIENCE, || async {
            let master = self.master().await;
            let replicas = self.servers[master].info("min_slaves_good_slaves").await?;
            (master != old && replicas != "0").then_some(master)
        })
        .await
    }
}

/// Three masters with a replica each.
pub struct Cluster {
    /// Masters first, as long as nothing failed over.
    pub nodes: Vec<Node>,
    ids: Vec<String>,
}

impl Cluster {
    pub async fn start() -> Self {
        let cluster = [
            "cluster-enabled yes",
            "cluster-node-timeout 2000",
            "cluster-require-full-coverage no",
            "repl-diskless-sync-delay 0",
            "min-replicas-to-write 1",
        ];
        let data = [&DATA[..], &cluster].concat();
        let mut nodes = Vec::new();
        for _ in 0..6 {
            nodes.push(Node::start(&data).await);
        }
        let mut ids = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            ids.push(node.send::<String>("CLUSTER MYID").await);
            node.send::<Value>(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).await;
        }
        for (node, slots) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            node.send::<Value>(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
        }
        for node in &nodes[1..] {
            node.send::<Value>(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port)).await;
        }
        let all = Self { nodes, ids };
        all.ok().await;
        for at in 0..3 {
            let replicate = format!("CLUSTER REPLICATE {}", all.ids[at]);
            eventually_true(PATIENCE, || async { all.nodes[at + 3].try_send::<Value>(&replicate).await.is_ok() }).await;
        }
        for master in &all.nodes[..3] {
            eventually_true(PATIENCE, || async { master.info("min_slaves_good_slaves").await.as_deref() == Some("1") })
                .await;
        }
        all
    }

    /// With the address of a node that nobody is, to begin with.
    pub fn url(&self) -> String {
        let places: Vec<String> = self.nodes.iter().map(Node::address).collect();
        format!("redis+cluster://127.0.0.1:1,{}", places.join(","))
    }

    /// Waits until every node that runs sees all slots served.
    pub async fn ok(&self) {
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            eventually_true(PATIENCE, || async {
                let state: String = node.try_send("CLUSTER INFO").await.unwrap_or_default();
                let nodes: String = node.try_send("CLUSTER NODES").await.unwrap_or_default();
                state.contains("cluster_state:ok")
                    && state.contains("cluster_slots_ok:16384")
                    && nodes.lines().count() == self.nodes.len()
            })
            .await;
        }
    }

    /// The slot of a key.
    pub async fn slot(&self, key: &str) -> u16 {
        self.running().send(&format!("CLUSTER KEYSLOT {key}")).await
    }

    /// The node that has a slot, as the first that runs sees it.
    pub async fn master_of(&self, slot: u16) -> usize {
        type Run = (u16, u16, Vec<Value>);
        eventually(PATIENCE, || async {
            let runs: Vec<Vec<Value>> = self.running().try_send("CLUSTER SLOTS").await.ok()?;
            let run = runs.into_iter().find_map(|run| {
                let (first, last, node): Run = redis::from_redis_value(Value::Array(run[..3].to_vec())).ok()?;
                (first..=last).contains(&slot).then_some(node)
            })?;
            let port: u16 = redis::from_redis_value(run.get(1)?.clone()).ok()?;
            self.nodes.iter().position(|node| node.port == port)
        })
        .await
    }

    fn running(&self) -> &Node {
        self.nodes.iter().find(|node| node.process.is_some()).expect("some node runs")
    }

    /// Says that a slot is moving, and moves nothing yet.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        self.nodes[to].send::<Value>(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.ids[from])).await;
        self.nodes[from].send::<Value>(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.ids[to])).await;
    }

    /// Moves at most so many keys of a slot; answers with how many it moved.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize, count: u32) -> usize {
        let keys: Vec<String> = self.nodes[from].send(&format!("CLUSTER GETKEYSINSLOT {slot} {count}")).await;
        if !keys.is_empty() {
            // The empty word says that the keys follow.
            let migrate = format!("MIGRATE 127.0.0.1 {}  0 5000 KEYS {}", self.nodes[to].port, keys.join(" "));
            self.nodes[from].send::<Value>(&migrate).await;
        }
        keys.len()
    }

    /// Says that the slot has moved.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) {
        for at in [to, from] {
            self.nodes[at].send::<Value>(&format!("CLUSTER SETSLOT {slot} NODE {}", self.ids[to])).await;
        }
    }

    /// Waits until another node than `old` has a slot, and it takes writes again.
    pub async fn fail_over_from(&self, old: usize, slot: u16) -> usize {
        eventually(PATIENCE, || async {
            let master = self.master_of(slot).await;
            (master != old).then_some(master)
        })
        .await
    }
}
