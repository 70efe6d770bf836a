//! API keys: whether they are asked for, and whether there are any.

use super::Report;
use crate::{app::Stores, config::Settings, http, service::LedgerError};

/// For a ledger whose tables are up to date.
pub(super) async fn examine(report: &mut Report, stores: &Stores, settings: &Settings) -> Result<(), LedgerError> {
    let good = stores.service.keys.count_good().await?;
    let listen = &settings.listen;
    let addresses = match http::addresses_of(listen).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let what = format!("{listen} cannot be listened on: {error}");
            report.wrong(&what, "write an address, or a name of this machine, into listen (NOWSERVING_LISTEN)");
            return Ok(());
        }
    };
    match settings.auth.keys_required(&addresses, false) {
        Ok(true) => report.check(
            good > 0,
            format!("callers at {listen} need an API key, and {good} are good"),
            &format!("callers at {listen} need an API key, and none is good: `nowserving serve` does not start"),
            "make one with `nowserving keys create --name NAME --role admin`",
        ),
        Ok(false) => report.good(format!("no API keys are asked for at {listen}: only this machine can reach it")),
        Err(reason) => report.wrong(&reason, "see auth.mode in the settings, then look again"),
    }
    Ok(())
}
