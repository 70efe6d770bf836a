//! What an allocation costs: CPU time of each process by the operating system's accounting, heap allocations, bytes to
//! and from Redis; what an `Idempotency-Key` adds to it; and what the writing of an order's whole life costs.
//!
//! The daemon has everything on: API keys, validation, metrics, tracing at the default filter. It leaves the write-behind
//! to another one, which is started for the last part, so that the two are told apart.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::InfoDict;

use crate::{
    Plan,
    client::{CONNECTIONS, Call, Connection, closed_loop, order_id},
    cpu,
    deployment::{Deployment, host},
    lives::{EVENTS, Lives},
    multiples,
    plain_events::PlainEvents,
    report::{Bound, Figure, Reference, Report, Target},
    rounds::Spread,
    support::{Daemon, DaemonOptions, OwnRedis},
};

pub const GROUP: &str = "cost";
/// Figures that the model looks up.
pub const DAEMON: &str = "daemon CPU, allocation";
pub const REDIS: &str = "Redis CPU, allocation";
pub const LEDGER: &str = "Postgres and write-behind CPU, order's whole life";

const RESTAURANTS: u64 = 40_000;
const PATIENCE: Duration = Duration::from_mins(10);
/// Of a daemon that only answers: the rest is what it would do in any case, by time and not by request.
const SETTINGS: &[(&str, &str)] = &[
    ("NOWSERVING_LOG_FILTER", "info"),
    ("NOWSERVING_AUTH_MODE", "keys"),
    ("NOWSERVING_WRITE_BEHIND_ENABLED", "false"),
    ("NOWSERVING_ADMISSION_OUTBOX_LIMIT", "100000000"),
    ("NOWSERVING_SURVEY_INTERVAL_SECONDS", "3600"),
];

pub async fn measure(plan: &Plan, report: &mut Report) {
    multiples::measure(plan, report).await;
    let (deployment, key) = Deployment::start_after(SETTINGS, make_key).await;
    allocations(plan, report, &deployment, &key).await;
    whole_lives(plan, report, &deployment).await;
    heap(plan, report, &deployment, &key).await;
}

/// An API key of everything, as it is shown in a header.
fn make_key(options: &DaemonOptions) -> Arc<str> {
    let made = options.run("keys", &["create", "--name", "bench", "--role", "admin"]);
    assert!(made.status.success(), "{made:?}");
    let text = made.stdout.split_whitespace().find(|word| word.starts_with("nsk_")).expect("it is shown once");
    format!("Bearer {text}").into()
}

/// One window of a closed loop, by request.
#[derive(Clone, Copy)]
struct Window {
    micros: f64,
    daemon: f64,
    redis: f64,
    /// Redis's own account of its scripts.
    script: f64,
    bytes_in: f64,
    bytes_out: f64,
}

async fn allocations(plan: &Plan, report: &mut Report, deployment: &Deployment, key: &Arc<str>) {
    let time = Duration::from_secs(plan.size(2, 8));
    let [mut health, mut plain, mut keyed] = [const { Vec::new() }; 3];
    let mut increments = Vec::new();
    let shown = |call: Call| Call { api_key: Some(Arc::clone(key)), ..call };
    let wanted = shown(Call::allocate(1));
    // As many restaurants as a round has get their settings before it is measured.
    window(deployment, time, allocations_with(key, None)).await;
    for round in 0..plan.size(3_u64, 5) {
        health.push(window(deployment, time, |_| Call::get("/healthz")).await);
        plain.push(window(deployment, time, allocations_with(key, None)).await);
        keyed.push(window(deployment, time, allocations_with(key, Some(plan.seed << 32 | round))).await);
        increments.push(increments_of(&deployment.redis).await);
    }
    let of = |rounds: &[Window], part: fn(&Window) -> f64| Spread::of(rounds.iter().map(part));
    let mut add = |name: &str, unit, value, reference: &str, beside, target| {
        let reference = Reference { name: reference.to_owned(), value: beside };
        report.figure(Figure { group: GROUP, name: name.to_owned(), unit, value, reference, target, by_round: None });
    };
    let (daemon, redis) = (of(&plain, |w| w.daemon), of(&plain, |w| w.redis));
    add(DAEMON, "µs", daemon, "GET /healthz", of(&health, |w| w.daemon), Target::value(Bound::AtMost(22.0)));
    add(REDIS, "µs", redis, "an INCR, 64 at a time", Spread::of(increments), Target::value(Bound::AtMost(32.0)));
    add("Redis's scripts, allocation", "µs", of(&plain, |w| w.script), "Redis CPU", redis, None);
    let without = "without a key";
    type Part = fn(&Window) -> f64;
    let parts: [(&str, Part); 4] = [
        ("time of a request, 64 at a time, with an Idempotency-Key", |w| w.micros),
        ("daemon CPU, allocation with an Idempotency-Key", |w| w.daemon),
        ("Redis CPU, allocation with an Idempotency-Key", |w| w.redis),
        ("Redis's scripts, allocation with an Idempotency-Key", |w| w.script),
    ];
    for (name, part) in parts {
        add(name, "µs", of(&keyed, part), without, of(&plain, part), None);
    }
    let http = Spread::once(http_bytes(&wanted));
    add("bytes to Redis, allocation", "B", of(&plain, |w| w.bytes_in), "the HTTP request", http, None);
    let answer = Spread::once(answer_bytes(deployment, &wanted).await);
    add("bytes from Redis, allocation", "B", of(&plain, |w| w.bytes_out), "the HTTP answer's body", answer, None);
}

/// Allocations all over the chain, each with an idempotency key of its own where a prefix for them is given.
fn allocations_with(key: &Arc<str>, prefix: Option<u64>) -> impl Fn(u64) -> Call + Send + Sync + 'static {
    let key = Arc::clone(key);
    move |n| Call {
        api_key: Some(Arc::clone(&key)),
        idempotency_key: prefix.map(|prefix| format!("{prefix:x}-{n}")),
        ..Call::allocate(1 + n % RESTAURANTS)
    }
}

async fn window(deployment: &Deployment, time: Duration, call: impl Fn(u64) -> Call + Send + Sync + 'static) -> Window {
    let (before, traffic) = (deployment.cpu(), Traffic::of(&deployment.redis).await);
    let looped = closed_loop(&deployment.host(), CONNECTIONS, time, call).await;
    let (after, now) = (deployment.cpu(), Traffic::of(&deployment.redis).await);
    let [daemon, redis, _] = after.micros_each_since(before, looped.answered);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |total: f64| total / looped.answered as f64;
    Window {
        micros: 1e6 / looped.per_second(),
        daemon,
        redis,
        script: each(now.script_micros - traffic.script_micros),
        bytes_in: each(now.bytes_in - traffic.bytes_in),
        bytes_out: each(now.bytes_out - traffic.bytes_out),
    }
}

/// What Redis has counted.
struct Traffic {
    bytes_in: f64,
    bytes_out: f64,
    script_micros: f64,
}

impl Traffic {
    async fn of(redis: &OwnRedis) -> Self {
        let mut connection = redis.connect().await;
        let mut ask = redis::cmd("INFO");
        let info: InfoDict = ask.arg("everything").query_async(&mut connection).await.expect("Redis answers");
        let number = |name| info.get::<f64>(name).expect("INFO names it");
        Self {
            bytes_in: number("total_net_input_bytes"),
            bytes_out: number("total_net_output_bytes"),
            script_micros: multiples::script_micros(&info),
        }
    }
}

/// µs of Redis's CPU for an INCR, as many at a time as the daemon has requests.
async fn increments_of(redis: &OwnRedis) -> f64 {
    const CALLS: u32 = 40_000;
    let connection = redis.connect().await;
    let before = cpu::of_process(redis.pid());
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut connection = connection.clone();
        callers.spawn(async move {
            for _ in 0..CALLS / u32::try_from(CONNECTIONS).expect("a few") {
                let () = redis::cmd("INCR").arg("reference").query_async(&mut connection).await.expect("Redis answers");
            }
        });
    }
    callers.join_all().await;
    (cpu::of_process(redis.pid()) - before).as_secs_f64() * 1e6 / f64::from(CALLS)
}

/// About what a request takes on the wire: its line, its header fields and its body.
#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn http_bytes(call: &Call) -> f64 {
    let line = call.method.len() + call.path.len() + " HTTP/1.1\r\n".len() + 1;
    let key = call.api_key.as_ref().map_or(0, |key| "authorization: \r\n".len() + key.len());
    let others = "host: 127.0.0.1:40000\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n".len();
    (line + key + others + call.body.len()) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
async fn answer_bytes(deployment: &Deployment, call: &Call) -> f64 {
    Connection::open(&deployment.host()).await.ok(call.clone()).await.len() as f64
}

/// What the write-behind and Postgres use for orders that are created, changed twice and completed: a daemon that writes
/// finds them all waiting. What both use while nothing happens is taken off.
async fn whole_lives(plan: &Plan, report: &mut Report, deployment: &Deployment) {
    let writing = deployment.options.clone().with("NOWSERVING_WRITE_BEHIND_ENABLED", "true");
    let lives = Lives::join(&deployment.options, plan).await;
    let plain = PlainEvents::create(&deployment.postgres).await;
    let [mut together, mut postgres, mut plainly] = [const { Vec::new() }; 3];
    // The allocations from before go first.
    let writer = Daemon::start(&writing);
    lives.durable(PATIENCE).await;
    drop(writer);
    for _ in 0..plan.size(3, 5) {
        lives.live(plan.size(10_000, 50_000), None, |_| ()).await;
        let writer = Daemon::start(&writing);
        let used = || [cpu::of_process(writer.pid()), cpu::of_tree(deployment.postgres.pid())];
        let (before, started, waiting) = (used(), Instant::now(), lives.made() - lives.written().await);
        lives.durable(PATIENCE).await;
        let (after, took) = (used(), started.elapsed());
        tokio::time::sleep(took).await;
        let idle = used();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let lives_written = waiting as f64 / EVENTS as f64;
        let micros = |at: usize| {
            let worked = (after[at] - before[at]).saturating_sub(idle[at] - after[at]);
            worked.as_secs_f64() * 1e6 / lives_written
        };
        together.push(micros(0) + micros(1));
        postgres.push(micros(1));
        drop(writer);
        let before = cpu::of_tree(deployment.postgres.pid());
        let inserted = plain.one_by_one(8, Duration::from_secs(1)).await;
        let used = cpu::of_tree(deployment.postgres.pid()) - before;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        plainly.push(used.as_secs_f64() * 1e6 / inserted.answered as f64 * EVENTS as f64);
    }
    let [together, postgres, plainly] = [together, postgres, plainly].map(Spread::of);
    let mut add = |name: &str, value, target| {
        let reference = Reference { name: "four plain INSERTs, Postgres alone".to_owned(), value: plainly };
        report.figure(Figure {
            group: GROUP,
            name: name.to_owned(),
            unit: "µs",
            value,
            reference,
            target,
            by_round: None,
        });
    };
    add(LEDGER, together, Target::value(Bound::AtMost(150.0)));
    add("Postgres CPU, order's whole life", postgres, None);
}

/// Makes the n-th request of a kind.
type Numbered<'a> = Box<dyn Fn(usize) -> Call + 'a>;

/// Heap allocations of a request, in a daemon whose allocator counts (`examples/counted_daemon`).
async fn heap(plan: &Plan, report: &mut Report, deployment: &Deployment, key: &Arc<str>) {
    let counts = deployment.options.data_dir.join("allocations");
    let mut options = deployment.options.clone();
    options.program = counted_daemon();
    let daemon = Daemon::start(&options.with("COUNTED_DAEMON_FILE", counts.display()));
    let host = host(&daemon);
    let mut connection = Connection::open(&host).await;
    let requests = plan.size(2_000, 10_000);
    let shown = |call: Call| Call { api_key: Some(Arc::clone(key)), ..call };
    // Orders that are changed often within a second refuse more, so there are many of them.
    let mut ids = Vec::new();
    for restaurant in 1..=requests / 16 {
        ids.push(order_id(&connection.ok(shown(Call::allocate(restaurant as u64))).await));
    }

    let mut health = None;
    let statuses = ["preparing", "ready"];
    let kinds: [(&str, Numbered<'_>); 5] = [
        ("GET /healthz", Box::new(|_| Call::get("/healthz"))),
        ("allocation", Box::new(|n| Call::allocate(1 + n as u64))),
        (
            "allocation with an Idempotency-Key",
            Box::new(|n| Call { idempotency_key: Some(format!("heap-{n}")), ..Call::allocate(1 + n as u64) }),
        ),
        ("change of status", Box::new(|n| Call::status(&ids[n % ids.len()], statuses[n / ids.len() % 2]))),
        ("look-up", Box::new(|n| Call::look_up(&ids[n % ids.len()]))),
    ];
    for (name, call) in kinds {
        let before = Heap::settled(&counts).await;
        for n in 0..requests {
            connection.ok(shown(call(n))).await;
        }
        let found = Heap::settled(&counts).await.each_since(before, requests);
        let beside = *health.get_or_insert(found);
        for (what, unit, part) in [("heap allocations", "", 0), ("heap bytes", "B", 1)] {
            let reference = Reference { name: "GET /healthz".to_owned(), value: Spread::once(beside[part]) };
            let is_bound = what == "heap allocations" && name == "allocation";
            let target = is_bound.then_some(Bound::AtMost(60.0)).and_then(Target::value);
            let (name, value) = (format!("{what}, {name}"), Spread::once(found[part]));
            report.figure(Figure { group: GROUP, name, unit, value, reference, target, by_round: None });
        }
    }
}

/// Built beside this program: `cargo build --release --example counted_daemon`, as `make bench` does.
fn counted_daemon() -> PathBuf {
    let this = std::env::current_exe().expect("this program is a file");
    let profile = this.ancestors().nth(2).expect("it lies in target/release/deps");
    let path = profile.join("examples/counted_daemon");
    assert!(path.exists(), "{} is missing; run `cargo build --release --example counted_daemon`", path.display());
    path
}

/// Heap allocations so far, and their bytes.
#[derive(Clone, Copy, PartialEq)]
struct Heap([u64; 2]);

impl Heap {
    /// When what was asked for has been counted: the daemon tells a hundred times a second.
    async fn settled(path: &PathBuf) -> Self {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let told = std::fs::read(path).expect("the daemon writes it");
        let number = |at: usize| u64::from_le_bytes(told[at..at + 8].try_into().expect("eight bytes"));
        Self([number(0), number(8)])
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn each_since(self, before: Self, requests: usize) -> [f64; 2] {
        [0, 1].map(|part| (self.0[part] - before.0[part]) as f64 / requests as f64)
    }
}
