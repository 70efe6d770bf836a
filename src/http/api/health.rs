//! What machines ask: alive, ready, metrics.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};

use super::views::{Health, ReadinessJson};
use crate::{
    http::{SharedState, problem::problems},
    service::Readiness,
};

problems!(ProbeProblems:);
problems!(ScrapeProblems: Unavailable);

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", tag = "operations", operation_id = "healthz",
    responses((status = 200, description = "It is.", body = Health), ProbeProblems),
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Can the service do its work?
#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "readyz",
    responses(
        (status = 200, description = "It can; with reasons, not for all restaurants.", body = ReadinessJson),
        ProbeProblems,
        (status = 503, description = "It cannot, for these reasons.", body = ReadinessJson),
    ),
)]
pub(crate) async fn readyz(State(state): State<SharedState>) -> (StatusCode, Json<ReadinessJson>) {
    let Readiness { ready, reasons, warnings } = state.service.recovery.readiness().await;
    if ready {
        (StatusCode::OK, Json(ReadinessJson { status: "ready", reasons, warnings }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(ReadinessJson { status: "not_ready", reasons, warnings }))
    }
}

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "All metrics.", body = String, content_type = "text/plain"), ScrapeProblems),
)]
pub(crate) async fn metrics(State(state): State<SharedState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics_render)())
}
