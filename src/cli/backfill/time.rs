//! Times, as the many systems of the world write them.

use chrono::{
    DateTime, Duration, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc,
};
use chrono_tz::Tz;
use clap::ValueEnum;

use super::reason::{Adjusted, Remark};

/// What a date of three numbers means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DateOrder {
    /// 10/05/2026 is the 5th of October.
    Mdy,
    /// 10/05/2026 is the 10th of May.
    Dmy,
    /// 26/05/10 is the 10th of May.
    Ymd,
}

/// How times are read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeRules {
    /// The zone of times that name none.
    pub(super) zone: Option<Tz>,
    pub(super) date_order: Option<DateOrder>,
    /// Why a time without a zone is taken as UTC.
    pub(super) utc: Option<AsUtc>,
}

/// Why a time without a zone is UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AsUtc {
    /// `--assume-utc` says so.
    Assumed,
    /// The server that holds the table keeps UTC itself.
    OfServer,
}

/// A time as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    pub(super) at: DateTime<Utc>,
    /// The second instant that has the same local time, where clocks were put back.
    pub(super) again: Option<DateTime<Utc>>,
    pub(super) remarks: Vec<Remark<Adjusted>>,
}

/// Why a time cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has none of the forms.
    Form,
    /// It could be one of several days.
    Order,
    /// The short name of its zone is used in several parts of the world.
    Abbreviation,
    /// It has no zone, and none was told.
    NoZone(NaiveDateTime),
    /// Clocks were put forward over it.
    Skipped(Tz),
}

impl Fault {
    /// What to do about it.
    pub(super) fn explained(self) -> String {
        match self {
            Self::Form => "no time, or in no form that is read".to_owned(),
            Self::Order => "which is the day, and which the month? Say it with --date-order mdy, dmy or ymd".to_owned(),
            Self::Abbreviation => {
                "short names of zones mean several: write an offset (-05:00), or none and --time-zone".to_owned()
            }
            Self::NoZone(_) => "it has no zone: see --time-zone and --assume-utc".to_owned(),
            Self::Skipped(zone) => format!("this time does not exist in {zone}: clocks were put forward over it (DST)"),
        }
    }
}

/// A time before its zone is known.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Written {
    At(DateTime<Utc>),
    Local(NaiveDateTime),
    Day(NaiveDate),
}

impl TimeRules {
    /// The instant that a text means. `in_utc`: the column says that its times are UTC.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn read(&self, text: &str, in_utc: bool) -> Result<Moment, Fault> {
        let (local, day) = match written(text.trim(), self.date_order)? {
            Written::At(at) => return Ok(Moment { at, again: None, remarks: Vec::new() }),
            Written::Local(local) => (local, false),
            Written::Day(day) => (day.and_time(NaiveTime::MIN), true),
        };
        let mut moment = self.in_zone(local, day, in_utc)?;
        if day {
            moment.remarks.push(Remark::new(Adjusted::DateAlone, text));
        }
        Ok(moment)
    }

    fn in_zone(&self, local: NaiveDateTime, day: bool, in_utc: bool) -> Result<Moment, Fault> {
        let plain = |at| Moment { at, again: None, remarks: Vec::new() };
        if in_utc {
            return Ok(plain(local.and_utc()));
        }
        let Some(zone) = self.zone else {
            let why = match self.utc.ok_or(Fault::NoZone(local))? {
                AsUtc::Assumed => "--assume-utc",
                AsUtc::OfServer => "the server of the table keeps UTC (log_timezone)",
            };
            let remark = Remark::new(Adjusted::ZoneAssumed, format!("{local}: {why}"));
            return Ok(Moment { remarks: vec![remark], ..plain(local.and_utc()) });
        };
        match zone.from_local_datetime(&local) {
            MappedLocalTime::Single(at) => Ok(plain(at.to_utc())),
            MappedLocalTime::Ambiguous(first, second) => {
                let remark = Remark::new(
                    Adjusted::TimeTwice,
                    format!("{local} was twice in {zone}, as clocks were put back (DST): the first time is taken"),
                );
                Ok(Moment { again: Some(second.to_utc()), remarks: vec![remark], ..plain(first.to_utc()) })
            }
            // A day begins later where clocks are put forward at midnight.
            MappedLocalTime::None if day => (1..=12)
                .find_map(|quarters| zone.from_local_datetime(&(local + Duration::minutes(15 * quarters))).earliest())
                .map(|at| plain(at.to_utc()))
                .ok_or(Fault::Skipped(zone)),
            MappedLocalTime::None => Err(Fault::Skipped(zone)),
        }
    }
}

/// Words for no time at all, as databases and programs write them.
pub(super) fn is_no_time(text: &str) -> bool {
    let text = text.trim();
    ["infinity", "-infinity"].iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.starts_with("0000-00-00")
        || text.starts_with("0001-01-01")
}

fn written(text: &str, order: Option<DateOrder>) -> Result<Written, Fault> {
    // Most are of this kind.
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Written::At(at.to_utc()));
    }
    if text.len() > 100 {
        return Err(Fault::Form);
    }
    if let Some(at) = unix(text) {
        return Ok(Written::At(at));
    }
    let (text, zone) = without_zone(text)?;
    match (local(&text, order)?, zone) {
        (Written::Local(local), Some(Zone::Offset(offset))) => {
            let at = local.and_local_timezone(offset).single().ok_or(Fault::Form)?;
            Ok(Written::At(at.to_utc()))
        }
        (Written::Local(local), Some(Zone::Named(zone))) => match zone.from_local_datetime(&local) {
            MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => Ok(Written::At(at.to_utc())),
            MappedLocalTime::None => Err(Fault::Skipped(zone)),
        },
        (Written::Day(_), Some(_)) => Err(Fault::Form),
        (written, _) => Ok(written),
    }
}

/// The first second of 2000: smaller numbers are no times, and larger units begin where seconds end.
const SECONDS: std::ops::Range<i64> = 946_684_800..10_000_000_000;

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size.
fn unix(text: &str) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) || !(9..=19).contains(&whole.len()) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    let (unit, nanos_of_unit) = [(1, 1_000_000_000), (1_000, 1_000_000), (1_000_000, 1_000), (1_000_000_000, 1)]
        .into_iter()
        .find(|(unit, _)| SECONDS.contains(&(number / unit)))?;
    let part: u64 = format!("{fraction:0<9.9}").parse().ok()?;
    let nanos = (number % unit) * nanos_of_unit;
    let nanos = nanos + i64::try_from(part).ok()? / unit;
    DateTime::from_timestamp(number / unit, u32::try_from(nanos).ok()?)
}

#[derive(Debug, Clone, Copy)]
enum Zone {
    Offset(FixedOffset),
    Named(Tz),
}

/// Takes the zone from the end of a time.
fn without_zone(text: &str) -> Result<(String, Option<Zone>), Fault> {
    // JavaScript adds the zone's name after its offset, in parentheses; Java in brackets.
    let text = match text.strip_suffix(')').and_then(|text| text.rsplit_once('(')) {
        Some((text, _)) => text.trim_end(),
        None => text,
    };
    let (text, named) = match text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
        Some((text, name)) => (text.trim_end(), Some(name)),
        None => (text, None),
    };
    let utc = Some(Zone::Offset(Utc.fix()));
    if let Some((rest, offset)) = offset_of(text) {
        return Ok((without_utc(rest).unwrap_or(rest).to_owned(), Some(Zone::Offset(offset))));
    }
    if let Some(rest) = without_utc(text) {
        return Ok((rest.to_owned(), utc));
    }
    // `Sun May 10 14:30:00 UTC 2026`
    for word in [" UTC ", " GMT "] {
        if text.contains(word) {
            return Ok((text.replacen(word, " ", 1), utc));
        }
    }
    let last = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let (text, name) = match named {
        Some(name) => (text, name),
        None if last.contains('/') && last.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (text.strip_suffix(last).unwrap_or(text), last)
        }
        None => {
            let is_short = (2..=5).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_uppercase());
            let is_time = text.contains(':') && last != "AM" && last != "PM" && last.len() < text.len();
            return if is_short && is_time { Err(Fault::Abbreviation) } else { Ok((text.to_owned(), None)) };
        }
    };
    let zone: Tz = name.parse().map_err(|_| Fault::Form)?;
    Ok((text.trim_end().to_owned(), Some(Zone::Named(zone))))
}

/// Takes `Z`, `UTC` or `GMT` from the end of a text that has a time before it.
fn without_utc(text: &str) -> Option<&str> {
    let rest = ["UTC", "GMT", "Z", "utc", "gmt", "z"].iter().find_map(|word| text.strip_suffix(word))?.trim_end();
    rest.ends_with(|c: char| c.is_ascii_digit() || matches!(c, 'M' | 'm' | '.')).then_some(rest)
}

/// An offset at the end of a text that has a time before it: `+02`, `-0530`, `+05:30`, `+2`.
fn offset_of(text: &str) -> Option<(&str, FixedOffset)> {
    let at = text.rfind(['+', '-', '\u{2212}'])?;
    let (before, sign) = (text[..at].trim_end(), text[at..].chars().next()?);
    let digits = &text[at + sign.len_utf8()..];
    let has_time = before.contains(':') || before.split_once(['T', 't']).is_some_and(|(_, time)| time.len() >= 4);
    let parts: Vec<&str> = digits.split(':').collect();
    let all_digits = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !has_time || !all_digits {
        return None;
    }
    let (hours, minutes) = match parts.as_slice() {
        [hours] if hours.len() <= 2 => (*hours, "0"),
        [both] if both.len() == 4 => both.split_at(2),
        [hours, minutes] | [hours, minutes, "00"] if hours.len() <= 2 && minutes.len() == 2 => (*hours, *minutes),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if hours > 15 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Some((before, FixedOffset::east_opt(if sign == '+' { seconds } else { -seconds })?))
}

/// A date, and a time of the day if there is one.
fn local(text: &str, order: Option<DateOrder>) -> Result<Written, Fault> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // 20260510143000, and 20260510 alone.
        return match text.len() {
            8 => NaiveDate::parse_from_str(text, "%Y%m%d").map(Written::Day).map_err(|_| Fault::Form),
            12 => NaiveDateTime::parse_from_str(text, "%Y%m%d%H%M").map(Written::Local).map_err(|_| Fault::Form),
            14 => NaiveDateTime::parse_from_str(text, "%Y%m%d%H%M%S").map(Written::Local).map_err(|_| Fault::Form),
            _ => Err(Fault::Form),
        };
    }
    // A T between two digits parts the date from the time.
    let part = text.char_indices().find(|(at, c)| {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        matches!(c, 'T' | 't') && digit(text[..*at].chars().next_back()) && digit(text[at + 1..].chars().next())
    });
    let parted = part.map(|(at, _)| format!("{} {}", &text[..at], &text[at + 1..]));
    let mut words: Vec<&str> = parted.as_deref().unwrap_or(text).split_whitespace().collect();
    words.retain(|word| !word.eq_ignore_ascii_case("at") && *word != ",");
    if words.first().is_some_and(|word| is_weekday(word.trim_end_matches([',', '.']))) {
        words.remove(0);
    }
    let clock = match words.iter().position(|word| word.contains(':')) {
        Some(at) => Some(at),
        None if part.is_some() => Some(1),
        None => None,
    };
    let Some(at) = clock.filter(|at| *at > 0) else {
        return date(&words, order).map(Written::Day);
    };
    let mut half = String::new();
    let mut rest = words.split_off(at).into_iter();
    let clock = rest.next().unwrap_or_default();
    for word in rest {
        match word.bytes().next() {
            // `2:30 p. m.`
            Some(first) if first.is_ascii_alphabetic() => half.push_str(word),
            // `Sun May 10 14:30:00 2026`
            _ => words.push(word),
        }
    }
    Ok(Written::Local(date(&words, order)?.and_time(time_of_day(clock, &half)?)))
}

/// `14:30`, `2:30:05.250 pm`, `143000`.
fn time_of_day(clock: &str, half: &str) -> Result<NaiveTime, Fault> {
    let clock = clock.trim_end_matches(',');
    let digits_end = clock.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(clock.len());
    let (clock, attached) = clock.split_at(digits_end);
    let half: String = [attached, half].concat().chars().filter(|c| c.is_ascii_alphabetic()).collect();
    let clock = clock.trim_end_matches('.').replace(',', ".");
    let read = |clock: &str, formats: &[&str]| {
        formats.iter().find_map(|format| NaiveTime::parse_from_str(clock, format).ok()).ok_or(Fault::Form)
    };
    if half.is_empty() {
        return read(&clock, &["%H:%M:%S%.f", "%H:%M", "%H%M%S%.f", "%H%M"]);
    }
    if !["am", "pm"].iter().any(|known| half.eq_ignore_ascii_case(known)) {
        return Err(Fault::Form);
    }
    read(&format!("{clock} {half}"), &["%I:%M:%S%.f %p", "%I:%M %p"])
}

fn date(words: &[&str], order: Option<DateOrder>) -> Result<NaiveDate, Fault> {
    let text = words.join(" ");
    let parts: Vec<&str> =
        text.split([' ', '-', '/', '.', ',']).map(str::trim).filter(|part| !part.is_empty()).collect();
    if let [whole] = parts.as_slice()
        && whole.len() == 8
    {
        return NaiveDate::parse_from_str(whole, "%Y%m%d").map_err(|_| Fault::Form);
    }
    let [first, second, third] = parts.as_slice() else { return Err(Fault::Form) };
    let (year, month, day) = if let Some(month) = month(first) {
        (*third, month, ordinal(second))
    } else if let Some(month) = month(second) {
        if first.len() == 4 { (*first, month, *third) } else { (*third, month, ordinal(first)) }
    } else {
        let (year, month, day) = match (first.len(), third.len(), order) {
            (4, 1..=2, _) => (first, second, third),
            (1..=2, 4, Some(DateOrder::Mdy)) | (1..=2, 2, Some(DateOrder::Mdy)) => (third, first, second),
            (1..=2, 4, Some(DateOrder::Dmy)) | (1..=2, 2, Some(DateOrder::Dmy)) => (third, second, first),
            (2, 1..=2, Some(DateOrder::Ymd)) => (first, second, third),
            (1..=2, 2 | 4, None) if parts.iter().all(|part| number(part).is_ok()) => return Err(Fault::Order),
            _ => return Err(Fault::Form),
        };
        (*year, number(month)?, *day)
    };
    let year = match year.len() {
        4 => number(year)?,
        2 if order.is_some() => 2000 + number(year)?,
        _ => return Err(Fault::Form),
    };
    NaiveDate::from_ymd_opt(year.cast_signed(), month, number(day)?).ok_or(Fault::Form)
}

fn number(text: &str) -> Result<u32, Fault> {
    if text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| Fault::Form)
    } else {
        Err(Fault::Form)
    }
}

/// `10th` is 10.
fn ordinal(day: &str) -> &str {
    ["st", "nd", "rd", "th"].iter().find_map(|end| day.strip_suffix(end)).unwrap_or(day)
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// An English name, or three letters of it or more.
fn month(text: &str) -> Option<u32> {
    let at = begins(&MONTHS, text)?;
    u32::try_from(at + 1).ok()
}

fn is_weekday(text: &str) -> bool {
    begins(&DAYS, text).is_some()
}

fn begins(names: &[&str], text: &str) -> Option<usize> {
    let text = text.to_ascii_lowercase();
    (text.len() >= 3).then(|| names.iter().position(|name| name.starts_with(&text))).flatten()
}

#[cfg(test)]
mod tests;
