//! An origin of web pages, as settings name it.

use serde::{Deserialize, Serialize};

use crate::domain::Authority;

/// Scheme, host and port of web pages, in the form in which browsers send it: `https://kiosk.example`,
/// `http://10.0.0.9:3000`, `capacitor://localhost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// Schemes of addresses that no page with an origin of its own is loaded from.
const NOT_OF_PAGES: [&str; 8] = ["about", "blob", "data", "file", "ftp", "javascript", "ws", "wss"];

impl Origin {
    /// As the header `Origin` has it.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && !NOT_OF_PAGES.contains(&scheme.as_str());
        let authority: Authority = host.parse().ok().filter(|_| is_scheme)?;
        let mut origin = format!("{scheme}://{authority}");
        // Browsers leave out the scheme's own port.
        let own_port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => return Some(Self(origin)),
        };
        if authority.port().is_some() && origin.ends_with(own_port) {
            origin.truncate(origin.len() - own_port.len());
        }
        Some(Self(origin))
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let why = match text.as_str() {
            "*" => ": each origin has to be named",
            "null" => ": any page may have it",
            _ => "",
        };
        Self::read(&text).ok_or_else(|| {
            format!(
                "\"{text}\" is no origin{why}; write scheme, host and port as browsers do, without a path, such as \
                 https://kiosk.example or http://10.0.0.9:3000"
            )
        })
    }
}

impl From<Origin> for String {
    fn from(Origin(origin): Origin) -> Self {
        origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        Origin::try_from(text.to_owned()).map(String::from)
    }

    #[test]
    fn an_origin_is_kept_as_browsers_send_it() {
        for (text, sent) in [
            ("https://kiosk.example", "https://kiosk.example"),
            ("HTTPS://Kiosk.Example:443", "https://kiosk.example"),
            ("http://kiosk.example:443", "http://kiosk.example:443"),
            ("http://kiosk:80", "http://kiosk"),
            ("http://kiosk:8080", "http://kiosk:8080"),
            ("http://10.0.0.9:3000", "http://10.0.0.9:3000"),
            ("http://[FD00::7]:80", "http://[fd00::7]"),
            ("http://[fd00::80]", "http://[fd00::80]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(sent), "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "",
            "*",
            "null",
            "kiosk.example",
            "//kiosk.example",
            "https://",
            "https:kiosk.example",
            "https://*.example",
            "https://kiosk.example/",
            "https://kiosk.example/board",
            "https://kiosk.example?x",
            "https://kiosk.example#x",
            "https://me@kiosk.example",
            "https://kiosk.example:http",
            "https://kiosk.example:99999",
            "https://kiosk.example https://board.example",
            "https://münchen.example",
            "://kiosk.example",
            "1x://kiosk.example",
            "file://",
            "file://kiosk.example",
            "ws://kiosk.example",
        ] {
            let refused = read(bad).expect_err(bad);
            assert!(refused.contains(&format!("\"{bad}\"")) && refused.contains("https://kiosk.example"), "{refused}");
        }
    }
}
