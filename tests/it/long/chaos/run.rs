//! Plays a plan, and judges what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nowserving::domain::PartitionId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::checker::{Allowance, Facts, Report, check, without_glimpses};
use super::faults::Fault;
use super::guest::{Guest, Visits};
use super::history::{Action, Call, History, write_lines};
use super::load::{Load, partition_of, pool_facts, pools, sections};
use super::plan::{Plan, Step, Topology};
use super::screens::Screens;
use super::stores::{self, Stores};
use super::world::{FORGOTTEN, PARTITIONS, World};

/// How many tills there are.
const TILLS: u64 = 12;

/// How far back settings may be lost with Redis's data: the ledger has what is older.
const UNRECORDED_US: u64 = 3_000_000;

/// How long everything may take to serve again once what was broken is mended.
const RECOVERY: Duration = Duration::from_secs(20);

/// How long the ledger may take to catch up.
const CATCHING_UP: Duration = Duration::from_secs(30);

/// How often an answer of Redis is lost, all the time.
const LOSS: Duration = Duration::from_millis(40);

/// How often while Redis is far away: a connection is of use only some round trips after it was made.
const LOSS_FAR_AWAY: Duration = Duration::from_millis(400);

/// How long the tills go on behind the last recovery.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// So many orders are there before anything is broken.
const ORDERS_TO_BEGIN_WITH: usize = 20;

/// A run under way.
struct Run {
    plan: Plan,
    world: World,
    history: Arc<History>,
    rng: StdRng,
    allowance: Allowance,
    /// Expectations that were not met; the stores are looked at all the same.
    failures: Vec<String>,
}

/// Plays a plan; panics when a promise was broken.
pub async fn play(plan: Plan) -> Report {
    println!("{plan}");
    let run = Run {
        world: World::start(&plan).await,
        history: Arc::new(History::begin()),
        rng: StdRng::seed_from_u64(plan.seed),
        allowance: Allowance::default(),
        failures: Vec::new(),
        plan,
    };
    run.play().await
}

/// As [`play`], for faults that callers cannot but notice, or wait for: a fault without effect would show nothing.
pub async fn play_noticed(plan: Plan) -> Report {
    let report = play(plan).await;
    assert!(report.unhappy > 0 || report.slowest_ms >= 1000, "no till noticed: {report}");
    report
}

impl Run {
    async fn play(mut self) -> Report {
        self.configure().await;
        let guest = self.invite_guest().await;
        let screens = Screens::put_up(&self.world, self.plan.seed);
        let load = self.open_tills(TILLS, self.plan.seed);
        for step in self.plan.steps.clone() {
            self.wait_until(step.at, LOSS).await;
            self.wait_for_orders().await;
            self.step(step).await;
            if !self.failures.is_empty() {
                break;
            }
        }
        self.wait_until(self.plan.length.max(self.history.elapsed() + AFTERMATH), LOSS).await;
        self.say("the tills close");
        load.end().await;
        let visits = guest.leave().await;
        self.judge(visits, screens).await
    }

    /// A guest whose API key expires in the middle.
    async fn invite_guest(&self) -> Guest {
        Guest::invite(&self.world, &self.history).await
    }

    fn open_tills(&self, tills: u64, seed: u64) -> Load {
        let sections = sections((self.plan.topology == Topology::Cluster).then_some(PARTITIONS));
        Load::start(self.world.apis(), &self.history, seed, tills, sections)
    }

    async fn configure(&self) {
        let api = &self.world.apis()[0];
        for (restaurant, settings) in pools() {
            api.configure(restaurant, settings).await;
        }
    }

    /// Meanwhile answers of Redis get lost.
    async fn wait_until(&mut self, at: Duration, loss: Duration) {
        loop {
            let left = at.saturating_sub(self.history.elapsed());
            sleep(left.min(loss)).await;
            if left <= loss {
                // Nothing more is lost: a daemon that is started now would end.
                self.world.lose_no_more();
                return;
            }
            self.world.lose_an_answer(&mut self.rng).await;
        }
    }

    /// What is broken shows nothing while there is nothing to be ended, as on a machine that is slow to begin.
    async fn wait_for_orders(&self) {
        let created = |call: &Call| call.seen().is_some() && matches!(call.action, Action::Create { .. });
        let start = Instant::now();
        while self.history.count_since(0, created) < ORDERS_TO_BEGIN_WITH && start.elapsed() < RECOVERY {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Breaks something, mends it, and waits until all is well.
    async fn step(&mut self, step: Step) {
        let Step { fault, lasts, .. } = step;
        self.say(&format!("{fault}"));
        let crowd = self.open_tills(self.plan.crowd, !self.plan.seed);
        let begun_us = self.history.now_us();
        fault.inject(&mut self.world, &mut self.rng).await;
        let struck_us = self.history.now_us();
        let spared = self.world.servers.spared().await;
        if let Some(unwritten) = fault.may_lose(self.plan.level) {
            let unwritten_us = u64::try_from(unwritten.as_micros()).expect("short");
            self.allowance.spans_us.push(struck_us.saturating_sub(unwritten_us)..=struck_us);
        }
        let loss = if matches!(fault, Fault::RedisDelayed { .. }) { LOSS_FAR_AWAY } else { LOSS };
        self.wait_until(self.history.elapsed() + lasts, loss).await;
        self.wait_for_work(fault, lasts, struck_us).await;
        crowd.end().await;
        self.expect_work(fault, lasts, struck_us);
        self.expect_orders_of(&spared, fault);
        let healing_us = self.history.now_us();
        fault.heal(&mut self.world).await;
        let mended = Instant::now();
        if fault.sets_clock_of_redis() {
            let healed_us = self.history.now_us();
            self.allowance.jumps_us.extend(match fault {
                Fault::ClocksDrift => vec![begun_us..=healed_us],
                _ => vec![begun_us..=struck_us, healing_us..=healed_us],
            });
        }
        let recovered = self.recovered().await;
        let now_us = self.history.now_us();
        if fault.may_lose_settings() {
            // On a slow machine one fail-over may lead to another; one Redis loses nothing more.
            let until_us = if self.plan.topology == Topology::One { struck_us } else { now_us };
            self.allowance.settings_us.push(struck_us.saturating_sub(UNRECORDED_US)..=until_us);
        }
        if fault.has_two_masters() {
            self.allowance.two_masters_us.push(begun_us..=now_us);
        }
        match recovered {
            Ok(()) => self.say(&format!(
                "all serve again, {} ms after it was mended, {} ms after it struck",
                mended.elapsed().as_millis(),
                (now_us - struck_us) / 1000
            )),
            Err(reason) => {
                self.say(&format!("no recovery: {reason}"));
                self.failures.push(format!("{RECOVERY:?} after it was mended ({fault}), still: {reason}"));
            }
        }
    }

    /// A slow machine gets more time for what is promised to go on.
    async fn wait_for_work(&self, fault: Fault, lasts: Duration, struck_us: u64) {
        let start = Instant::now();
        while !self.missing_work(fault, lasts, struck_us).is_empty() && start.elapsed() < RECOVERY {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What is promised to go on, went on.
    fn expect_work(&mut self, fault: Fault, lasts: Duration, struck_us: u64) {
        let missing = self.missing_work(fault, lasts, struck_us);
        self.failures.extend(missing.iter().map(|what| format!("no order was {what}: {fault}")));
    }

    fn missing_work(&self, fault: Fault, lasts: Duration, struck_us: u64) -> Vec<&'static str> {
        // Within less, a single attempt may still wait for its answer.
        if lasts < Duration::from_secs(1) {
            return Vec::new();
        }
        let created = |call: &Call| call.seen().is_some() && matches!(call.action, Action::Create { .. });
        let ended = |call: &Call| call.seen().is_some() && call.ends_order();
        let has_created = !fault.orders_go_on() || self.history.count_since(struck_us, created) > 0;
        let has_ended = !fault.releases_go_on() || self.history.count_since(struck_us, ended) > 0;
        [(has_created, "created"), (has_ended, "ended")]
            .into_iter()
            .filter_map(|(has, what)| (!has).then_some(what))
            .collect()
    }

    /// Partitions of other masters go on: each of them made orders in the last second.
    fn expect_orders_of(&mut self, partitions: &[PartitionId], fault: Fault) {
        let since_us = self.history.now_us().saturating_sub(1_000_000);
        for partition in partitions {
            let made_there = |call: &Call| {
                let created = call.seen().is_some() && matches!(call.action, Action::Create { .. });
                created && partition_of(call.restaurant, PARTITIONS) == *partition
            };
            let made = self.history.count_since(since_us, made_there);
            self.say(&format!("{made} orders were made in partition {partition} within a second meanwhile"));
            if made == 0 {
                self.failures.push(format!("no order was created in partition {partition}: {fault}"));
            }
        }
    }

    /// Waits until all is served again, and the ledger has what was there by then: the next fault may be one that only
    /// the ledger and the daemons that live now survive.
    async fn recovered(&self) -> Result<(), String> {
        let restaurants: Vec<u32> = pools().into_keys().collect();
        let start = Instant::now();
        loop {
            match self.world.serves(&restaurants).await {
                Err(reason) if start.elapsed() > RECOVERY => return Err(reason),
                Err(_) => sleep(Duration::from_millis(50)).await,
                Ok(()) => return self.caught_up().await,
            }
        }
    }

    /// Waits until the ledger has everything that Redis has now.
    async fn caught_up(&self) -> Result<(), String> {
        let pool = stores::connect(&self.world.direct).await;
        let mut heads = BTreeMap::new();
        for mut master in self.world.servers.masters().await.map_err(|error| error.to_string())? {
            let some = stores::heads(&mut master, &self.world.direct.namespace).await;
            heads.extend(some.map_err(|error| error.to_string())?);
        }
        let start = Instant::now();
        loop {
            let ledger = stores::progress(&pool).await.map_err(|error| error.to_string())?;
            let has = |(partition, head)| ledger.get(partition).is_some_and(|recorded| recorded >= head);
            if heads.iter().all(has) {
                return Ok(());
            }
            if start.elapsed() > CATCHING_UP {
                return Err(format!("the ledger does not catch up: it is at {ledger:?}, Redis was at {heads:?}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until clean-up has ended what was forgotten.
    async fn cleaned_up(&self) -> Result<(), String> {
        let pool = stores::connect(&self.world.direct).await;
        let start = Instant::now();
        loop {
            let expired = stores::expired(&pool).await.map_err(|error| error.to_string())?;
            if expired >= i64::from(FORGOTTEN) {
                return Ok(());
            }
            if start.elapsed() > CATCHING_UP {
                return Err(format!("of {FORGOTTEN} orders that were forgotten {expired} have expired"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn judge(mut self, visits: Visits, screens: Screens) -> Report {
        self.failures.extend(visits.judge(&self.allowance));
        for waited in [self.cleaned_up().await, self.caught_up().await] {
            if let Err(reason) = waited {
                self.failures.push(reason);
            }
        }
        let mut masters = self.world.servers.masters().await.expect("Redis answers");
        let stores = Stores::read(&self.world.direct, &mut masters).await;
        let calls = without_glimpses(self.history.calls(), &stores);
        let screens = screens.take_down(&stores).await.unwrap_or_else(|reason| {
            self.failures.push(reason);
            Vec::new()
        });
        let allowance = self.allowance.clone();
        let facts = Facts { pools: pool_facts(), allowance, forgotten: FORGOTTEN, screens };
        let mut report = check(&calls, &stores, &facts);
        report.unhappy = self.unhappy(&calls);
        self.say(&format!("judged\n{report}"));
        self.failures.iter().for_each(|failure| self.say(&format!("FAILURE: {failure}")));
        let good = self.failures.is_empty() && report.violations.is_empty();
        if !good || std::env::var_os("NOWSERVING_CHAOS_KEEP").is_some() {
            self.keep(&calls, &stores, &facts, &report);
        }
        let (failures, violations) = (self.failures.len(), report.violations.len());
        assert!(good, "seed {}: {failures} failures, {violations} violations; see above", self.plan.seed);
        assert!(report.outcomes.get("acknowledged").is_some_and(|count| *count > 100), "there was work: {report}");
        report
    }

    /// How many calls failed while faults lasted, and right after.
    fn unhappy(&self, calls: &[Call]) -> usize {
        let first_us =
            self.plan.steps.first().map_or(u64::MAX, |step| u64::try_from(step.at.as_micros()).expect("short"));
        let failed =
            |call: &&Call| call.ended_us >= first_us && ["unavailable", "unknown"].contains(&call.outcome.class());
        calls.iter().filter(failed).count()
    }

    /// Writes down all that the judgement rests on.
    fn keep(&self, calls: &[Call], stores: &Stores, facts: &Facts, report: &Report) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("target/chaos/{}", self.plan.seed));
        std::fs::create_dir_all(&folder).expect("target can be written");
        write_lines(&folder.join("history.jsonl"), calls);
        write_lines(&folder.join("events.jsonl"), &stores.events);
        write_lines(&folder.join("stores.json"), [stores]);
        write_lines(&folder.join("screens.txt"), facts.screens.iter().map(|screen| format!("{screen:?}")));
        write_lines(&folder.join("violations.jsonl"), &report.violations);
        let text = format!("{}\n{:#?}\n{report}", self.plan, self.failures);
        std::fs::write(folder.join("report.txt"), text).expect("target can be written");
        for (at, log) in self.world.logs().iter().enumerate() {
            std::fs::write(folder.join(format!("daemon-{at}.log")), log).expect("target can be written");
        }
        self.say(&format!("all of it is in {}", folder.display()));
    }

    fn say(&self, what: &str) {
        println!("[{}] {:7.2} s  {what}", self.plan.seed, self.history.elapsed().as_secs_f64());
    }
}
