//! Colours of a restaurant's pages.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A colour as `#rrggbb`, in small letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour([u8; 3]);

/// What is no colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a colour such as #c81e1e: # and six hexadecimal digits")]
pub struct InvalidColour;

impl FromStr for Colour {
    type Err = InvalidColour;

    fn from_str(text: &str) -> Result<Self, InvalidColour> {
        let digits = text.strip_prefix('#').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.filter(|digits| digits.len() == 6).ok_or(InvalidColour)?;
        let [_, parts @ ..] = u32::from_str_radix(digits, 16).map_err(|_| InvalidColour)?.to_be_bytes();
        Ok(Self(parts))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl TryFrom<String> for Colour {
    type Error = InvalidColour;

    fn try_from(text: String) -> Result<Self, InvalidColour> {
        text.parse()
    }
}

impl From<Colour> for String {
    fn from(colour: Colour) -> Self {
        colour.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_six_digits_behind_a_hash() {
        let shown = |text: &str| text.parse::<Colour>().map(|colour| colour.to_string());
        assert_eq!(shown("#C81E1e"), Ok("#c81e1e".to_owned()));
        assert_eq!(shown("#000000"), Ok("#000000".to_owned()));
        for bad in
            ["", "#", "c81e1e", "#c81e1", "#c81e1e0", "#c81e1g", "#+81e1e", " #c81e1e", "red", "#é81e1", "##c81e1"]
        {
            assert_eq!(shown(bad), Err(InvalidColour), "{bad}");
        }
    }
}
