//! An open loop: every request has an intended time, and its latency counts from there, so that waiting for a free
//! connection or a slow answer is never left out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};
use tokio::sync::Semaphore;

use crate::client::{Connection, Site};

/// After the last intended time, for what was held up. What has not begun then is given up.
pub const GIVE_UP: Duration = Duration::from_secs(6);

/// What is to be sent, and how.
pub trait Work: Send + Sync + 'static {
    /// One of the requests.
    type Due: Copy + Send + Sync + 'static;

    fn send(&self, connection: &mut Connection, due: Self::Due) -> impl Future<Output = ()> + Send;
}

/// Sends each request at its time, in the order of the schedule, on whichever connection is free: how late the answer to
/// each was. Those that were given up are not among them.
pub async fn run<W: Work>(
    site: &Site,
    connections: usize,
    schedule: Vec<(Duration, W::Due)>,
    work: Arc<W>,
) -> Vec<(W::Due, Duration)> {
    let end = schedule.last().map_or(Duration::ZERO, |(at, _)| *at) + GIVE_UP;
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::to(site).await);
    }
    let (schedule, next, due) = (Arc::new(schedule), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let started = Instant::now();
    let (times, ready) = (Arc::clone(&schedule), Arc::clone(&due));
    // A thread of its own: the system wakes it within a fraction of the millisecond that tokio's timers are good for.
    std::thread::spawn(move || {
        let mut told = 0;
        while told < times.len() {
            std::thread::sleep(times[told].0.saturating_sub(started.elapsed()));
            let now = started.elapsed();
            let more = times[told..].iter().take_while(|(at, _)| *at <= now).count();
            ready.add_permits(more);
            told += more;
        }
        // Each connection finds the end.
        ready.add_permits(connections);
    });
    let mut clients = tokio::task::JoinSet::new();
    for mut connection in open {
        let (schedule, next, due, work) =
            (Arc::clone(&schedule), Arc::clone(&next), Arc::clone(&due), Arc::clone(&work));
        clients.spawn(async move {
            let mut found = Vec::new();
            while started.elapsed() < end {
                due.acquire().await.expect("it stays open").forget();
                let Some((at, request)) = schedule.get(next.fetch_add(1, Relaxed)).copied() else { break };
                work.send(&mut connection, request).await;
                found.push((request, started.elapsed().saturating_sub(at)));
            }
            found
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

/// Times of a Poisson process of so many a second.
pub fn arrivals(rate: f64, time: Duration, random: &mut StdRng) -> Vec<Duration> {
    let (mut found, mut at) = (Vec::new(), 0.0_f64);
    while at < time.as_secs_f64() {
        found.push(Duration::from_secs_f64(at));
        at -= (1.0 - random.random::<f64>()).ln() / rate;
    }
    found
}
