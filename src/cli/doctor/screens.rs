//! Screens: whether those that were paired are there.

use std::time::Duration;

use super::Report;
use crate::{app::Stores, cli::screens::describe, service::LedgerError};

/// A screen that was not there for so long is hardly on a wall.
const AWAY: Duration = Duration::from_hours(7 * 24);

/// How many are named.
const NAMED: u32 = 5;

/// For a ledger whose tables are up to date.
pub(super) async fn examine(report: &mut Report, stores: &Stores) -> Result<(), LedgerError> {
    let (count, some) = stores.service.screens.away(AWAY, NAMED).await?;
    if count == 0 {
        report.good("every screen that was paired was here within a week");
        return Ok(());
    }
    report.note(
        &format!("{count} screens were not here for a week"),
        "switch them on, or revoke those that are gone: `nowserving screens revoke ID`",
    );
    for screen in &some {
        let here = screen.seen.as_ref().map_or("never here".to_owned(), |(at, _)| format!("here last at {at}"));
        report.detail(&format!("{}, {here}", describe(screen)));
    }
    Ok(())
}
