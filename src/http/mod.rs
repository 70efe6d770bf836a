//! The HTTP API: the only place that knows HTTP.
//!
//! `listen` accepts connections. A request gets the address and the method that it is meant to have (`spelling`), then
//! passes the `edge` (request id, limits, panics, metrics). It has the checks against web pages of strangers (`host`,
//! `same_origin`; `cors` for those that may call), the doorkeeper (`auth`, by the table in `access`), the table of
//! `conditions` and the queue (`load`). Then the route's extractors (`extract`) turn the request into domain types or refuse it. Its handler
//! calls one use case of the [`Service`], a `change` of something to its end. Whatever is not a success becomes a
//! `problem` with a [`Code`]. The `pages` for people use what all clients use. What a handler declares with `#[utoipa::path]` is what `/openapi.json` says.

mod api;
mod code;
mod edge;
mod etag;
mod extract;
mod listen;
mod openapi;
mod pages;
mod problem;
#[cfg(test)]
mod testing;

use std::{fmt, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, middleware};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::util::MapRequest;

use self::edge::{auth::Doorkeeper, host::Hosts};
pub(crate) use self::extract::settings_patch;
pub(crate) use self::listen::{Listening, Sockets, Tls, addresses_of};
pub(crate) use self::problem::Problem;
pub use self::{code::Code, openapi::openapi};
use crate::{
    config::HttpSettings,
    service::{ResetReason, Service},
};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct AppState {
    /// The use cases.
    pub service: Arc<Service>,
    /// What requests and connections may cost.
    pub settings: Arc<HttpSettings>,
    /// Renders all metrics for Prometheus.
    pub metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether callers need an API key. The ring of keys is then kept up to date elsewhere.
    pub keys_required: bool,
    /// The places that streams may take.
    pub streams: Arc<Semaphore>,
    /// Ends streams when the daemon stops: they would not end by themselves.
    pub closing: CancellationToken,
    /// Owns the changes under way: they go on when their client hangs up, so shutdown waits for them here.
    pub changes: TaskTracker,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The state as handlers take it: one reference count, whatever it grows to hold.
type SharedState = Arc<AppState>;

/// All routes, behind the middleware.
pub(crate) fn router(state: AppState) -> Router {
    let settings = state.settings.clone();
    let hosts = Hosts::new(settings.hosts.clone(), state.keys_required);
    let doorkeeper = match state.keys_required {
        true => Doorkeeper::asking_for_keys(state.service.clone()),
        false => Doorkeeper::without_keys(),
    };
    crate::metrics::problem_codes(Code::ALL.iter().map(|code| code.as_str()));
    crate::metrics::feed_reset_reasons(ResetReason::ALL.map(ResetReason::as_str));
    let routes = openapi::routes().split_for_parts().0.merge(openapi::documentation()).with_state(Arc::new(state));
    let routes = routes.merge(pages::routes(&settings.voice_dir));
    behind_the_edge(routes, settings, hosts, doorkeeper)
}

/// Puts routes behind the middleware, with problems for what they do not have.
fn behind_the_edge(routes: Router, settings: Arc<HttpSettings>, hosts: Hosts, doorkeeper: Doorkeeper) -> Router {
    let routes = routes
        .method_not_allowed_fallback(edge::method_not_allowed)
        .fallback(edge::not_found)
        .layer(middleware::from_fn_with_state(edge::Edge::new(settings, hosts, doorkeeper), edge::edge));
    // Around the routes and not a layer of them: it changes by what the route is found.
    Router::new().fallback_service(MapRequest::new(routes, edge::spelling::settle))
}

/// Serves until `shutdown`, then stops accepting, answers what has begun, and waits for the changes under way.
///
/// Sets no deadline of its own: the caller that shuts down knows how long there is.
pub(crate) async fn serve(sockets: Sockets, listening: Listening, state: AppState, shutdown: CancellationToken) {
    let changes = state.changes.clone();
    listen::serve(sockets, listening, router(state), shutdown).await;
    changes.close();
    changes.wait().await;
}

/// Counts and times one answer. `route` is the route's template, or `unmatched`; neither label grows with the callers.
fn observe(route: &str, method: &'static str, status: StatusCode, elapsed: Duration) {
    crate::metrics::http_answered(route, method, status.as_u16(), elapsed);
}
