//! Screens: clients that show orders, and are given their key by a code that an admin enters.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiKey, KeyId, KeyName, NewApiKey, RestaurantId, Role, Scope, Timestamp};

/// For how long a screen waits for its code to be entered.
pub(crate) const PAIRING_LASTS: Duration = Duration::from_mins(10);

/// A screen that has said nothing for so long is not there: it speaks twice a minute.
pub(crate) const SCREEN_IS_GONE_AFTER: Duration = Duration::from_secs(90);

/// What a screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScreenPage {
    /// The numbers that are ready, for guests.
    Board,
    /// The orders that are to be cooked.
    Kitchen,
    /// A page that does not come with this service.
    Other,
}

impl ScreenPage {
    /// Every page.
    pub(crate) const ALL: [Self; 3] = [Self::Board, Self::Kitchen, Self::Other];

    /// The name, as the API and the ledger spell it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Board => "board",
            Self::Kitchen => "kitchen",
            Self::Other => "other",
        }
    }

    /// The page with this name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.as_str() == name)
    }
}

/// What a person reads from a waiting screen and types elsewhere: six letters and digits, shown as `K7F-3QX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PairingCode(String);

impl PairingCode {
    const CHARACTERS: usize = 6;

    /// Without those that look like others (0 and O, 1, I and L, 2 and Z, 5 and S, 8 and B, U and V), and without vowels, so
    /// that no code is a word.
    const ALPHABET: &'static [u8; 20] = b"34679CDFGHJKMNPQRTWX";

    /// The code of random bytes; None where they are to be drawn anew, so that all codes are equally likely.
    #[must_use]
    pub(crate) fn of(random: [u8; 16]) -> Option<Self> {
        // As many whole alphabets as a byte holds.
        let most = u8::try_from(256 / Self::ALPHABET.len() * Self::ALPHABET.len()).unwrap_or(u8::MAX);
        let drawn = random.into_iter().filter(|byte| *byte < most);
        let letters: String =
            drawn.map(|byte| char::from(Self::ALPHABET[usize::from(byte) % Self::ALPHABET.len()])).collect();
        letters.get(..Self::CHARACTERS).map(|code| Self(code.to_owned()))
    }

    /// As the ledger has it: without a hyphen.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As the ledger had it.
    #[must_use]
    pub(crate) fn stored(code: String) -> Self {
        Self(code)
    }
}

impl fmt::Display for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(Self::CHARACTERS / 2) {
            Some((first, second)) => write!(f, "{first}-{second}"),
            None => f.write_str(&self.0),
        }
    }
}

/// As a person types it: case, hyphens and blanks make no difference.
impl FromStr for PairingCode {
    type Err = NoPairingCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let typed = text.chars().filter(|c| !c.is_whitespace() && *c != '-' && *c != '\u{2010}' && *c != '\u{2011}');
        let code: String = typed.map(|c| c.to_ascii_uppercase()).collect();
        let formed = code.len() == Self::CHARACTERS && code.bytes().all(|b| b.is_ascii_alphanumeric());
        formed.then_some(Self(code)).ok_or(NoPairingCode)
    }
}

/// A text that no screen shows as its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the six letters and digits that the screen shows, such as K7F-3QX")]
pub(crate) struct NoPairingCode;

/// What a screen that is paired shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewScreen {
    /// What people call it.
    pub name: KeyName,
    /// The only restaurant that it is good for.
    pub restaurant: RestaurantId,
    /// Whether it also says how far orders are.
    pub is_kitchen: bool,
    /// Whether a board shows the names of customers.
    pub shows_names: bool,
}

impl NewScreen {
    /// The key that it gets.
    #[must_use]
    pub(crate) fn key(&self) -> NewApiKey {
        NewApiKey {
            name: self.name.clone(),
            role: if self.is_kitchen { Role::Kitchen } else { Role::Screen },
            scope: Scope::of([self.restaurant]).unwrap_or(Scope::All),
            expires_at: None,
            rate_per_second: None::<NonZeroU32>,
            shows_names: self.shows_names,
        }
    }
}

/// A pairing, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pairing {
    /// What the screen shows.
    pub code: PairingCode,
    /// The restaurant that it is to show.
    pub restaurant: RestaurantId,
    /// Until when the code can be entered.
    pub expires_at: Timestamp,
    /// How far it has come.
    pub state: PairingState,
}

/// How far a pairing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairingState {
    /// The code was not entered yet.
    Waiting,
    /// The screen has a key of this role.
    Paired(Role),
    /// The code was not entered in time, or the key has been revoked since.
    Over,
}

/// What a screen says of itself twice a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beat {
    /// What it shows.
    pub page: ScreenPage,
    /// The station of a kitchen whose orders it shows; None: those of all.
    pub station: Option<String>,
    /// Whether it can be heard.
    pub sound: bool,
    /// Whether what it shows is not up to date.
    pub stale: bool,
    /// The event of the feed that it has seen last.
    pub position: Option<String>,
}

/// A screen that was paired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Its key, which it is called by, too.
    pub key: ApiKey,
    /// The restaurant that it shows.
    pub restaurant: RestaurantId,
    /// When it was here last, and what it said; None: it never was.
    pub seen: Option<(Timestamp, Beat)>,
    /// Whether it says that it is not up to date, or is not here.
    pub is_stale: bool,
}

/// A time during which a screen showed a restaurant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScreenSession {
    /// Tells it from others.
    pub id: Uuid,
    /// The screen's key.
    pub screen: KeyId,
    /// What people call the screen.
    pub name: String,
    /// What it showed, if it said so.
    pub page: Option<ScreenPage>,
    /// The daemon that it was connected to.
    pub daemon: Uuid,
    /// When it began.
    pub begun_at: Timestamp,
    /// When the daemon said last that it goes on.
    pub last_seen_at: Timestamp,
    /// When it ended; None: it goes on.
    pub ended_at: Option<Timestamp>,
}

/// The place of a session in the list of a restaurant: `1700000000123-7f0c2a5e-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionCursor {
    /// When the session began.
    pub begun_at: Timestamp,
    /// Which one of those that began then.
    pub id: Uuid,
}

impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.begun_at.unix_ms(), self.id)
    }
}

impl FromStr for SessionCursor {
    type Err = NoSessionCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, id) = text.split_once('-').ok_or(NoSessionCursor)?;
        let digits = !ms.is_empty() && ms.bytes().all(|b| b.is_ascii_digit());
        let ms = ms.parse().ok().filter(|ms| digits && *ms <= Timestamp::MAX_MS).ok_or(NoSessionCursor)?;
        let begun_at = Timestamp::from_unix_ms(ms);
        // What Postgres can compare.
        let _: DateTime<Utc> = begun_at.to_datetime();
        Ok(Self { begun_at, id: Uuid::try_parse(id).map_err(|_| NoSessionCursor)? })
    }
}

/// A text that is no place in a list of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSessionCursor;

/// How many screens are up to date, and how many are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ScreenCounts {
    /// Here, and up to date.
    pub fresh: u64,
    /// Here, and not up to date by their own word.
    pub stale: u64,
    /// Not here.
    pub gone: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = PairingCode::of(*b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f").expect("enough");
        assert_eq!((code.as_str(), code.to_string()), ("34679C", "346-79C".to_owned()));
        for typed in ["34679C", "346-79c", " 346 79c ", "3-4-6-7-9-C", "346\u{2011}79C"] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed}");
        }
        for bad in ["", "34679", "34679CC", "34679é", "346_79C", "------"] {
            assert_eq!(bad.parse::<PairingCode>(), Err(NoPairingCode), "{bad}");
        }
    }

    #[test]
    fn every_letter_of_a_code_is_equally_likely_and_looks_like_no_other() {
        let mut counts = [0; 256];
        for byte in 0..=u8::MAX {
            if let Some(code) = PairingCode::of([byte; 16]) {
                counts[usize::from(code.as_str().as_bytes()[0])] += 1;
            }
        }
        let used: Vec<_> = counts.iter().filter(|count| **count > 0).collect();
        assert!(used.len() == 20 && used.iter().all(|count| *count == used[0]), "{used:?}");
        let alphabet = String::from_utf8_lossy(PairingCode::ALPHABET);
        assert!(!alphabet.contains(|c| "01258ABEILOSUVYZ".contains(c)), "{alphabet}");
        // Bytes past the last whole alphabet are passed over, and too few may be left.
        assert_eq!(PairingCode::of([255; 16]), None);
    }

    #[test]
    fn a_screen_is_good_for_its_restaurant_alone() {
        let restaurant = RestaurantId::new(7).expect("an id");
        let new =
            |is_kitchen| NewScreen { name: "a".parse().expect("a name"), restaurant, is_kitchen, shows_names: true };
        assert_eq!((new(true).key().role, new(false).key().role), (Role::Kitchen, Role::Screen));
        assert_eq!(new(true).key().scope.only(), Some(restaurant));
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = SessionCursor { begun_at: Timestamp::from_unix_ms(1_700_000_000_123), id: Uuid::from_u128(7) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "-", "1-", "x-00000000-0000-0000-0000-000000000007", "99999999999999999-0", "1--1", "+1-7"] {
            assert_eq!(bad.parse::<SessionCursor>(), Err(NoSessionCursor), "{bad}");
        }
    }
}
