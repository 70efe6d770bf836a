//! `nowserving serve`: puts the daemon together, runs it, and takes it down in order.

use std::{collections::HashSet, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use futures_util::{StreamExt, stream::FuturesUnordered};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::stores::Stores;
use crate::{
    config::Settings,
    domain::{PartitionId, Timestamp},
    http::{self, AppState, Limits},
    metrics,
    service::{PARTITIONS_AT_A_TIME, Service},
    write_behind::{WriteBehind, WriteBehindSettings},
};

/// How often closed partitions are looked at, and open ones counted.
const PARTITIONS_EVERY: Duration = Duration::from_secs(1);

/// How often this daemon says that it runs, and looks whether another one is rebuilding something.
const TAKE_PART_EVERY: Duration = Duration::from_millis(250);

/// How long the start waits for partitions to be opened before callers are let in.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// How often the ledger's own housekeeping runs, and how many rows one step of it looks at.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);
const PURGE_STEP: u32 = 10_000;

/// How often the dead letters that wait are counted.
const DEAD_LETTERS_EVERY: Duration = Duration::from_secs(15);

/// How often the samples of histograms are folded into their buckets.
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// Months are made this far ahead.
const MONTHS_AHEAD_MS: i64 = 366 * 86_400_000;

/// A finished background task: its name, and why it ended.
type Ended = (&'static str, anyhow::Result<()>);

/// Runs the daemon until it is told to stop.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let metrics_handle = metrics::install().context("the metrics recorder cannot be installed")?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", settings.listen))?;
    // From here on, so that a signal during the start is not lost.
    let mut signals = Signals::new()?;
    let mut stores = tokio::select! {
        stores = Stores::start(settings) => stores?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    if let Err(error) = open(&stores, settings).await {
        stores.close().await;
        return Err(error);
    }

    let service = stores.service.clone();
    let (requests, background) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks: JoinSet<Ended> = JoinSet::new();
    let looked = Arc::new(Notify::new());
    tasks.spawn(take_part(service.clone(), background.clone()));
    tasks.spawn(count_dead_letters(service.clone(), background.clone()));
    tasks.spawn(keep_partitions_open(service.clone(), stores.local.is_some(), background.clone(), looked.clone()));
    spawn_background(&mut tasks, &service, settings, &background);
    tasks.spawn(fold_metrics(metrics_handle.clone(), background.clone()));
    let state = AppState {
        service: Arc::new(service),
        limits: limits(settings),
        metrics_render: Arc::new(move || metrics_handle.render()),
        changes: TaskTracker::new(),
    };
    let address = listener.local_addr()?;
    // So that the first caller is not turned away: the first look, and with private servers, whose partitions all get a
    // new generation, the quick rebuild that it leads to.
    let _ = tokio::time::timeout(FIRST_LOOK, looked.notified()).await;
    let server = http::serve(listener, state, requests.clone());
    tasks.spawn(async move { ("http", server.await.map_err(Into::into)) });
    println!("listening on http://{address}");
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "ready");

    let failure = tokio::select! {
        () = signals.next() => None,
        ended = tasks.join_next() => Some(unasked(ended)),
        reason = local_died(&mut stores) => Some(anyhow::anyhow!("a private server cannot be kept running: {reason}")),
    };
    let deadline = Instant::now() + settings.shutdown_deadline();
    let stopping = shut_down(stores, tasks, &requests, &background, deadline);
    tokio::select! {
        () = stopping => {}
        () = signals.next() => anyhow::bail!("stopped at once by a second signal; the next start writes what is left"),
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn open(stores: &Stores, settings: &Settings) -> anyhow::Result<()> {
    stores.check_level(settings.durability.level).await?;
    stores.open_partitions().await
}

/// First the requests, then the background work with the write-behind's last pass, then the servers.
async fn shut_down(
    stores: Stores,
    mut tasks: JoinSet<Ended>,
    requests: &CancellationToken,
    background: &CancellationToken,
    deadline: Instant,
) {
    tracing::info!("stopping: no new requests, finishing those under way");
    requests.cancel();
    // Requests get at most half of the time; the ledger gets the rest.
    let half = Instant::now() + (deadline - Instant::now()) / 2;
    let mut background_ended = 0;
    while let Ok(Some(ended)) = timeout_at(half, tasks.join_next()).await {
        match ended {
            Ok(("http", _)) => break,
            _ => background_ended += 1,
        }
    }
    tracing::info!(ended_early = background_ended, "stopping: writing what is left into the ledger");
    background.cancel();
    if timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("the shutdown deadline has passed; the next start writes what is left");
    }
    tasks.shutdown().await;
    stores.close().await;
    tracing::info!("stopped");
}

/// A task that ends before it was told to takes the daemon down: nothing goes on half alive.
fn unasked(ended: Option<Result<Ended, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok((name, Err(error)))) => error.context(format!("the {name} task failed")),
        Some(Ok((name, Ok(())))) => anyhow::anyhow!("the {name} task ended unasked"),
        Some(Err(error)) => anyhow::Error::new(error).context("a task panicked"),
        None => anyhow::anyhow!("no task is left"),
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        max_body_bytes: settings.http.max_body_bytes,
        request_timeout: Duration::from_millis(settings.http.request_timeout_ms),
        ..Limits::default()
    }
}

/// Resolves when a private server is beyond help; never, where there is none.
async fn local_died(stores: &mut Stores) -> String {
    match &mut stores.local {
        Some(local) => local.died().await,
        None => std::future::pending().await,
    }
}

fn spawn_background(tasks: &mut JoinSet<Ended>, service: &Service, settings: &Settings, stop: &CancellationToken) {
    let every = |name, period, work: fn(Service, CancellationToken, usize) -> Work| {
        let cleanup_limit = if settings.cleanup.enabled { settings.cleanup.batch_size } else { 0 };
        repeat(name, period, service.clone(), stop.clone(), cleanup_limit, work)
    };
    let survey_every = Duration::from_secs(settings.cleanup.interval_seconds);
    tasks.spawn(every("survey", survey_every, |service, stop, cleanup_limit| {
        Box::pin(async move { service.survey(cleanup_limit, &stop).await })
    }));
    tasks.spawn(every("housekeeping", HOUSEKEEPING_EVERY, |service, stop, _| {
        Box::pin(async move { keep_house(&service, &stop).await })
    }));
    let writer = WriteBehind::new(
        service.allocator().clone(),
        service.ledger().clone(),
        WriteBehindSettings {
            batch_size: settings.write_behind.batch_size,
            fill: Duration::from_millis(settings.write_behind.fill_ms),
            drain_deadline: settings.shutdown_deadline() / 2,
        },
    );
    let (writes, stop) = (settings.write_behind.enabled, stop.clone());
    tasks.spawn(async move {
        if writes {
            writer.run(stop).await
        } else {
            writer.watch(stop).await
        }
        ("write-behind", Ok(()))
    });
}

/// Histograms keep every sample until somebody renders them, and nobody may be scraping.
async fn fold_metrics(metrics: PrometheusHandle, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        metrics.run_upkeep();
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(METRICS_EVERY) => {}
        }
    }
    ("metrics", Ok(()))
}

/// Counts the dead letters that wait, for the metrics.
async fn count_dead_letters(service: Service, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        if let Err(error) = service.count_dead_letters().await {
            tracing::debug!(%error, "nobody knows just now how many dead letters wait");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(DEAD_LETTERS_EVERY) => {}
        }
    }
    ("dead letters", Ok(()))
}

/// Looks at closed partitions, each second and as soon as one closes. Those that need a rebuild get it beside the looks, so
/// that a long one does not keep others closed: whatever was the matter, the next look sees what is left to do. Says when
/// it has `looked`; with servers of its own (`alone`) when nothing is left to rebuild.
async fn keep_partitions_open(service: Service, alone: bool, stop: CancellationToken, looked: Arc<Notify>) -> Ended {
    let mut rebuilding: HashSet<PartitionId> = HashSet::new();
    let mut rebuilds = FuturesUnordered::new();
    while !stop.is_cancelled() {
        service.recheck().await;
        let waiting = match service.open_partitions_but(&rebuilding).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::warn!(task = "partitions", %error, "will try again");
                Vec::new()
            }
        };
        for partition in waiting {
            if rebuilds.len() < PARTITIONS_AT_A_TIME && rebuilding.insert(partition) {
                let service = service.clone();
                rebuilds.push(async move {
                    service.rebuild_partition(partition).await;
                    partition
                });
            }
        }
        if rebuilds.is_empty() || !alone {
            looked.notify_one();
        }
        let next_look = sleep(PARTITIONS_EVERY);
        tokio::pin!(next_look);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut next_look => break,
                () = service.allocator().partition_closed() => break,
                Some(partition) = rebuilds.next() => {
                    rebuilding.remove(&partition);
                    if rebuilds.is_empty() {
                        break;
                    }
                }
            }
        }
    }
    ("partitions", Ok(()))
}

/// Tells other daemons that this one runs, and helps with what they rebuild. A task of its own: two daemons that rebuild
/// wait for each other here.
async fn take_part(service: Service, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        if let Err(error) = service.take_part().await {
            tracing::debug!(%error, "other daemons do not know of this one just now");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(TAKE_PART_EVERY) => {}
        }
    }
    if let Err(error) = service.take_leave().await {
        tracing::debug!(%error, "other daemons will notice that this one has ended");
    }
    ("daemons", Ok(()))
}

type Work = std::pin::Pin<Box<dyn Future<Output = Result<(), crate::service::ServiceError>> + Send>>;

/// Repeats a piece of work that takes no input. A failure is logged; the next round tries again.
async fn repeat(
    name: &'static str,
    period: Duration,
    service: Service,
    stop: CancellationToken,
    cleanup_limit: usize,
    work: fn(Service, CancellationToken, usize) -> Work,
) -> Ended {
    loop {
        tokio::select! {
            () = stop.cancelled() => return (name, Ok(())),
            result = work(service.clone(), stop.clone(), cleanup_limit) => {
                if let Err(error) = result {
                    tracing::warn!(task = name, %error, "will try again");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return (name, Ok(())),
            () = sleep(period) => {}
        }
    }
}

/// Makes the months ahead, and removes the slots of numbers that have rested.
async fn keep_house(service: &Service, stop: &CancellationToken) -> Result<(), crate::service::ServiceError> {
    let ledger = service.ledger();
    let now: Timestamp = service.allocator().now();
    ledger.ensure_months(now, now.plus_ms(MONTHS_AHEAD_MS)).await?;
    while !stop.is_cancelled() && !ledger.purge_slots(PURGE_STEP).await?.wrapped {}
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
