//! When an order was made, when it last changed, and when it ended.

use chrono::{DateTime, Datelike, Duration, NaiveDateTime, Utc};

use crate::{
    cli::backfill::{
        column::Column,
        reason::{Adjusted, Remark, Skipped},
        time::{Fault, Moment, TimeRules, is_no_time},
        value::{Row, is_absent},
    },
    domain::{OrderStatus, Timestamp},
};

/// An order from before this year has a broken clock behind it.
const FIRST_YEAR: i32 = 2000;

/// Clocks differ, and some are wrong by a time zone. What is further ahead is no time at which an order was made.
const AHEAD_MS: i64 = 86_400_000;

/// The local times of the world lie between these, seen from UTC.
const FIRST_ZONE: Duration = Duration::hours(14);
const LAST_ZONE: Duration = Duration::hours(12);

/// What a column says of a time. None: nothing.
fn read(rules: &TimeRules, row: &Row, column: Column) -> Result<Option<Moment>, Fault> {
    let Some(text) = row.moment(column) else {
        return if is_absent(row.get(column)) { Ok(None) } else { Err(Fault::Form) };
    };
    if is_no_time(&text) {
        return Ok(None);
    }
    rules.read(&text, row.is_in_utc(column)).map(Some)
}

/// Says what was written before what is wrong with it.
fn told<R>(reason: R, row: &Row, column: Column, fault: Fault) -> Remark<R> {
    let written = Remark::shown((), row.get(column)).detail;
    Remark::new(reason, format!("{written}: {}", fault.explained()))
}

/// # Errors
/// Why the row cannot be taken.
pub(super) fn created_at(
    rules: &TimeRules,
    row: &Row,
    status: OrderStatus,
    now: Timestamp,
    adjusted: &mut Vec<Remark<Adjusted>>,
) -> Result<Timestamp, Remark<Skipped>> {
    let column = Column::CreatedAt;
    let out_of_range = || Remark::shown(Skipped::CreatedAtRange, row.get(column));
    let at = match read(rules, row, column) {
        Ok(Some(moment)) => {
            adjusted.extend(moment.remarks.into_iter().map(|remark| remark.about(column.name())));
            moment.at
        }
        Ok(None) => return Err(Remark::shown(Skipped::CreatedAt, row.get(column))),
        Err(Fault::NoZone(local)) if status.is_live() => {
            let latest = latest(local, now).ok_or_else(out_of_range)?;
            let written = Remark::shown((), row.get(column)).detail;
            let counts_as = format!("created_at {written} counts as {}", Timestamp::from(latest));
            adjusted.push(Remark::new(Adjusted::NoZone, counts_as));
            latest
        }
        Err(fault @ Fault::NoZone(_)) => return Err(told(Skipped::NoZone, row, column, fault)),
        Err(fault) => return Err(told(Skipped::CreatedAt, row, column, fault)),
    };
    if at.year() < FIRST_YEAR || at.timestamp_millis() > now.plus_ms(AHEAD_MS).unix_ms() {
        return Err(out_of_range());
    }
    // It is a part of the id, so it is not moved: the same row would be another order the next time.
    if at.timestamp_millis() > now.unix_ms() {
        adjusted.push(Remark::shown(Adjusted::Future, row.get(column)).about(column.name()));
    }
    Ok(at.into())
}

/// The latest instant until now that a local time can be anywhere in the world. An order that is open has its number in
/// a guest's hand, so it is not left out for want of a zone; it only must not seem older than it is, and end too early.
fn latest(local: NaiveDateTime, now: Timestamp) -> Option<DateTime<Utc>> {
    let now = now.to_datetime();
    let earliest = local.and_utc().checked_sub_signed(FIRST_ZONE)?;
    let latest = local.and_utc().checked_add_signed(LAST_ZONE)?;
    (earliest <= now).then_some(latest.min(now))
}

/// When it last changed, and when it ended: between its creation and now.
pub(super) fn changed_and_ended(
    rules: &TimeRules,
    row: &Row,
    status: OrderStatus,
    created_at: Timestamp,
    now: Timestamp,
    adjusted: &mut Vec<Remark<Adjusted>>,
) -> (Timestamp, Timestamp) {
    let last = now.max(created_at);
    let mut taken = |column: Column| {
        let moment = match read(rules, row, column) {
            Ok(moment) => moment?,
            Err(fault) => {
                let reason = if matches!(fault, Fault::NoZone(_)) { Adjusted::NoZone } else { Adjusted::LeftOut };
                adjusted.push(told(reason, row, column, fault).about(column.name()));
                return None;
            }
        };
        adjusted.extend(moment.remarks.into_iter().map(|remark| remark.about(column.name())));
        // Where a local time was twice, an order does not end before it began.
        let at = match moment.again {
            Some(again) if moment.at.timestamp_millis() < created_at.unix_ms() => again,
            _ => moment.at,
        };
        let ms = at.timestamp_millis();
        let moved = ms.clamp(created_at.unix_ms(), last.unix_ms());
        let remark = |side: &str| {
            let text = format!("{} {side}", column.name());
            Remark::shown(Adjusted::Time, row.get(column)).about(&text)
        };
        if ms < moved {
            adjusted.push(remark("before created_at"));
        } else if moved < ms {
            adjusted.push(remark("in the future"));
        }
        Some(Timestamp::from_unix_ms(moved))
    };
    let updated_at = taken(Column::UpdatedAt);
    if status.is_live() {
        return (updated_at.unwrap_or(created_at), created_at);
    }
    let ended = taken(Column::CompletedAt).or_else(|| taken(Column::ReleasedAt)).or_else(|| taken(Column::CancelledAt));
    let released_at = ended.or(updated_at).unwrap_or(created_at);
    (updated_at.unwrap_or(released_at).max(released_at), released_at)
}
