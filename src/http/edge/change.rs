//! A change is worked on to its end, even where its client hangs up.
//!
//! axum drops a handler whose client hangs up, and the edge drops one that takes too long. A use case dropped between
//! two of its steps would be torn in two. So what a drop leaves goes on in a task of its own; nearly every change is
//! done before that, within its request, and costs no task.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::http::{HeaderMap, HeaderValue};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::Instrument;

use super::load;
use crate::{
    domain::RestaurantId,
    failpoint,
    http::{
        AppState, Code,
        extract::{AskedDurability, DURABILITY},
        problem::Problem,
    },
    service::{Reach, ServiceError},
};

/// What a change came to, or what it panicked with.
type Outcome<T> = Result<Result<T, Problem>, Box<dyn Any + Send>>;

/// A change under way. Dropped before its end, it goes on in a task.
struct Change<T: Send + 'static> {
    /// None once it has ended.
    work: Option<Pin<Box<dyn Future<Output = Outcome<T>> + Send>>>,
    tracker: TaskTracker,
    _counted: TaskTrackerToken,
}

impl<T: Send + 'static> Change<T> {
    fn new(tracker: &TaskTracker, work: impl Future<Output = Result<T, ServiceError>> + Send + 'static) -> Self {
        let permit = load::permit();
        // The error is turned into a problem inside the change: then it is logged even if no client waits for it any
        // more.
        let work = async move {
            let changed = work.await.map_err(Problem::from);
            drop(permit);
            changed
        };
        Self {
            work: Some(Box::pin(AssertUnwindSafe(work.in_current_span()).catch_unwind())),
            tracker: tracker.clone(),
            _counted: tracker.token(),
        }
    }
}

impl<T: Send + 'static> Future for Change<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let outcome = ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Change<T> {
    fn drop(&mut self) {
        // Without a runtime the program is ending, and all its tasks with it.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            self.tracker.spawn_on(work, &runtime);
        }
    }
}

/// Runs a change to its end.
pub(in crate::http) async fn to_the_end<T: Send + 'static>(
    changes: &TaskTracker,
    change: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, Problem> {
    let ended = Change::new(changes, change).await;
    failpoint::pass("before_reply");
    ended.unwrap_or_else(|panic| {
        tracing::error!(panic = panic_message(panic.as_ref()), "a change panicked");
        Err(Problem::plain(Code::Internal))
    })
}

/// Runs a change to its end, and on until it has reached the durability level that was asked for. Gives the headers
/// that say so, too.
pub(in crate::http) async fn at_level<T: Send + 'static>(
    state: &AppState,
    AskedDurability(level): AskedDurability,
    restaurant: Option<RestaurantId>,
    change: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
    reach: impl FnOnce(&T) -> Reach + Send + 'static,
) -> Result<(T, HeaderMap), Problem> {
    let levels = state.service.levels.clone();
    // In a box from the first: waiting for a level has room for it in several places, and would be copied with them.
    let change = Box::pin(change);
    let change = async move { levels.at_level(level, restaurant, change, reach).await };
    let (changed, level) = to_the_end(&state.changes, change).await?;
    // Room for what the handlers add.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(DURABILITY, HeaderValue::from_static(level.as_str()));
    Ok((changed, headers))
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_change_goes_on_when_its_client_hangs_up() {
        let changes = TaskTracker::new();
        let (go_on, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel::<()>();
        {
            let change = to_the_end(&changes, async move {
                let _ = gate.await;
                let _ = done.send(());
                Ok(())
            });
            tokio::pin!(change);
            assert!(futures_util::poll!(&mut change).is_pending());
        }
        go_on.send(()).expect("the change is still there");
        finished.await.expect("the change came to its end");
        changes.close();
        changes.wait().await;
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_a_change_within_its_request_and_behind_it() {
        let changes = TaskTracker::new();
        changes.close();
        let (go_on, gate) = oneshot::channel::<()>();
        let mut waiting;
        {
            let change = to_the_end(&changes, async move {
                let _ = gate.await;
                Ok(())
            });
            tokio::pin!(change);
            assert!(futures_util::poll!(&mut change).is_pending());
            waiting = Box::pin(changes.wait());
            assert!(futures_util::poll!(&mut waiting).is_pending(), "its request is there");
        }
        assert!(futures_util::poll!(&mut waiting).is_pending(), "its client has hung up");
        go_on.send(()).expect("the change is still there");
        waiting.await;
    }

    #[tokio::test]
    async fn a_change_that_panics_is_an_internal_problem() {
        let changes = TaskTracker::new();
        let problem = to_the_end::<()>(&changes, async { panic!("on purpose") }).await.expect_err("it panicked");
        assert_eq!(problem.code(), Code::Internal);
    }
}
