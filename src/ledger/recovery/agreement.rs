//! What all daemons of a deployment must agree on, and the one way to change it.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::ledger::{
    Ledger, LedgerError,
    db::{connect::in_task, session::Session},
};

/// Settings by their keys, as text.
pub(crate) type AgreedSettings = BTreeMap<String, String>;

/// A setting that is not what the daemons of the deployment have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Its dotted key, as in the settings file.
    pub key: String,
    /// What they have agreed on.
    pub recorded: String,
    /// What it is here.
    pub own: String,
}

/// What became of the wish to have these settings recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// They are. These were others.
    Changed(Vec<Difference>),
    /// Nothing was changed: a daemon that may still run was seen so long ago.
    Seen(Duration),
}

impl Difference {
    /// Those between two sets of settings. What only one of them has is none: versions may know different ones.
    #[must_use]
    pub(crate) fn between(recorded: &AgreedSettings, own: &AgreedSettings) -> Vec<Self> {
        let pairs = own.iter().filter_map(|(key, own)| Some((key, recorded.get(key)?, own)));
        let differing = pairs.filter(|(_, recorded, own)| recorded != own);
        differing
            .map(|(key, recorded, own)| Self { key: key.clone(), recorded: recorded.clone(), own: own.clone() })
            .collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, recorded, own } = self;
        write!(f, "{key} is {recorded} there and {own} here")
    }
}

impl Ledger {
    /// What the daemons of this deployment have agreed on; empty where none has started since this is recorded.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`].
    pub(crate) async fn agreed_settings(&self) -> Result<AgreedSettings, LedgerError> {
        let rows = sqlx::query!("SELECT key, value FROM agreed_settings").fetch_all(self.single());
        Ok(self.in_time(rows).await?.into_iter().map(|row| (row.key, row.value)).collect())
    }

    /// Compares a daemon's settings with those that are recorded. Where none differs, those that are not recorded yet
    /// are. The daemon must have said before that it runs ([`Ledger::daemon_runs`]).
    ///
    /// # Errors
    /// As [`Ledger::agreed_settings`].
    pub(crate) async fn agree(&self, own: &AgreedSettings) -> Result<Vec<Difference>, LedgerError> {
        let (ledger, own) = (self.clone(), own.clone());
        in_task(async move {
            ledger
                .transaction(async |transaction| {
                    let differences = Difference::between(&locked(transaction).await?, &own);
                    if differences.is_empty() {
                        record(transaction, &own).await?;
                    }
                    Ok(differences)
                })
                .await
        })
        .await
    }

    /// Records these settings in place of those that daemons have agreed on, unless a daemon was seen within this time.
    ///
    /// # Errors
    /// As [`Ledger::agreed_settings`].
    pub(crate) async fn adopt(
        &self,
        own: &AgreedSettings,
        unless_seen_within: Option<Duration>,
    ) -> Result<Adopted, LedgerError> {
        let (ledger, own) = (self.clone(), own.clone());
        in_task(async move {
            ledger
                .transaction(async |transaction| {
                    let differences = Difference::between(&locked(transaction).await?, &own);
                    // After the lock: a daemon that is not seen yet compares its settings with the new ones.
                    if let (Some(within), false) = (unless_seen_within, differences.is_empty())
                        && let Some(ago) = last_seen(transaction, within).await?
                    {
                        return Ok(Adopted::Seen(ago));
                    }
                    record(transaction, &own).await?;
                    Ok(Adopted::Changed(differences))
                })
                .await
        })
        .await
    }
}

/// What is recorded, by one caller at a time: a daemon that starts and a command that changes it take turns.
async fn locked(transaction: &mut Session<'_>) -> Result<AgreedSettings, LedgerError> {
    sqlx::query!("SELECT id FROM deployment FOR UPDATE").fetch_optional(&mut *transaction).await?;
    let rows = sqlx::query!("SELECT key, value FROM agreed_settings").fetch_all(&mut *transaction).await?;
    Ok(rows.into_iter().map(|row| (row.key, row.value)).collect())
}

async fn record(transaction: &mut Session<'_>, own: &AgreedSettings) -> Result<(), LedgerError> {
    let (keys, values): (Vec<String>, Vec<String>) = own.clone().into_iter().unzip();
    sqlx::query!(
        "INSERT INTO agreed_settings AS agreed (key, value) SELECT * FROM unnest($1::text[], $2::text[])
         ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
         WHERE agreed.value <> EXCLUDED.value",
        &keys,
        &values
    )
    .execute(&mut *transaction)
    .await?;
    Ok(())
}

/// How long ago the last daemon was seen, if that was within this time.
async fn last_seen(transaction: &mut Session<'_>, within: Duration) -> Result<Option<Duration>, LedgerError> {
    let ago_s = sqlx::query_scalar!(
        "SELECT extract(epoch FROM now() - max(seen_at))::float8 FROM daemons
         WHERE seen_at > now() - make_interval(secs => $1)",
        within.as_secs_f64()
    )
    .fetch_one(&mut *transaction)
    .await?;
    Ok(ago_s.map(|ago_s| Duration::try_from_secs_f64(ago_s).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_knows_is_no_difference() {
        let settings = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let recorded = settings(&[("a", "1"), ("b", "2"), ("older", "3")]);
        let own = settings(&[("a", "1"), ("b", "7"), ("newer", "4")]);
        let told: Vec<String> = Difference::between(&recorded, &own).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["b is 2 there and 7 here"]);
    }
}
