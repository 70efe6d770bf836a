//! API keys: who may call what, for which restaurants, until when and how often.

use std::{collections::BTreeSet, fmt, num::NonZeroU32, str::FromStr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{OrderStatus, RestaurantId, Timestamp};

/// The number of an API key: what logs, events and people call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub(crate) struct KeyId(i64);

impl KeyId {
    /// The largest one: JSON's numbers are exact up to here everywhere.
    pub(crate) const MAX: i64 = (1 << 53) - 1;

    /// Checks the range, from 1 to [`KeyId::MAX`].
    #[must_use]
    pub(crate) fn new(id: i64) -> Option<Self> {
        (1..=Self::MAX).contains(&id).then_some(Self(id))
    }

    /// The number as the ledger's column type.
    #[must_use]
    pub(crate) const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = NoKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).and_then(Self::new).ok_or(NoKeyId)
    }
}

/// A text that is not the number of any API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is a whole number from 1, as `nowserving keys list` shows it")]
pub(crate) struct NoKeyId;

/// What the holder of a key does for a living, and so may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Takes orders and follows them: tills, kiosks, apps.
    Till,
    /// Cooks live orders: sees all of them, says how far they are, and calls their numbers.
    Kitchen,
    /// Shows live orders to guests: pick-up boards.
    Screen,
    /// Reads metrics and usage.
    Metrics,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 5] = [Self::Admin, Self::Till, Self::Kitchen, Self::Screen, Self::Metrics];

    /// The name, as settings, the API and the ledger spell it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Till => "till",
            Self::Kitchen => "kitchen",
            Self::Screen => "screen",
            Self::Metrics => "metrics",
        }
    }

    /// The role with this name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether its holder may say that an order stands so. A kitchen says how far the food is; whether an order is put
    /// aside, paid or called off is for those who deal with the guest.
    #[must_use]
    pub(crate) const fn may_set(self, status: OrderStatus) -> bool {
        use OrderStatus::{Pending, Preparing, Ready, Served};
        match self {
            Self::Admin | Self::Till => true,
            Self::Kitchen => matches!(status, Pending | Preparing | Ready | Served),
            Self::Screen | Self::Metrics => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The restaurants that a key is good for. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All, those to come included.
    All,
    /// These alone; [`Scope::of`] checks how many.
    Restaurants(Arc<BTreeSet<RestaurantId>>),
}

impl Scope {
    /// The most restaurants that one key can list.
    pub(crate) const MOST: usize = 10_000;

    /// These restaurants.
    ///
    /// # Errors
    /// [`BadScope`] for none, or for more than [`Scope::MOST`].
    pub(crate) fn of(restaurants: impl IntoIterator<Item = RestaurantId>) -> Result<Self, BadScope> {
        let restaurants: BTreeSet<_> = restaurants.into_iter().collect();
        let fits = (1..=Self::MOST).contains(&restaurants.len());
        fits.then(|| Self::Restaurants(Arc::new(restaurants))).ok_or(BadScope)
    }

    /// Whether a restaurant is within.
    #[must_use]
    pub(crate) fn has(&self, restaurant: RestaurantId) -> bool {
        self.listed().is_none_or(|restaurants| restaurants.contains(&restaurant))
    }

    /// The restaurant, where it is only one.
    #[must_use]
    pub(crate) fn only(&self) -> Option<RestaurantId> {
        let listed = self.listed().filter(|restaurants| restaurants.len() == 1);
        listed.and_then(|restaurants| restaurants.first().copied())
    }

    /// Whether all that is within `inner` is within this, too.
    #[must_use]
    pub(crate) fn covers(&self, inner: &Self) -> bool {
        match (self.listed(), inner.listed()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => inner.is_subset(outer),
        }
    }

    /// The restaurants, where they are listed.
    #[must_use]
    pub(crate) fn listed(&self) -> Option<&BTreeSet<RestaurantId>> {
        match self {
            Self::All => None,
            Self::Restaurants(restaurants) => Some(restaurants),
        }
    }
}

/// A list of restaurants that is empty, or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must list from 1 to {} restaurants; leave it out for all", Scope::MOST)]
pub(crate) struct BadScope;

/// What a person calls a key: 1 to 100 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct KeyName(String);

impl KeyName {
    /// The longest name, in characters.
    pub(crate) const MAX_CHARACTERS: usize = 100;

    /// The name as it was given.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = BadKeyName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_CHARACTERS).contains(&text.chars().count());
        let plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
        (fits && plain).then(|| Self(text.to_owned())).ok_or(BadKeyName)
    }
}

/// A name that is empty or too long, or that holds control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {} characters, not all blank, and no control characters", KeyName::MAX_CHARACTERS)]
pub(crate) struct BadKeyName;

/// What a key that is to be made shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewApiKey {
    /// What people call it.
    pub name: KeyName,
    /// What it may call.
    pub role: Role,
    /// For which restaurants.
    pub scope: Scope,
    /// Until when; None: for ever.
    pub expires_at: Option<Timestamp>,
    /// How many requests each daemon takes from it in a second; None: any number.
    pub rate_per_second: Option<NonZeroU32>,
    /// Whether a key of role `screen` sees the names of customers. Other roles see them anyway.
    pub shows_names: bool,
}

/// The most requests a second that a limit can say.
pub(crate) const MAX_RATE_PER_SECOND: u32 = 1_000_000;

/// A key as the ledger records it. Its secret is not in it, nor is the digest of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiKey {
    /// Its number, given by the ledger in turn; no secret.
    pub id: KeyId,
    /// What it was made as: only revoking changes a key.
    pub is: NewApiKey,
    /// When it was made, by Postgres's clock.
    pub created_at: Timestamp,
    /// Who made it: `cli`, `api`, or `key:<id>`.
    pub created_by: String,
    /// When it was revoked, if it was, and who did so.
    pub revoked: Option<(Timestamp, String)>,
}

impl ApiKey {
    /// Whether it is good at this time.
    #[must_use]
    pub(crate) fn is_good_at(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.is.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Its holder, as the audit trail names them.
    #[must_use]
    pub(crate) fn actor(&self) -> String {
        format!("key:{}", self.id)
    }
}

/// The text of a key: what only its holder knows. It prints masked, and is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// What every key begins with, so that scanners for leaked secrets can find it.
    pub(crate) const PREFIX: &'static str = "nsk_";

    const BYTES: usize = 32;
    const CHARACTERS: usize = Self::PREFIX.len() + 43;

    /// The key of 256 random bits.
    #[must_use]
    pub fn of(random: [u8; Self::BYTES]) -> Self {
        Self(format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(random)))
    }

    /// The text itself, for its holder alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Of a text that a client shows; None where its form says that it is no key.
    #[must_use]
    pub(crate) fn read(text: &str) -> Option<Self> {
        KeyDigest::of_text(text.as_bytes()).map(|_| Self(text.to_owned()))
    }

    /// What is stored of it.
    #[must_use]
    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(&self.0).into())
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}***", Self::PREFIX)
    }
}

/// SHA-256 of a key's text: all that is stored of it. 256 random bits need neither salt nor a slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Of the bytes that the ledger has stored.
    #[must_use]
    pub(crate) const fn stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of a text that may be a key; None where its form says that it is none.
    #[must_use]
    pub(crate) fn of_text(text: &[u8]) -> Option<Self> {
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        let formed = text.len() == KeyText::CHARACTERS && text.starts_with(KeyText::PREFIX.as_bytes());
        (formed && text.iter().all(word)).then(|| Self(Sha256::digest(text).into()))
    }

    /// What the ledger stores.
    #[must_use]
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(ids: &[i64]) -> Scope {
        Scope::of(ids.iter().map(|id| RestaurantId::new(*id).expect("a valid id"))).expect("a list")
    }

    #[test]
    fn a_key_has_256_bits_and_is_found_by_its_digest() {
        let text = KeyText::of([0xff; 32]);
        assert_eq!(text.expose(), format!("nsk_{}8", "_".repeat(42)));
        assert_eq!(KeyDigest::of_text(text.expose().as_bytes()), Some(text.digest()));
        assert_ne!(KeyText::of([0xfe; 32]).digest(), text.digest());
    }

    #[test]
    fn the_slack_of_base64_makes_no_second_text_of_a_key() {
        // The last of the 43 characters has two bits that carry nothing; the digest is of the text, so they count.
        let text = KeyText::of([0; 32]);
        let twin = format!("{}B", &text.expose()[..text.expose().len() - 1]);
        assert_ne!(KeyDigest::of_text(twin.as_bytes()), Some(text.digest()));
    }

    #[test]
    fn what_is_no_key_has_no_digest() {
        let good = KeyText::of([7; 32]).expose().to_owned();
        let long = format!("{good}A");
        let mut spaced = good.clone();
        spaced.replace_range(10..11, " ");
        for bad in ["", "nsk_", &good[..good.len() - 1], &long, &good.replace("nsk_", "NSK_"), &spaced] {
            assert_eq!(KeyDigest::of_text(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(KeyDigest::of_text(&[0xff; 47]), None);
    }

    #[test]
    fn secrets_print_masked() {
        let text = KeyText::of([7; 32]);
        assert_eq!(format!("{text:?} {:?}", text.digest()), "nsk_*** ***");
    }

    #[test]
    fn scopes_lie_within_each_other() {
        let (one, two) = (scope(&[1]), scope(&[1, 2]));
        assert!(two.covers(&one) && !one.covers(&two) && one.covers(&one));
        assert!(Scope::All.covers(&one) && Scope::All.covers(&Scope::All) && !one.covers(&Scope::All));
        let seven = RestaurantId::new(7).expect("a valid id");
        assert!(Scope::All.has(seven) && !two.has(seven) && scope(&[7]).has(seven));
        assert_eq!(Scope::of([]), Err(BadScope));
    }

    #[test]
    fn a_kitchen_says_how_far_the_food_is_and_ends_nothing() {
        use OrderStatus::*;
        let of = |role: Role| OrderStatus::ALL.into_iter().filter(|status| role.may_set(*status)).collect::<Vec<_>>();
        assert_eq!(of(Role::Kitchen), [Pending, Preparing, Ready, Served]);
        assert_eq!((of(Role::Admin), of(Role::Till)), (OrderStatus::ALL.to_vec(), OrderStatus::ALL.to_vec()));
        assert_eq!((of(Role::Screen), of(Role::Metrics)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn names_are_one_line_that_can_be_read() {
        for good in ["till 3", "é", &"é".repeat(100)] {
            assert!(good.parse::<KeyName>().is_ok(), "{good}");
        }
        for bad in ["", "  ", "a\nb", "a\0", &"x".repeat(101)] {
            assert_eq!(bad.parse::<KeyName>(), Err(BadKeyName), "{bad:?}");
        }
    }

    #[test]
    fn only_numbers_are_key_ids() {
        assert_eq!("3".parse::<KeyId>().map(KeyId::get), Ok(3));
        for bad in ["", "0", "-1", "+1", "1.0", "x", "9007199254740992", "99999999999999999999"] {
            assert_eq!(bad.parse::<KeyId>(), Err(NoKeyId), "{bad}");
        }
    }

    #[test]
    fn a_key_is_good_until_it_expires_or_is_revoked() {
        let at = Timestamp::from_unix_ms;
        let mut key = ApiKey {
            id: KeyId::new(3).expect("in range"),
            is: NewApiKey {
                name: "till".parse().expect("a name"),
                role: Role::Till,
                scope: Scope::All,
                expires_at: Some(at(10)),
                rate_per_second: None,
                shows_names: false,
            },
            created_at: at(1),
            created_by: "cli".to_owned(),
            revoked: None,
        };
        assert!(key.is_good_at(at(9)) && !key.is_good_at(at(10)));
        assert_eq!(key.actor(), "key:3");
        key.revoked = Some((at(5), "cli".to_owned()));
        assert!(!key.is_good_at(at(9)));
    }
}
