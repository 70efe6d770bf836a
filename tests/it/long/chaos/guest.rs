//! A guest whose API key expires while things go wrong: it works until then, whatever the clocks say, and never again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::checker::Allowance;
use super::history::History;
use super::world::{World, make_key};
use crate::support::Api;

/// How long the key is good for.
const GOOD_SECONDS: u64 = 3;

/// Keys that are made until one has let a guest in.
const KEYS: usize = 5;

/// By how much the tills' clock and Redis's may differ over a run, where neither is set.
const SLACK_US: u64 = 200_000;

/// Uses the key all the time, until it is told to leave.
pub struct Guest {
    leave: oneshot::Sender<()>,
    visiting: JoinHandle<Visits>,
}

/// What came of it, by the clock of the tills.
#[derive(Debug, Default)]
pub struct Visits {
    /// The key was made within this time.
    made_us: (u64, u64),
    /// When each call began and ended, and its status.
    calls: Vec<(u64, u64, u16)>,
}

impl Guest {
    /// Makes a key that has let a guest in, and goes on with it. On a busy machine one may expire before it is first used.
    pub async fn invite(world: &World, history: &Arc<History>) -> Self {
        let mut visits = Visits::default();
        let mut apis = Vec::new();
        for _ in 0..KEYS {
            let begun_us = history.now_us();
            let key = make_key(&world.direct, &["--expires-in", &format!("{GOOD_SECONDS}s")]);
            visits = Visits { made_us: (begun_us, history.now_us()), calls: Vec::new() };
            apis = world.apis_for(&key);
            visits.visit(&apis[0], history).await;
            if visits.calls.iter().any(|(_, _, status)| *status == 200) {
                break;
            }
        }
        let history = Arc::clone(history);
        let (leave, mut left) = oneshot::channel();
        let visiting = tokio::spawn(async move {
            let mut turn = 0;
            while left.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                visits.visit(&apis[turn % apis.len()], &history).await;
                turn += 1;
                sleep(Duration::from_millis(30)).await;
            }
            visits
        });
        Self { leave, visiting }
    }

    pub async fn leave(self) -> Visits {
        // It has not left by itself.
        self.leave.send(()).ok();
        self.visiting.await.expect("a guest does not panic")
    }
}

impl Visits {
    async fn visit(&mut self, api: &Api, history: &History) {
        let begun_us = history.now_us();
        let asked = api.try_send("GET", "/v1/restaurants/1/slots", &[], None);
        if let Ok(Ok(answer)) = timeout(Duration::from_secs(3), asked).await {
            self.calls.push((begun_us, history.now_us(), answer.status));
        }
    }

    /// What was wrong.
    pub fn judge(&self, allowance: &Allowance) -> Vec<String> {
        // A key expires by the clock of Redis, whatever that is.
        if !allowance.jumps_us.is_empty() {
            return Vec::new();
        }
        let good_us = GOOD_SECONDS * 1_000_000;
        let (not_before, not_after) = (self.made_us.0 + good_us - SLACK_US, self.made_us.1 + good_us + SLACK_US);
        let mut wrong = Vec::new();
        for call @ (begun_us, ended_us, status) in &self.calls {
            let is_wrong = match status {
                401 => *ended_us < not_before,
                200..=299 => *begun_us > not_after,
                503 => false,
                _ => true,
            };
            if is_wrong {
                wrong.push(format!("a key that expires from {not_before} us to {not_after} us, used: {call:?}"));
            }
        }
        for (status, what) in [(200, "before"), (401, "after")] {
            if !self.calls.iter().any(|call| call.2 == status) {
                wrong.push(format!("no call with the key was answered with {status}, {what} it expired"));
            }
        }
        wrong
    }
}
