//! Whether callers need an API key.

use std::net::SocketAddr;

use garde::Validate;
use serde::{Deserialize, Serialize};

/// `[auth]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    #[garde(skip)]
    pub mode: AuthMode,
}

/// When API keys are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// On any address but a loopback one.
    Auto,
    /// Always.
    Keys,
    /// Never.
    None,
}

impl AuthSettings {
    /// Whether callers at these addresses need a key: a name may stand for several, and one of them that other machines
    /// reach is enough. `insecure` is the flag `--insecure-no-auth`.
    ///
    /// # Errors
    /// What is wrong and what to do, as one sentence.
    pub(crate) fn keys_required(&self, listen: &[SocketAddr], insecure: bool) -> Result<bool, String> {
        let open = listen.iter().find(|address| !address.ip().to_canonical().is_loopback());
        let is_loopback = open.is_none();
        match (self.mode, is_loopback, insecure) {
            (AuthMode::Keys, _, true) => {
                Err("auth.mode is keys, and --insecure-no-auth says the opposite: leave out one \
                                              of them"
                    .to_owned())
            }
            (AuthMode::Keys, _, false) | (AuthMode::Auto, false, false) => Ok(true),
            (AuthMode::Auto | AuthMode::None, true, _) | (_, false, true) => Ok(false),
            (AuthMode::None, false, false) => Err(format!(
                "auth.mode is none, and {} can be reached from other machines: set it to auto or keys, listen on \
                 127.0.0.1, or say --insecure-no-auth if every client that reaches this address may do everything",
                open.map(ToString::to_string).unwrap_or_default()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_open_unless_told_otherwise() {
        let required = |mode, listen: &str, insecure| {
            AuthSettings { mode }.keys_required(&[listen.parse().expect("an address")], insecure).ok()
        };
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(required(AuthMode::Auto, loopback, false), Some(false), "{loopback}");
            assert_eq!(required(AuthMode::None, loopback, false), Some(false), "{loopback}");
            assert_eq!(required(AuthMode::Keys, loopback, false), Some(true), "{loopback}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(required(AuthMode::Auto, open, false), Some(true), "{open}");
            assert_eq!(required(AuthMode::None, open, false), None, "{open}");
            assert_eq!(required(AuthMode::Keys, open, false), Some(true), "{open}");
            assert_eq!(required(AuthMode::Auto, open, true), Some(false), "{open}");
            assert_eq!(required(AuthMode::None, open, true), Some(false), "{open}");
            assert_eq!(required(AuthMode::Keys, open, true), None, "{open}");
        }
    }

    #[test]
    fn one_address_that_others_reach_is_enough() {
        let auto = AuthSettings { mode: AuthMode::Auto };
        let all = ["127.0.0.1:1", "[::1]:1", "10.0.0.1:1"].map(|address| address.parse().expect("an address"));
        assert_eq!(auto.keys_required(&all[..2], false), Ok(false));
        assert_eq!(auto.keys_required(&all, false), Ok(true));
        let refused = AuthSettings { mode: AuthMode::None }.keys_required(&all, false).expect_err("it is open");
        assert!(refused.contains("10.0.0.1:1 can be reached"), "{refused}");
    }
}
