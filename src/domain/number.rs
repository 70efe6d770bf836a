//! Display numbers and the format in which they are shown.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The short number that a person can call out: 1 to 999,999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u32")]
pub struct DisplayNumber(u32);

/// A display number was not a whole number from 1 to 999,999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a display number must be a whole number from 1 to 999999")]
pub struct InvalidNumber;

impl DisplayNumber {
    /// The largest number: longer ones cannot be called across a room.
    pub(crate) const MAX: u32 = 999_999;

    /// Checks the range.
    ///
    /// # Errors
    /// [`InvalidNumber`] outside 1 to 999,999.
    pub fn new(number: i64) -> Result<Self, InvalidNumber> {
        u32::try_from(number).ok().filter(|n| (1..=Self::MAX).contains(n)).map(Self).ok_or(InvalidNumber)
    }

    /// From 1 to [`DisplayNumber::MAX`].
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as the ledger's column type.
    #[must_use]
    pub(crate) const fn as_i32(self) -> i32 {
        self.0.cast_signed()
    }
}

impl TryFrom<i64> for DisplayNumber {
    type Error = InvalidNumber;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        Self::new(number)
    }
}

impl From<DisplayNumber> for u32 {
    fn from(number: DisplayNumber) -> Self {
        number.0
    }
}

/// Reads `42` and `0042` alike; nothing but digits.
impl FromStr for DisplayNumber {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 32 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidNumber);
        }
        Self::new(text.trim_start_matches('0').parse().map_err(|_| InvalidNumber)?)
    }
}

impl fmt::Display for DisplayNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a restaurant shows its numbers: a prefix, a figure padded with zeros, a suffix. The figure is the number, less an
/// offset where the format has one.
///
/// Written `{n}`, `{n:03}` or `{n-500:02}` with any text around it: `{n:04}`, `A-{n:03}`. At most 32 bytes, one
/// placeholder, a width of at most 9, no control characters and no other braces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumberFormat {
    template: String,
    placeholder: (usize, usize),
    offset: u32,
    width: usize,
}

/// What is wrong with a number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "format must be at most 32 bytes with one placeholder such as {{n}}, {{n:04}} or {{n-500:02}} (width at most 9) and no other braces or control characters"
)]
pub struct InvalidFormat;

impl NumberFormat {
    /// The longest template, in bytes.
    pub(crate) const MAX_BYTES: usize = 32;

    /// The template as it was written.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.template
    }

    /// The number as people see it: `0042`.
    #[must_use]
    pub(crate) fn render(&self, number: DisplayNumber) -> String {
        format!("{}{:0width$}{}", self.prefix(), self.figure(number), self.suffix(), width = self.width)
    }

    /// What is in front of the figure.
    #[must_use]
    pub(crate) fn prefix(&self) -> &str {
        &self.template[..self.placeholder.0]
    }

    /// What is behind the figure.
    #[must_use]
    pub(crate) fn suffix(&self) -> &str {
        &self.template[self.placeholder.1..]
    }

    /// To how many digits the figure is padded.
    #[must_use]
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    /// What is taken off a number: 500 of `{n-500}`.
    #[must_use]
    pub(crate) const fn offset(&self) -> u32 {
        self.offset
    }

    /// The figure that is shown of a number. Settings make sure that it is at least 1; a number that came from
    /// elsewhere, and lies below that, is shown as it is.
    #[must_use]
    pub(crate) fn figure(&self, number: DisplayNumber) -> u32 {
        number.get().checked_sub(self.offset).filter(|figure| *figure > 0).unwrap_or(number.get())
    }
}

impl Default for NumberFormat {
    fn default() -> Self {
        Self { template: "{n:04}".to_owned(), placeholder: (0, 6), offset: 0, width: 4 }
    }
}

impl FromStr for NumberFormat {
    type Err = InvalidFormat;

    fn from_str(template: &str) -> Result<Self, Self::Err> {
        if template.len() > Self::MAX_BYTES || template.chars().any(char::is_control) {
            return Err(InvalidFormat);
        }
        let start = template.find('{').ok_or(InvalidFormat)?;
        let end = start + template[start..].find('}').ok_or(InvalidFormat)? + 1;
        let rest = [&template[..start], &template[end..]].concat();
        if rest.contains(['{', '}']) {
            return Err(InvalidFormat);
        }
        let figure = template[start + 1..end - 1].strip_prefix('n').ok_or(InvalidFormat)?;
        let (offset, width) = match figure.split_once(':') {
            Some((offset, width)) => (offset, Some(width)),
            None => (figure, None),
        };
        let offset = match offset.strip_prefix('-') {
            // One spelling: no leading zeros.
            Some(digits) if !digits.starts_with('0') => digits.parse().map(DisplayNumber::get).ok(),
            None if offset.is_empty() => Some(0),
            _ => None,
        };
        let width = match width {
            None => Some(0),
            Some(width) => width
                .strip_prefix('0')
                .filter(|digits| digits.len() == 1)
                .and_then(|digits| digits.parse().ok())
                .filter(|width| *width > 0),
        };
        let (offset, width) = offset.zip(width).ok_or(InvalidFormat)?;
        Ok(Self { template: template.to_owned(), placeholder: (start, end), offset, width })
    }
}

impl TryFrom<String> for NumberFormat {
    type Error = InvalidFormat;

    fn try_from(template: String) -> Result<Self, Self::Error> {
        template.parse()
    }
}

impl From<NumberFormat> for String {
    fn from(format: NumberFormat) -> Self {
        format.template
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_with_and_without_zeros() {
        for text in ["42", "0042", "000042"] {
            assert_eq!(text.parse::<DisplayNumber>().map(DisplayNumber::get), Ok(42), "{text}");
        }
        for bad in ["", "0", "0000", "-1", "+42", "4 2", "1000000", "99999999999999999999999", "4٢"] {
            assert!(bad.parse::<DisplayNumber>().is_err(), "{bad}");
        }
    }

    #[test]
    fn formats_render() {
        let n = DisplayNumber::new(42).expect("in range");
        for (template, shown) in [("{n:04}", "0042"), ("A-{n:03}", "A-042"), ("{n}", "42"), ("№{n:02}!", "№42!")] {
            let format: NumberFormat = template.parse().expect(template);
            assert_eq!(format.render(n), shown);
        }
        for (template, number, shown) in [
            ("D{n-500:02}", 501, "D01"),
            ("D{n-500:02}", 1499, "D999"),
            ("{n-41}!", 42, "1!"),
            ("{n-999999:03}", 1_000, "1000"),
            ("D{n-500:02}", 500, "D500"),
            ("D{n-500:02}", 7, "D07"),
        ] {
            let format: NumberFormat = template.parse().expect(template);
            assert_eq!(format.render(DisplayNumber::new(number).expect("in range")), shown, "{template} of {number}");
        }
        assert_eq!(NumberFormat::default(), "{n:04}".parse().expect("the default is valid"));
    }

    #[test]
    fn bad_formats_are_refused() {
        for bad in [
            "",
            "42",
            "{n",
            "n}",
            "{n}{n}",
            "{m}",
            "{n:4}",
            "{n:010}",
            "{n:00}",
            "{{n}}",
            "a\0{n}",
            "{n+100}",
            "{n-}",
            "{n-0}",
            "{n-05}",
            "{n--5}",
            "{n-1000000}",
            "{n-5:}",
            "{n-5:2}",
            "{n:02-5}",
            "{n-5.0}",
            "{-5}",
            "{n - 5}",
            "{n:04}xxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ] {
            assert_eq!(bad.parse::<NumberFormat>(), Err(InvalidFormat), "{bad:?}");
        }
    }
}
