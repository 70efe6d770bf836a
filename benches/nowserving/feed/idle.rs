//! What screens take that nothing is told: memory of their daemon, and CPU time for heartbeats.

use std::time::Duration;

use procfs::process::Process;

use super::{GROUP, restaurants, screens::Screens};
use crate::{
    Plan,
    client::{Call, Connection},
    cpu,
    deployment::{Deployment, host},
    report::{Bound, Figure, Reference, Report, Target},
    rounds::Spread,
    support::Daemon,
};

const SETTINGS: &[(&str, &str)] = &[
    ("NOWSERVING_HTTP_MAX_STREAMS", "12000"),
    ("NOWSERVING_HTTP_MAX_CONNECTIONS", "12000"),
    ("NOWSERVING_SURVEY_INTERVAL_SECONDS", "3600"),
];
/// Each stream has had a heartbeat then.
const A_HEARTBEAT: Duration = Duration::from_secs(11);

pub async fn measure(plan: &Plan, report: &mut Report) {
    let count = plan.size(2_000, 10_000);
    let deployment = Deployment::start(SETTINGS).await;
    let daemon = Daemon::start(&deployment.options);
    let connections = kept_alive(&daemon, count).await;
    drop(daemon);

    // Everything is warm, and the restaurants have their settings.
    Screens::open(&deployment.host(), restaurants(1, count)).await.close().await;
    let daemon = Daemon::start(&deployment.options);
    let host = host(&daemon);
    Connection::open(&host).await.ok(Call::get("/healthz")).await;
    let before = resident(&daemon);
    let screens = Screens::open(&host, restaurants(1, count)).await;
    tokio::time::sleep(A_HEARTBEAT).await;
    let used = || cpu::of_process(daemon.pid()) + cpu::of_process(deployment.redis.pid());
    let (after, begun) = (resident(&daemon), used());
    let time = Duration::from_secs(plan.size(5, 20));
    tokio::time::sleep(time).await;
    let with = used() - begun;
    screens.close().await;
    drop(daemon);
    let daemon = Daemon::start(&deployment.options);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = || cpu::of_process(daemon.pid()) + cpu::of_process(deployment.redis.pid());
    let begun = used();
    tokio::time::sleep(time).await;
    let without = used() - begun;

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let kib = (after - before) as f64 / 1024.0 / count as f64;
    let reference = Reference { name: "a connection that is kept alive".to_owned(), value: Spread::once(connections) };
    report.figure(Figure {
        group: GROUP,
        name: format!("memory of an idle screen, of {count}"),
        unit: "KiB",
        value: Spread::once(kib),
        reference,
        target: Target::value(Bound::AtMost(20.0)),
        by_round: None,
    });
    let percent = |used: Duration| Spread::once(used.as_secs_f64() / time.as_secs_f64() * 100.0);
    report.figure(Figure {
        group: GROUP,
        name: format!("daemon and Redis, share of a core, {count} idle screens"),
        unit: "%",
        value: percent(with),
        reference: Reference { name: "without them".to_owned(), value: percent(without) },
        target: None,
        by_round: None,
    });
    report.note(
        GROUP,
        "The memory of a screen is what the daemon's resident memory grows by while screens connect, two for each \
         restaurant, without live orders, after a heartbeat. The kernel's memory for sockets is not in it.",
    );
}

/// KiB of a connection that was used once and waits for its next request.
async fn kept_alive(daemon: &Daemon, count: u64) -> f64 {
    let host = host(daemon);
    let mut open = vec![Connection::open(&host).await];
    open[0].ok(Call::get("/healthz")).await;
    let before = resident(daemon);
    for _ in 0..count {
        let mut connection = Connection::open(&host).await;
        connection.ok(Call::get("/healthz")).await;
        open.push(connection);
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let kib = (resident(daemon) - before) as f64 / 1024.0 / count as f64;
    kib
}

/// Memory that a daemon has, in bytes.
fn resident(daemon: &Daemon) -> u64 {
    let pid = i32::try_from(daemon.pid()).expect("pids are small");
    let status = Process::new(pid).and_then(|process| process.status()).expect("the daemon runs");
    status.vmrss.expect("a process has memory") * 1024
}
