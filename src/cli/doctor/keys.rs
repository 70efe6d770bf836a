//! API keys: whether they are asked for, and whether there are any.

use super::Report;
use crate::{
    cli::stores::Stores,
    config::Settings,
    domain::ApiKey,
    ledger::{ApiKeyChanges, LedgerError},
};

/// For a ledger whose tables are up to date.
pub(super) async fn examine(report: &mut Report, stores: &Stores, settings: &Settings) -> Result<(), LedgerError> {
    let ApiKeyChanges { keys, .. } = stores.service.ledger().api_key_changes(0).await?;
    // By Redis's clock; where it does not say, those that are not revoked.
    let now = stores.service.now().ok();
    let is_good = |key: &&ApiKey| key.revoked.is_none() && now.is_none_or(|now| key.is_good_at(now));
    let good = keys.iter().filter_map(|(_, key)| key.as_ref()).filter(is_good).count();
    let listen = settings.listen;
    match settings.auth.keys_required(listen, false) {
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
