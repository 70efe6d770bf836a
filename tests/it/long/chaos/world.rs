//! The processes of one run, and what can be done to them. Where there are several Redis servers: `servers.rs`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

use super::plan::{Level, Plan};
use super::servers::Servers;
use crate::support::cut::Address;
use crate::support::{Api, Clock, Cut, Daemon, DaemonOptions, OwnPostgres, OwnRedis, eventually_true, scratch};
use nowserving::failpoint;

/// Few partitions, so that each has much to do.
pub const PARTITIONS: u16 = 4;

/// How many orders there are that only clean-up ends.
pub const FORGOTTEN: u32 = 24;

/// The first of the restaurants that have them: those whose numbers suffice.
const FORGETFUL: u32 = 19;

const LONG_AGO: &str = "2024-02-29T12:00:00Z";

pub struct World {
    pub servers: Servers,
    pub postgres: OwnPostgres,
    /// The daemons reach the stores through these; `to_redis` leads to the one Redis, or the first daemon to a sentinel.
    pub to_redis: Cut,
    pub to_postgres: Cut,
    pub daemons: Vec<Station>,
    pub clocks: Clocks,
    /// An API key that does not expire.
    pub key: String,
    /// For those that look from outside, past the proxies.
    pub direct: DaemonOptions,
}

/// Whose clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockOf {
    /// Of one of them.
    Daemon,
    /// Where there is one.
    Redis,
    Postgres,
}

/// The clocks of the stores.
pub struct Clocks {
    redis: Clock,
    postgres: Clock,
    drifting: Option<JoinHandle<()>>,
}

/// The place of a daemon: its address stays when the daemon is another one.
pub struct Station {
    pub door: Cut,
    daemon: Option<Daemon>,
    options: DaemonOptions,
    clock: Clock,
    /// What daemons that died here said.
    said: String,
}

impl World {
    /// Starts everything.
    pub async fn start(plan: &Plan) -> Self {
        let (redis_clock, postgres_clock) = (Clock::new(), Clock::new());
        let (servers, postgres) =
            tokio::join!(Servers::start(plan.topology, &redis_clock), OwnPostgres::start_with_clock(&postgres_clock));
        let to_redis = servers.door_for_daemons().await;
        let to_postgres = Cut::unix(".s.PGSQL.5432", Address::Unix(postgres.socket()));
        let mut direct = DaemonOptions::local()
            .with("NOWSERVING_PARTITIONS", PARTITIONS)
            .with("NOWSERVING_REDIS_TIMEOUT_MS", 500)
            .with("NOWSERVING_LEDGER_TIMEOUT_MS", 1000)
            .with("NOWSERVING_LEDGER_CONNECT_TIMEOUT_MS", 3000)
            .with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 4000)
            .with("NOWSERVING_AUTH_MODE", "keys")
            // What is forgotten is expired all the time, a little of it; and every month that is over is dropped.
            .with("NOWSERVING_SURVEY_INTERVAL_SECONDS", 1)
            .with("NOWSERVING_CLEANUP_BATCH_SIZE", 1)
            .with("NOWSERVING_LEDGER_RETAIN_ORDERS_DAYS", 31)
            .with("NOWSERVING_LEDGER_RETAIN_EVENTS_DAYS", 31);
        if plan.level != Level::default() {
            direct = direct.with("NOWSERVING_DURABILITY_LEVEL", plan.level.name());
        }
        direct.redis_url = Some(servers.url());
        direct.database_url = Some(postgres.create_database("ledger").await);
        direct.migrate();
        make_months(&direct).await;
        let key = make_key(&direct, &[]);
        plant_forgotten_orders(&direct);
        let mut through = direct.clone();
        let folder = to_postgres.socket().parent().expect("a folder of its own");
        through.database_url = Some(nowserving::local::postgres::url(folder, "ledger"));
        let clocks = Clocks { redis: redis_clock, postgres: postgres_clock, drifting: None };
        let daemons = Vec::new();
        let mut world = Self { servers, postgres, to_redis, to_postgres, daemons, clocks, key, direct };
        for at in 0..plan.daemons {
            through.redis_url = Some(world.servers.url_of_daemon(at, &world.to_redis));
            world.daemons.push(Station::open(&through).await);
        }
        world.start_daemons().await;
        world
    }

    /// Ends what [`World::lose_an_answer`] has not brought about yet.
    pub fn lose_no_more(&self) {
        self.to_redis.lose_no_answer();
    }

    /// The Redis of a run that has one.
    pub fn redis(&mut self) -> &mut OwnRedis {
        let Servers::One(redis) = &mut self.servers else { panic!("there are several servers") };
        redis
    }

    fn redis_ref(&self) -> &OwnRedis {
        let Servers::One(redis) = &self.servers else { panic!("there are several servers") };
        redis
    }

    /// Where the tills go.
    pub fn apis(&self) -> Vec<Api> {
        self.apis_for(&self.key)
    }

    /// As [`World::apis`], with another key.
    pub fn apis_for(&self, key: &str) -> Vec<Api> {
        self.daemons.iter().map(|station| Api::with_key(&station.door.http_url(), key)).collect()
    }

    /// Lets an answer of Redis get lost, with its connection. Where there are several, that is so for all that are on their
    /// way at a time, but not each time.
    pub async fn lose_an_answer(&self, rng: &mut StdRng) {
        match self.servers {
            Servers::One(_) => self.to_redis.lose_an_answer(),
            Servers::Sentinel { .. } | Servers::Cluster { .. } if rng.random_bool(0.1) => {
                self.servers.cut_clients().await
            }
            Servers::Sentinel { .. } | Servers::Cluster { .. } => {}
        }
    }

    /// Starts those that do not run.
    pub async fn start_daemons(&mut self) {
        for station in &mut self.daemons {
            station.start().await;
        }
    }

    pub fn kill_daemon(&mut self, at: usize) {
        self.daemons[at].kill();
    }

    pub fn kill_daemons(&mut self) {
        self.daemons.iter_mut().for_each(Station::kill);
    }

    /// Starts a daemon anew that kills itself on its way through a point, and waits until it has.
    pub async fn let_daemon_die(&mut self, at: usize, point: &str, passing: u32) {
        let station = &mut self.daemons[at];
        station.kill();
        let options = station.options.clone().with(failpoint::VARIABLE, format!("{point}:{passing}"));
        station.start_with(options).await;
        let api = Api::with_key(&station.door.http_url(), &self.key);
        eventually_true(Duration::from_secs(20), || async {
            api.try_send("GET", "/healthz", &[], None).await.is_err()
        })
        .await;
        // It has ended; what is left is to wait for it.
        station.kill();
    }

    /// All daemons serve all restaurants again.
    pub async fn serves(&self, restaurants: &[u32]) -> Result<(), String> {
        for api in self.apis() {
            let paths = restaurants.iter().map(|restaurant| format!("/v1/restaurants/{restaurant}/orders?limit=1"));
            for path in paths.chain(["/readyz".to_owned()]) {
                let asked = api.try_send("GET", &path, &[], None);
                match tokio::time::timeout(Duration::from_secs(3), asked).await {
                    Ok(Ok(answer)) if answer.status == 200 => {}
                    Ok(Ok(answer)) => return Err(format!("{path}: {}", answer.text)),
                    Ok(Err(error)) => return Err(format!("{path}: {error}")),
                    Err(_) => return Err(format!("{path}: no answer")),
                }
            }
        }
        Ok(())
    }

    /// Sets a clock, at once: so many seconds ahead of what is right.
    pub fn set_clock(&self, of: ClockOf, ahead_seconds: i64, rng: &mut StdRng) {
        match of {
            ClockOf::Daemon => self.daemons[rng.random_range(0..self.daemons.len())].clock.set(ahead_seconds),
            ClockOf::Redis => self.clocks.redis.set(ahead_seconds),
            ClockOf::Postgres => self.clocks.postgres.set(ahead_seconds),
        }
    }

    /// From now on Redis's clock is a twentieth too fast, Postgres's as much too slow, and the daemons' a tenth too fast.
    pub fn let_clocks_drift(&mut self) {
        const EVERY: Duration = Duration::from_millis(10);
        let mut clocks = vec![(self.clocks.redis.clone(), 20), (self.clocks.postgres.clone(), -20)];
        clocks.extend(self.daemons.iter().map(|station| (station.clock.clone(), 10)));
        let drifting = tokio::spawn(async move {
            let start = Instant::now();
            loop {
                sleep(EVERY).await;
                let elapsed_us = i64::try_from(start.elapsed().as_micros()).expect("a short time");
                clocks.iter().for_each(|(clock, part)| clock.set_us(elapsed_us / part));
            }
        });
        self.clocks.drifting = Some(drifting);
    }

    pub fn put_clocks_right(&mut self) {
        if let Some(drifting) = self.clocks.drifting.take() {
            drifting.abort();
        }
        let daemons = self.daemons.iter().map(|station| &station.clock);
        daemons.chain([&self.clocks.redis, &self.clocks.postgres]).for_each(|clock| clock.set(0));
    }

    /// Lets it do nothing else for a while.
    pub fn put_redis_to_sleep(&self, time: Duration) {
        let url = self.redis_ref().url();
        tokio::spawn(async move {
            let client = redis::Client::open(url).expect("a good URL");
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return };
            // The answer comes later than this connection waits.
            redis::cmd("DEBUG").arg("SLEEP").arg(time.as_secs_f64()).exec_async(&mut connection).await.ok();
        });
    }

    pub async fn flush_redis(&self) {
        redis::cmd("FLUSHALL").exec_async(&mut self.redis_ref().connect().await).await.expect("Redis answers");
    }

    /// Lowers its limit below what it holds.
    pub async fn fill_redis(&self) {
        self.limit_redis("1mb").await;
    }

    pub async fn empty_redis(&self) {
        self.limit_redis("0").await;
    }

    async fn limit_redis(&self, limit: &str) {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory").arg(limit);
        command.exec_async(&mut self.redis_ref().connect().await).await.expect("Redis answers");
    }

    /// Cuts off the last part of the file that the dead Redis appended to.
    pub fn cut_append_only_file(&self, rng: &mut StdRng) {
        let files = std::fs::read_dir(self.redis_ref().append_only_folder()).expect("it was written");
        let mut files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "aof"));
        files.sort();
        let last = files.last().expect("Redis appends to a file");
        let file = std::fs::File::options().write(true).open(last).expect("it is ours");
        let length = file.metadata().expect("it is there").len();
        file.set_len(length - rng.random_range(0..=length.min(200_000))).expect("it can be cut");
    }

    /// A copy of its data as it is now.
    pub fn copy_redis(&self) -> PathBuf {
        let copy = scratch::folder("copy");
        copy_files(&self.redis_ref().append_only_folder(), &copy);
        copy
    }

    /// Gives the dead Redis this data instead of its own.
    pub fn put_redis_back(&self, copy: &Path) {
        self.redis_ref().lose_data();
        std::fs::create_dir(self.redis_ref().append_only_folder()).expect("it was deleted");
        copy_files(copy, &self.redis_ref().append_only_folder());
    }

    /// What the daemons said, those too that are dead.
    pub fn logs(&self) -> Vec<String> {
        self.daemons
            .iter()
            .map(|station| {
                let now = station.daemon.as_ref().map(Daemon::output).unwrap_or_default();
                format!("{}{now}", station.said)
            })
            .collect()
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("it is there").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("our own folder can be written");
    }
}

impl Station {
    async fn open(options: &DaemonOptions) -> Self {
        let clock = Clock::new();
        let options = options.clone().with_clock(&clock);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let door = Cut::tcp(Address::Tcp(nowhere)).await;
        Self { door, daemon: None, options, clock, said: String::new() }
    }

    async fn start(&mut self) {
        if self.daemon.is_none() {
            self.start_with(self.options.clone()).await;
        }
    }

    async fn start_with(&mut self, mut options: DaemonOptions) {
        options.data_dir = scratch::folder("d");
        let daemon = tokio::task::spawn_blocking(move || Daemon::start(&options)).await.expect("it starts");
        let address = daemon.url().strip_prefix("http://").and_then(|address| address.parse().ok());
        self.door.lead_to(Address::Tcp(address.expect("an address")));
        self.daemon = Some(daemon);
    }

    fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.said.push_str(&daemon.output());
            tokio::task::block_in_place(|| daemon.kill9());
        }
    }
}

/// Makes an API key for everything.
pub fn make_key(options: &DaemonOptions, more: &[&str]) -> String {
    let arguments = [&["create", "--name", "tills", "--role", "admin"], more].concat();
    let made = options.run("keys", &arguments);
    assert!(made.status.success(), "{made:?}");
    made.stdout.trim().to_owned()
}

/// Makes the months that daemons keep ahead. On a slow machine they would be at it for longer than a statement may take,
/// while the tills wait.
async fn make_months(options: &DaemonOptions) {
    let url = options.database_url.as_deref().expect("a Postgres that is not private");
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
    sqlx::query(
        "SELECT ensure_month((date_trunc('month', now()) + make_interval(months => ahead))::date)
         FROM generate_series(0, 12) AS ahead",
    )
    .execute(&mut connection)
    .await
    .expect("they can be made");
}

/// Takes over orders that no till has closed for longer than any restaurant's active window.
fn plant_forgotten_orders(options: &DaemonOptions) {
    let rows = (0..FORGOTTEN).map(|at| {
        let (id, restaurant) = (Uuid::from_u128(u128::from(at) + 1), FORGETFUL + at % 6);
        format!(
            "{{\"id\":\"{id}\",\"restaurant_id\":{restaurant},\"status\":\"ready\",\"created_at\":\"{LONG_AGO}\"}}\n"
        )
    });
    let file = scratch::folder("forgotten").join("orders.jsonl");
    std::fs::write(&file, rows.collect::<String>()).expect("it is in our own folder");
    let filled = options.run("backfill", &["--jsonl", file.to_str().expect("our folders have plain names")]);
    assert!(filled.stdout.contains(&format!("taken live: {FORGOTTEN},")), "{filled:?}");
}
