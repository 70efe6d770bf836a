//! What each request costs as a multiple of one that does nothing: CPU time of the processes over that of `GET /healthz`
//! of the same daemon in the same round. The daemon has its default settings, and the writing into the ledger counts:
//! each window of requests ends when the ledger has them.
//!
//! The same windows are what `make bench-check` drives in turns on two daemons (`check.rs`).

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use redis::InfoDict;

use crate::{
    Plan,
    client::{self, Call, Connection, Site, counted_loop, order_id},
    cost,
    deployment::Deployment,
    report::{Bound, Figure, Report, Target},
};

/// Connections of the load: fewer than make Redis the limit, and enough that no core rests.
const CONNECTIONS: usize = 32;
/// Restaurants of each kind: those whose lists are read, and those that take orders.
pub const RESTAURANTS: u64 = 2_000;
/// Live orders of a restaurant whose list is read.
const LISTED: u64 = 10;
/// All restaurants are looked at once an hour: that costs by time and not by request.
const SETTINGS: &[(&str, &str)] = &[("NOWSERVING_SURVEY_INTERVAL_SECONDS", "3600")];
const PATIENCE: Duration = Duration::from_mins(2);
/// After the ledger's commit, until Redis was told of it.
const TO_BE_TOLD: Duration = Duration::from_millis(50);

/// A request, in the order in which a round has them: what is changed and released was allocated in the same round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Health,
    Allocate,
    Change,
    List,
    LookUp,
    Release,
}

impl Request {
    pub const ALL: [Self; 6] = [Self::Health, Self::Allocate, Self::Change, Self::List, Self::LookUp, Self::Release];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Health => "GET /healthz",
            Self::Allocate => "allocate",
            Self::Change => "status change",
            Self::List => "kitchen list",
            Self::LookUp => "look-up",
            Self::Release => "release",
        }
    }

    /// Whether it leaves an event for the ledger.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Allocate | Self::Change | Self::Release)
    }
}

/// µs of a request, by process.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub daemon: f64,
    pub redis: f64,
    pub postgres: f64,
    /// Redis's own account of its scripts, those of the write-behind among them.
    pub scripts: f64,
}

impl Cost {
    pub fn all(self) -> f64 {
        self.daemon + self.redis + self.postgres
    }
}

/// A deployment under this load.
pub struct Driven {
    pub deployment: Deployment,
    site: Site,
    /// Orders that stay live, for lists and look-ups.
    kept: Arc<Vec<String>>,
    /// Orders of this round.
    made: Arc<Vec<String>>,
    requests: u64,
}

impl Driven {
    /// A window has so many requests; of those to `/healthz`, which are short, four times as many.
    pub async fn start(deployment: Deployment, requests: u64) -> Self {
        let site = Site::here(deployment.host());
        let mut driven = Self { deployment, site, kept: Arc::default(), made: Arc::default(), requests };
        driven.kept = driven.allocate(RESTAURANTS * LISTED, 1).await;
        // Each restaurant gets its settings with its first order, and everything is warm afterwards.
        driven.made = driven.allocate(RESTAURANTS, 1 + RESTAURANTS).await;
        let wanted = RESTAURANTS;
        for request in [Request::Change, Request::LookUp, Request::List, Request::Release] {
            driven.drive(request, wanted).await;
        }
        driven.deployment.drained().await;
        driven
    }

    pub fn settings() -> &'static [(&'static str, &'static str)] {
        SETTINGS
    }

    /// One window of requests: what each took.
    pub async fn window(&mut self, request: Request) -> Cost {
        let requests = if request == Request::Health { 4 * self.requests } else { self.requests };
        let written = self.written().await;
        let (before, scripts) = (self.deployment.cpu(), self.script_micros().await);
        if request == Request::Allocate {
            self.made = self.allocate(requests, 1 + RESTAURANTS).await;
        } else {
            self.drive(request, requests).await;
        }
        if request.writes() {
            self.until_written(written + requests).await;
        }
        let (after, scripts_after) = (self.deployment.cpu(), self.script_micros().await);
        let [daemon, redis, postgres] = after.micros_each_since(before, requests);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let scripts = (scripts_after - scripts) / requests as f64;
        Cost { daemon, redis, postgres, scripts }
    }

    async fn allocate(&self, orders: u64, first: u64) -> Arc<Vec<String>> {
        let ids: Arc<Vec<OnceLock<String>>> = Arc::new((0..orders).map(|_| OnceLock::new()).collect());
        let found = Arc::clone(&ids);
        let call = move |n| Call::allocate(first + n % RESTAURANTS);
        counted_loop(&self.site, CONNECTIONS, orders, call, move |n, body| {
            found[usize::try_from(n).expect("small")].set(order_id(&body)).expect("each is made once");
        })
        .await;
        Arc::new(ids.iter().map(|id| id.get().expect("all were made").clone()).collect())
    }

    async fn drive(&self, request: Request, requests: u64) {
        let (kept, made) = (Arc::clone(&self.kept), Arc::clone(&self.made));
        let of = |ids: &Vec<String>, n: u64| ids[usize::try_from(n).expect("small") % ids.len()].clone();
        let call = move |n| match request {
            Request::Health => Call::get("/healthz"),
            Request::Allocate => unreachable!("its answers are kept"),
            Request::Change => Call::status(&of(&made, n), "preparing"),
            Request::List => Call::kitchen_list(1 + n % RESTAURANTS),
            Request::LookUp => Call::look_up(&of(&kept, n)),
            Request::Release => Call::release(&of(&made, n)),
        };
        counted_loop(&self.site, CONNECTIONS, requests, call, |_, _| ()).await;
    }

    /// Events that the ledger has.
    async fn written(&self) -> u64 {
        let metrics = Connection::to(&self.site).await.ok(Call::get("/metrics")).await;
        let metrics = std::str::from_utf8(&metrics).expect("text");
        let written = client::sample(metrics, "nowserving_write_behind_events_total").expect("it begins at zero");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let written = written as u64;
        written
    }

    async fn until_written(&self, events: u64) {
        let started = Instant::now();
        while self.written().await < events {
            assert!(started.elapsed() < PATIENCE, "the write-behind keeps up");
            tokio::time::sleep(TO_BE_TOLD).await;
        }
        tokio::time::sleep(TO_BE_TOLD).await;
    }

    async fn script_micros(&self) -> f64 {
        let mut connection = self.deployment.redis.connect().await;
        let info: InfoDict =
            redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.expect("Redis answers");
        script_micros(&info)
    }
}

/// µs that a Redis has spent in scripts, as it says itself.
pub fn script_micros(info: &InfoDict) -> f64 {
    let scripts: Option<String> = info.get("cmdstat_evalsha");
    let micros = scripts.as_deref().and_then(|text| text.split(',').find_map(|part| part.strip_prefix("usec=")));
    micros.and_then(|micros| micros.parse().ok()).unwrap_or_default()
}

pub async fn measure(plan: &Plan, report: &mut Report) {
    let deployment = Deployment::start(SETTINGS).await;
    let mut driven = Driven::start(deployment, plan.size(10_000, 40_000)).await;
    let mut rounds: Vec<[Cost; 6]> = Vec::new();
    for _ in 0..plan.size(3, 5) {
        let mut round = Vec::new();
        for request in Request::ALL {
            round.push(driven.window(request).await);
        }
        rounds.push(round.try_into().expect("one of each"));
    }
    let health: Vec<f64> = rounds.iter().map(|round| round[0].all()).collect();
    type Part = fn(Cost) -> f64;
    let parts: [(&str, Part, f64); 4] = [
        ("all", Cost::all, 5.9),
        ("daemon", |cost| cost.daemon, 2.5),
        ("Redis", |cost| cost.redis, 2.1),
        ("Postgres", |cost| cost.postgres, 1.3),
    ];
    for (at, request) in Request::ALL.into_iter().enumerate().skip(1) {
        for (part, of, most) in parts {
            let micros: Vec<f64> = rounds.iter().map(|round| of(round[at])).collect();
            let target = (request == Request::Allocate).then_some(Bound::AtMost(most)).and_then(Target::ratio);
            let name = format!("CPU of a request, {}: {part}", request.name());
            report.figure(Figure::of_rounds(cost::GROUP, name, "µs", &micros, ("GET /healthz, all", &health), target));
        }
    }
    report.note(
        cost::GROUP,
        "The CPU of a request is that of 32 connections on 2,000 restaurants and a daemon with its default settings, \
         until the ledger has what was written; its multiple is that of GET /healthz in the same round, all processes \
         together. A kitchen list has ten orders. The client is left out.",
    );
}
