//! `pairings` and `screens`: screens that wait for their code to be entered, those that were paired, and what they say of
//! themselves.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};

use super::api_keys::{ApiKeyRow, listed};
use crate::{
    domain::{
        Beat, KeyDigest, KeyId, NewScreen, Pairing, PairingCode, PairingState, RestaurantId, Role, Scope, Screen,
        ScreenCounts, ScreenPage, Timestamp,
        screen::{PAIRING_LASTS, SCREEN_IS_GONE_AFTER},
    },
    ledger::{
        Ledger, LedgerError,
        db::{connect::in_task, session::Session},
    },
};

/// A pairing that is to begin.
#[derive(Debug, Clone)]
pub(crate) struct WaitingScreen {
    pub digest: KeyDigest,
    pub code: PairingCode,
    pub page: ScreenPage,
    pub restaurant: RestaurantId,
    /// Whom it counts for; None where that is not known.
    pub client: Option<String>,
    /// The pairing that the same browser had begun before, which ends with this one.
    pub before: Option<KeyDigest>,
}

/// What came of entering a code.
#[derive(Debug, Clone)]
pub(crate) enum Entered {
    /// The screen has its key.
    Paired(Box<Screen>),
    /// No screen for this restaurant shows the code.
    Unknown,
    /// It was entered before.
    Used,
    /// Its time is over.
    Expired,
}

struct ScreenRow {
    restaurant_id: i32,
    last_seen_at: Option<DateTime<Utc>>,
    page: Option<String>,
    station: Option<String>,
    sound: Option<bool>,
    stale: Option<bool>,
    position: Option<String>,
    is_gone: bool,
    id: i64,
    name: String,
    role: String,
    restaurants: Option<Vec<i32>>,
    expires_at: Option<DateTime<Utc>>,
    rate_per_second: Option<i32>,
    shows_names: bool,
    created_at: DateTime<Utc>,
    created_by: String,
    revoked_at: Option<DateTime<Utc>>,
    revoked_by: Option<String>,
}

/// The rows of screens with their keys; `$2` of a query is for how many seconds a screen may be silent.
macro_rules! select_screens {
    ($rest:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            ScreenRow,
            r#"SELECT s.restaurant_id, s.last_seen_at, s.page, s.station, s.sound, s.stale, s.position,
                      coalesce(s.last_seen_at < now() - make_interval(secs => $2), true) AS "is_gone!",
                      k.id, k.name, k.role, k.restaurants, k.expires_at, k.rate_per_second, k.shows_names, k.created_at,
                      k.created_by, k.revoked_at, k.revoked_by
               FROM screens AS s JOIN api_keys AS k ON k.id = s.key_id "# + $rest
            $(, $argument)*
        )
    };
}

impl Ledger {
    /// Records a screen that waits, unless as many wait already: `most` in all, and `most_of_client` of its client. Gives
    /// until when; None where it was not recorded, or another screen has its code. Calls at the same time may exceed the
    /// bounds by their number.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`]; so for all of these.
    pub(crate) async fn begin_pairing(
        &self,
        new: &WaitingScreen,
        most: i64,
        most_of_client: i64,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let before = new.before.as_ref().map(|digest| digest.as_bytes().as_slice());
        let expires_at = sqlx::query_scalar!(
            "WITH before AS (DELETE FROM pairings WHERE key_id IS NULL AND digest = $6),
                  waiting AS MATERIALIZED (
                      SELECT client FROM pairings
                      WHERE key_id IS NULL AND expires_at > now() AND digest IS DISTINCT FROM $6)
             INSERT INTO pairings (digest, code, page, restaurant_id, client, expires_at)
             SELECT $1, $2, $3, $4, $5, now() + make_interval(secs => $7)
             WHERE (SELECT count(*) FROM waiting) < $8
               AND (SELECT count(*) FROM waiting WHERE client IS NOT DISTINCT FROM $5) < $9
             ON CONFLICT (code) DO NOTHING
             RETURNING expires_at",
            new.digest.as_bytes().as_slice(),
            new.code.as_str(),
            new.page.as_str(),
            new.restaurant.as_i32(),
            new.client.as_deref(),
            before,
            PAIRING_LASTS.as_secs_f64(),
            most,
            most_of_client
        )
        .fetch_optional(self.single());
        Ok(self.in_time(expires_at).await?.map(Into::into))
    }

    /// All pairings that are known: those that wait, and those that have ended lately.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn pairings(&self) -> Result<HashMap<KeyDigest, Pairing>, LedgerError> {
        let rows = sqlx::query!(
            r#"SELECT p.digest, p.code, p.restaurant_id, p.expires_at, p.expires_at > now() AS "is_in_time!",
                      k.role AS "role?", k.revoked_at
               FROM pairings AS p LEFT JOIN api_keys AS k ON k.id = p.key_id"#
        )
        .fetch_all(self.single());
        let mut pairings = HashMap::new();
        for row in self.in_time(rows).await? {
            let unreadable = || LedgerError::Unreadable("a pairing".to_owned());
            let digest = row.digest.try_into().map_err(|_| unreadable())?;
            let state = match (row.role, row.revoked_at) {
                (Some(role), None) => PairingState::Paired(Role::from_name(&role).ok_or_else(unreadable)?),
                (None, _) if row.is_in_time => PairingState::Waiting,
                _ => PairingState::Over,
            };
            let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
            let code = PairingCode::stored(row.code);
            let pairing = Pairing { code, restaurant, expires_at: row.expires_at.into(), state };
            pairings.insert(KeyDigest::stored(digest), pairing);
        }
        Ok(pairings)
    }

    /// Makes an API key of what a waiting screen has.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn pair_screen(
        &self,
        code: &PairingCode,
        new: &NewScreen,
        by: &str,
    ) -> Result<Entered, LedgerError> {
        let (ledger, code, new, by) = (self.clone(), code.clone(), new.clone(), by.to_owned());
        in_task(async move { ledger.transaction(async |transaction| pair(transaction, &code, &new, &by).await).await })
            .await
    }

    /// The screens of these restaurants that were not revoked, by id: at most `limit` behind `after`.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn screens(
        &self,
        after: Option<KeyId>,
        limit: u32,
        within: &Scope,
        restaurant: Option<RestaurantId>,
    ) -> Result<Vec<Screen>, LedgerError> {
        let restaurants = listed(within);
        let rows = select_screens!(
            "WHERE s.key_id > $1 AND k.revoked_at IS NULL AND ($4::integer[] IS NULL OR s.restaurant_id = ANY($4))
               AND ($5::integer IS NULL OR s.restaurant_id = $5)
             ORDER BY s.key_id LIMIT $3",
            after.map_or(0, KeyId::get),
            SCREEN_IS_GONE_AFTER.as_secs_f64(),
            i64::from(limit),
            restaurants.as_deref(),
            restaurant.map(RestaurantId::as_i32)
        )
        .fetch_all(self.single());
        self.in_time(rows).await?.into_iter().map(TryInto::try_into).collect()
    }

    /// A screen of these restaurants, revoked or not.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn screen(&self, id: KeyId, within: &Scope) -> Result<Option<Screen>, LedgerError> {
        let restaurants = listed(within);
        let row = select_screens!(
            "WHERE s.key_id = $1 AND ($3::integer[] IS NULL OR s.restaurant_id = ANY($3))",
            id.get(),
            SCREEN_IS_GONE_AFTER.as_secs_f64(),
            restaurants.as_deref()
        )
        .fetch_optional(self.single());
        self.in_time(row).await?.map(TryInto::try_into).transpose()
    }

    /// Records what screens have said, and how long ago each did. What is newer there stays; keys that are no paired
    /// screens are passed over.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn write_beats(&self, beats: &[(KeyId, Duration, Beat)]) -> Result<(), LedgerError> {
        let ids: Vec<i64> = beats.iter().map(|(id, ..)| id.get()).collect();
        let ages: Vec<f64> = beats.iter().map(|(_, age, _)| age.as_secs_f64()).collect();
        let pages: Vec<&str> = beats.iter().map(|(.., beat)| beat.page.as_str()).collect();
        let stations: Vec<Option<&str>> = beats.iter().map(|(.., beat)| beat.station.as_deref()).collect();
        let sounds: Vec<bool> = beats.iter().map(|(.., beat)| beat.sound).collect();
        let stale: Vec<bool> = beats.iter().map(|(.., beat)| beat.stale).collect();
        let positions: Vec<Option<&str>> = beats.iter().map(|(.., beat)| beat.position.as_deref()).collect();
        // Locked by their ids: two daemons do not wait for each other crosswise.
        let written = sqlx::query!(
            "WITH held AS MATERIALIZED (
                 SELECT key_id FROM screens WHERE key_id = ANY($1) ORDER BY key_id FOR NO KEY UPDATE
             )
             UPDATE screens AS s
             SET last_seen_at = now() - make_interval(secs => b.age), page = b.page, station = b.station, sound = b.sound,
                 stale = b.stale, position = b.position
             FROM unnest($1::bigint[], $2::float8[], $3::text[], $4::text[], $5::boolean[], $6::boolean[], $7::text[])
                      AS b (key_id, age, page, station, sound, stale, position)
                  JOIN held USING (key_id)
             WHERE s.key_id = b.key_id
               AND coalesce(s.last_seen_at < now() - make_interval(secs => b.age), true)",
            &ids,
            &ages,
            &pages as &[&str],
            &stations as &[Option<&str>],
            &sounds,
            &stale,
            &positions as &[Option<&str>]
        )
        .execute(self.single());
        self.in_time(written).await.map(drop)
    }

    /// How many screens are up to date, and how many are not.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn count_screens(&self) -> Result<ScreenCounts, LedgerError> {
        let row = sqlx::query!(
            r#"SELECT count(*) FILTER (WHERE is_here AND NOT s.stale) AS "fresh!",
                      count(*) FILTER (WHERE is_here AND s.stale) AS "stale!",
                      count(*) FILTER (WHERE NOT is_here) AS "gone!"
               FROM screens AS s JOIN api_keys AS k ON k.id = s.key_id,
                    LATERAL (SELECT coalesce(s.last_seen_at >= now() - make_interval(secs => $1), false)) AS h (is_here)
               WHERE k.revoked_at IS NULL"#,
            SCREEN_IS_GONE_AFTER.as_secs_f64()
        )
        .fetch_one(self.single());
        let row = self.in_time(row).await?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        Ok(ScreenCounts { fresh: count(row.fresh), stale: count(row.stale), gone: count(row.gone) })
    }

    /// Screens that were not here for so long, those first that were away longest; how many there are, and some of them.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn screens_away(&self, away: Duration, limit: u32) -> Result<(u64, Vec<Screen>), LedgerError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM screens AS s JOIN api_keys AS k ON k.id = s.key_id
               WHERE k.revoked_at IS NULL
                 AND coalesce(s.last_seen_at, k.created_at) < now() - make_interval(secs => $1)"#,
            away.as_secs_f64()
        )
        .fetch_one(self.single());
        let count = self.in_time(count).await?;
        let rows = select_screens!(
            "WHERE k.revoked_at IS NULL AND coalesce(s.last_seen_at, k.created_at) < now() - make_interval(secs => $3)
             ORDER BY coalesce(s.last_seen_at, k.created_at) LIMIT $1",
            i64::from(limit),
            SCREEN_IS_GONE_AFTER.as_secs_f64(),
            away.as_secs_f64()
        )
        .fetch_all(self.single());
        let screens: Result<_, _> = self.in_time(rows).await?.into_iter().map(TryInto::try_into).collect();
        Ok((u64::try_from(count).unwrap_or(0), screens?))
    }

    /// Forgets pairings whose time was over so long ago, paired or not.
    ///
    /// # Errors
    /// As [`Ledger::begin_pairing`].
    pub(crate) async fn forget_pairings(&self, over: Duration) -> Result<(), LedgerError> {
        let forgotten = sqlx::query!(
            "DELETE FROM pairings WHERE expires_at < now() - make_interval(secs => $1)",
            over.as_secs_f64()
        )
        .execute(self.single());
        self.in_time(forgotten).await.map(drop)
    }
}

async fn pair(
    connection: &mut Session<'_>,
    code: &PairingCode,
    new: &NewScreen,
    by: &str,
) -> Result<Entered, LedgerError> {
    // Of two who enter one code, the second finds it used.
    let pairing = sqlx::query!(
        r#"SELECT digest, key_id IS NOT NULL AS "is_used!", expires_at <= now() AS "is_over!"
           FROM pairings WHERE code = $1 AND restaurant_id = $2 FOR UPDATE"#,
        code.as_str(),
        new.restaurant.as_i32()
    )
    .fetch_optional(&mut *connection)
    .await?;
    let digest = match pairing {
        None => return Ok(Entered::Unknown),
        Some(pairing) if pairing.is_used => return Ok(Entered::Used),
        Some(pairing) if pairing.is_over => return Ok(Entered::Expired),
        Some(pairing) => pairing.digest,
    };
    let key = new.key();
    let restaurant = new.restaurant.as_i32();
    let row = sqlx::query!(
        "INSERT INTO api_keys (digest, name, role, restaurants, shows_names, created_by) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id, created_at",
        digest,
        key.name.as_str(),
        key.role.as_str(),
        &[restaurant],
        key.shows_names,
        by
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!("INSERT INTO screens (key_id, restaurant_id) VALUES ($1, $2)", row.id, restaurant)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("UPDATE pairings SET key_id = $2 WHERE digest = $1", digest, row.id).execute(connection).await?;
    let key = crate::domain::ApiKey {
        id: KeyId::new(row.id).ok_or_else(|| LedgerError::Unreadable(format!("API key {}", row.id)))?,
        is: key,
        created_at: row.created_at.into(),
        created_by: by.to_owned(),
        revoked: None,
    };
    Ok(Entered::Paired(Box::new(Screen { key, restaurant: new.restaurant, seen: None, is_stale: true })))
}

impl TryFrom<ScreenRow> for Screen {
    type Error = LedgerError;

    fn try_from(row: ScreenRow) -> Result<Self, LedgerError> {
        let unreadable = || LedgerError::Unreadable(format!("screen {}", row.id));
        let restaurant = RestaurantId::new(row.restaurant_id.into()).map_err(|_| unreadable())?;
        let seen = match (row.last_seen_at, row.page, row.sound, row.stale) {
            (Some(at), Some(page), Some(sound), Some(stale)) => {
                let page = ScreenPage::from_name(&page).ok_or_else(unreadable)?;
                Some((at.into(), Beat { page, station: row.station, sound, stale, position: row.position }))
            }
            _ => None,
        };
        let is_stale = row.is_gone || row.stale.unwrap_or(true);
        let key = ApiKeyRow {
            id: row.id,
            name: row.name,
            role: row.role,
            restaurants: row.restaurants,
            expires_at: row.expires_at,
            rate_per_second: row.rate_per_second,
            shows_names: row.shows_names,
            created_at: row.created_at,
            created_by: row.created_by,
            revoked_at: row.revoked_at,
            revoked_by: row.revoked_by,
        };
        Ok(Self { key: key.try_into()?, restaurant, seen, is_stale })
    }
}
