//! Postgres itself: connections, sessions, errors, migrations, leases and health. Knows no order.

pub(super) mod connect;
pub(super) mod error;
pub(super) mod health;
pub(super) mod leases;
pub(super) mod place;
pub(super) mod schema;
pub(super) mod session;
