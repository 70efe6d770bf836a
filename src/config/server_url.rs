//! Addresses of servers, which may hold a password: it never reaches a log.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::{RedisUrl, postgres_url};

/// The URL of a server. It prints, and serializes, with its passwords masked; [`ServerUrl::expose`] gives the real one.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Wraps a URL, whether it makes sense or not.
    #[cfg(test)]
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// Whether no URL is set: local mode.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it says that Redis is to be reached over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.starts_with("rediss")
    }

    /// The URL with its password, for a client to connect with.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The URL with `***` in the place of passwords.
    pub(crate) fn masked(&self) -> String {
        mask(&self.0)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.masked())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for ServerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

pub(super) fn check_redis(url: &ServerUrl, (): &()) -> garde::Result {
    if url.is_empty() {
        return Ok(());
    }
    RedisUrl::parse(url.expose()).map(drop).map_err(|error| garde::Error::new(error.to_string()))
}

pub(super) fn check_postgres(url: &ServerUrl, (): &()) -> garde::Result {
    if url.is_empty() { Ok(()) } else { postgres_url::check(url.expose()).map_err(garde::Error::new) }
}

/// Masks the password before an `@` and those in the query. Where it is in doubt it masks too much.
fn mask(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() { String::new() } else { "***".into() };
    };
    // An `@` behind a `?` may belong to a password with a bare `?` in it.
    if rest.rsplit_once('@').is_some_and(|(before, _)| before.contains('?')) {
        return format!("{scheme}://***");
    }
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let place = match place.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{name}:***@{host}")
        }
        _ => place.to_owned(),
    };
    let Some(query) = query else { return format!("{scheme}://{place}") };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("pass") => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}://{place}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (url, masked) in [
            ("", ""),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("redis://:hunter2@host", "redis://:***@host"),
            ("redis://me:hunter2@host/3", "redis://me:***@host/3"),
            ("redis://me:hun@ter:2@host/3", "redis://me:***@host/3"),
            ("unix:///run/redis.sock?db=1&pass=hunter2", "unix:///run/redis.sock?db=1&pass=***"),
            ("postgres://me:hunter2@host:5432/db?sslmode=require", "postgres://me:***@host:5432/db?sslmode=require"),
            ("postgres://me@host/db?password=hunter2", "postgres://me@host/db?password=***"),
            ("redis://:hunter2?more@host", "redis://***"),
            ("redis+cluster://me:hunter2@a:1,b:2", "redis+cluster://me:***@a:1,b:2"),
            (
                "rediss+sentinel://me:hunter2@a:1,b:2/orders/0?sentinel_user=s&sentinel_password=hunter2",
                "rediss+sentinel://me:***@a:1,b:2/orders/0?sentinel_user=s&sentinel_password=***",
            ),
            ("hunter2", "***"),
        ] {
            assert_eq!(ServerUrl::new(url).to_string(), masked, "{url}");
            assert_eq!(format!("{:?}", ServerUrl::new(url)), format!("{masked:?}"));
        }
    }

    #[test]
    fn urls_that_no_client_would_take_are_refused_without_quoting_them() {
        for bad in ["hunter2", "http://:hunter2@host", "redis://:hunter2@host:port", "redis+cluster://:hunter2@"] {
            let error = check_redis(&ServerUrl::new(bad), &()).expect_err(bad).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for bad in ["hunter2", "mysql://u:hunter2@host/db", "postgres://u:hunter2@host:port/db"] {
            let error = check_postgres(&ServerUrl::new(bad), &()).expect_err(bad).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn urls_that_clients_take_are_taken() {
        for good in [
            "",
            "redis://host",
            "redis://:pw@host:1/2",
            "unix:///a/b.sock",
            "redis+unix:///a/b.sock?db=2",
            "rediss://u:p@host",
        ] {
            check_redis(&ServerUrl::new(good), &()).expect(good);
        }
        for good in ["", "postgres://host/db", "postgresql://u:p@host:1/db", "postgres://u@localhost/db?host=/run/pg"] {
            check_postgres(&ServerUrl::new(good), &()).expect(good);
        }
    }
}
