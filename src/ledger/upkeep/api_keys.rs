//! API keys. Only the SHA-256 of each is here, and no row is ever deleted.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};

use crate::{
    domain::{ApiKey, KeyDigest, KeyId, NewApiKey, RestaurantId, Role, Scope},
    ledger::{Ledger, LedgerError},
};

/// The keys that have changed since a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiKeyChanges {
    /// The revision of this answer. Less than what was asked for: the ledger has fallen back, and all must be read anew.
    pub revision: i64,
    /// The keys as they now are, revoked ones included unless they were asked for from the beginning. None is a row
    /// that was changed by hand to what no key can be: it gives no rights, and must not hold up the others.
    pub keys: Vec<(KeyDigest, Option<ApiKey>)>,
}

/// The columns of an [`ApiKeyRow`], behind what a query begins with.
macro_rules! select_keys {
    ($begin:tt, $rest:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            ApiKeyRow,
            $begin + "id, name, role, restaurants, expires_at, rate_per_second, shows_names, created_at, created_by,
                      revoked_at, revoked_by " + $rest
            $(, $argument)*
        )
    };
}

impl Ledger {
    /// The keys that have changed behind this revision; 0: all that are not revoked.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`]; so for all of these.
    pub(crate) async fn api_key_changes(&self, after: i64) -> Result<ApiKeyChanges, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT r.revision AS head, k.digest AS "digest?", k.id AS "id?", k.name AS "name?", k.role AS "role?",
                      k.restaurants, k.expires_at, k.rate_per_second, k.shows_names AS "shows_names?",
                      k.created_at AS "created_at?", k.created_by AS "created_by?", k.revoked_at, k.revoked_by
               FROM api_key_revision AS r
               LEFT JOIN api_keys AS k ON k.revision > $1 AND ($1 > 0 OR k.revoked_at IS NULL)"#,
            after
        )
        .fetch_all(self.single());
        let rows = self.in_time(rows).await?;
        let revision = rows.first().map(|row| row.head);
        let revision = revision.ok_or_else(|| LedgerError::Unreadable("the revision of the API keys".to_owned()))?;
        let mut keys = Vec::new();
        for row in rows {
            // Nothing has changed where there is no key beside the revision.
            let (Some(digest), Some(id), Some(name), Some(role), Some(created_at), Some(created_by)) =
                (row.digest, row.id, row.name, row.role, row.created_at, row.created_by)
            else {
                continue;
            };
            let key = ApiKeyRow {
                id,
                name,
                role,
                restaurants: row.restaurants,
                expires_at: row.expires_at,
                rate_per_second: row.rate_per_second,
                shows_names: row.shows_names.unwrap_or(false),
                created_at,
                created_by,
                revoked_at: row.revoked_at,
                revoked_by: row.revoked_by,
            };
            let digest = digest.try_into().map_err(|_| unreadable(id))?;
            let key: Result<ApiKey, LedgerError> = key.try_into();
            if let Err(error) = &key {
                tracing::error!(%error, "an API key cannot be read, and is taken for revoked");
            }
            keys.push((KeyDigest::stored(digest), key.ok()));
        }
        Ok(ApiKeyChanges { revision, keys })
    }

    /// Records a new key.
    ///
    /// # Errors
    /// As [`Ledger::api_key_changes`]. After `Unreachable` it may be there, and its text is known nowhere: it does no harm.
    pub(crate) async fn create_api_key(
        &self,
        digest: &KeyDigest,
        new: &NewApiKey,
        by: &str,
    ) -> Result<ApiKey, LedgerError> {
        let restaurants = listed(&new.scope);
        let row = select_keys!(
            "INSERT INTO api_keys (digest, name, role, restaurants, expires_at, rate_per_second, shows_names, created_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ",
            "",
            digest.as_bytes().as_slice(),
            new.name.as_str(),
            new.role.as_str(),
            restaurants.as_deref(),
            new.expires_at.map(|at| at.to_datetime()),
            new.rate_per_second.map(|rate| rate.get().cast_signed()),
            new.shows_names,
            by
        )
        .fetch_one(self.single());
        self.in_time(row).await?.try_into()
    }

    /// Revokes a key, if it is good for no other restaurants than these; gives it as it is then. One that is revoked
    /// already stays as it was.
    ///
    /// # Errors
    /// As [`Ledger::api_key_changes`].
    pub(crate) async fn revoke_api_key(
        &self,
        id: KeyId,
        within: &Scope,
        by: &str,
    ) -> Result<Option<ApiKey>, LedgerError> {
        let restaurants = listed(within);
        let row = select_keys!(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()), revoked_by = coalesce(revoked_by, $3)
             WHERE id = $1 AND ($2::integer[] IS NULL OR restaurants <@ $2) RETURNING ",
            "",
            id.get(),
            restaurants.as_deref(),
            by
        )
        .fetch_optional(self.single());
        self.in_time(row).await?.map(TryInto::try_into).transpose()
    }

    /// A key, if it is good for no other restaurants than these.
    ///
    /// # Errors
    /// As [`Ledger::api_key_changes`].
    pub(crate) async fn api_key(&self, id: KeyId, within: &Scope) -> Result<Option<ApiKey>, LedgerError> {
        let restaurants = listed(within);
        let row = select_keys!(
            "SELECT ",
            "FROM api_keys WHERE id = $1 AND ($2::integer[] IS NULL OR restaurants <@ $2)",
            id.get(),
            restaurants.as_deref()
        )
        .fetch_optional(self.single());
        self.in_time(row).await?.map(TryInto::try_into).transpose()
    }

    /// The keys that are good for no other restaurants than these, revoked ones included: those behind the id `after`,
    /// at most `limit`.
    ///
    /// # Errors
    /// As [`Ledger::api_key_changes`].
    pub(crate) async fn api_keys(
        &self,
        after: Option<KeyId>,
        limit: u32,
        within: &Scope,
    ) -> Result<Vec<ApiKey>, LedgerError> {
        let restaurants = listed(within);
        let rows = select_keys!(
            "SELECT ",
            "FROM api_keys WHERE id > $1 AND ($3::integer[] IS NULL OR restaurants <@ $3) ORDER BY id LIMIT $2",
            after.map_or(0, KeyId::get),
            i64::from(limit),
            restaurants.as_deref()
        )
        .fetch_all(self.single());
        self.in_time(rows).await?.into_iter().map(TryInto::try_into).collect()
    }
}

pub(super) fn listed(scope: &Scope) -> Option<Vec<i32>> {
    scope.listed().map(|restaurants| restaurants.iter().map(|restaurant| restaurant.as_i32()).collect())
}

fn unreadable(id: i64) -> LedgerError {
    LedgerError::Unreadable(format!("API key {id}"))
}

pub(super) struct ApiKeyRow {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) role: String,
    pub(super) restaurants: Option<Vec<i32>>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) rate_per_second: Option<i32>,
    pub(super) shows_names: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) created_by: String,
    pub(super) revoked_at: Option<DateTime<Utc>>,
    pub(super) revoked_by: Option<String>,
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = LedgerError;

    fn try_from(row: ApiKeyRow) -> Result<Self, LedgerError> {
        let unreadable = || unreadable(row.id);
        let scope = match &row.restaurants {
            None => Scope::All,
            Some(ids) => {
                let ids: Result<Vec<_>, _> = ids.iter().map(|id| RestaurantId::new(i64::from(*id))).collect();
                ids.ok().and_then(|ids| Scope::of(ids).ok()).ok_or_else(unreadable)?
            }
        };
        let rate = row.rate_per_second.map(|rate| NonZeroU32::new(rate.cast_unsigned()).ok_or_else(unreadable));
        Ok(Self {
            id: KeyId::new(row.id).ok_or_else(unreadable)?,
            is: NewApiKey {
                name: row.name.parse().map_err(|_| unreadable())?,
                role: Role::from_name(&row.role).ok_or_else(unreadable)?,
                scope,
                expires_at: row.expires_at.map(Into::into),
                rate_per_second: rate.transpose()?,
                shows_names: row.shows_names,
            },
            created_at: row.created_at.into(),
            created_by: row.created_by,
            revoked: row.revoked_at.map(|at| (at.into(), row.revoked_by.unwrap_or_default())),
        })
    }
}
