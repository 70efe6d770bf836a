//! What an allocation costs as the deployment grows: one, two and four daemons on one Redis and one Postgres, and one
//! daemon on a cluster of three masters with a replica each.
//!
//! A closed loop over 40,000 restaurants goes through all daemons at once. All of it shares the cores of one machine,
//! so more daemons cannot give out more numbers there: what counts is the CPU time that each number costs, and
//! whether it grows. It includes the writing into the ledger, which is waited for. Additional daemons come for their
//! measurement and go after it.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    Plan,
    client::{CONNECTIONS, Call, Site, closed_loop},
    cpu,
    deployment::{Deployment, drained, host},
    lives::{Lives, RESTAURANTS},
    report::{Axis, Figure, Plot, Reference, Report, Series},
    rounds::Spread,
    support::{Cluster, Daemon, DaemonOptions, OwnPostgres},
};

const GROUP: &str = "scale_out";
const DAEMONS: [usize; 3] = [1, 2, 4];
/// All restaurants are looked at once an hour and not every 15 seconds: that costs by time and not by allocation, and
/// would fall into some rounds and not into others.
const SELDOM: (&str, &str) = ("NOWSERVING_SURVEY_INTERVAL_SECONDS", "3600");
const PATIENCE: Duration = Duration::from_mins(2);

pub async fn measure(plan: &Plan, report: &mut Report) {
    let (rounds, time) = (3, Duration::from_secs(plan.size(2, 8)));
    let single = Deployment::start(&[SELDOM]).await;
    let cluster = Clustered::start().await;
    for options in [&single.options, &cluster.options] {
        Lives::join(options, plan).await.durable(PATIENCE).await;
    }
    let mut by_daemons = DAEMONS.map(|_| Rounds::default());
    let mut on_cluster = Rounds::default();
    for _ in 0..rounds {
        for (daemons, found) in DAEMONS.into_iter().zip(&mut by_daemons) {
            found.add(with_daemons(&single, daemons, time).await);
        }
        on_cluster.add(load(&[&cluster.daemon], &cluster.processes(), time).await);
    }
    let (by_daemons, on_cluster) = (by_daemons.map(Rounds::spreads), on_cluster.spreads());
    let [one, ..] = &by_daemons;
    for (daemons, costs) in DAEMONS.into_iter().zip(&by_daemons).skip(1) {
        costs.report(report, &format!("{daemons} daemons"), one, "1 daemon");
    }
    on_cluster.report(report, "cluster of 3 masters", one, "one Redis");
    add(
        report,
        "replicas' CPU, allocation, cluster of 3 masters",
        "µs",
        on_cluster.replicas,
        "its masters' CPU",
        on_cluster.redis,
    );
    report.plots.push(plot(&by_daemons));
    report.note(
        GROUP,
        "All daemons share one machine's cores with Redis, Postgres and the client, so the cost of an \
         allocation is what tells; the rates say only that nothing gets in the way of anything else. A master \
         of the cluster also feeds its replica, which the single Redis does not have. The survey of all \
         restaurants, which costs by time, is left out.",
    );
}

async fn with_daemons(deployment: &Deployment, count: usize, time: Duration) -> Cost {
    let others: Vec<Daemon> = (1..count).map(|_| Daemon::start(&deployment.options)).collect();
    let daemons: Vec<&Daemon> = [&deployment.daemon].into_iter().chain(&others).collect();
    let processes = Processes {
        daemons: daemons.iter().map(|daemon| daemon.pid()).collect(),
        masters: vec![deployment.redis.pid()],
        replicas: vec![],
        postgres: deployment.postgres.pid(),
    };
    let cost = load(&daemons, &processes, time).await;
    for other in others {
        let (status, output) = other.terminate();
        assert!(status.success(), "{status}: {output}");
    }
    cost
}

/// As a [`Deployment`], on a cluster.
struct Clustered {
    daemon: Daemon,
    cluster: Cluster,
    postgres: OwnPostgres,
    options: DaemonOptions,
}

impl Clustered {
    async fn start() -> Self {
        let (cluster, postgres) = (Cluster::start().await, OwnPostgres::start_durable().await);
        let mut options = DaemonOptions::local().with("NOWSERVING_LOG_FILTER", "warn").with(SELDOM.0, SELDOM.1);
        options.redis_url = Some(cluster.url());
        options.database_url = Some(postgres.create_database("bench").await);
        options.migrate();
        let daemon = Daemon::start(&options);
        Self { daemon, cluster, postgres, options }
    }

    fn processes(&self) -> Processes {
        let (masters, replicas) = self.cluster.nodes.split_at(3);
        Processes {
            daemons: vec![self.daemon.pid()],
            masters: masters.iter().map(|node| node.pid()).collect(),
            replicas: replicas.iter().map(|node| node.pid()).collect(),
            postgres: self.postgres.pid(),
        }
    }
}

/// The processes whose time is told.
struct Processes {
    daemons: Vec<u32>,
    masters: Vec<u32>,
    replicas: Vec<u32>,
    postgres: u32,
}

impl Processes {
    /// CPU time used so far: daemons, masters, replicas, Postgres.
    fn cpu(&self) -> [Duration; 4] {
        let all = |pids: &[u32]| pids.iter().map(|pid| cpu::of_process(*pid)).sum();
        [all(&self.daemons), all(&self.masters), all(&self.replicas), cpu::of_tree(self.postgres)]
    }
}

/// What one load found: allocations a second, and µs of CPU for each.
struct Cost {
    per_second: f64,
    micros: [f64; 4],
}

/// A closed loop through all daemons, and the writing into the ledger after it.
async fn load(daemons: &[&Daemon], processes: &Processes, time: Duration) -> Cost {
    let hosts: Vec<String> = daemons.iter().map(|daemon| host(daemon)).collect();
    let (shares, restaurants) = (hosts.len() as u64, u64::from(RESTAURANTS));
    let before = processes.cpu();
    let loops = hosts.iter().zip(0_u64..).map(|(host, share)| {
        closed_loop(host, CONNECTIONS / hosts.len(), time, move |n| {
            Call::allocate(1 + (n * shares + share) % restaurants)
        })
    });
    let looped = join_all(loops).await;
    drained(&Site::here(hosts[0].clone())).await;
    let after = processes.cpu();

    let allocations: u64 = looped.iter().map(|looped| looped.answered).sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |at: usize| (after[at] - before[at]).as_secs_f64() * 1e6 / allocations as f64;
    Cost { per_second: looped.iter().map(|looped| looped.per_second()).sum(), micros: [0, 1, 2, 3].map(each) }
}

#[derive(Default)]
struct Rounds(Vec<Cost>);

/// The rounds of one shape of the deployment.
struct Costs {
    per_second: Spread,
    daemons: Spread,
    redis: Spread,
    replicas: Spread,
    postgres: Spread,
    /// Without replicas.
    together: Spread,
}

impl Rounds {
    fn add(&mut self, cost: Cost) {
        self.0.push(cost);
    }

    fn spreads(self) -> Costs {
        let of = |value: fn(&Cost) -> f64| Spread::of(self.0.iter().map(value));
        Costs {
            per_second: of(|cost| cost.per_second),
            daemons: of(|cost| cost.micros[0]),
            redis: of(|cost| cost.micros[1]),
            replicas: of(|cost| cost.micros[2]),
            postgres: of(|cost| cost.micros[3]),
            together: of(|cost| cost.micros[0] + cost.micros[1] + cost.micros[3]),
        }
    }
}

impl Costs {
    fn report(&self, report: &mut Report, what: &str, beside: &Self, reference: &str) {
        for (name, unit, value, other) in [
            ("allocations", "/s", self.per_second, beside.per_second),
            ("daemons' CPU, allocation", "µs", self.daemons, beside.daemons),
            ("Redis masters' CPU, allocation", "µs", self.redis, beside.redis),
            ("Postgres' CPU, allocation", "µs", self.postgres, beside.postgres),
            ("CPU together, allocation", "µs", self.together, beside.together),
        ] {
            add(report, &format!("{name}, {what}"), unit, value, reference, other);
        }
    }
}

fn add(report: &mut Report, name: &str, unit: &'static str, value: Spread, reference: &str, beside: Spread) {
    let reference = Reference { name: reference.to_owned(), value: beside };
    report.figure(Figure { group: GROUP, name: name.to_owned(), unit, value, reference, target: None, by_round: None });
}

fn plot(by_daemons: &[Costs]) -> Plot {
    let series = |name: &str, value: fn(&Costs) -> Spread| {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let points = DAEMONS.iter().zip(by_daemons).map(|(daemons, costs)| (*daemons as f64, value(costs).median));
        Series { name: name.to_owned(), points: points.collect() }
    };
    Plot {
        group: GROUP,
        title: "CPU time of an allocation by number of daemons".to_owned(),
        x: Axis::linear("daemons"),
        y: Axis::linear("µs"),
        series: vec![
            series("daemons", |costs| costs.daemons),
            series("Redis", |costs| costs.redis),
            series("Postgres", |costs| costs.postgres),
        ],
    }
}
