//! Logging: to the error output, as text or as JSON.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Installs the logger for the whole process.
pub(super) fn init(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter).context("log.filter cannot be read")?;
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match settings.format {
        LogFormat::Text => logger.with_target(false).try_init(),
        LogFormat::Json => logger.json().flatten_event(true).try_init(),
    };
    installed.map_err(|e| anyhow::anyhow!("the logger cannot be installed: {e}"))
}
