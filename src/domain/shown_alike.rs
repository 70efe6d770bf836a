//! Whether two ranges show some of their numbers as the same text.
//!
//! Worked out with intervals, not number by number. A shown text is a prefix, a figure of 1 to 9 digits and a suffix. Of
//! two such texts that are equal, one prefix begins with the other: what it has more stands where the other has digits.
//! Once the lengths of both figures are chosen, each place of the text is fixed, or a digit of one figure, or a digit
//! of both. So both figures are linear in the digits that they share, and the numbers of each range that fit are
//! intervals of those.

use super::{NumberFormat, number_pattern::Run};

/// The longest figure: the widest padding.
const MOST_DIGITS: usize = 9;

/// The numbers of a range, and how they are shown. A number is above the offset of its format.
#[derive(Debug, Clone)]
pub(super) struct Shown<'a> {
    pub format: &'a NumberFormat,
    /// The numbers, ascending.
    pub runs: Vec<Run>,
}

/// A number of each range that are shown alike; None where there are none.
pub(super) fn shown_alike(a: &Shown<'_>, b: &Shown<'_>) -> Option<(u32, u32)> {
    if a.format.prefix().len() > b.format.prefix().len() {
        return shown_alike(b, a).map(|(of_b, of_a)| (of_a, of_b));
    }
    let more = b.format.prefix().as_bytes().strip_prefix(a.format.prefix().as_bytes())?;
    let (a_suffix, b_suffix) = (a.format.suffix().as_bytes(), b.format.suffix().as_bytes());
    (1..=MOST_DIGITS).find_map(|a_digits| {
        let b_digits = (a_digits + a_suffix.len()).checked_sub(more.len() + b_suffix.len())?;
        if !(1..=MOST_DIGITS).contains(&b_digits) {
            return None;
        }
        let (of_a, of_b) = aligned(a_digits, a_suffix, more, b_digits, b_suffix)?;
        let mut of_a = a.fitting(a_digits, of_a).peekable();
        let mut of_b = b.fitting(b_digits, of_b).peekable();
        while let (Some(one), Some(other)) = (of_a.peek(), of_b.peek()) {
            let (first, last) = (one.first.max(other.first), one.last.min(other.last));
            if first <= last {
                return Some((one.number(first), other.number(first)));
            }
            if one.last < other.last {
                of_a.next();
            } else {
                of_b.next();
            }
        }
        None
    })
}

/// A figure with some of its digits shared: `fixed + shared × step`, where `shared` is from 0 to `most`.
#[derive(Debug, Clone, Copy)]
struct Figure {
    fixed: u64,
    step: u64,
    most: u64,
}

/// The figures of two texts of one length, of which one is digits and a suffix, and the other more of a prefix, digits and
/// a suffix; None where the texts differ at a place that both fix.
fn aligned(
    a_digits: usize,
    a_suffix: &[u8],
    more: &[u8],
    b_digits: usize,
    b_suffix: &[u8],
) -> Option<(Figure, Figure)> {
    let b_end = more.len() + b_digits;
    let (mut of_a, mut of_b) = ((0, 1), (0, 1));
    let mut most = 1;
    for at in 0..a_digits + a_suffix.len() {
        let in_a = if at < a_digits { None } else { Some(a_suffix[at - a_digits]) };
        let in_b = match at {
            _ if at < more.len() => Some(more[at]),
            _ if at < b_end => None,
            _ => Some(b_suffix[at - b_end]),
        };
        match (in_a, in_b) {
            (Some(one), Some(other)) if one != other => return None,
            (Some(_), Some(_)) => {}
            (None, Some(fixed)) => append(&mut of_a, fixed)?,
            (Some(fixed), None) => append(&mut of_b, fixed)?,
            // Shared digits follow each other: those of a figure that come later, if any, are fixed.
            (None, None) => {
                of_a = (of_a.0 * 10, 1);
                of_b = (of_b.0 * 10, 1);
                most *= 10;
            }
        }
    }
    let figure = |(fixed, step)| Figure { fixed, step, most: most - 1 };
    Some((figure(of_a), figure(of_b)))
}

/// Puts a fixed digit behind a figure, the shared part of which moves up with it.
fn append((fixed, step): &mut (u64, u64), digit: u8) -> Option<()> {
    if !digit.is_ascii_digit() {
        return None;
    }
    *fixed = *fixed * 10 + u64::from(digit - b'0');
    *step *= 10;
    Some(())
}

/// Values of the shared digits, from first to last, that make numbers of one run.
struct Fitting {
    first: u64,
    last: u64,
    figure: Figure,
    offset: u64,
}

impl Fitting {
    fn number(&self, shared: u64) -> u32 {
        let number = self.figure.fixed + shared * self.figure.step + self.offset;
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

impl Shown<'_> {
    /// What the shared digits may be, ascending, so that the figure is one of these numbers and has so many digits.
    fn fitting(&self, digits: usize, figure: Figure) -> impl Iterator<Item = Fitting> {
        let ten_to = |power: usize| (0..power).fold(1_u64, |all, _| all * 10);
        let width = self.format.width().max(1);
        // Padded ones may begin with zeros, longer ones may not.
        let (shortest, longest) = match digits {
            _ if digits < width => (1, 0),
            _ if digits == width => (0, ten_to(digits) - 1),
            _ => (ten_to(digits - 1), ten_to(digits) - 1),
        };
        let offset = u64::from(self.format.offset());
        let from = self.runs.partition_point(|(_, last)| u64::from(*last) < shortest + offset);
        let runs = self.runs[from..].iter().map(move |(first, last)| {
            let figure_of = |number: &u32| u64::from(*number).saturating_sub(offset);
            (figure_of(first).max(shortest), figure_of(last).min(longest))
        });
        runs.take_while(move |(first, _)| *first <= longest).filter_map(move |(first, last)| {
            let last = last.checked_sub(figure.fixed)? / figure.step;
            let first = first.saturating_sub(figure.fixed).div_ceil(figure.step);
            let last = last.min(figure.most);
            (first <= last).then_some(Fitting { first, last, figure, offset })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::DisplayNumber;

    fn format(template: &str) -> NumberFormat {
        template.parse().expect("a format")
    }

    fn alike(a: (&str, Run), b: (&str, Run)) -> Option<(u32, u32)> {
        let (a_format, b_format) = (format(a.0), format(b.0));
        let (a, b) = (Shown { format: &a_format, runs: vec![a.1] }, Shown { format: &b_format, runs: vec![b.1] });
        shown_alike(&a, &b)
    }

    #[test]
    fn what_is_shown_alike_is_found() {
        for (a, b, found) in [
            (("{n:04}", (1, 500)), ("{n:04}", (501, 600)), None),
            (("{n:02}", (1, 499)), ("{n-500:02}", (501, 599)), Some((1, 501))),
            (("A{n:02}", (1, 499)), ("D{n-500:02}", (501, 599)), None),
            (("{n}", (1, 9)), ("{n-9:03}", (10, 500)), None),
            (("{n}", (1, 99)), ("{n-50:02}", (100, 200)), Some((50, 100))),
            (("{n:03}", (1, 120)), ("{n-200}", (201, 320)), Some((100, 300))),
            (("{n}", (1, 99)), ("1{n-100}", (101, 150)), Some((11, 101))),
            (("A{n}", (1, 99)), ("A1{n-100}", (101, 150)), Some((11, 101))),
            (("A{n}5", (1, 99)), ("A{n-100}", (101, 150)), Some((1, 115))),
            (("{n}1", (1, 9)), ("1{n-9}", (10, 18)), Some((1, 10))),
            (("A{n}", (1, 99)), ("a{n}", (1, 99)), None),
        ] {
            assert_eq!(alike(a, b), found, "{a:?} {b:?}");
            assert_eq!(alike(b, a), found.map(|(a, b)| (b, a)), "{b:?} {a:?}");
        }
    }

    #[test]
    fn many_pieces_of_the_widest_ranges_are_compared_at_once() {
        // Number by number, these would be 62 billion pairs.
        let every_other = |from: u32| (0..249_999).map(|n| (from + 2 * n, from + 2 * n)).collect::<Vec<Run>>();
        let (plain, less) = (format("{n}"), format("{n-500000}"));
        let odd = Shown { format: &plain, runs: every_other(1) };
        let even = Shown { format: &less, runs: every_other(500_002) };
        assert_eq!(shown_alike(&odd, &even), None);
        let with_the_last = Shown { format: &less, runs: [every_other(500_002), vec![(999_999, 999_999)]].concat() };
        assert_eq!(shown_alike(&odd, &with_the_last), None, "499999 is no number of the other one");
        let odd = Shown { format: &plain, runs: [every_other(1), vec![(499_999, 499_999)]].concat() };
        assert_eq!(shown_alike(&odd, &with_the_last), Some((499_999, 999_999)));
    }

    fn a_format() -> impl Strategy<Value = (String, u32)> {
        let text = || prop::sample::select(vec!["", "", "A", "1", "0", "12", "A1", "11"]);
        (text(), prop::sample::select(vec![0, 0, 1, 3, 10, 37, 100]), 0..5_usize, text()).prop_map(
            |(prefix, offset, width, suffix)| {
                let less = if offset == 0 { String::new() } else { format!("-{offset}") };
                let width = if width == 0 { String::new() } else { format!(":0{width}") };
                (format!("{prefix}{{n{less}{width}}}{suffix}"), offset)
            },
        )
    }

    fn some_runs() -> impl Strategy<Value = Vec<Run>> {
        prop::collection::vec((1..9_u32, 0..60_u32), 1..4).prop_map(|gaps| {
            let mut from = 0;
            let run = |(gap, more): (u32, u32)| {
                let first = from + gap;
                from = first + more + 1;
                (first, first + more)
            };
            gaps.into_iter().map(run).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn intervals_find_what_a_look_at_every_number_finds(
            (a, a_offset) in a_format(), (b, b_offset) in a_format(), a_runs in some_runs(), b_runs in some_runs(),
            far in prop::sample::select(vec![0, 90, 950]),
        ) {
            let above = |runs: Vec<Run>, offset: u32| {
                runs.into_iter().map(|(first, last)| (first + offset, last + offset)).collect::<Vec<Run>>()
            };
            let (a_format, b_format) = (format(&a), format(&b));
            let a = Shown { format: &a_format, runs: above(a_runs, a_offset) };
            let b = Shown { format: &b_format, runs: above(b_runs, b_offset + far) };
            let shown = |format: &NumberFormat, number: u32| {
                format.render(DisplayNumber::new(number.into()).expect("in range"))
            };
            let numbers = |shown: &Shown<'_>| {
                shown.runs.iter().flat_map(|(first, last)| *first..=*last).collect::<Vec<u32>>()
            };
            let by_text: HashMap<String, u32> = numbers(&a).into_iter().map(|n| (shown(&a_format, n), n)).collect();
            let expected = numbers(&b).into_iter().any(|n| by_text.contains_key(&shown(&b_format, n)));
            let found = shown_alike(&a, &b);
            prop_assert_eq!(found.is_some(), expected, "{} {}: {:?}", a_format.as_str(), b_format.as_str(), found);
            if let Some((one, other)) = found {
                prop_assert!(numbers(&a).contains(&one) && numbers(&b).contains(&other), "{} {}", one, other);
                prop_assert_eq!(shown(&a_format, one), shown(&b_format, other));
            }
        }
    }
}
