//! `nowserving migrate`: brings the ledger's tables up to date, and changes what all daemons must agree on.

use std::process::ExitCode;

use clap::Args;

use crate::{
    app::Stores,
    config::Settings,
    service::{Adopted, Difference, MAY_RUN_FOR},
};

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Change the settings that all daemons of the deployment must share to those of this command, while no daemon runs
    #[arg(long)]
    adopt_settings: bool,
}

pub(super) async fn run(settings: &Settings, args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let stores = Stores::find_or_start(settings, "migrate").await?;
    let result = migrate(&stores, args).await;
    stores.close().await;
    result
}

async fn migrate(stores: &Stores, args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let pending = stores.service.operations.migrate().await.map_err(|error| stores.unusable(error))?;
    if pending.is_empty() {
        println!("the ledger is up to date");
    }
    for migration in pending {
        println!("applied {migration}");
    }
    if args.adopt_settings {
        adopt(stores).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn adopt(stores: &Stores) -> anyhow::Result<()> {
    // Also where the deployment is not made yet: its first daemon starts with what is recorded here.
    stores.prepare_ledger().await?;
    match stores.service.operations.adopt(&stores.agreed, MAY_RUN_FOR).await? {
        Adopted::Seen(ago) => anyhow::bail!(
            "no setting was changed: a daemon was seen {} s ago; stop all daemons first (one that was killed counts as \
             stopped {} s after it was seen)",
            ago.as_secs(),
            MAY_RUN_FOR.as_secs()
        ),
        Adopted::Changed(changes) if changes.is_empty() => println!("these settings are those of the deployment"),
        Adopted::Changed(changes) => {
            for Difference { key, recorded, own } in changes {
                println!("{key} was {recorded} and is {own} from now on, for all daemons");
            }
        }
    }
    Ok(())
}
