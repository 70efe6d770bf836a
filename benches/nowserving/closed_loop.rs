//! A closed loop: each client takes its next step when its last one is done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

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
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let mut rounds = tokio::task::JoinSet::new();
    for mut client in clients {
        let (stop, begun) = (Arc::clone(&stop), Arc::clone(&begun));
        rounds.spawn(async move {
            let mut answered = 0;
            while !stop.load(Relaxed) {
                client.step(begun.fetch_add(1, Relaxed)).await;
                answered += 1;
            }
            answered
        });
    }
    tokio::time::sleep(time).await;
    stop.store(true, Relaxed);
    let answered = rounds.join_all().await.into_iter().sum();
    Looped { answered, took: started.elapsed() }
}
