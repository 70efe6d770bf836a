//! What the daemon does besides answering requests: one loop a task, each until it is told to stop.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    signal::unix::Signal,
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    allocator::Pulse,
    config::Settings,
    domain::PartitionId,
    http::Tls,
    service::{PARTITIONS_AT_A_TIME, RENEW_LEASE_EVERY, Retention, Sampler, Service, ServiceError},
    write_behind::{WriteBehind, WriteBehindSettings},
};

/// How often closed partitions are looked at, and open ones counted.
const PARTITIONS_EVERY: Duration = Duration::from_secs(1);

/// How often this daemon looks whether another one is rebuilding something, and how often it says that it runs.
const TAKE_PART_EVERY: Duration = Duration::from_millis(250);
const RUNS_EVERY: Duration = Duration::from_secs(1);

/// How often the ledger's own housekeeping runs.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);

/// How often the clocks are compared.
const CLOCKS_EVERY: Duration = Duration::from_secs(15);

/// How often the dead letters that wait are counted.
const DEAD_LETTERS_EVERY: Duration = Duration::from_secs(15);

/// How often the samples of histograms are folded into their buckets.
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// How often the files of the certificate are looked at.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(5);

/// A finished background task: its name, and why it ended.
pub(super) type Ended = (&'static str, anyhow::Result<()>);

/// Starts what every daemon does.
pub(super) fn spawn(tasks: &mut JoinSet<Ended>, service: &Service, settings: &Settings, stop: &CancellationToken) {
    tasks.spawn(take_part(service.clone(), stop.clone()));
    tasks.spawn(count_dead_letters(service.clone(), stop.clone()));
    tasks.spawn(compare_clocks(service.clone(), stop.clone()));
    tasks.spawn(keep_months(service.clone(), retention(settings), stop.clone()));
    let (cleanup, survey_every) = (&settings.cleanup, Duration::from_secs(settings.cleanup.interval_seconds));
    let cleanup_limit = if cleanup.enabled { cleanup.batch_size } else { 0 };
    tasks.spawn(survey(service.clone(), survey_every, cleanup_limit, stop.clone()));
    tasks.spawn(hold_survey_lease(service.clone(), stop.clone()));
    tasks.spawn(keep_house(service.clone(), stop.clone()));
    let (sampler, stop_sampling) = (Sampler::new(service.clone()), stop.clone());
    tasks.spawn(async move {
        sampler.run(stop_sampling).await;
        ("usage", Ok(()))
    });
    let writer = WriteBehind::new(
        service.allocator().clone(),
        service.ledger().clone(),
        WriteBehindSettings {
            batch_size: settings.write_behind.batch_size,
            transactions: settings.write_behind.transactions,
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

/// Waits so long, or until told to stop.
async fn pause(time: Duration, stop: &CancellationToken) {
    let _ = stop.run_until_cancelled(sleep(time)).await;
}

/// Histograms keep every sample until somebody renders them, and nobody may be scraping.
pub(super) async fn fold_metrics(metrics: PrometheusHandle, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        metrics.run_upkeep();
        pause(METRICS_EVERY, &stop).await;
    }
    ("metrics", Ok(()))
}

/// Counts the dead letters that wait, for the metrics.
async fn count_dead_letters(service: Service, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        if let Err(error) = service.count_dead_letters().await {
            tracing::debug!(%error, "nobody knows just now how many dead letters wait");
        }
        pause(DEAD_LETTERS_EVERY, &stop).await;
    }
    ("dead letters", Ok(()))
}

/// Compares the clocks, for the metrics, `/readyz` and what cannot be undone.
async fn compare_clocks(service: Service, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        if let Err(error) = service.compare_clocks().await {
            tracing::debug!(%error, "the clocks cannot be compared just now");
        }
        pause(CLOCKS_EVERY, &stop).await;
    }
    ("clocks", Ok(()))
}

/// Looks at closed partitions, each second and as soon as one closes. Those that need a rebuild get it beside the looks, so
/// that a long one does not keep others closed: whatever was the matter, the next look sees what is left to do. Says when
/// it has `looked`; with servers of its own (`alone`) when nothing is left to rebuild.
pub(super) async fn keep_partitions_open(
    service: Service,
    alone: bool,
    stop: CancellationToken,
    looked: Arc<Notify>,
) -> Ended {
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
    let mut pulse = Pulse::new(service.allocator().clone());
    while !stop.is_cancelled() {
        if let Err(error) = service.take_part().await {
            tracing::debug!(%error, "other daemons do not know of this one just now");
        }
        // Who builds a partition writes to Redis: where nothing is written, nobody asks for anything.
        let due = Instant::now() + RUNS_EVERY;
        loop {
            pause(TAKE_PART_EVERY, &stop).await;
            if stop.is_cancelled() || Instant::now() >= due || pulse.has_changed().await {
                break;
            }
        }
    }
    if let Err(error) = service.take_leave().await {
        tracing::debug!(%error, "other daemons will notice that this one has ended");
    }
    ("daemons", Ok(()))
}

pub(super) async fn keep_keys(service: Service, stop: CancellationToken) -> Ended {
    service.keep_keys(&stop).await;
    ("keys", Ok(()))
}

/// Looks at all restaurants, where this daemon is the one that does: again and again, and as soon as it is.
async fn survey(service: Service, every: Duration, cleanup_limit: usize, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            result = service.survey(cleanup_limit, &stop) => {
                if let Err(error) = result {
                    tracing::warn!(task = "survey", %error, "will try again");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = service.survey_due() => {}
            () = sleep(every) => {}
        }
    }
    ("survey", Ok(()))
}

/// Sees to it that one daemon surveys. A task of its own: a survey may take longer than its lease lasts.
async fn hold_survey_lease(service: Service, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        service.renew_survey_lease().await;
        pause(RENEW_LEASE_EVERY, &stop).await;
    }
    service.give_back_survey_lease().await;
    ("survey lease", Ok(()))
}

/// The ledger's own housekeeping. A failure is logged; the next round tries again.
async fn keep_house(service: Service, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            result = tidy_up(&service, &stop) => {
                if let Err(error) = result {
                    tracing::warn!(task = "housekeeping", %error, "will try again");
                }
            }
        }
        pause(HOUSEKEEPING_EVERY, &stop).await;
    }
    ("housekeeping", Ok(()))
}

/// Removes the slots of numbers that have rested, and sees to the samples of usage.
async fn tidy_up(service: &Service, stop: &CancellationToken) -> Result<(), ServiceError> {
    service.purge_rests(stop).await?;
    service.keep_usage().await
}

/// Makes the months ahead, and lets go of those that are older than is kept.
async fn keep_months(service: Service, retention: Retention, stop: CancellationToken) -> Ended {
    while !stop.is_cancelled() {
        if let Some(Err(error)) = stop.run_until_cancelled(service.keep_months(retention, &stop)).await {
            tracing::warn!(task = "months", %error, "will try again");
        }
        pause(HOUSEKEEPING_EVERY, &stop).await;
    }
    ("months", Ok(()))
}

/// Looks at the files of the certificate, each few seconds and when asked to.
pub(super) async fn keep_certificate(tls: Arc<Tls>, mut asked: Signal, stop: CancellationToken) -> Ended {
    loop {
        tokio::select! {
            () = stop.cancelled() => return ("certificate", Ok(())),
            _ = asked.recv() => {}
            () = sleep(CERTIFICATE_EVERY) => {}
        }
        tls.renew();
    }
}

fn retention(settings: &Settings) -> Retention {
    Retention { orders_days: settings.ledger.retain_orders_days, events_days: settings.ledger.retain_events_days }
}
