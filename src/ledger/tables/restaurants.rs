//! Settings of restaurants.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{Executor, Postgres};

use super::rows::from_name;
use crate::{
    domain::{NumberFormat, PoolSettings, RestaurantId, SettingsChange, Timestamp},
    ledger::{Ledger, LedgerError, db::session::Session},
};

impl Ledger {
    /// The settings of a restaurant, as of their latest durable change; None if it never had any of its own.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`], [`LedgerError::Schema`], [`LedgerError::Unreadable`].
    pub async fn settings(&self, restaurant: RestaurantId) -> Result<Option<SettingsChange>, LedgerError> {
        Ok(self.settings_of(&[restaurant]).await?.pop())
    }

    /// As [`Ledger::settings`], of several restaurants; those without any are left out.
    ///
    /// # Errors
    /// As [`Ledger::settings`].
    pub(crate) async fn settings_of(&self, restaurants: &[RestaurantId]) -> Result<Vec<SettingsChange>, LedgerError> {
        into_changes(self.in_time(rows_of(self.single(), restaurants)).await?)
    }

    /// The restaurants that have settings, in order.
    ///
    /// # Errors
    /// As [`Ledger::settings`].
    pub(crate) async fn restaurants(&self) -> Result<Vec<RestaurantId>, LedgerError> {
        let ids = sqlx::query_scalar!("SELECT restaurant_id FROM restaurants ORDER BY restaurant_id");
        let unreadable = |_| LedgerError::Unreadable("a restaurant's id".to_owned());
        let ids = self.in_time(ids.fetch_all(self.single())).await?;
        ids.into_iter().map(|id| RestaurantId::new(id.into()).map_err(unreadable)).collect()
    }
}

/// As [`Ledger::settings_of`], within a transaction.
pub(in crate::ledger) async fn settings_within(
    connection: &mut Session<'_>,
    restaurants: &[RestaurantId],
) -> Result<Vec<SettingsChange>, LedgerError> {
    into_changes(rows_of(connection, restaurants).await?)
}

async fn rows_of<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    restaurants: &[RestaurantId],
) -> Result<Vec<SettingsRow>, sqlx::Error> {
    let restaurants: Vec<i32> = restaurants.iter().map(|restaurant| restaurant.as_i32()).collect();
    sqlx::query_as!(
        SettingsRow,
        "SELECT restaurant_id, min_number, max_number, policy, cooldown_seconds, active_window_seconds,
                blocked_numbers, CASE WHEN blocked_version = version THEN blocked END AS blocked, format, version,
                CASE WHEN rules_version = version THEN rules END AS rules
         FROM restaurants WHERE restaurant_id = ANY($1)",
        &restaurants
    )
    .fetch_all(executor)
    .await
}

fn into_changes(rows: Vec<SettingsRow>) -> Result<Vec<SettingsChange>, LedgerError> {
    let change = |row: SettingsRow| {
        let unreadable = LedgerError::Unreadable(format!("settings of restaurant {}", row.restaurant_id));
        row.into_change().ok_or(unreadable)
    };
    rows.into_iter().map(change).collect()
}

struct SettingsRow {
    restaurant_id: i32,
    min_number: i32,
    max_number: i32,
    policy: String,
    cooldown_seconds: i32,
    active_window_seconds: i32,
    blocked_numbers: Vec<i32>,
    blocked: Option<String>,
    format: String,
    version: i32,
    rules: Option<Value>,
}

impl SettingsRow {
    fn into_change(self) -> Option<SettingsChange> {
        let (restaurant, version) = (RestaurantId::new(self.restaurant_id.into()).ok()?, self.version.cast_unsigned());
        let settings = PoolSettings {
            min_number: u32::try_from(self.min_number).ok()?,
            max_number: u32::try_from(self.max_number).ok()?,
            policy: from_name(Some(self.policy))??,
            cooldown_seconds: u32::try_from(self.cooldown_seconds).ok()?,
            active_window_seconds: u32::try_from(self.active_window_seconds).ok()?,
            blocked_numbers: match self.blocked {
                Some(all) => all.parse().ok()?,
                None => self.blocked_numbers.into_iter().map(|n| u32::try_from(n).ok()).collect::<Option<_>>()?,
            },
            format: self.format.parse::<NumberFormat>().ok()?,
            ..serde_json::from_value(self.rules.unwrap_or_else(|| json!({}))).ok()?
        };
        Some(SettingsChange { restaurant, settings, version })
    }
}

/// Settings as the columns have them: blocked numbers as integers, and as text where there are ranges or patterns; what few
/// restaurants have as an object.
fn as_columns(settings: &PoolSettings) -> Value {
    let blocked = &settings.blocked_numbers;
    let mut columns = json!(settings);
    columns["blocked_numbers"] = blocked.numbers().collect();
    columns["blocked"] = json!(blocked.has_rules().then(|| blocked.to_string()));
    columns["rules"] = settings.rules().map_or(Value::Null, Value::Object);
    columns
}

/// Writes settings where they are new or newer than what is there. One row a restaurant, or Postgres refuses.
pub(in crate::ledger) async fn upsert(
    connection: &mut Session<'_>,
    settings: &[(&SettingsChange, Timestamp)],
) -> Result<(), LedgerError> {
    if settings.is_empty() {
        return Ok(());
    }
    let restaurants: Vec<i32> = settings.iter().map(|(change, _)| change.restaurant.as_i32()).collect();
    let versions: Vec<i32> = settings.iter().map(|(change, _)| change.version.cast_signed()).collect();
    let times: Vec<DateTime<Utc>> = settings.iter().map(|(_, at)| at.to_datetime()).collect();
    // Rare, and lists of lists do not unnest: settings travel as JSON.
    let json: Vec<Value> = settings.iter().map(|(change, _)| as_columns(&change.settings)).collect();
    sqlx::query!(
        "INSERT INTO restaurants AS r
             (restaurant_id, min_number, max_number, policy, cooldown_seconds, active_window_seconds, blocked_numbers,
              format, version, updated_at, blocked, blocked_version, rules, rules_version)
         SELECT new.restaurant_id, s.min_number, s.max_number, s.policy, s.cooldown_seconds, s.active_window_seconds,
                s.blocked_numbers, s.format, new.version, new.updated_at,
                s.blocked, CASE WHEN s.blocked IS NOT NULL THEN new.version END,
                s.rules, CASE WHEN s.rules IS NOT NULL THEN new.version END
         FROM unnest($1::int[], $2::int[], $3::timestamptz[], $4::jsonb[])
                 AS new (restaurant_id, version, updated_at, settings),
             jsonb_to_record(new.settings) AS s (min_number int, max_number int, policy text, cooldown_seconds int,
                 active_window_seconds int, blocked_numbers int[], format text,
                 blocked text, rules jsonb)
         ON CONFLICT (restaurant_id) DO UPDATE SET
             min_number = EXCLUDED.min_number, max_number = EXCLUDED.max_number, policy = EXCLUDED.policy,
             cooldown_seconds = EXCLUDED.cooldown_seconds, active_window_seconds = EXCLUDED.active_window_seconds,
             blocked_numbers = EXCLUDED.blocked_numbers, format = EXCLUDED.format, version = EXCLUDED.version,
             updated_at = EXCLUDED.updated_at, blocked = EXCLUDED.blocked, blocked_version = EXCLUDED.blocked_version,
             rules = EXCLUDED.rules, rules_version = EXCLUDED.rules_version
         WHERE r.version < EXCLUDED.version",
        &restaurants,
        &versions,
        &times,
        &json as &[Value]
    )
    .execute(connection)
    .await?;
    Ok(())
}
