//! The processes of one run, and what can be done to them. Where there are several Redis servers: `servers.rs`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::plan::{Level, Plan};
use super::servers::Servers;
use crate::support::cut::Address;
use crate::support::{Api, Cut, Daemon, DaemonOptions, OwnPostgres, OwnRedis, eventually_true, scratch};
use nowserving::failpoint;

/// Few partitions, so that each has much to do.
pub const PARTITIONS: u16 = 4;

pub struct World {
    pub servers: Servers,
    pub postgres: OwnPostgres,
    /// The daemons reach the stores through these; `to_redis` leads to the one Redis, or the first daemon to a sentinel.
    pub to_redis: Cut,
    pub to_postgres: Cut,
    pub daemons: Vec<Station>,
    /// For those that look from outside, past the proxies.
    pub direct: DaemonOptions,
}

/// The place of a daemon: its address stays when the daemon is another one.
pub struct Station {
    pub door: Cut,
    daemon: Option<Daemon>,
    options: DaemonOptions,
    /// How far off its clock is, in the words of libfaketime.
    clock: PathBuf,
    /// What daemons that died here said.
    said: String,
}

impl World {
    /// Starts everything.
    pub async fn start(plan: &Plan) -> Self {
        let (servers, postgres) = tokio::join!(Servers::start(plan.topology), OwnPostgres::start());
        let to_redis = servers.door_for_daemons().await;
        let to_postgres = Cut::unix(".s.PGSQL.5432", Address::Unix(postgres.socket()));
        let mut direct = DaemonOptions::local()
            .with("NOWSERVING_PARTITIONS", PARTITIONS)
            .with("NOWSERVING_REDIS_TIMEOUT_MS", 500)
            .with("NOWSERVING_LEDGER_TIMEOUT_MS", 1000)
            .with("NOWSERVING_LEDGER_CONNECT_TIMEOUT_MS", 1000)
            .with("NOWSERVING_HTTP_REQUEST_TIMEOUT_MS", 4000);
        if plan.level != Level::default() {
            direct = direct.with("NOWSERVING_DURABILITY_LEVEL", plan.level.name());
        }
        direct.redis_url = Some(servers.url());
        direct.database_url = Some(postgres.create_database("ledger").await);
        direct.migrate();
        let mut through = direct.clone();
        let folder = to_postgres.socket().parent().expect("a folder of its own");
        through.database_url = Some(nowserving::local::postgres::url(folder, "ledger"));
        let mut world = Self { servers, postgres, to_redis, to_postgres, daemons: Vec::new(), direct };
        for at in 0..plan.daemons {
            through.redis_url = Some(world.servers.url_of_daemon(at, &world.to_redis));
            world.daemons.push(Station::open(&through).await);
        }
        world.start_daemons().await;
        world
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
    pub fn urls(&self) -> Vec<String> {
        self.daemons.iter().map(|station| station.door.http_url()).collect()
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
        let api = Api::at(&station.door.http_url());
        eventually_true(Duration::from_secs(20), || async {
            api.try_send("GET", "/healthz", &[], None).await.is_err()
        })
        .await;
        // It has ended; what is left is to wait for it.
        station.kill();
    }

    /// All daemons serve all restaurants again.
    pub async fn serves(&self, restaurants: &[u32]) -> Result<(), String> {
        for station in &self.daemons {
            let api = Api::at(&station.door.http_url());
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

    /// Puts the clock of a running daemon off, at once.
    pub fn move_clock(&self, at: usize, hours: i32) {
        std::fs::write(&self.daemons[at].clock, format!("{hours:+}h")).expect("it is in our own folder");
    }

    pub fn put_clocks_right(&self) {
        self.daemons.iter().for_each(Station::put_clock_right);
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
        let clock = scratch::folder("clock").join("offset");
        let options = options
            .clone()
            .with("LD_PRELOAD", library())
            .with("FAKETIME_TIMESTAMP_FILE", clock.display())
            // Looked up each time, and only for the time of day: what waits for a while does so as ever.
            .with("FAKETIME_NO_CACHE", 1)
            .with("FAKETIME_DONT_FAKE_MONOTONIC", 1);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let door = Cut::tcp(Address::Tcp(nowhere)).await;
        let station = Self { door, daemon: None, options, clock, said: String::new() };
        station.put_clock_right();
        station
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

    fn put_clock_right(&self) {
        std::fs::write(&self.clock, "+0").expect("it is in our own folder");
    }
}

/// What puts a process's clock off when it is loaded first.
fn library() -> String {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = folders.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is installed: `make test` sees to it").display().to_string()
}
