//! The HTTP API: the only place that knows HTTP.
//!
//! `listen` accepts connections. A request passes the `edge` (request id, limits, panics, metrics), in it the checks that
//! keep web pages of strangers out (`host`, `same_origin`), the doorkeeper (`auth`, by the table in `access`) and the queue
//! (`load`), then its route's extractors (`extract`) turn it into domain
//! types or refuse it, then its handler calls one use case of the [`Service`], a `change` of something to its
//! end. Whatever is not a success becomes a `problem` with a [`Code`]. What a handler declares with `#[utoipa::path]` is
//! what `/openapi.json` says.

mod access;
mod audit;
mod auth;
mod caller;
mod change;
mod code;
mod edge;
mod extract;
mod health;
mod host;
mod keys;
mod legacy;
mod listen;
mod load;
mod openapi;
mod orders;
mod pages;
mod problem;
mod restaurants;
mod same_origin;
#[cfg(test)]
mod testing;
mod usage;
mod views;

use std::{fmt, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, middleware};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{auth::Doorkeeper, host::Hosts};
pub use self::{
    code::{Code, FaultCode},
    edge::Limits,
    listen::{Listening, Tls, TlsError},
    openapi::openapi,
};
use crate::{domain::Authority, service::Service};

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
    /// Host names that the daemon goes by, besides those of its machine.
    pub hosts: Vec<Authority>,
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
    let hosts = Hosts::new(state.hosts.clone(), state.keys_required);
    let doorkeeper = match state.keys_required {
        true => Doorkeeper::asking_for_keys(state.service.clone()),
        false => Doorkeeper::of_an_open_house(),
    };
    crate::metrics::problem_codes(Code::ALL.iter().map(|code| code.as_str()));
    let routes = openapi::routes().split_for_parts().0.merge(openapi::documentation()).with_state(Arc::new(state));
    behind_the_edge(routes, limits, hosts, doorkeeper)
}

/// Puts routes behind the middleware, with problems for what they do not have.
fn behind_the_edge(routes: Router, limits: Limits, hosts: Hosts, doorkeeper: Doorkeeper) -> Router {
    routes
        .method_not_allowed_fallback(edge::method_not_allowed)
        .fallback(edge::not_found)
        .layer(middleware::from_fn_with_state(edge::Edge::new(limits, hosts, doorkeeper), edge::edge))
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
