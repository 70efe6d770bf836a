//! Export to an OpenTelemetry collector: OTLP over HTTP, in protobuf.
//!
//! A span that ends goes into a bounded queue; a thread of its own sends it, a batch at a time. Where the collector is
//! unreachable or slow the queue fills and spans are lost: requests never wait for any of this.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider as _,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use tokio::runtime::Handle;
use tracing::{Metadata, Span, Subscriber, subscriber::Interest};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, registry::LookupSpan};

use super::{EXPORTING, POSTGRES, REDIS, TraceParent};
use crate::{config::OtlpSettings, domain::Order};

/// The span that `http` makes for each request.
const REQUEST: &str = "request";

/// How long the collector may take for a batch.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// What a collector may answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How long the last batch may take when the daemon stops.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Spans that wait; what comes beyond them is lost.
const QUEUE: usize = 8192;
const BATCH: usize = 512;
const SEND_EVERY: Duration = Duration::from_secs(1);

/// A collector that is unreachable is complained of this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The export, from its start to its last batch.
#[derive(Debug)]
pub(crate) struct Export {
    provider: SdkTracerProvider,
}

impl Export {
    /// Begins to export; None where no collector is set. Sends over `runtime`, which must outlive it.
    ///
    /// # Errors
    /// Where the settings cannot be used.
    pub(crate) fn start(settings: &OtlpSettings, runtime: &Handle) -> anyhow::Result<Option<Self>> {
        if settings.endpoint.is_empty() {
            return Ok(None);
        }
        let client = {
            // It makes its connections there.
            let _within = runtime.enter();
            Sender(Client::builder(TokioExecutor::new()).build_http())
        };
        let otlp = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(settings.traces_url())
            .with_timeout(SEND_WITHIN)
            .build()
            .context("otlp.endpoint cannot be used")?;
        let exporter = Exporter { otlp: Arc::new(otlp), runtime: runtime.clone(), trouble: Mutex::default() };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            // Whether a trace is exported is for its first service to say, if that is known to us.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio))))
            .with_resource(resource)
            .build();
        EXPORTING.store(true, Ordering::Relaxed);
        Ok(Some(Self { provider }))
    }

    /// Takes the spans of this program; log lines are none.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        fn is_ours(metadata: &Metadata<'_>) -> bool {
            metadata.is_span()
                && metadata.target().starts_with("nowserving")
                && *metadata.level() <= tracing::Level::DEBUG
        }
        // "Sometimes", so that each span is asked for anew. For one that every layer always wants, the layers go by
        // what they said to the question before, whatever that was about. The log or the collector then loses it
        // (tracing's issue 2519).
        let ours = dynamic_filter_fn(|metadata, _| is_ours(metadata))
            .with_callsite_filter(|metadata| if is_ours(metadata) { Interest::sometimes() } else { Interest::never() });
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("nowserving"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // A span begins with the first one in it, or with its end, and not when it is entered: whose trace a
            // request belongs to is decided meanwhile.
            .with_context_activation(false)
            .with_target(false)
            .with_filter(ours)
    }

    /// Sends what waits, or as much of it as can be sent in two seconds.
    pub(crate) fn finish(self) {
        EXPORTING.store(false, Ordering::Relaxed);
        if let Err(error) = self.provider.shutdown_with_timeout(FINISH_WITHIN) {
            tracing::warn!(%error, "not all spans were exported");
        }
    }
}

/// Sends batches over HTTP/1.1: the collector is beside the daemon, and HTTP/2 would have to be compiled for it alone.
#[derive(Debug)]
struct Sender(Client<HttpConnector, Full<Bytes>>);

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answered = async {
            let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(SEND_WITHIN, answered).await?
    }
}

pub(super) fn begin(request: &Span) {
    let trace_id = request.context().span().span_context().trace_id();
    if trace_id != TraceId::INVALID {
        request.record("trace_id", tracing::field::display(trace_id));
    }
}

pub(super) fn follow(parent: &TraceParent) {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let caller = SpanContext::new(
        TraceId::from(parent.trace_id()),
        SpanId::from(parent.span_id()),
        flags,
        true,
        TraceState::default(),
    );
    // Fails for a span that is not exported, and for one that has begun.
    let _ = Span::current().set_parent(Context::new().with_remote_span_context(caller));
}

pub(super) fn name_order(order: &Order) {
    let span = Span::current();
    span.set_attribute("internal_order_id", order.id.to_string());
    span.set_attribute("restaurant_id", i64::from(order.restaurant().get()));
    if let Some(number) = order.formatted_number() {
        span.set_attribute("display_order_number", number);
    }
}

/// Sends batches over the runtime of the program: the SDK's own thread has none, and the client needs one.
struct Exporter {
    otlp: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    trouble: Mutex<Trouble>,
}

/// What there is to complain of.
#[derive(Default)]
struct Trouble {
    lost: usize,
    said_at: Option<Instant>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(dress);
        let (otlp, spans) = (self.otlp.clone(), batch.len());
        let sent = self.runtime.spawn(async move { otlp.export(batch).await }).await;
        let sent = sent.unwrap_or_else(|_| Err(OTelSdkError::InternalFailure("the program is ending".to_owned())));
        self.tell(&sent, spans);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(otlp) = Arc::get_mut(&mut self.otlp) {
            otlp.set_resource(resource);
        }
    }
}

impl Exporter {
    /// Once when it begins and each minute, not for every batch.
    fn tell(&self, sent: &OTelSdkResult, spans: usize) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match sent {
            Ok(()) if trouble.said_at.is_some() => {
                tracing::info!(lost = trouble.lost, "spans are exported again");
                *trouble = Trouble::default();
            }
            Ok(()) => {}
            Err(error) => {
                trouble.lost += spans;
                if trouble.said_at.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    trouble.said_at = Some(Instant::now());
                    tracing::warn!(%error, lost = trouble.lost, "spans cannot be exported: check otlp.endpoint");
                }
            }
        }
    }
}

/// Gives a span what collectors look at. Done here, where no request waits.
fn dress(span: &mut SpanData) {
    let value = |span: &SpanData, name: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
        found.map(|attribute| attribute.value.as_str().into_owned())
    };
    match span.name.as_ref() {
        REQUEST => {
            span.span_kind = SpanKind::Server;
            if let (Some(method), Some(route)) = (value(span, "method"), value(span, "route")) {
                span.name = format!("{method} {route}").into();
            }
            if value(span, "status").and_then(|status| status.parse().ok()).is_some_and(|status: u16| status >= 500) {
                span.status = Status::error(value(span, "code").unwrap_or_default());
            }
        }
        REDIS => {
            span.span_kind = SpanKind::Client;
            if let Some(script) = value(span, "script") {
                span.name = format!("redis {script}").into();
            }
        }
        POSTGRES => span.span_kind = SpanKind::Client,
        _ => {}
    }
}
