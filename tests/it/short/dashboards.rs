//! The dashboards of `grafana/dashboards`: well made, as Grafana's schema wants them, and with data in every panel.

mod charts;
mod draw;
mod files;
mod queries;
mod schema;
mod structure;
mod units;
mod world;
