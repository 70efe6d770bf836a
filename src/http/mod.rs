//! The HTTP API: the only place that knows HTTP.
//!
//! `listen` accepts connections. A request passes the `edge` (request id, limits, panics, metrics), in it the doorkeeper
//! (`auth`, by the table in `access`) and the queue (`load`), then its route's extractors (`extract`) turn it into domain
//! types or refuse it, then its handler calls one use case of the [`Service`]. Whatever is not a success becomes a
//! `problem` with a [`Code`]. What a handler declares with `#[utoipa::path]` is what `/openapi.json` says.

mod access;
mod audit;
mod auth;
mod caller;
mod code;
mod edge;
mod extract;
mod health;
mod keys;
mod legacy;
mod listen;
mod load;
mod openapi;
mod orders;
mod pages;
mod problem;
mod restaurants;
#[cfg(test)]
mod testing;
mod usage;
mod views;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use self::{
    auth::Doorkeeper,
    extract::{AskedDurability, DURABILITY},
    problem::Problem,
    views::OrderJson,
};
pub use self::{
    code::{Code, FaultCode},
    edge::Limits,
    listen::{Listening, Tls, TlsError},
    openapi::openapi,
};
use crate::{
    domain::RestaurantId,
    failpoint,
    service::{Extent, Service, ServiceError},
};

/// What the handlers share.
#[derive(Clone)]
pub struct AppState {
    /// The use cases.
    pub service: Arc<Service>,
    /// What a request may cost.
    pub limits: Limits,
    /// Renders all metrics for Prometheus.
    pub metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether callers need an API key. The ring of keys is then kept up to date by somebody else.
    pub keys_required: bool,
    /// Owns the changes under way: they go on when their client hangs up, so shutdown waits for them here.
    pub changes: TaskTracker,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The state as handlers take it: one reference count, whatever it grows to hold.
type Shared = Arc<AppState>;

/// All routes, behind the middleware.
pub fn router(state: AppState) -> Router {
    let limits = state.limits;
    let doorkeeper = match state.keys_required {
        true => Doorkeeper::asking_for_keys(state.service.clone()),
        false => Doorkeeper::of_an_open_house(),
    };
    crate::metrics::problem_codes(Code::ALL.iter().map(|code| code.as_str()));
    let routes = openapi::routes().split_for_parts().0.merge(openapi::documentation()).with_state(Arc::new(state));
    behind_the_edge(routes, limits, doorkeeper)
}

/// Puts routes behind the middleware, with problems for what they do not have.
fn behind_the_edge(routes: Router, limits: Limits, doorkeeper: Doorkeeper) -> Router {
    routes
        .method_not_allowed_fallback(edge::method_not_allowed)
        .fallback(edge::not_found)
        .layer(middleware::from_fn_with_state(edge::Edge::new(limits, doorkeeper), edge::edge))
}

/// Serves until `shutdown`, then stops accepting, answers what has begun, and waits for the changes under way.
///
/// Sets no deadline of its own: whoever shuts down knows how long there is.
pub async fn serve(listener: TcpListener, listening: Listening, state: AppState, shutdown: CancellationToken) {
    let changes = state.changes.clone();
    listen::serve(listener, listening, router(state), shutdown).await;
    changes.close();
    changes.wait().await;
}

/// Counts and times one answer. `route` is the route's template, or `unmatched`; neither label grows with the callers.
fn observe(route: &str, method: &'static str, status: StatusCode, elapsed: Duration) {
    crate::metrics::http_answered(route, method, status.as_u16(), elapsed);
}

/// Runs a change to its end in a task of its own.
///
/// axum drops a handler whose client hangs up, and the edge drops one that takes too long. A use case dropped between
/// two of its steps would be torn in two.
async fn to_the_end<T: Send + 'static>(
    changes: &TaskTracker,
    change: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, Problem> {
    let place = load::place();
    // The error is turned into a problem inside the task: then it is logged even if nobody waits for it any more.
    let change = async move {
        let changed = change.await.map_err(Problem::from);
        drop(place);
        changed
    };
    let task = changes.spawn(change.in_current_span());
    let ended = task.await;
    failpoint::pass("before_reply");
    ended.unwrap_or_else(|error| {
        let panic = error.try_into_panic().ok();
        let panic = panic.as_deref().map_or("the task was cancelled", |panic| edge::panic_message(panic));
        tracing::error!(panic, "a change panicked");
        Err(Problem::plain(Code::Internal))
    })
}

/// Runs a change to its end, and on until it has reached the durability level that was asked for. Gives the headers that
/// say so, too.
async fn at_level<T: Send + 'static>(
    state: &AppState,
    AskedDurability(level): AskedDurability,
    restaurant: Option<RestaurantId>,
    change: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
    extent: impl FnOnce(&T) -> Extent + Send + 'static,
) -> Result<(T, HeaderMap), Problem> {
    let service = state.service.clone();
    let change = async move { service.at_level(level, restaurant, change, extent).await };
    let (changed, level) = to_the_end(&state.changes, change).await?;
    // Room for what the handlers add.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(DURABILITY, HeaderValue::from_static(level.as_str()));
    Ok((changed, headers))
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
    async fn a_change_that_panics_is_an_internal_problem() {
        let changes = TaskTracker::new();
        let problem = to_the_end::<()>(&changes, async { panic!("on purpose") }).await.expect_err("it panicked");
        assert_eq!(problem.code(), Code::Internal);
    }
}
