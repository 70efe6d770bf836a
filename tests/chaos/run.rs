//! Plays a plan, and judges what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nowserving::domain::PartitionId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::checker::{Allowance, Facts, Report, check};
use super::faults::Fault;
use super::history::{Action, Call, History, write_lines};
use super::load::{Load, partition_of, pool_facts, pools, sections};
use super::plan::{Plan, Step, Topology};
use super::stores::{self, Stores};
use super::world::{PARTITIONS, World};
use crate::support::Api;

/// How many tills there are.
const TILLS: u64 = 12;

/// How long everything may take to serve again once what was broken is mended.
const RECOVERY: Duration = Duration::from_secs(20);

/// How long the ledger may take to catch up.
const CATCHING_UP: Duration = Duration::from_secs(30);

/// How long the tills go on behind the last recovery.
const AFTERMATH: Duration = Duration::from_millis(1500);

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
    let unhappy = ["unavailable", "unknown"].iter().filter_map(|class| report.outcomes.get(class)).sum::<usize>();
    assert!(unhappy > 0 || report.slowest_ms >= 1000, "nobody noticed: {report}");
    report
}

impl Run {
    async fn play(mut self) -> Report {
        self.configure().await;
        let load = self.open_tills(TILLS, self.plan.seed);
        for step in self.plan.steps.clone() {
            self.wait_until(step.at).await;
            self.step(step).await;
            if !self.failures.is_empty() {
                break;
            }
        }
        self.wait_until(self.plan.length.max(self.history.elapsed() + AFTERMATH)).await;
        self.say("the tills close");
        load.end().await;
        self.judge().await
    }

    fn open_tills(&self, tills: u64, seed: u64) -> Load {
        let sections = sections((self.plan.topology == Topology::Cluster).then_some(PARTITIONS));
        Load::start(&self.world.urls(), &self.history, seed, tills, sections)
    }

    async fn configure(&self) {
        let api = Api::at(&self.world.urls()[0]);
        for (restaurant, settings) in pools() {
            api.configure(restaurant, settings).await;
        }
    }

    async fn wait_until(&self, at: Duration) {
        sleep(at.saturating_sub(self.history.elapsed())).await;
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
        sleep(lasts).await;
        crowd.end().await;
        self.expect_work(fault, lasts, struck_us);
        self.expect_orders_of(&spared, fault);
        fault.heal(&mut self.world).await;
        let mended = Instant::now();
        let recovered = self.recovered().await;
        let now_us = self.history.now_us();
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

    /// What is promised to go on, went on.
    fn expect_work(&mut self, fault: Fault, lasts: Duration, struck_us: u64) {
        // Within less, a single attempt may still wait for its answer.
        if lasts < Duration::from_secs(1) {
            return;
        }
        let created = |call: &Call| call.seen().is_some() && matches!(call.action, Action::Create { .. });
        let ended = |call: &Call| call.seen().is_some() && call.ends_order();
        if fault.orders_go_on() && self.history.count_since(struck_us, created) == 0 {
            self.failures.push(format!("no order was created: {fault}"));
        }
        if fault.releases_go_on() && self.history.count_since(struck_us, ended) == 0 {
            self.failures.push(format!("no order was ended: {fault}"));
        }
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

    async fn judge(mut self) -> Report {
        if self.failures.is_empty()
            && let Err(reason) = self.caught_up().await
        {
            self.failures.push(reason);
        }
        let mut masters = self.world.servers.masters().await.expect("Redis answers");
        let stores = Stores::read(&self.world.direct, &mut masters).await;
        let calls = self.history.calls();
        let facts = Facts { pools: pool_facts(), allowance: self.allowance.clone() };
        let report = check(&calls, &stores, &facts);
        self.say(&format!("judged\n{report}"));
        self.failures.iter().for_each(|failure| self.say(&format!("FAILURE: {failure}")));
        let good = self.failures.is_empty() && report.violations.is_empty();
        if !good || std::env::var_os("NOWSERVING_CHAOS_KEEP").is_some() {
            self.keep(&calls, &stores, &report);
        }
        let (failures, violations) = (self.failures.len(), report.violations.len());
        assert!(good, "seed {}: {failures} failures, {violations} violations; see above", self.plan.seed);
        assert!(report.outcomes.get("acknowledged").is_some_and(|count| *count > 100), "there was work: {report}");
        report
    }

    /// Writes down all that the judgement rests on.
    fn keep(&self, calls: &[Call], stores: &Stores, report: &Report) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("target/chaos/{}", self.plan.seed));
        std::fs::create_dir_all(&folder).expect("target can be written");
        write_lines(&folder.join("history.jsonl"), calls);
        write_lines(&folder.join("events.jsonl"), &stores.events);
        write_lines(&folder.join("stores.json"), [stores]);
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
