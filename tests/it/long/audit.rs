//! What operators are told of what happened: the audit log, how long it is kept, the log's lines, and traces.

mod events;
mod log_lines;
mod long_log;
mod retention;
#[cfg(feature = "otlp")]
mod spans;
