//! The allocator on Sentinel, on a cluster, and over TLS: real servers that fail over, move slots and refuse strangers.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{
    self, Api, Cluster, Daemon, DaemonOptions, Node, PATIENCE, Sentinel, eventually, eventually_true, scratch,
};
use nowserving::allocator::{Allocated, Allocator, AllocatorError, Changed, OrderUpdate, OutboxReader, Seen};
use nowserving::config::{RedisSettings, Settings};
use nowserving::domain::{Context, Order, OrderDetails, OrderStatus, PartitionId, PoolSettings, RestaurantId};
use redis::Value;
use tokio::task::JoinSet;

const SEED: &[u8; 16] = b"0123456789abcdef";
const PARTITIONS: u16 = 8;

fn no_tls_files() -> RedisSettings {
    Settings::default().redis
}

/// A daemon's allocator, and a restaurant of each partition.
#[derive(Clone)]
struct Shop {
    allocator: Allocator,
    restaurants: Vec<RestaurantId>,
}

impl Shop {
    /// With every partition made and open.
    async fn open(url: &str) -> Self {
        let shop = Self::closed(url, no_tls_files());
        for (partition, seen) in shop.heads().await {
            let made = shop.allocator.create_partition(partition, 1, SEED, &seen.run_id).await;
            assert!(made.expect("Redis answers"), "it is new");
            shop.allocator.open_partition(partition, 1, &seen.run_id, 0, 0);
        }
        for restaurant in &shop.restaurants {
            let configured = shop.allocator.configure(*restaurant, &PoolSettings::default(), false, &context()).await;
            configured.expect("Redis answers");
        }
        shop
    }

    fn closed(url: &str, tls: RedisSettings) -> Self {
        let settings = RedisSettings {
            namespace: support::namespace(),
            lanes: 2,
            pool_size: 4,
            timeout_ms: 2000,
            connect_timeout_ms: 2000,
            ..tls
        };
        let window = Duration::from_secs(60);
        let allocator = Allocator::new(url, &settings, PARTITIONS, window).expect("a good URL");
        let restaurant = |partition| {
            let mut all = (1..).filter_map(|id| RestaurantId::new(id).ok());
            all.find(|restaurant| allocator.partition_of(*restaurant) == partition).expect("each has some")
        };
        let restaurants = PartitionId::all(PARTITIONS).map(restaurant).collect();
        Self { allocator, restaurants }
    }

    /// What every partition's server says, once all say something.
    async fn heads(&self) -> Vec<(PartitionId, Seen)> {
        eventually(PATIENCE, || async {
            let heads = self.allocator.heads().await;
            PartitionId::all(PARTITIONS).zip(heads).map(|(partition, seen)| Some((partition, seen.ok()?))).collect()
        })
        .await
    }

    /// Opens what is closed, on whichever server holds it: what the recovery does, where nothing was lost.
    async fn reopen(&self) {
        let heads = self.allocator.heads().await;
        for (partition, seen) in PartitionId::all(PARTITIONS).zip(heads) {
            if self.allocator.is_closed(partition)
                && let Ok(Seen { run_id, head: Some(head) }) = seen
            {
                self.allocator.open_partition(partition, head.generation, &run_id, head.sequence, 0);
            }
        }
    }

    async fn allocate(&self, partition: PartitionId) -> Result<Order, AllocatorError> {
        let restaurant = self.restaurants[partition.index()];
        match self.allocator.allocate(restaurant, &OrderDetails::default(), None, &context()).await? {
            Allocated::New(order) => Ok(order),
            other => panic!("{other:?}"),
        }
    }

    /// Every kind of call, in every partition.
    async fn serve(&self) {
        for partition in PartitionId::all(PARTITIONS) {
            let order = self.allocate(partition).await.expect("Redis answers");
            let ready = self.allocator.transition(order.id, to(OrderStatus::Ready, &context())).await;
            assert!(matches!(ready, Ok(Changed::Done(_))), "{ready:?}");
            let live = self.allocator.live_orders(order.restaurant()).await.expect("Redis answers");
            assert!(live.iter().any(|live| live.id == order.id));
            let done = self.allocator.release(order.id, to(OrderStatus::Completed, &context()), false, false).await;
            assert!(matches!(done, Ok(Changed::Done(_))), "{done:?}");
            let found = self.allocator.order(order.id).await.expect("Redis answers").expect("it is kept");
            assert_eq!(found.status, OrderStatus::Completed);
        }
    }

    /// All partitions, at the beginning.
    fn positions() -> Vec<(PartitionId, u64)> {
        PartitionId::all(PARTITIONS).map(|partition| (partition, 0)).collect()
    }

    async fn assert_sound(&self, partition: PartitionId) {
        let snapshot = self.allocator.snapshot(self.restaurants[partition.index()]).await.expect("Redis answers");
        assert_eq!(snapshot.expect("it has settings").findings(), []);
    }

    /// The partitions whose slots a node of a cluster has.
    async fn partitions_on(&self, cluster: &Cluster, node: usize) -> Vec<PartitionId> {
        let mut found = Vec::new();
        for partition in PartitionId::all(PARTITIONS) {
            if cluster.master_of(slot(cluster, partition).await).await == node {
                found.push(partition);
            }
        }
        found
    }
}

fn context() -> Context {
    Context::of("test")
}

fn to(status: OrderStatus, context: &Context) -> OrderUpdate<'_> {
    OrderUpdate { status: Some(status), expected_version: None, rewritten: None, context }
}

async fn slot(cluster: &Cluster, partition: PartitionId) -> u16 {
    cluster.slot(&format!("{{{partition}}}")).await
}

fn is_closed<T>(result: &Result<T, AllocatorError>) -> bool {
    matches!(result, Err(AllocatorError::Closed(_)))
}

// Sentinel

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_sentinel_fail_over_calls_go_to_the_new_master() {
    let mut sentinel = Sentinel::start().await;
    let shop = Shop::open(&sentinel.url()).await;
    shop.allocator.check_topology(false).await.expect("min-replicas-to-write is 1");
    shop.serve().await;
    let old = sentinel.master().await;
    // Everything acknowledged so far is on a replica.
    sentinel.servers[old].replicated(2).await;
    let before = shop.heads().await;
    sentinel.servers[old].kill9();

    let p = PartitionId::new(0);
    let error = shop.allocate(p).await.expect_err("its server is gone");
    assert!(!error.is_bug(), "{error}");
    sentinel.fail_over_from(old).await;
    eventually_true(PATIENCE, || async { is_closed(&shop.allocate(p).await) }).await;
    let after = shop.heads().await;
    for ((partition, then), (_, now)) in before.iter().zip(&after) {
        assert_ne!(then.run_id, now.run_id, "{partition}: another server");
        assert_eq!(then.head, now.head, "{partition}: which has all");
        shop.allocator.open_partition(*partition, 1, &now.run_id, 0, 0);
    }
    shop.serve().await;

    // The old master comes back as a replica, and some sentinels go: it works on.
    sentinel.servers[old].restart().await;
    sentinel.sentinels.pop();
    shop.allocator.recheck_servers().await;
    shop.serve().await;
    assert_eq!(shop.heads().await[0].1.run_id, after[0].1.run_id);
}

#[tokio::test]
async fn start_up_insists_on_replicas_where_the_master_may_change() {
    let sentinel = Sentinel::start().await;
    let shop = Shop::closed(&sentinel.url(), no_tls_files());
    let set = async |words: &str| sentinel.servers[0].send::<Value>(words).await;
    set("CONFIG SET min-replicas-to-write 0").await;
    let error = shop.allocator.check_topology(false).await.expect_err("no call waits for replicas").to_string();
    assert!(error.contains("min-replicas-to-write 1") && error.contains(&sentinel.servers[0].address()), "{error}");
    shop.allocator.check_topology(true).await.expect("the level sees to it");
    set("ACL SETUSER default -config").await;
    let error = shop.allocator.check_topology(false).await.expect_err("it cannot be seen").to_string();
    assert!(error.contains("CONFIG is forbidden"), "{error}");
    set("ACL SETUSER default +config").await;
    set("CONFIG SET min-replicas-to-write 2").await;
    set("ACL SETUSER default -config").await;
    shop.allocator.check_topology(false).await.expect("INFO says so");
    let health = shop.allocator.health().await.expect("Redis answers");
    assert_eq!(health.len(), 1);
    assert_eq!(health[0].address, sentinel.servers[0].address());
    let master = health[0].health.as_ref().expect("Redis answers");
    assert_eq!((master.role.as_str(), master.replicas, master.appendfsync.as_ref()), ("master", 2, None));
}

// Cluster

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_serves_and_a_killed_master_stops_only_its_own() {
    let mut cluster = Cluster::start().await;
    let shop = Shop::open(&cluster.url()).await;
    shop.allocator.check_topology(false).await.expect("min-replicas-to-write is 1");
    shop.serve().await;
    let servers: BTreeSet<String> = shop.heads().await.iter().map(|(_, seen)| seen.run_id.to_string()).collect();
    assert_eq!(servers.len(), 3, "the partitions are spread");
    assert_eq!(shop.allocator.health().await.expect("Redis answers").len(), 3);

    let mut reader = OutboxReader::new(shop.allocator.clone());
    let read = reader.read(&Shop::positions(), 100, None).await.expect("Redis answers");
    assert_eq!(read.len(), usize::from(PARTITIONS));
    let ends: HashMap<PartitionId, u64> =
        read.iter().map(|(partition, entries)| (*partition, entries.last().expect("not empty").sequence)).collect();
    shop.allocator
        .trim_outboxes(ends.iter().map(|(partition, end)| (*partition, 1, *end)))
        .await
        .expect("Redis answers");
    assert_eq!(reader.read(&Shop::positions(), 100, None).await.expect("Redis answers"), []);

    let victim = 0;
    let hit = shop.partitions_on(&cluster, victim).await;
    let fine: Vec<_> = PartitionId::all(PARTITIONS).filter(|partition| !hit.contains(partition)).collect();
    assert!(!hit.is_empty() && !fine.is_empty());
    cluster.nodes[victim].replicated(1).await;
    cluster.nodes[victim].kill9();
    shop.allocator.ping().await.expect("two masters are left");
    for partition in &hit {
        let error = shop.allocate(*partition).await.expect_err("its server is gone");
        assert!(!error.is_bug(), "{error}");
    }
    // The others are served, and what they write is read.
    let positions: Vec<_> = ends.clone().into_iter().collect();
    for partition in &fine {
        let order = shop.allocate(*partition).await.expect("its server is there");
        // The dead one is not waited for: there is news.
        let read = tokio::time::timeout(PATIENCE, reader.read(&positions, 100, Some(2 * PATIENCE))).await;
        let read = read.expect("what is there is read at once").expect("two masters are left");
        let seen = read.iter().flat_map(|(_, entries)| entries).any(|entry| entry.sequence == order.sequence);
        assert!(seen, "{partition}");
        shop.allocator.trim_outboxes([(*partition, 1, order.sequence)]).await.expect("its server is there");
    }

    let lost_slot = slot(&cluster, hit[0]).await;
    let promoted = cluster.fail_over_from(victim, lost_slot).await;
    assert_eq!(promoted, victim + 3, "its replica");
    // Back as a replica of the one that was its own, which needs one to take writes.
    cluster.nodes[victim].restart().await;
    cluster.ok().await;
    eventually_true(PATIENCE, || async { is_closed(&shop.allocate(hit[0]).await) }).await;
    for partition in &hit {
        eventually_true(PATIENCE, || async {
            shop.reopen().await;
            let allocated = shop.allocate(*partition).await;
            if let Err(error) = &allocated {
                println!("{partition}: {error}");
            }
            allocated.is_ok()
        })
        .await;
    }
    shop.serve().await;
}

/// A hanging server is worse than a dead one: no error says that it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outboxes_of_others_are_read_while_a_server_hangs() {
    let servers = Cluster::start().await;
    let shop = Shop::open(&servers.url()).await;
    let hit = shop.partitions_on(&servers, 0).await;
    let fine = PartitionId::all(PARTITIONS).find(|partition| !hit.contains(partition)).expect("they are spread");
    let mut reader = OutboxReader::new(shop.allocator.clone());
    let mut positions: HashMap<PartitionId, u64> = Shop::positions().into_iter().collect();
    for (partition, entries) in reader.read(&Shop::positions(), 100, None).await.expect("Redis answers") {
        positions.extend(entries.last().map(|entry| (partition, entry.sequence)));
    }
    servers.nodes[0].pause();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let order = shop.allocate(fine).await.expect("its server is there");
        let all: Vec<_> = positions.clone().into_iter().collect();
        let started = Instant::now();
        let read = reader.read(&all, 100, Some(PATIENCE)).await.expect("two masters are left");
        slowest = slowest.max(started.elapsed());
        assert_eq!(read.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [fine]);
        positions.insert(fine, order.sequence);
    }
    assert!(slowest < Duration::from_millis(1500), "one read took {slowest:?}");
    servers.nodes[0].resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_twice_while_a_slot_moves_under_fifty_callers() {
    let cluster = Cluster::start().await;
    let shop = Shop::open(&cluster.url()).await;
    let p = PartitionId::new(0);
    let slot = slot(&cluster, p).await;
    let from = cluster.master_of(slot).await;
    let to = (0..3).find(|node| *node != from).expect("there are three");
    let (acknowledged, numbers) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeSet::new())));
    let stop = tokio_util::sync::CancellationToken::new();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (shop, stop) = (shop.clone(), stop.clone());
        let (acknowledged, numbers) = (Arc::clone(&acknowledged), Arc::clone(&numbers));
        callers.spawn(async move {
            while !stop.is_cancelled() {
                match shop.allocate(p).await {
                    Ok(order) => {
                        acknowledged.fetch_add(1, Relaxed);
                        assert!(numbers.lock().expect("no holder panics").insert(order.number), "given twice");
                    }
                    Err(error) => assert!(!error.is_bug(), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let keeper = {
        let (shop, stop) = (shop.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                shop.reopen().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    let keeper = tokio::spawn(keeper);
    let served = async |more: u64| {
        let then = acknowledged.load(Relaxed);
        eventually_true(PATIENCE, || async { acknowledged.load(Relaxed) >= then + more }).await;
    };
    for (from, to) in [(from, to), (to, from)] {
        served(200).await;
        cluster.begin_move(slot, from, to).await;
        while cluster.move_keys(slot, from, to, 1).await > 0 {}
        cluster.end_move(slot, from, to).await;
        served(200).await;
    }
    stop.cancel();
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller fails");
    }
    keeper.await.expect("it does not fail");
    let (_, seen) = shop.heads().await.swap_remove(p.index());
    // One event configured the restaurant.
    let sequence = seen.head.map(|head| head.sequence);
    assert_eq!(sequence, Some(acknowledged.load(Relaxed) + 1));
    shop.reopen().await;
    shop.assert_sound(p).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_moved_slot_is_an_error_of_its_partition_alone() {
    let cluster = Cluster::start().await;
    let shop = Shop::open(&cluster.url()).await;
    let p = PartitionId::new(0);
    shop.allocate(p).await.expect("Redis answers");
    let slot = slot(&cluster, p).await;
    let from = cluster.master_of(slot).await;
    let to = (0..3).find(|node| *node != from).expect("there are three");
    let at_home = shop.heads().await[p.index()].1.clone();
    let target = shop.partitions_on(&cluster, to).await[0];
    let elsewhere = shop.heads().await[target.index()].1.run_id.clone();

    cluster.begin_move(slot, from, to).await;
    cluster.move_keys(slot, from, to, 2).await;
    let error = shop.allocate(p).await.expect_err("its keys are in two places");
    assert!(matches!(&error, AllocatorError::Redis(e) if e.code() == Some("TRYAGAIN")) && !error.is_bug(), "{error:?}");
    for partition in PartitionId::all(PARTITIONS).filter(|partition| *partition != p) {
        shop.allocate(partition).await.expect("its slot stays where it is");
    }
    assert!(!shop.allocator.is_closed(p), "nothing is lost");

    // All keys have moved, but not the slot: a client that asks for it is sent there, and told which server that is.
    while cluster.move_keys(slot, from, to, 10).await > 0 {}
    let moved = shop.heads().await[p.index()].1.clone();
    assert_eq!(moved.run_id, elsewhere);
    assert_eq!(moved.head, at_home.head);
    let order = shop.allocator.live_orders(shop.restaurants[p.index()]).await;
    assert!(is_closed(&order), "its generation was made elsewhere: {order:?}");

    cluster.end_move(slot, from, to).await;
    shop.allocator.open_partition(p, 1, &elsewhere, 0, 0);
    // The map still says otherwise: the MOVED is followed.
    shop.allocate(p).await.expect("the slot has moved");
    shop.assert_sound(p).await;
    shop.allocator.recheck_servers().await;
    shop.serve().await;
}

// One server

#[tokio::test]
async fn a_server_that_was_promoted_again_under_a_living_connection_is_noticed() {
    let node = Node::start(&["appendonly yes", "maxmemory-policy noeviction"]).await;
    let shop = Shop::open(&node.url()).await;
    let p = PartitionId::new(0);
    shop.allocate(p).await.expect("Redis answers");
    shop.allocator.recheck_servers().await;
    shop.allocate(p).await.expect("nothing has changed");
    // Quicker than any call in between.
    node.send::<Value>("REPLICAOF 127.0.0.1 1").await;
    node.send::<Value>("REPLICAOF NO ONE").await;
    shop.allocator.recheck_servers().await;
    let result = shop.allocate(p).await;
    assert!(is_closed(&result), "{result:?}");
}

/// A certificate authority, and what it certified, as files.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let folder = scratch::folder("tls");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.join("ca.pem"), certificate.pem()).expect("our own folder");
        let issuer = rcgen::Issuer::new(params, key);
        for name in ["server", "client"] {
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let params = rcgen::CertificateParams::new(names).expect("good names");
            let key = rcgen::KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("our own folder");
            std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("our own folder");
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

#[tokio::test]
async fn tls_and_acl_users_let_in_whom_they_should() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let plain = Node::start(&[
        "appendonly yes",
        "maxmemory-policy noeviction",
        "user orders on >p@ss/word ~* &* +@all",
        "user nobody on >other ~other:* +ping +info +time +script|load",
    ])
    .await;
    let tls_port = plain.port + 10_000;
    let set = async |name: &str, value: &str| plain.send::<Value>(&format!("CONFIG SET {name} {value}")).await;
    for (name, file) in
        [("tls-cert-file", "server.pem"), ("tls-key-file", "server.key"), ("tls-ca-cert-file", "ca.pem")]
    {
        set(name, &ours.file(file).display().to_string()).await;
    }
    set("tls-port", &tls_port.to_string()).await;
    let url = |user: &str| format!("rediss://{user}@127.0.0.1:{tls_port}");
    let ping = async |url: String, tls: RedisSettings| Shop::closed(&url, tls).allocator.ping().await;
    let tls = |ca: &Authority, client: bool| RedisSettings {
        ca_file: ca.file("ca.pem"),
        client_cert_file: if client { ours.file("client.pem") } else { PathBuf::new() },
        client_key_file: if client { ours.file("client.key") } else { PathBuf::new() },
        ..no_tls_files()
    };
    let good = "orders:p%40ss%2Fword";
    ping(url(good), tls(&ours, true)).await.expect("all is as it should be");
    ping(url(good), tls(&theirs, true)).await.expect_err("an authority that did not certify it");
    ping(url(good), no_tls_files()).await.expect_err("the system does not know it either");
    ping(url(good), tls(&ours, false)).await.expect_err("it wants a certificate");
    set("tls-auth-clients", "no").await;
    ping(url(good), tls(&ours, false)).await.expect("now it does not");
    let error = ping(url("orders:wrong"), tls(&ours, false)).await.expect_err("a wrong password").to_string();
    assert!(!error.contains("wrong"), "{error}");
    ping(plain.url().replace("//", "//orders:p%40ss%2Fword@"), no_tls_files()).await.expect("also without TLS");
    let shop = Shop::closed(&plain.url().replace("//", "//nobody:other@"), no_tls_files());
    let seen = shop.allocator.heads().await.swap_remove(0);
    assert!(matches!(&seen, Err(AllocatorError::Redis(e)) if e.code() == Some("NOPERM")), "{seen:?}");
}

// The daemon

/// A daemon on these servers, and its ledger.
async fn daemon_on(redis_url: String) -> (DaemonOptions, Daemon, sqlx::PgPool) {
    let mut options = DaemonOptions::local().with("NOWSERVING_PARTITIONS", PARTITIONS);
    options.redis_url = Some(redis_url);
    let database = support::fresh_database().await;
    options.database_url = Some(database.clone());
    options.migrate();
    let daemon = Daemon::start(&options);
    (options, daemon, sqlx::PgPool::connect(&database).await.expect("Postgres answers"))
}

/// Creates and ends an order in every one of these restaurants; gives the ids.
async fn trade(api: &Api, restaurants: &[RestaurantId]) -> Vec<String> {
    let mut ids = Vec::new();
    for restaurant in restaurants {
        let number = restaurant.to_string().parse().expect("a small number");
        let order = api.create(number, serde_json::json!({})).await;
        ids.push(support::api::id(&order).to_owned());
        api.release(&ids[ids.len() - 1], false).await.ok(200);
    }
    ids
}

/// Waits until the ledger says of all these orders that they are completed.
async fn written(ledger: &sqlx::PgPool, ids: &[String], within: Duration) {
    let done = "SELECT count(*) FROM orders WHERE internal_order_id = ANY($1::uuid[]) AND status = 'completed'";
    eventually_true(within, || async {
        let count: i64 = sqlx::query_scalar(done).bind(ids).fetch_one(ledger).await.expect("Postgres answers");
        usize::try_from(count) == Ok(ids.len())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_on_sentinel_serves_and_writes() {
    let sentinel = Sentinel::start().await;
    let (options, daemon, ledger) = daemon_on(sentinel.url()).await;
    let shop = Shop::closed(&sentinel.url(), no_tls_files());
    let ids = trade(&Api::at(daemon.url()), &shop.restaurants).await;
    written(&ledger, &ids, PATIENCE).await;
    let found = options.run("doctor", &[]);
    assert!(found.stdout.contains(&sentinel.servers[0].address()), "{found:?}");
    assert!(found.stdout.contains("2 replicas (min-replicas-to-write 1)"), "{found:?}");
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_on_a_cluster_writes_on_for_the_masters_that_are_left() {
    let mut cluster = Cluster::start().await;
    let (_, daemon, ledger) = daemon_on(cluster.url()).await;
    let api = Api::at(daemon.url());
    let shop = Shop::closed(&cluster.url(), no_tls_files());
    let ids = trade(&api, &shop.restaurants).await;
    written(&ledger, &ids, PATIENCE).await;
    let hit = shop.partitions_on(&cluster, 0).await;
    let is_fine = |restaurant: &&RestaurantId| !hit.contains(&shop.allocator.partition_of(**restaurant));
    let fine: Vec<RestaurantId> = shop.restaurants.iter().filter(is_fine).copied().collect();
    cluster.nodes[0].kill9();
    for _ in 0..5 {
        let ids = trade(&api, &fine).await;
        written(&ledger, &ids, Duration::from_secs(10)).await;
    }
    api.get("/readyz").await.ok(200);
}
