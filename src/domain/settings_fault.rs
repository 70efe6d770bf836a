//! Settings whose fields are right each by itself, and do not go together: ranges, and formats that show two numbers alike.

use super::{
    DisplayNumber, NumberFormat, PoolSettings, RangeSettings,
    number_pattern::Run,
    shown_alike::{Shown, shown_alike},
};

/// What is wrong with settings, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFault {
    /// A JSON pointer (RFC 6901) into the settings: `/ranges/1/format`.
    pub pointer: String,
    /// What kind of fault it is.
    pub kind: SettingsFaultKind,
    /// What is wrong, in words.
    pub detail: String,
}

/// A kind of fault between settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsFaultKind {
    /// Two ranges have one id.
    Duplicate,
    /// The last number is below the first.
    Backwards,
    /// Every number of a range is blocked.
    Empty,
    /// Two ranges have numbers in common.
    Overlap,
    /// A number would be shown as less than 1.
    BelowOne,
    /// Two numbers would be shown as one text.
    ShownAlike,
    /// A number that is kept for a table would be blocked.
    KeptForTable,
}

/// A range, the main one among them.
struct Range<'a> {
    /// Where it stands in the settings; empty of the main one.
    pointer: String,
    first: u32,
    last: u32,
    format: &'a NumberFormat,
}

impl Range<'_> {
    fn name(&self) -> &str {
        if self.pointer.is_empty() { "the main range" } else { self.pointer.trim_start_matches('/') }
    }
}

impl PoolSettings {
    /// What of the ranges does not go together. The settings' fields must be right each by itself (see
    /// [`garde::Validate`]).
    #[must_use]
    pub(crate) fn range_faults(&self) -> Vec<SettingsFault> {
        let mut faults = self.faults_of_ranges();
        if faults.is_empty() {
            faults = self.overlaps();
        }
        if faults.is_empty() {
            faults = self.numbers_shown_alike();
        }
        faults
    }

    /// The main range, and the further ones in their order.
    fn all_ranges(&self) -> Vec<Range<'_>> {
        let main =
            Range { pointer: String::new(), first: self.min_number, last: self.max_number, format: &self.format };
        let further = self.ranges.iter().enumerate().map(|(at, range)| Range {
            pointer: format!("/ranges/{at}"),
            first: range.min_number,
            last: range.max_number,
            format: &range.format,
        });
        std::iter::once(main).chain(further).collect()
    }

    fn faults_of_ranges(&self) -> Vec<SettingsFault> {
        let mut faults = Vec::new();
        let mut note = |pointer: String, kind, detail| faults.push(SettingsFault { pointer, kind, detail });
        for (at, RangeSettings { id, .. }) in self.ranges.iter().enumerate() {
            if let Some(first) = self.ranges[..at].iter().position(|other| other.id == *id) {
                let detail = format!("is the id of ranges/{first}, too: give each range one of its own");
                note(format!("/ranges/{at}/id"), SettingsFaultKind::Duplicate, detail);
            }
        }
        for range in self.all_ranges() {
            let Range { pointer, first, last, format } = &range;
            if first > last {
                let detail = format!("must not be below min_number, {first}");
                note(format!("{pointer}/max_number"), SettingsFaultKind::Backwards, detail);
                continue;
            }
            if self.unblocked(&range).is_empty() {
                let detail = format!("has no number: every one from {first} to {last} is blocked");
                note(pointer.clone(), SettingsFaultKind::Empty, detail);
            }
            if format.offset() >= *first {
                let detail = format!(
                    "shows {first} as {}, and 1 is the least that is shown: take at most {} off",
                    i64::from(*first) - i64::from(format.offset()),
                    first - 1
                );
                note(format!("{pointer}/format"), SettingsFaultKind::BelowOne, detail);
            }
        }
        faults
    }

    fn overlaps(&self) -> Vec<SettingsFault> {
        let all = self.all_ranges();
        let mut faults = Vec::new();
        for (at, range) in all.iter().enumerate() {
            for other in &all[..at] {
                let (first, last) = (range.first.max(other.first), range.last.min(other.last));
                if first <= last {
                    let numbers = if first == last { format!("{first}") } else { format!("{first} to {last}") };
                    let detail = format!("overlaps {} with {numbers}: a number belongs to one range", other.name());
                    let pointer = range.pointer.clone();
                    faults.push(SettingsFault { pointer, kind: SettingsFaultKind::Overlap, detail });
                }
            }
        }
        faults
    }

    fn numbers_shown_alike(&self) -> Vec<SettingsFault> {
        let all = self.all_ranges();
        if all.len() == 1 {
            // One format shows no two numbers alike.
            return Vec::new();
        }
        let shown: Vec<Shown<'_>> =
            all.iter().map(|range| Shown { format: range.format, runs: self.unblocked(range) }).collect();
        let mut faults = Vec::new();
        for (at, range) in all.iter().enumerate() {
            let alike = shown[..at].iter().enumerate().find_map(|(other, numbers)| {
                shown_alike(numbers, &shown[at]).map(|(theirs, own)| (&all[other], theirs, own))
            });
            let Some((other, theirs, own)) = alike else { continue };
            let text = DisplayNumber::new(own.into()).map(|own| range.format.render(own)).unwrap_or_default();
            let detail =
                format!("shows {own} as {text}, as {} shows {theirs}: change one of the formats", other.name());
            let pointer = format!("{}/format", range.pointer);
            faults.push(SettingsFault { pointer, kind: SettingsFaultKind::ShownAlike, detail });
        }
        faults
    }

    /// The numbers of a range that are not blocked.
    fn unblocked(&self, range: &Range<'_>) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut from = range.first;
        for (first, last) in self.blocked_numbers.within(range.first, range.last) {
            if from < first {
                runs.push((from, first - 1));
            }
            from = last + 1;
        }
        if from <= range.last {
            runs.push((from, range.last));
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use garde::Validate;
    use serde_json::{Value, json};

    use super::*;
    use SettingsFaultKind::*;

    fn faults(settings: Value) -> Vec<(String, SettingsFaultKind)> {
        let settings: PoolSettings = serde_json::from_value(settings).expect("well-formed");
        assert!(settings.validate().is_ok(), "its fields are right each by itself");
        settings.range_faults().into_iter().map(|fault| (fault.pointer, fault.kind)).collect()
    }

    fn range(id: &str, min_number: u32, max_number: u32, format: &str) -> Value {
        json!({"id": id, "min_number": min_number, "max_number": max_number, "format": format})
    }

    #[test]
    fn ranges_that_go_together_have_no_faults() {
        for good in [
            json!({}),
            json!({"format": "{n-1}", "min_number": 2}),
            json!({"max_number": 499, "ranges": [range("bar", 500, 599, "{n:04}")]}),
            json!({"max_number": 499, "format": "A{n:02}", "ranges": [
                range("delivery", 501, 599, "D{n-500:02}"), range("kiosk", 601, 699, "K{n-600:02}"),
            ]}),
            json!({"min_number": 500, "max_number": 599, "ranges": [
                range("below", 1, 499, "{n:04}"), range("above", 600, 999_999, "{n:04}"),
            ]}),
            // Of the two numbers that look alike, one is blocked.
            json!({"max_number": 9, "format": "{n}", "blocked_numbers": ["2-9"], "ranges": [range("b", 12, 19, "{n-10}")]}),
        ] {
            assert_eq!(faults(good.clone()), [], "{good}");
        }
    }

    #[test]
    fn each_fault_is_named_where_it_is() {
        for (bad, found) in [
            (
                json!({"max_number": 499, "ranges": [range("a", 500, 549, "{n}"), range("a", 550, 599, "{n}")]}),
                vec![("/ranges/1/id", Duplicate)],
            ),
            (
                json!({"max_number": 499, "ranges": [range("a", 549, 500, "{n}")]}),
                vec![("/ranges/0/max_number", Backwards)],
            ),
            (
                json!({"max_number": 499, "blocked_numbers": ["5??"], "ranges": [range("a", 500, 549, "{n}")]}),
                vec![("/ranges/0", Empty)],
            ),
            (json!({"format": "{n-1}"}), vec![("/format", BelowOne)]),
            (
                json!({"max_number": 499, "ranges": [range("a", 500, 549, "A{n-500}"), range("b", 551, 599, "{n-551}")]}),
                vec![("/ranges/0/format", BelowOne), ("/ranges/1/format", BelowOne)],
            ),
            (json!({"max_number": 500, "ranges": [range("a", 500, 549, "{n}")]}), vec![("/ranges/0", Overlap)]),
            (
                json!({"max_number": 9, "ranges": [range("a", 10, 20, "{n}"), range("b", 15, 16, "{n}")]}),
                vec![("/ranges/1", Overlap)],
            ),
            (
                json!({"max_number": 99, "format": "{n:02}", "ranges": [range("a", 101, 120, "{n-100:02}")]}),
                vec![("/ranges/0/format", ShownAlike)],
            ),
            (
                json!({"max_number": 9, "ranges": [range("a", 10, 20, "{n}"), range("b", 30, 40, "{n-20:02}")]}),
                vec![("/ranges/1/format", ShownAlike)],
            ),
        ] {
            let found: Vec<_> = found.into_iter().map(|(pointer, kind)| (pointer.to_owned(), kind)).collect();
            assert_eq!(faults(bad.clone()), found, "{bad}");
        }
    }

    #[test]
    fn the_two_numbers_that_collide_are_named() {
        let settings = json!({"max_number": 99, "format": "A{n:02}", "ranges": [range("a", 101, 120, "A{n-100:02}")]});
        let settings: PoolSettings = serde_json::from_value(settings).expect("well-formed");
        let detail = settings.range_faults().remove(0).detail;
        assert_eq!(detail, "shows 101 as A01, as the main range shows 1: change one of the formats");
    }
}
