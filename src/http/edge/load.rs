//! Sheds load before latency collapses.
//!
//! So many requests are worked on at a time, and no more: Redis runs one script after the other, so those beyond a few
//! round trips' worth would only make every client wait. As many again wait for their turn, first come, first served; a
//! burst is smoothed out that way. One more is refused at once, and so is a request that has waited too long. How long
//! that is depends on the queue (as in CoDel): one that has not been empty for a whole timeout is no burst but an
//! overload. Waiting helps no client then, and a tenth of the timeout is long enough.
//!
//! A request that finds a permit at once pays for one atomic operation to get it and one to give it back.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::http::Method;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task_local,
    time::timeout,
};

use crate::metrics::{self, Counted, Shed};

/// What has to be answered however great the load is: a client that looks at a daemon in trouble must see it.
const NEVER_SHED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Requests whose answers are long: lists, and what is found by walking. They may take this part of the permits, so that
/// there are always some for the tills, however many screens look.
const LISTS: [&str; 10] = [
    "/v1/restaurants/{restaurant_id}/orders",
    // Until its head is there: a stream that runs takes no permit.
    "/v1/restaurants/{restaurant_id}/feed",
    "/v1/feed",
    "/v1/restaurants/{restaurant_id}/search",
    "/v1/restaurants/{restaurant_id}/events",
    "/v1/restaurants/{restaurant_id}/usage",
    "/v1/restaurants/{restaurant_id}/screen-sessions",
    "/v1/screens",
    "/v1/usage/top",
    "/api/orders/search",
];
const LISTS_DIVISOR: usize = 4;

/// In an overload, requests may wait for this part of the timeout.
const OVERLOAD_DIVISOR: u32 = 10;

/// How many requests there may be, and how many there are.
#[derive(Debug)]
pub(super) struct Load {
    all: Permits,
    /// Of these, those that lists may have.
    lists: Permits,
}

/// Permits of one kind, and the queue for them.
#[derive(Debug)]
struct Permits {
    permits: Arc<Semaphore>,
    queue: Mutex<Queue>,
    longest_queue: usize,
    queue_timeout: Duration,
}

#[derive(Debug)]
struct Queue {
    waiting: usize,
    /// When it was empty last; means nothing while it is.
    since: Instant,
}

/// A request that is worked on. Its permit is free again when all that it began has ended.
#[derive(Debug)]
pub(in crate::http) struct Admitted {
    _permit: OwnedSemaphorePermit,
    _of_lists: Option<OwnedSemaphorePermit>,
    _counted: Counted,
}

/// More is asked than can be done.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct Overloaded;

task_local! {
    static ADMITTED: Option<Arc<Admitted>>;
}

impl Load {
    /// At most `concurrent` requests at a time; as many again wait, for at most `queue_timeout`.
    pub(crate) fn new(concurrent: usize, queue_timeout: Duration) -> Self {
        let lists = concurrent.div_ceil(LISTS_DIVISOR);
        Self { all: Permits::new(concurrent, queue_timeout), lists: Permits::new(lists, queue_timeout) }
    }

    /// Gets a request a permit, perhaps after a wait; none is needed for what is never shed.
    pub(crate) async fn admit(&self, method: &Method, route: &str) -> Result<Option<Arc<Admitted>>, Overloaded> {
        if NEVER_SHED.contains(&route) {
            return Ok(None);
        }
        let is_list = *method != Method::POST && LISTS.contains(&route);
        let _of_lists = if is_list { Some(self.lists.take().await?) } else { None };
        let _permit = self.all.take().await?;
        Ok(Some(Arc::new(Admitted { _permit, _of_lists, _counted: metrics::request_in_flight() })))
    }
}

impl Permits {
    fn new(permits: usize, queue_timeout: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            queue: Mutex::new(Queue { waiting: 0, since: Instant::now() }),
            longest_queue: permits,
            queue_timeout,
        }
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        // Finds none while others wait: a permit that is given back goes to the first of them.
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => self.wait().await.inspect_err(|Overloaded| metrics::shed(Shed::Requests)),
        }
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        let (_waiting, patience) = self.line_up().ok_or(Overloaded)?;
        match timeout(patience, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Nothing closes it.
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }

    /// Takes a permit in the queue, and says how long to wait there; none where it is full.
    fn line_up(&self) -> Option<(Waiting<'_>, Duration)> {
        let mut queue = self.queue();
        if queue.waiting >= self.longest_queue {
            return None;
        }
        if queue.waiting == 0 {
            queue.since = Instant::now();
        }
        queue.waiting += 1;
        let overload = queue.since.elapsed() > self.queue_timeout;
        let patience = if overload { self.queue_timeout / OVERLOAD_DIVISOR } else { self.queue_timeout };
        Some((Waiting(self), patience))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic in between would leave a count that is right all the same.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit in the queue; given up too when the client hangs up meanwhile.
struct Waiting<'a>(&'a Permits);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.queue().waiting -= 1;
    }
}

/// Works on a request in its permit.
pub(in crate::http) async fn within<T>(admitted: Option<Arc<Admitted>>, work: impl Future<Output = T>) -> T {
    ADMITTED.scope(admitted, work).await
}

/// The permit of the request that is worked on here, for what goes on when its client hangs up: or else clients that
/// hang up and try again could have any number of changes under way.
pub(in crate::http) fn permit() -> Option<Arc<Admitted>> {
    ADMITTED.try_with(Clone::clone).ok().flatten()
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    const ROUTE: &str = "/v1/orders/{internal_order_id}";

    #[tokio::test]
    async fn the_queue_is_as_long_as_there_are_places() {
        let load = Load::new(2, Duration::from_secs(60));
        let first = load.admit(&Method::GET, ROUTE).await.expect("a permit");
        let second = load.admit(&Method::GET, ROUTE).await.expect("a permit");
        let (mut third, mut fourth) =
            (Box::pin(load.admit(&Method::GET, ROUTE)), Box::pin(load.admit(&Method::GET, ROUTE)));
        assert!(poll!(&mut third).is_pending() && poll!(&mut fourth).is_pending());
        assert_eq!(load.admit(&Method::GET, ROUTE).await.map(|_| ()), Err(Overloaded));
        assert!(load.admit(&Method::GET, "/readyz").await.is_ok_and(|permit| permit.is_none()));

        drop(first);
        assert!(poll!(&mut fourth).is_pending(), "first come, first served");
        let third = third.await.expect("a permit");
        // A client that hangs up leaves the queue.
        drop(fourth);
        assert_eq!(load.all.queue().waiting, 0);
        drop((second, third));
        assert_eq!(load.all.permits.available_permits(), 2);
    }

    #[tokio::test]
    async fn lists_leave_places_for_the_tills() {
        const LIST: &str = "/v1/restaurants/{restaurant_id}/orders";
        let load = Load::new(8, Duration::from_secs(60));
        let lists = [load.admit(&Method::GET, LIST).await, load.admit(&Method::GET, LIST).await];
        let mut waits = Box::pin(load.admit(&Method::GET, LIST));
        assert!(poll!(&mut waits).is_pending());
        let orders = [load.admit(&Method::POST, LIST).await, load.admit(&Method::GET, ROUTE).await];
        assert!(lists.iter().chain(&orders).all(Result::is_ok));
        drop(lists);
        assert!(waits.await.is_ok());
    }

    #[tokio::test]
    async fn a_queue_that_stays_makes_impatient() {
        let load = Load::new(3, Duration::from_millis(20));
        let (burst, patience) = load.all.line_up().expect("a permit in the queue");
        assert_eq!(patience, Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(21));
        let (overload, patience) = load.all.line_up().expect("a permit in the queue");
        assert_eq!(patience, Duration::from_millis(2));
        drop((burst, overload));
        assert_eq!(load.all.line_up().map(|(_, patience)| patience), Some(Duration::from_millis(20)));
    }

    #[tokio::test]
    async fn no_request_waits_for_ever() {
        let load = Load::new(1, Duration::from_millis(20));
        let permit = load.admit(&Method::GET, ROUTE).await.expect("a permit");
        assert_eq!(load.admit(&Method::GET, ROUTE).await.map(|_| ()), Err(Overloaded));
        drop(permit);
        assert!(load.admit(&Method::GET, ROUTE).await.is_ok());
    }

    #[tokio::test]
    async fn a_place_is_held_until_all_has_ended() {
        let load = Load::new(1, Duration::from_millis(1));
        let admitted = load.admit(&Method::GET, ROUTE).await.expect("a permit");
        let left_over = within(admitted, async { permit() }).await;
        assert_eq!(load.all.permits.available_permits(), 0);
        drop(left_over);
        assert_eq!(load.all.permits.available_permits(), 1);
        assert!(permit().is_none());
    }
}
