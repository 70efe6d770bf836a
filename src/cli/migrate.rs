//! `nowserving migrate`: brings the ledger's tables up to date.

use std::process::ExitCode;

use super::stores::Stores;
use crate::config::Settings;

pub(super) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let stores = Stores::find_or_start(settings, "migrate").await?;
    let result = migrate(&stores).await;
    stores.close().await;
    result
}

async fn migrate(stores: &Stores) -> anyhow::Result<ExitCode> {
    let ledger = stores.service.ledger();
    let pending = ledger.pending_migrations().await?;
    ledger.migrate().await?;
    if pending.is_empty() {
        println!("the ledger is up to date");
    }
    for migration in pending {
        println!("applied {migration}");
    }
    Ok(ExitCode::SUCCESS)
}
