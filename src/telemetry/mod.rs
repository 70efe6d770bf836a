//! Traces across services: whose request this is a part of (W3C Trace Context), and spans for an OpenTelemetry
//! collector (feature `otlp`, setting `otlp.endpoint`). The only place that knows OpenTelemetry.
//!
//! Spans are those of `tracing`, at `info` for a request and at `debug` for a call to a store within it. Without a
//! collector the latter do not exist, and nothing here costs more than a look at a flag.

#[cfg(feature = "otlp")]
mod export;
mod parent;

#[cfg(feature = "otlp")]
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Level, Span};

#[cfg(feature = "otlp")]
pub(crate) use self::export::Export;
pub(crate) use self::parent::TraceParent;
use crate::domain::Order;

/// Names of spans.
const REDIS: &str = "redis";
const POSTGRES: &str = "postgres";

#[cfg(feature = "otlp")]
static EXPORTING: AtomicBool = AtomicBool::new(false);

#[cfg(feature = "otlp")]
fn is_exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// The span of a call of a script; none outside of a request, or where nothing records it.
#[must_use]
pub(crate) fn redis_span(script: &'static str) -> Span {
    // The first question is answered without looking for a span.
    if !tracing::span_enabled!(Level::DEBUG) || Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!(REDIS, script)
}

/// The span of a statement; none outside of a request, or where nothing records it.
#[must_use]
pub(crate) fn postgres_span() -> Span {
    if !tracing::span_enabled!(Level::DEBUG) || Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!(POSTGRES)
}

/// Begins the trace of a request whose caller names none: if spans are exported, one of its own, whose id the span gets
/// as `trace_id`. The span has not been entered yet.
///
/// Where the caller names one, the span waits for [`follow`], and is a trace of its own if that never comes. A caller
/// that is not known decides neither whether the request is exported nor, by choosing the trace's id, what is drawn for
/// it.
pub(crate) fn begin(request: &Span, parent: Option<&TraceParent>) {
    #[cfg(feature = "otlp")]
    if parent.is_none() && is_exporting() {
        export::begin(request);
    }
    #[cfg(not(feature = "otlp"))]
    let _ = (request, parent);
}

/// Makes the present request a part of its caller's trace, now that the caller is known to be good. Comes before the
/// first span within that of the request; later it does nothing.
pub(crate) fn follow(parent: Option<&TraceParent>) {
    #[cfg(feature = "otlp")]
    if let Some(parent) = parent
        && is_exporting()
    {
        export::follow(parent);
    }
    #[cfg(not(feature = "otlp"))]
    let _ = parent;
}

/// Says on the exported span of the present request which order it is about.
pub(crate) fn name_order(order: &Order) {
    #[cfg(feature = "otlp")]
    if is_exporting() {
        export::name_order(order);
    }
    #[cfg(not(feature = "otlp"))]
    let _ = order;
}
