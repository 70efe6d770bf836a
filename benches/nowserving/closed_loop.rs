//! A closed loop: each client takes its next step when its last one is done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

/// One of those who go round.
pub trait Client: Send + 'static {
    /// The n-th step of all.
    fn step(&mut self, n: u64) -> impl Future<Output = ()> + Send;
}

/// What a closed loop did.
#[derive(Debug, Clone, Copy)]
pub struct Looped {
    pub answered: u64,
    pub took: Duration,
}

impl Looped {
    pub fn per_second(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let answered = self.answered as f64;
        answered / self.took.as_secs_f64()
    }
}

/// Lets the clients go round for so long.
pub async fn run<C: Client>(clients: Vec<C>, time: Duration) -> Looped {
    run_timed(clients, time).await.looped
}

/// Lets the clients take so many steps together.
pub async fn run_steps<C: Client>(clients: Vec<C>, steps: u64) -> Looped {
    go(clients, Steps::new(steps)).await.looped
}

/// As [`run`], with how long each step took.
pub async fn run_timed<C: Client>(clients: Vec<C>, time: Duration) -> Timed {
    let steps = Steps::new(u64::MAX);
    let ending = Arc::clone(&steps);
    let stop = async move {
        tokio::time::sleep(time).await;
        ending.end.store(0, Relaxed);
    };
    tokio::join!(go(clients, steps), stop).0
}

/// What a closed loop did, and how long its steps took, in µs.
pub struct Timed {
    pub looped: Looped,
    pub latencies: Histogram<u64>,
}

/// The number of the next step, and that of the first which is not taken.
struct Steps {
    next: AtomicU64,
    end: AtomicU64,
}

impl Steps {
    fn new(end: u64) -> Arc<Self> {
        Arc::new(Self { next: AtomicU64::new(0), end: AtomicU64::new(end) })
    }

    fn take(&self) -> Option<u64> {
        let step = self.next.fetch_add(1, Relaxed);
        (step < self.end.load(Relaxed)).then_some(step)
    }
}

async fn go<C: Client>(clients: Vec<C>, steps: Arc<Steps>) -> Timed {
    let started = Instant::now();
    let mut rounds = tokio::task::JoinSet::new();
    for mut client in clients {
        let steps = Arc::clone(&steps);
        rounds.spawn(async move {
            let mut latencies = Histogram::<u64>::new(3).expect("three digits are allowed");
            while let Some(step) = steps.take() {
                let begun = Instant::now();
                client.step(step).await;
                let micros = u64::try_from(begun.elapsed().as_micros()).expect("short");
                latencies.record(micros).expect("it grows by itself");
            }
            latencies
        });
    }
    let mut latencies = Histogram::<u64>::new(3).expect("three digits are allowed");
    for found in rounds.join_all().await {
        latencies.add(found).expect("it grows by itself");
    }
    Timed { looped: Looped { answered: latencies.len(), took: started.elapsed() }, latencies }
}
