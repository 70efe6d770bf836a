//! Settings as Redis has them: what scripts need is packed, blocked numbers are a set, and what few pools have is JSON.

use std::fmt::Write as _;

use redis::{FromRedisValue, Value as RedisValue};
use serde_json::Value;

use crate::{
    allocator::{
        AllocatorError, StoredSettings,
        script::{Call, record::shown, reply::Reply},
    },
    domain::{
        Avoid, BlockedNumbers, BusinessDay, OrderSource, OrderType, PoolSettings, Quarantine, RangeSettings, Reset,
        SelectionPolicy, SpecialNumbers, Timestamp, blocked::MOST_UNJOINED, business_day::date_of,
    },
};

/// What packed settings have before the format.
const CONF_BYTES: usize = 15;

// What the rules of a pool say, as in `lua/lib/pool.lua`.
const HAS_RANGES: u8 = 1;
const AVOIDS_TEEN_TY: u8 = 2;
const AVOIDS_SWAPPED: u8 = 4;
const REST_GIVES_WAY: u8 = 8;
const RESETS_DAILY: u8 = 16;

impl Call {
    /// Twelve arguments: the settings of a pool, as `lua/lib/settings.lua` says.
    pub(in crate::allocator) fn settings(self, settings: &PoolSettings) -> Self {
        let mut runs = String::new();
        for (first, last) in settings.unblocked_runs() {
            // Writing to a String cannot fail.
            let _ = write!(runs, "{first} {last} ");
        }
        let some = |number: Option<u32>| number.map_or(String::new(), |number| number.to_string());
        self.arg(conf(settings))
            .number(settings.active_window_seconds)
            .arg(further_ranges(settings))
            .arg(settings.rules().map_or(String::new(), |rules| Value::Object(rules).to_string()))
            .arg(date_rules(settings))
            .arg(some(settings.business_day.first_number))
            .arg(some(settings.cooldown_min_seconds))
            .arg(runs)
            .arg(block_members(&settings.blocked_numbers))
            .arg(reservations(&settings.special))
            .arg(quarantines(&settings.special))
            .arg(served_seconds(settings))
    }
}

/// The settings that most scripts need; how many numbers are blocked, the script puts in.
fn conf(settings: &PoolSettings) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let rules = flag(!settings.ranges.is_empty(), HAS_RANGES)
        | flag(settings.avoid.contains(&Avoid::TeenTy), AVOIDS_TEEN_TY)
        | flag(settings.avoid.contains(&Avoid::Swapped), AVOIDS_SWAPPED)
        | flag(settings.cooldown_min_seconds.is_some(), REST_GIVES_WAY)
        | flag(settings.business_day.reset == Reset::Daily, RESETS_DAILY);
    let mut conf = Vec::with_capacity(32);
    conf.extend_from_slice(&number(settings.min_number));
    conf.extend_from_slice(&number(settings.max_number));
    conf.extend_from_slice(&number(0));
    conf.extend_from_slice(&settings.cooldown_seconds.to_be_bytes());
    conf.extend_from_slice(&[policy_code(settings.policy), rules]);
    conf.extend_from_slice(&shown(&settings.format, None));
    conf
}

/// The further ranges, one behind the other.
pub(super) fn further_ranges(settings: &PoolSettings) -> Vec<u8> {
    settings.ranges.iter().flat_map(range).collect()
}

/// The rules of the business date.
pub(super) fn date_rules(settings: &PoolSettings) -> Vec<u8> {
    settings.date_rules().to_string().into_bytes()
}

/// A further range, as `lua/lib/pool.lua` has it.
fn range(range: &RangeSettings) -> Vec<u8> {
    fn mask<T: PartialEq>(all: &[T], some: &[T]) -> u8 {
        all.iter().enumerate().filter(|(_, kind)| some.contains(kind)).map(|(place, _)| 1 << place).sum()
    }
    let mut packed = Vec::with_capacity(32);
    packed.extend_from_slice(&number(range.min_number));
    packed.extend_from_slice(&number(range.max_number));
    packed.extend_from_slice(&[policy_code(range.policy), u8::from(range.overflow)]);
    packed.push(mask(&OrderType::ALL, &range.takes.order_type));
    packed.push(mask(&OrderSource::ALL, &range.takes.order_source));
    let shown = shown(&range.format, Some(&range.id));
    packed.push(u8::try_from(shown.len()).expect("a format has at most 32 bytes, an id 16"));
    packed.extend_from_slice(&shown);
    packed
}

/// Seconds after which served orders are completed; nothing where they never are.
pub(super) fn served_seconds(settings: &PoolSettings) -> String {
    if settings.served_seconds == 0 { String::new() } else { settings.served_seconds.to_string() }
}

/// Numbers that are kept for tables, as `lua/lib/settings.lua` reads them.
fn reservations(special: &SpecialNumbers) -> Vec<u8> {
    let mut packed = Vec::new();
    for (reserved, table) in &special.reservations {
        packed.extend_from_slice(&number(*reserved));
        packed.push(u8::try_from(table.len()).expect("tables have at most 32 characters"));
        packed.extend_from_slice(table.as_bytes());
    }
    packed
}

/// Numbers that are taken out, and until when: without an end, as long as instants go.
fn quarantines(special: &SpecialNumbers) -> Vec<u8> {
    let quarantine = |(taken_out, quarantine): (&u32, &Quarantine)| {
        let until = quarantine.until.map_or((1 << 48) - 1, Timestamp::unix_ms);
        number(*taken_out).into_iter().chain(until.to_be_bytes().into_iter().skip(2))
    };
    special.quarantine.iter().flat_map(quarantine).collect()
}

/// Three bytes: numbers have at most twenty bits.
fn number(number: u32) -> [u8; 3] {
    let [_, bytes @ ..] = number.to_be_bytes();
    bytes
}

const fn policy_code(policy: SelectionPolicy) -> u8 {
    match policy {
        SelectionPolicy::Sequential => b's',
        SelectionPolicy::Lowest => b'l',
        SelectionPolicy::Random => b'r',
    }
}

/// The members of the block set: single numbers, a member each, where there is nothing else and Redis packs them into one
/// piece of memory (its `set-max-intset-entries`); or all entries as one member, with commas between them.
fn block_members(blocked: &BlockedNumbers) -> String {
    let entries = blocked.to_string();
    if blocked.has_rules() || blocked.len() > MOST_UNJOINED { entries } else { entries.replace(',', " ") }
}

/// What `describe` in `lua/lib/describe.lua` answers.
pub(in crate::allocator) struct PoolFields {
    pub(in crate::allocator) stored: StoredSettings,
    /// Where the ring of each range goes on, the main one first; 0 where it has none.
    pub(in crate::allocator) cursors: Vec<u32>,
    /// The business date, and the orders that it has had; None before the first one.
    pub(in crate::allocator) business_day: Option<BusinessDay>,
    /// Live and resting numbers outside the pool.
    pub(in crate::allocator) retiring: (u32, u32),
}

/// Takes a described pool out of a reply, and its blocked numbers, which come behind it.
pub(in crate::allocator) fn take_pool(reply: &mut Reply, at: usize) -> Result<PoolFields, AllocatorError> {
    let mut fields: Vec<RedisValue> = reply.take(at)?;
    let blocked: Vec<String> = reply.take(at + 1)?;
    let cursors = fields.split_off(7.min(fields.len()));
    type Raw = (u32, Vec<u8>, u32, String, Vec<u8>, u32, u32);
    let bug = |error: redis::ParsingError| AllocatorError::Bug(format!("a pool is described in another way: {error}"));
    let (version, conf, window, rules, day, live, cooling): Raw =
        FromRedisValue::from_redis_value(RedisValue::Array(fields)).map_err(bug)?;
    let cursors = FromRedisValue::from_redis_value(RedisValue::Array(cursors)).map_err(bug)?;
    let odd = || AllocatorError::Bug(format!("settings of a pool are {conf:?}, with the rules {rules}"));
    let settings = unpack(&conf, window, &rules, &blocked).ok_or_else(odd)?;
    Ok(PoolFields {
        stored: StoredSettings { settings, version },
        cursors,
        business_day: business_day_of(&day),
        retiring: (live, cooling),
    })
}

fn unpack(conf: &[u8], window: u32, rules: &str, blocked: &[String]) -> Option<PoolSettings> {
    let uint =
        |from: usize, to: usize| Some(conf.get(from..to)?.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)));
    let policies = [SelectionPolicy::Sequential, SelectionPolicy::Lowest, SelectionPolicy::Random];
    let format = conf.get(CONF_BYTES + 1..)?.get(..usize::from(*conf.get(CONF_BYTES)?))?;
    let rules = if rules.is_empty() { "{}" } else { rules };
    Some(PoolSettings {
        min_number: uint(0, 3)?,
        max_number: uint(3, 6)?,
        policy: policies.into_iter().find(|policy| conf.get(13) == Some(&policy_code(*policy)))?,
        cooldown_seconds: uint(9, 13)?,
        active_window_seconds: window,
        blocked_numbers: blocked.join(",").parse().ok()?,
        format: std::str::from_utf8(format).ok()?.parse().ok()?,
        ..serde_json::from_str(rules).ok()?
    })
}

/// As `lua/lib/pool.lua` has it.
fn business_day_of(packed: &[u8]) -> Option<BusinessDay> {
    let [high, low, rest @ ..] = packed else { return None };
    let sequence = rest.get(6..9)?.iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
    Some(BusinessDay { date: date_of(u16::from_be_bytes([*high, *low]))?, sequence })
}
