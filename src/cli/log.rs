//! Logging: to the error output, as text or as JSON. Spans go to a collector, too, where one is set.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt};

use crate::config::{LogFormat, LogSettings, MovedKey};

/// Installs the logger for the whole process.
pub(super) fn init(settings: &LogSettings) -> anyhow::Result<()> {
    // One filter for everything is quicker than one for a layer.
    let subscriber = tracing_subscriber::registry().with(filter(settings)?).with(lines(settings));
    subscriber.try_init().map_err(not_installed)
}

/// As [`init`], with spans for a collector: they do not depend on what is logged.
#[cfg(feature = "otlp")]
pub(super) fn init_with_export(settings: &LogSettings, export: &crate::telemetry::Export) -> anyhow::Result<()> {
    let lines = lines(settings).with_filter(filter(settings)?);
    tracing_subscriber::registry().with(lines).with(export.layer()).try_init().map_err(not_installed)
}

/// Warns of old keys: when they were read there was no logger.
pub(super) fn tell(moved: &[MovedKey]) {
    for key in moved {
        tracing::warn!("{key}");
    }
}

fn filter(settings: &LogSettings) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(&settings.filter).context("log.filter cannot be read")
}

fn lines<S>(settings: &LogSettings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match settings.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

fn not_installed(error: tracing_subscriber::util::TryInitError) -> anyhow::Error {
    anyhow::anyhow!("the logger cannot be installed: {error}")
}
