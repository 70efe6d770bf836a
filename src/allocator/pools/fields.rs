//! What a pool's hash says of its settings in fields of their own, which scripts read, against the settings themselves;
//! and whether numbers that are taken out lie where they should.

use std::collections::{BTreeMap, BTreeSet};

use super::packed::{date_rules, further_ranges, served_seconds};
use crate::domain::{PoolSettings, Timestamp};

/// Fields of a pool's hash, by name.
pub(super) type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

/// A settings' field, and what it must say; nothing where it must not be there.
type Expected = (&'static str, Vec<u8>);

/// All that is not as the settings say, in words.
pub(super) fn oddities(
    settings: &PoolSettings,
    fields: &Fields,
    free: &[(u32, u32)],
    cooling: &[(Timestamp, u32)],
) -> Vec<String> {
    let mut odd = Vec::new();
    for (name, expected) in expected_of(settings) {
        if fields.get(name.as_bytes()).map_or(&[][..], Vec::as_slice) != expected {
            odd.push(format!("the field {name} of the pool is not what the settings say"));
        }
    }
    odd.extend(odd_reservations(settings, fields));
    odd.extend(odd_quarantines(settings, fields, free, cooling));
    odd
}

fn expected_of(settings: &PoolSettings) -> [Expected; 6] {
    let some = |number: Option<u32>| number.map_or(Vec::new(), |number| number.to_string().into_bytes());
    let is_special = !settings.special.is_empty();
    [
        ("rng", further_ranges(settings)),
        ("zone", date_rules(settings)),
        ("fn", some(settings.business_day.first_number)),
        ("mr", some(settings.cooldown_min_seconds)),
        ("ss", served_seconds(settings).into_bytes()),
        ("sp", if is_special { b"1".to_vec() } else { Vec::new() }),
    ]
}

/// The fields of a kind by what stands behind it, with what they say.
fn of_kind<'a>(fields: &'a Fields, kind: &'a str) -> impl Iterator<Item = (String, &'a [u8])> {
    fields.iter().filter_map(move |(name, value)| {
        let of = name.strip_prefix(kind.as_bytes())?.strip_prefix(b":")?;
        Some((String::from_utf8_lossy(of).into_owned(), value.as_slice()))
    })
}

fn odd_reservations(settings: &PoolSettings, fields: &Fields) -> Vec<String> {
    let said: BTreeSet<(String, String)> =
        settings.special.reservations.iter().map(|(number, table)| (number.to_string(), table.clone())).collect();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let by_number = of_kind(fields, "res").map(|(number, table)| (number, text(table))).collect();
    let by_table = of_kind(fields, "tab").map(|(table, number)| (text(number), table)).collect();
    let differing = |here: &BTreeSet<(String, String)>, where_: &str| {
        let odd = said.symmetric_difference(here);
        odd.map(|(number, table)| {
            format!("number {number} of table {table} is in the settings or {where_}, not in both")
        })
        .collect::<Vec<_>>()
    };
    [differing(&by_number, "in a field res"), differing(&by_table, "in a field tab")].concat()
}

fn odd_quarantines(
    settings: &PoolSettings,
    fields: &Fields,
    free: &[(u32, u32)],
    cooling: &[(Timestamp, u32)],
) -> Vec<String> {
    let mut odd = Vec::new();
    let quarantine = &settings.special.quarantine;
    let here: BTreeMap<u32, Option<i64>> = of_kind(fields, "qua")
        .map(|(number, packed)| (number.parse().unwrap_or_default(), packed.get(..6).map(instant)))
        .collect();
    let is_member = settings.membership();
    let belongs = |number: u32| is_member(number) || settings.special.reservations.contains_key(&number);
    for (number, out) in quarantine {
        // One that is over goes when its number comes back.
        let must_be = out.until.is_none() && belongs(*number);
        if must_be && !here.contains_key(number) {
            odd.push(format!("number {number} is taken out, and the pool has no field qua of it"));
        }
    }
    for (number, until) in here {
        let said = quarantine.get(&number).map(|out| out.until.map_or(FOR_EVER_MS, Timestamp::unix_ms));
        if said.is_none() || until != said {
            odd.push(format!("the pool has number {number} taken out until {until:?}, the settings until {said:?}"));
        }
        if free.iter().any(|(first, last)| (*first..=*last).contains(&number)) {
            odd.push(format!("number {number} is taken out and free"));
        }
        let rest = cooling.iter().find(|(_, resting)| *resting == number).map(|(until, _)| until.unix_ms());
        if rest.is_some_and(|rest| Some(rest) < until) {
            odd.push(format!("number {number} is taken out, and comes back before the end of that"));
        }
    }
    odd
}

/// What a quarantine without an end has for one.
const FOR_EVER_MS: i64 = Timestamp::MAX_MS;

fn instant(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |ms, byte| ms << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A pool with all of it, as its scripts would have written it.
    fn sound() -> (PoolSettings, Fields) {
        let settings: PoolSettings = serde_json::from_value(json!({
            "max_number": 100, "time_zone": "Europe/Berlin", "cooldown_min_seconds": 7, "served_seconds": 60,
            "business_day": {"starts_at": "04:00", "reset": "daily", "first_number": 5},
            "ranges": [{"id": "app", "min_number": 201, "max_number": 210}],
            "special": {
                "reservations": {"3": "12", "70": "patio"},
                "quarantine": {"9": {"reason": "r"}, "8": {"reason": "r", "until": "2026-11-30T10:00:00Z"}},
            },
        }))
        .expect("settings");
        let until = settings.special.quarantine[&8].until.expect("it has an end").unix_ms();
        let packed = |until: i64| [&until.to_be_bytes()[2..], &[0; 6]].concat();
        let mut fields: Fields = expected_of(&settings).map(|(name, value)| (name.into(), value)).into();
        fields.extend([
            (b"res:3".to_vec(), b"12".to_vec()),
            (b"res:70".to_vec(), b"patio".to_vec()),
            (b"tab:12".to_vec(), b"3".to_vec()),
            (b"tab:patio".to_vec(), b"70".to_vec()),
            (b"qua:9".to_vec(), packed(FOR_EVER_MS)),
            (b"qua:8".to_vec(), packed(until)),
            (b"v".to_vec(), b"4".to_vec()),
        ]);
        (settings, fields)
    }

    #[track_caller]
    fn finds(spoil: impl Fn(&mut Fields, &mut Vec<(u32, u32)>, &mut Vec<(Timestamp, u32)>), expected: &str) {
        let (settings, mut fields) = sound();
        let (mut free, mut cooling) = (vec![(10, 100)], vec![(Timestamp::from_unix_ms(FOR_EVER_MS), 9)]);
        assert_eq!(oddities(&settings, &fields, &free, &cooling), [] as [String; 0]);
        spoil(&mut fields, &mut free, &mut cooling);
        let found = oddities(&settings, &fields, &free, &cooling);
        assert!(found.iter().any(|what| what.contains(expected)), "{expected}: {found:?}");
    }

    #[test]
    fn fields_that_do_not_fit_the_settings_are_found() {
        for name in ["rng", "zone", "fn", "mr", "ss", "sp"] {
            finds(|fields, _, _| drop(fields.remove(name.as_bytes())), &format!("the field {name}"));
            finds(|fields, _, _| drop(fields.insert(name.into(), b"other".into())), &format!("the field {name}"));
        }
    }

    #[test]
    fn reservations_that_scripts_do_not_see_are_found() {
        finds(
            |fields, _, _| drop(fields.remove(&b"res:3"[..])),
            "number 3 of table 12 is in the settings or in a field res",
        );
        finds(|fields, _, _| drop(fields.remove(&b"tab:patio"[..])), "number 70 of table patio is in the settings");
        finds(|fields, _, _| drop(fields.insert(b"res:4".into(), b"1".into())), "number 4 of table 1");
        finds(|fields, _, _| drop(fields.insert(b"tab:12".into(), b"4".into())), "number 4 of table 12");
    }

    #[test]
    fn numbers_that_are_taken_out_lie_where_they_should() {
        finds(|fields, _, _| drop(fields.remove(&b"qua:9"[..])), "number 9 is taken out, and the pool has no field");
        finds(|fields, _, _| drop(fields.insert(b"qua:5".into(), vec![0; 12])), "number 5 taken out");
        finds(|fields, _, _| drop(fields.insert(b"qua:8".into(), vec![0; 12])), "number 8 taken out until Some(0)");
        finds(|_, free, _| free.push((9, 9)), "number 9 is taken out and free");
        finds(|_, _, cooling| cooling[0].0 = Timestamp::from_unix_ms(5), "number 9 is taken out, and comes back");
        // One that is over is forgotten when its number comes back.
        let (settings, mut fields) = sound();
        fields.remove(&b"qua:8"[..]);
        assert_eq!(oddities(&settings, &fields, &[(8, 8)], &[]), [] as [String; 0]);
    }
}
