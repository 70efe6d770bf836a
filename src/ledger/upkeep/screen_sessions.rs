//! `screen_sessions`: which screen showed which restaurant when.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    domain::{KeyId, RestaurantId, ScreenPage, ScreenSession, SessionCursor, Timestamp},
    ledger::{Ledger, LedgerError},
};

/// A session as its daemon has it. Times are how long ago it was, since Postgres has the clock.
#[derive(Debug, Clone)]
pub(crate) struct SessionChange {
    pub id: Uuid,
    pub screen: KeyId,
    pub restaurant: RestaurantId,
    pub page: Option<ScreenPage>,
    pub begun: Duration,
    /// When it was there last.
    pub seen: Duration,
    /// Whether it has ended, then.
    pub has_ended: bool,
}

/// No session is longer: see migration 25. A little more than the longest that a daemon keeps open.
const LONGEST: Duration = Duration::from_mins(6 * 60 + 30);

/// A session whose daemon has not said for so long that it goes on does not: the daemon died.
const SILENT: Duration = Duration::from_mins(3);

impl Ledger {
    /// Records how sessions of this daemon stand. Keys that the ledger does not know are passed over.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`]; so for all of these.
    pub(crate) async fn write_sessions(&self, daemon: Uuid, changes: &[SessionChange]) -> Result<(), LedgerError> {
        let ids: Vec<Uuid> = changes.iter().map(|change| change.id).collect();
        let screens: Vec<i64> = changes.iter().map(|change| change.screen.get()).collect();
        let restaurants: Vec<i32> = changes.iter().map(|change| change.restaurant.as_i32()).collect();
        let pages: Vec<Option<&str>> = changes.iter().map(|change| change.page.map(ScreenPage::as_str)).collect();
        let begun: Vec<f64> = changes.iter().map(|change| change.begun.as_secs_f64()).collect();
        let seen: Vec<f64> = changes.iter().map(|change| change.seen.min(change.begun).as_secs_f64()).collect();
        let ended: Vec<bool> = changes.iter().map(|change| change.has_ended).collect();
        let written = sqlx::query!(
            "INSERT INTO screen_sessions AS s (id, key_id, restaurant_id, page, daemon, begun_at, last_seen_at, ended_at)
             SELECT c.id, c.key_id, c.restaurant_id, c.page, $8, now() - make_interval(secs => c.begun),
                    now() - make_interval(secs => c.seen),
                    CASE WHEN c.ended THEN now() - make_interval(secs => c.seen) END
             FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::text[], $5::float8[], $6::float8[], $7::boolean[])
                      AS c (id, key_id, restaurant_id, page, begun, seen, ended)
                  JOIN api_keys AS k ON k.id = c.key_id
             ON CONFLICT (id) DO UPDATE SET
                 last_seen_at = greatest(s.last_seen_at, EXCLUDED.last_seen_at),
                 ended_at = CASE WHEN EXCLUDED.ended_at IS NOT NULL
                                 THEN greatest(s.last_seen_at, EXCLUDED.last_seen_at) END",
            &ids,
            &screens,
            &restaurants,
            &pages as &[Option<&str>],
            &begun,
            &seen,
            &ended,
            daemon
        )
        .execute(self.single());
        self.in_time(written).await.map(drop)
    }

    /// The sessions of a restaurant that were there at some instant from `from` on and before `to`, by when they began: at
    /// most `limit` behind `after`.
    ///
    /// # Errors
    /// As [`Ledger::write_sessions`].
    pub(crate) async fn screen_sessions(
        &self,
        restaurant: RestaurantId,
        from: Timestamp,
        to: Timestamp,
        after: Option<SessionCursor>,
        limit: i64,
    ) -> Result<Vec<ScreenSession>, LedgerError> {
        let longest = i64::try_from(LONGEST.as_millis()).unwrap_or(i64::MAX);
        let rows = sqlx::query!(
            r#"SELECT s.id, s.key_id, k.name, s.page, s.daemon, s.begun_at, s.last_seen_at,
                      CASE WHEN s.ended_at IS NULL AND s.last_seen_at <= now() - make_interval(secs => $7)
                           THEN s.last_seen_at ELSE s.ended_at END AS ended_at
               FROM screen_sessions AS s JOIN api_keys AS k ON k.id = s.key_id
               WHERE s.restaurant_id = $1 AND s.begun_at >= $2 AND s.begun_at < $4
                 AND (s.last_seen_at >= $3
                      OR s.ended_at IS NULL AND s.last_seen_at > now() - make_interval(secs => $7))
                 AND ($5::timestamptz IS NULL OR (s.begun_at, s.id) > ($5, $6))
               ORDER BY s.begun_at, s.id LIMIT $8"#,
            restaurant.as_i32(),
            from.plus_ms(-longest).to_datetime(),
            from.to_datetime(),
            to.to_datetime(),
            after.map(|after| after.begun_at.to_datetime()),
            after.map_or_else(Uuid::nil, |after| after.id),
            SILENT.as_secs_f64(),
            limit
        )
        .fetch_all(self.single());
        let session = |row: i64| KeyId::new(row).ok_or_else(|| LedgerError::Unreadable(format!("API key {row}")));
        let mut sessions = Vec::new();
        for row in self.in_time(rows).await? {
            sessions.push(ScreenSession {
                id: row.id,
                screen: session(row.key_id)?,
                name: row.name,
                page: row.page.as_deref().and_then(ScreenPage::from_name),
                daemon: row.daemon,
                begun_at: row.begun_at.into(),
                last_seen_at: row.last_seen_at.into(),
                ended_at: row.ended_at.map(Into::into),
            });
        }
        Ok(sessions)
    }

    /// Forgets sessions that began so long ago, at most so many; gives how many that were.
    ///
    /// # Errors
    /// As [`Ledger::write_sessions`].
    pub(crate) async fn forget_sessions(&self, begun: Duration, limit: i64) -> Result<u64, LedgerError> {
        let forgotten = sqlx::query!(
            "DELETE FROM screen_sessions WHERE id = ANY (ARRAY(
                 SELECT id FROM screen_sessions WHERE begun_at < now() - make_interval(secs => $1) LIMIT $2))",
            begun.as_secs_f64(),
            limit
        )
        .execute(self.single());
        Ok(self.in_time(forgotten).await?.rows_affected())
    }
}
