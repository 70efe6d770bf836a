//! Names for the states that a restaurant's settings go through, and what a caller may demand of the present one.

use sha2::{Digest, Sha256};

use super::PoolSettings;

/// One state of a restaurant's settings: `5-1f0c9a3be2d47706`.
///
/// The version alone would not do. A change that Redis acknowledged and lost before the ledger had it gives its version
/// to another one, and a caller with the lost state's tag would overwrite that unseen. So the tag has a digest of the
/// settings, too. It follows from what both stores hold, and outlives a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsTag(String);

impl SettingsTag {
    /// The tag of settings, of which this is the version. Default settings that were not given yet are as version 1, which
    /// they become with the first order.
    pub(crate) fn of(version: u32, settings: &PoolSettings) -> Self {
        let json = serde_json::to_vec(settings).expect("settings are plain JSON");
        let digest = Sha256::digest(json);
        let digest = digest.iter().take(8).fold(0_u64, |digest, byte| (digest << 8) | u64::from(*byte));
        Self(format!("{}-{digest:016x}", version.max(1)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The states that a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// Whichever there is: `*`.
    Any,
    /// One of these; none where none of them was ever given.
    OneOf(Vec<String>),
}

impl Tags {
    fn name(&self, present: &SettingsTag) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|tag| tag == present.as_str()),
        }
    }
}

/// What a caller demands of the present state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Precondition {
    /// It must be one of these.
    pub if_match: Option<Tags>,
    /// It must be none of these.
    pub if_none_match: Option<Tags>,
}

impl Precondition {
    /// Whether the present state, None where there is none, is one that the caller demands.
    pub(crate) fn is_matched_by(&self, present: Option<&SettingsTag>) -> bool {
        self.if_match.as_ref().is_none_or(|tags| present.is_some_and(|present| tags.name(present)))
    }

    /// Whether the present state is one that the caller excludes.
    pub(crate) fn is_excluded_by(&self, present: Option<&SettingsTag>) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| present.is_some_and(|present| tags.name(present)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_versions_and_settings_apart() {
        let defaults = PoolSettings::default();
        let other = PoolSettings { cooldown_seconds: 60, ..PoolSettings::default() };
        assert_eq!(SettingsTag::of(3, &defaults), SettingsTag::of(3, &defaults.clone()));
        assert_eq!(SettingsTag::of(0, &defaults), SettingsTag::of(1, &defaults));
        assert_ne!(SettingsTag::of(3, &defaults), SettingsTag::of(4, &defaults));
        assert_ne!(SettingsTag::of(3, &defaults), SettingsTag::of(3, &other));
        assert!(SettingsTag::of(3, &defaults).as_str().starts_with("3-"));
    }

    #[test]
    fn conditions_are_those_of_http() {
        let present = SettingsTag::of(3, &PoolSettings::default());
        let named = || Some(Tags::OneOf(vec!["1".to_owned(), present.as_str().to_owned()]));
        let others = || Some(Tags::OneOf(vec!["3".to_owned(), String::new()]));
        let matched = |if_match, present| Precondition { if_match, if_none_match: None }.is_matched_by(present);
        assert!(matched(None, None) && matched(None, Some(&present)));
        assert!(matched(Some(Tags::Any), Some(&present)) && !matched(Some(Tags::Any), None));
        assert!(matched(named(), Some(&present)) && !matched(named(), None) && !matched(others(), Some(&present)));
        let excluded = |if_none_match, present| Precondition { if_match: None, if_none_match }.is_excluded_by(present);
        assert!(!excluded(None, Some(&present)) && !excluded(Some(Tags::Any), None));
        assert!(excluded(Some(Tags::Any), Some(&present)) && excluded(named(), Some(&present)));
        assert!(!excluded(others(), Some(&present)));
    }
}
