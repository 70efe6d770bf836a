//! Which numbers a restaurant gives, to whom, and how long they rest: as its settings say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use chrono::DateTime;
use serde_json::Value;

use super::stores::Event;

/// The id of the range that every restaurant has.
pub const MAIN: &str = "main";

/// The settings of a restaurant, as far as they matter to the checker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFacts {
    /// Its ranges by id, the main one first.
    pub ranges: Vec<(String, RangeInclusive<u32>)>,
    blocked: BTreeSet<u32>,
    pub cooldown_ms: i64,
    /// How long a number rests at least when nothing is free; None: until its rest is over.
    pub gives_way_after_ms: Option<i64>,
    /// Numbers that are kept for tables.
    pub kept: BTreeMap<u32, String>,
    /// Numbers that are taken out, and until when; None: until they are put back.
    pub out: BTreeMap<u32, Option<i64>>,
}

impl PoolFacts {
    /// All numbers from 1.
    pub fn new(max_number: u32, cooldown_ms: i64) -> Self {
        Self {
            ranges: vec![(MAIN.to_owned(), 1..=max_number)],
            blocked: BTreeSet::new(),
            cooldown_ms,
            gives_way_after_ms: None,
            kept: BTreeMap::new(),
            out: BTreeMap::new(),
        }
    }

    /// As an event has them that put them.
    pub fn of(event: &Event) -> Option<Self> {
        Self::of_settings(event.detail.as_ref().filter(|_| event.kind == "configured")?.get("after")?)
    }

    /// As settings say; those that are absent are as by default.
    pub fn of_settings(settings: &Value) -> Option<Self> {
        let list = |name: &str| settings[name].as_array().map_or(&[][..], Vec::as_slice);
        let range =
            |of: &Value| Some((of["id"].as_str()?.to_owned(), small(&of["min_number"])?..=small(&of["max_number"])?));
        let main = small(&settings["min_number"]).unwrap_or(1)..=small(&settings["max_number"])?;
        let further = list("ranges").iter().map(range);
        let cooldown_ms = settings["cooldown_seconds"].as_i64()? * 1000;
        let by_number = |name: &str| {
            let of = settings["special"][name].as_object().into_iter().flatten();
            of.filter_map(|(number, value)| Some((number.parse().ok()?, value)))
        };
        let until = |out: &Value| Some(DateTime::parse_from_rfc3339(out["until"].as_str()?).ok()?.timestamp_millis());
        Some(Self {
            ranges: std::iter::once(Some((MAIN.to_owned(), main))).chain(further).collect::<Option<_>>()?,
            blocked: list("blocked_numbers").iter().filter_map(small).collect(),
            cooldown_ms,
            gives_way_after_ms: settings["cooldown_min_seconds"].as_i64().map(|seconds| seconds * 1000),
            kept: by_number("reservations").filter_map(|(n, table)| Some((n, table.as_str()?.to_owned()))).collect(),
            out: by_number("quarantine").map(|(number, out)| (number, until(out))).collect(),
        })
    }

    /// How long a number rests at least.
    pub fn least_rest_ms(&self) -> i64 {
        self.gives_way_after_ms.unwrap_or(self.cooldown_ms).min(self.cooldown_ms)
    }

    /// Whether a number lies in a range and is not blocked.
    pub fn gives(&self, number: u32) -> bool {
        self.range_of(number).is_some() && !self.blocked.contains(&number)
    }

    /// The range that a number lies in.
    pub fn range_of(&self, number: u32) -> Option<&(String, RangeInclusive<u32>)> {
        self.ranges.iter().find(|(_, range)| range.contains(&number))
    }

    /// Whether a number is taken out at this time; None: the time is not known.
    pub fn is_out(&self, number: u32, at_ms: Option<i64>) -> bool {
        self.out.get(&number).is_some_and(|until| match (until, at_ms) {
            (Some(until), Some(at_ms)) => at_ms < *until,
            (Some(_), None) => false,
            (None, _) => true,
        })
    }
}

fn small(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}
