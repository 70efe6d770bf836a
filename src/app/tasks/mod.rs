//! What the daemon does besides answering requests. [`table`] has all tasks with what wakes and stops them, [`driver`]
//! runs them, [`board`] knows how each one's last run ended. Each other file is a task: it reads how things stand, and
//! does a bounded piece of what there is to do.

mod board;
mod certificate;
mod clocks;
mod daemons;
mod dead_letters;
mod driver;
mod feed;
mod housekeeping;
mod keys;
mod metrics;
mod months;
mod names;
mod partitions;
mod screens;
mod survey;
mod survey_lease;
mod table;
mod usage;
mod write_behind;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{signal::unix::Signal, sync::Notify};
use tokio_util::sync::CancellationToken;

use self::table::{Need, TABLE};
pub(crate) use self::{
    driver::Tasks,
    table::{Stops, Task},
};
use crate::{config::Settings, http::Tls, service::Service};

/// What tasks are made of.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) service: Service,
    /// Whether this daemon has servers of its own.
    pub(crate) alone: bool,
    /// Whether callers are asked for API keys.
    pub(crate) keys_required: bool,
    /// The certificate, and the signal that asks for another look at its files.
    pub(crate) certificate: Option<(Arc<Tls>, Signal)>,
    pub(crate) metrics: PrometheusHandle,
    /// Is told when partitions were looked at.
    pub(crate) looked: Arc<Notify>,
}

impl Parts<'_> {
    fn has(&self, need: Need) -> bool {
        match need {
            Need::Redis | Need::Ledger => true,
            Need::Keys => self.keys_required,
            Need::Tls => self.certificate.is_some(),
            Need::Listener => false,
        }
    }
}

/// Starts each task of the table whose needs are met. Those that need the listener are the caller's to start.
pub(crate) fn start(mut parts: Parts<'_>, stop: &CancellationToken) -> Tasks {
    let mut tasks = Tasks::new();
    for row in TABLE.iter().filter(|row| row.needs.iter().all(|need| parts.has(*need))).collect::<Vec<_>>() {
        start_one(&mut tasks, row.task, &mut parts, stop);
    }
    tasks
}

fn start_one(tasks: &mut Tasks, task: Task, parts: &mut Parts<'_>, stop: &CancellationToken) {
    let (settings, service, to_stop) = (parts.settings, parts.service.clone(), stop.clone());
    match task {
        Task::Daemons => {
            let board = tasks.board().clone();
            tasks.spawn(daemons::Daemons::new(service, board), settings, stop);
        }
        Task::DeadLetters => tasks.spawn(dead_letters::DeadLetters(service.recovery), settings, stop),
        Task::Clocks => tasks.spawn(clocks::Clocks(service.upkeep), settings, stop),
        Task::Months => {
            let kept = settings.ledger.clone();
            tasks.spawn(months::Months { upkeep: service.upkeep, kept, stop: to_stop }, settings, stop);
        }
        Task::Names => tasks.spawn(names::Names::new(service.upkeep, to_stop), settings, stop),
        Task::Survey => {
            let cleanup_limit = if settings.cleanup.enabled { settings.cleanup.batch_size } else { 0 };
            tasks.spawn(survey::Survey { usage: service.usage, cleanup_limit, stop: to_stop }, settings, stop);
        }
        Task::SurveyLease => tasks.spawn(survey_lease::SurveyLease(service.usage), settings, stop),
        Task::Housekeeping => {
            tasks.spawn(
                housekeeping::Housekeeping { upkeep: service.upkeep, usage: service.usage, stop: to_stop },
                settings,
                stop,
            );
        }
        Task::Usage => tasks.spawn_loop(task, settings, |runs| usage::run(service.usage, to_stop, runs)),
        Task::WriteBehind => {
            let (writer, writes) = (write_behind::writer(&service, settings), settings.write_behind.enabled);
            tasks.spawn_loop(task, settings, |runs| write_behind::run(writer, writes, to_stop, runs));
            if !writes {
                tasks.board().stands_by(task);
            }
        }
        Task::Partitions => {
            let partitions = partitions::Partitions::new(service, parts.alone, parts.looked.clone());
            tasks.spawn(partitions, settings, stop);
        }
        Task::Metrics => tasks.spawn(metrics::Metrics(parts.metrics.clone()), settings, stop),
        Task::Keys => tasks.spawn(keys::Keys::new(service.keys), settings, stop),
        Task::Screens => {
            let keep_days = settings.ledger.retain_events_days;
            tasks.spawn(screens::Screens::new(service.screens, keep_days), settings, stop);
        }
        Task::Certificate => {
            if let Some((tls, asked)) = parts.certificate.take() {
                tasks.spawn(certificate::Certificate { tls, asked }, settings, stop);
            }
        }
        Task::Feed => tasks.spawn_loop(task, settings, |runs| feed::run(service.feed, to_stop, runs)),
        Task::Http => {}
    }
}
