//! The ledger: its server, its tables, and what was dead-lettered.

use super::{Report, ago, clocks, keys, screens};
use crate::{
    app::Stores,
    config::Settings,
    domain::Durability,
    service::{Difference, LedgerError, LedgerHealth, LedgerState},
};

/// Answers whether the partitions can be looked at.
pub(super) async fn examine(report: &mut Report, stores: &Stores, settings: &Settings) -> Result<bool, LedgerError> {
    let health = match stores.service.operations.ledger_state().await? {
        LedgerState::Ready(health) => health,
        LedgerState::Pending { migrations, obstacle } => {
            let what = format!("the ledger's tables are not up to date: {}", migrations.join(", "));
            if let Some((what, advice)) = obstacle {
                report.wrong(&format!("the ledger's tables cannot be made: {what}"), &advice);
            }
            if stores.private_database {
                report.note(&what, "nothing to do: `nowserving serve` sees to it");
            } else {
                report.wrong(&what, "run `nowserving migrate`, then look again");
            }
            return Ok(false);
        }
    };
    report.good("the ledger's tables are up to date");
    server(report, &health);
    rights(report, &health);
    connections(report, &health, settings);
    months(report, &health);
    names(report, stores).await?;
    dead_letters(report, &health);
    keys::examine(report, stores, settings).await?;
    screens::examine(report, stores).await?;
    clocks(report, "Postgres", health.now);
    deployment(report, stores, settings).await
}

/// Level `ledger` hangs on daemons; the others are looked at with Redis.
async fn level(report: &mut Report, stores: &Stores, settings: &Settings) {
    let level = settings.durability.level;
    if level != Durability::Ledger {
        return;
    }
    match stores.service.levels.ledger_fault().await {
        Some(reason) => report.wrong(
            &format!("durability.level {level} cannot be given: {reason}"),
            "or choose another level: until then `nowserving serve` does not start",
        ),
        None => report.good(format!("durability.level {level} can be given")),
    }
}

fn server(report: &mut Report, health: &LedgerHealth) {
    report.good(format!("Postgres {}", health.version));
    if health.in_recovery {
        report.wrong(
            "this Postgres takes no changes: it follows another one, or is still reading its log",
            "let database_url lead to the primary (the service's address for writers, or a proxy), or promote this one",
        );
    } else if health.read_only {
        report.wrong(
            "transactions are read-only by default here (default_transaction_read_only)",
            "switch that off for this database and its user: nothing can be written",
        );
    }
    let fsync = if health.fsync { "on" } else { "off" };
    report.check(
        health.fsync && health.synchronous_commit != "off",
        "Postgres makes commits durable",
        &format!("Postgres runs with fsync {fsync} and synchronous_commit {}", health.synchronous_commit),
        "set `fsync = on` and `synchronous_commit = on`: what the ledger confirms is deleted from Redis",
    );
    if health.in_the_clear {
        report.note(
            "what goes to Postgres crosses the network without TLS",
            "put sslmode=verify-full and sslrootcert=FILE into database_url, unless that network is yours alone",
        );
    }
}

/// Each month gets tables of its own, and loses them after its time.
fn rights(report: &mut Report, health: &LedgerHealth) {
    let LedgerHealth { account, owner, schema, .. } = health;
    if !health.owns {
        report.wrong(
            &format!("the tables belong to {owner}, and {account} has not that role: it can make no months"),
            &format!("as an administrator: GRANT {owner} TO {account} (docs/operations/managed.md)"),
        );
    } else if health.schema_of_new.as_ref() != Some(schema) {
        let new = health.schema_of_new.as_deref().unwrap_or("no schema");
        report.wrong(
            &format!("the tables are in the schema {schema}, and new ones would go into {new}"),
            &format!("as an administrator: ALTER ROLE {account} SET search_path = {schema}"),
        );
    } else if !health.may_create {
        report.wrong(
            &format!("{account} may not make tables in the schema {schema}: it can make no months"),
            &format!("as an administrator: GRANT CREATE ON SCHEMA {schema} TO {account}"),
        );
    } else {
        report.good(format!("{account} owns the tables in the schema {schema}, and may make more"));
    }
}

fn connections(report: &mut Report, health: &LedgerHealth, settings: &Settings) {
    let (all, wanted) = (health.connections, settings.ledger.max_connections);
    report.check(
        wanted <= all,
        format!("Postgres has {all} connections to give, and each daemon takes up to {wanted}"),
        &format!("Postgres has {all} connections to give, and a daemon may want {wanted} (ledger.max_connections)"),
        "raise max_connections in Postgres, or lower ledger.max_connections",
    );
}

fn months(report: &mut Report, health: &LedgerHealth) {
    report.check(
        health.missing_months == 0,
        "the months ahead exist in the ledger",
        &format!("{} of the coming 12 months have no partition in the ledger", health.missing_months),
        "let a daemon run (`nowserving serve`): it makes them within a minute",
    );
}

async fn names(report: &mut Report, stores: &Stores) -> Result<(), LedgerError> {
    let (months, left) = stores.service.operations.months_to_fold().await?;
    if left == 0 {
        report.good("names are folded in every month as they are searched for");
    } else {
        report.note(
            &format!("names in {left} of {months} months are found as an earlier version found them"),
            "nothing to do: a daemon folds them anew, once none of an earlier version runs",
        );
    }
    Ok(())
}

fn dead_letters(report: &mut Report, health: &LedgerHealth) {
    let oldest = health.oldest_dead_letter.map(|at| format!(", the oldest for {}", ago(at, health.now)));
    report.check(
        health.dead_letters == 0,
        "no dead letters",
        &format!(
            "{} entries wait in dead_letters{}: they are not in orders or order_events",
            health.dead_letters,
            oldest.unwrap_or_default()
        ),
        "see why with `nowserving dead-letters list`; then retry or drop them",
    );
}

async fn deployment(report: &mut Report, stores: &Stores, settings: &Settings) -> Result<bool, LedgerError> {
    let operations = &stores.service.operations;
    let ours = operations.partition_count();
    match operations.known_deployment().await? {
        None => {
            report.note("no daemon has used this ledger yet", "run `nowserving serve`");
            Ok(false)
        }
        Some(deployment) if deployment.partitions == ours => {
            report.good(format!("deployment {} with {ours} partitions", deployment.id));
            level(report, stores, settings).await;
            agreement(report, stores).await?;
            Ok(true)
        }
        Some(deployment) => {
            report.wrong(
                &format!("this ledger was made for {} partitions, and the settings say {ours}", deployment.partitions),
                &format!("set partitions to {}: the number is fixed when a deployment is made", deployment.partitions),
            );
            Ok(false)
        }
    }
}

/// Whether a daemon with these settings would start.
async fn agreement(report: &mut Report, stores: &Stores) -> Result<(), LedgerError> {
    let recorded = stores.service.operations.agreed_settings().await?;
    let differences = Difference::between(&recorded, &stores.agreed);
    for Difference { key, recorded, own } in &differences {
        let what = format!("all daemons of the deployment share {key} = {recorded}, and the settings say {own}");
        if stores.private_database {
            report.note(&what, "nothing to do: `nowserving serve` takes the new one over");
        } else {
            let advice = format!(
                "set {key} to {recorded}; or, to change it for all, stop all daemons and run `nowserving migrate \
                 --adopt-settings` with the new one"
            );
            report.wrong(&what, &advice);
        }
    }
    if recorded.is_empty() {
        report.note(
            "what all daemons of the deployment must share is not recorded yet",
            "nothing to do: the next `nowserving serve` records its own settings",
        );
    } else if differences.is_empty() {
        let all: Vec<String> = recorded.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        report.good(format!("all daemons of the deployment share {}", all.join(", ")));
    }
    Ok(())
}
