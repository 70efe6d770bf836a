//! Languages of a restaurant's pages.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A tag of BCP 47: `en`, `pt-BR`, `zh-Hant-TW`. It is kept with the letters that RFC 5646 (2.1.1) recommends, so that
/// one language is one text. Whether its parts are registered is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LanguageTag(String);

/// What is no tag of a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a language tag of BCP 47, such as en or pt-BR")]
pub struct InvalidLanguageTag;

/// Characters of a tag: what RFC 5646 (4.4.1) asks of those that have least room.
const MOST_CHARS: usize = 35;

impl LanguageTag {
    /// English: what pages speak where nothing else is said.
    #[must_use]
    pub(crate) fn english() -> Self {
        Self("en".to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LanguageTag {
    type Err = InvalidLanguageTag;

    fn from_str(text: &str) -> Result<Self, InvalidLanguageTag> {
        if text.len() > MOST_CHARS {
            return Err(InvalidLanguageTag);
        }
        let mut tag = String::with_capacity(text.len());
        // Behind a single letter or digit come extensions, whose parts are neither scripts nor regions.
        let mut is_extension = false;
        for (at, part) in text.split('-').enumerate() {
            let is_word = part.bytes().all(|byte| byte.is_ascii_alphanumeric()) && (1..=8).contains(&part.len());
            // Longer ones would be well-formed, and none was ever registered: `english` is a mistake.
            let is_language = (2..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic());
            if !is_word || at == 0 && !is_language {
                return Err(InvalidLanguageTag);
            }
            let mut part = part.to_ascii_lowercase();
            if at > 0 {
                tag.push('-');
                let is_alphabetic = part.bytes().all(|byte| byte.is_ascii_alphabetic());
                match part.len() {
                    1 => is_extension = true,
                    2 if !is_extension && is_alphabetic => part.make_ascii_uppercase(),
                    4 if !is_extension && is_alphabetic => part[..1].make_ascii_uppercase(),
                    _ => {}
                }
            }
            tag.push_str(&part);
        }
        // An extension has something in it.
        let ends_bare = tag.rsplit('-').next().is_some_and(|part| part.len() == 1);
        if ends_bare { Err(InvalidLanguageTag) } else { Ok(Self(tag)) }
    }
}

impl fmt::Display for LanguageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for LanguageTag {
    type Error = InvalidLanguageTag;

    fn try_from(text: String) -> Result<Self, InvalidLanguageTag> {
        text.parse()
    }
}

impl From<LanguageTag> for String {
    fn from(tag: LanguageTag) -> Self {
        tag.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_language_is_one_text() {
        for (text, tag) in [
            ("en", "en"),
            ("EN", "en"),
            ("pt-br", "pt-BR"),
            ("ZH-HANT-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
            ("sl-ROZAJ", "sl-rozaj"),
            ("de-DE-u-co-phonebk", "de-DE-u-co-phonebk"),
            ("en-x-Kiosk", "en-x-kiosk"),
            ("gsw", "gsw"),
        ] {
            assert_eq!(text.parse::<LanguageTag>().as_ref().map(LanguageTag::as_str), Ok(tag), "{text}");
        }
        assert_eq!("en".parse(), Ok(LanguageTag::english()));
    }

    #[test]
    fn other_texts_are_no_tags() {
        let long = format!("en-{}", "abcdefgh-".repeat(4));
        for bad in [
            "",
            "e",
            "-",
            "en-",
            "-en",
            "en--US",
            "en_US",
            "4n",
            "é",
            "en-é",
            "english",
            "english-speaking",
            "x-kiosk",
            "en-u",
            &long,
        ] {
            assert_eq!(bad.parse::<LanguageTag>(), Err(InvalidLanguageTag), "{bad}");
        }
    }
}
