//! The path under which clients find the daemon, where a proxy serves it beside other services: `/shop/orders`.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Empty, or segments that each begin with a slash.
///
/// Segments are made of characters that stand for themselves in a path, in a header, in HTML and in JSON. So a path can
/// be written into any of these as it is, and it is never the beginning of another origin (`//evil.example`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BasePath(Arc<str>);

/// The longest one, in bytes.
const MAX_BYTES: usize = 200;

impl BasePath {
    /// Reads one; None for what no base path can be.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_segment = |segment: &str| {
            let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            !["", ".", ".."].contains(&segment) && segment.bytes().all(unreserved)
        };
        let is_one = text.is_empty() || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
        (is_one && text.len() <= MAX_BYTES).then(|| Self(text.into()))
    }

    /// Whether clients find the daemon at its own paths.
    #[must_use]
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// As it stands before a path.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What is left of a path that begins with this one; None for another path.
    #[must_use]
    pub(crate) fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.as_str()).filter(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for BasePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!(
                "{text:?} is no path such as /orders: write a slash before each part and none at the end, parts of A-Z, \
                 a-z, 0-9, -, _, . and ~, and at most {MAX_BYTES} characters"
            )
        })
    }
}

impl From<BasePath> for String {
    fn from(path: BasePath) -> Self {
        path.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_safe_wherever_it_is_written() {
        let long = format!("/{}", "x".repeat(MAX_BYTES));
        for good in ["", "/orders", "/shop/orders", "/a.b/~c_d-9", "/...", &long[..MAX_BYTES]] {
            assert_eq!(BasePath::parse(good).map(String::from).as_deref(), Some(good));
        }
        for bad in [
            "/",
            "orders",
            "/orders/",
            "//evil.example",
            "/a//b",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a b",
            "/a%2fb",
            "/a\\b",
            "/a?b",
            "/a#b",
            "/a;b",
            "/\"><script>",
            "/a\r\nX-Evil: 1",
            "/é",
            "https://evil.example",
            &long,
        ] {
            assert_eq!(BasePath::parse(bad), None, "{bad:?}");
            let reason = BasePath::try_from(bad.to_owned()).expect_err("it is none");
            assert!(reason.contains("/orders") && !reason.contains(['\r', '\n']), "{reason}");
        }
    }

    #[test]
    fn a_path_lies_under_it_or_not() {
        let base = BasePath::parse("/shop/orders").expect("a base path");
        for (path, rest) in [
            ("/shop/orders/v1/keys", Some("/v1/keys")),
            ("/shop/orders/", Some("/")),
            ("/shop/orders//v1", Some("//v1")),
            ("/shop/orders", None),
            ("/shop/ordersx/v1", None),
            ("/v1/keys", None),
            ("*", None),
        ] {
            assert_eq!(base.strip(path), rest, "{path}");
        }
        assert_eq!(BasePath::default().strip("/v1/keys"), Some("/v1/keys"));
    }
}
