//! Where Redis is: one server, the servers that Sentinel watches, or a cluster.

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

/// `redis_url`, read.
#[derive(Debug, Clone)]
pub(crate) enum RedisUrl {
    /// One server, always the same.
    One(ConnectionInfo),
    /// The master that the sentinels name.
    Sentinel {
        /// Where to ask.
        sentinels: Vec<HostPort>,
        /// The name under which they watch it.
        service: String,
        /// How to log in to the master.
        login: RedisConnectionInfo,
        /// How to log in to the sentinels.
        sentinel_login: RedisConnectionInfo,
        /// Whether all of them speak TLS.
        tls: bool,
    },
    /// The masters of a cluster.
    Cluster {
        /// Where to ask first.
        seeds: Vec<HostPort>,
        /// How to log in, the same everywhere.
        login: RedisConnectionInfo,
        /// Whether all of them speak TLS.
        tls: bool,
    },
}

/// A host and its port.
pub(crate) type HostPort = (String, u16);

/// What is wrong with a URL, without quoting it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadRedisUrl(&'static str);

const ONE: BadRedisUrl = BadRedisUrl(
    "not a Redis URL; write redis://user:password@host:6379/0 (rediss:// for TLS) or unix:///path/to/redis.sock, \
     or leave it empty for a private Redis",
);
const SENTINEL: BadRedisUrl = BadRedisUrl(
    "not a URL for Sentinel; write redis+sentinel://user:password@host:26379,host:26379/service-name/0 (rediss+sentinel:// \
     for TLS), with ?sentinel_user=…&sentinel_password=… behind it where the sentinels want a login",
);
const CLUSTER: BadRedisUrl = BadRedisUrl(
    "not a URL for a cluster; write redis+cluster://user:password@host:6379,host:6379 (rediss+cluster:// for TLS); a \
     cluster has no databases",
);

const SEVERAL: BadRedisUrl = BadRedisUrl(
    "names several servers, as one; write redis+cluster://user:password@host:6379,host:6379 for a cluster, or \
     redis+sentinel://user:password@host:26379,host:26379/service-name for what sentinels watch",
);

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// With how to write one.
    pub(crate) fn parse(url: &str) -> Result<Self, BadRedisUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(ONE)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
        match scheme {
            "redis" | "rediss" if hosts.contains(',') => Err(SEVERAL),
            "redis" | "rediss" | "unix" | "redis+unix" if !url.contains('#') => {
                url.into_connection_info().map(Self::One).map_err(|_| ONE)
            }
            "redis+sentinel" => sentinel(rest, false).ok_or(SENTINEL),
            "rediss+sentinel" => sentinel(rest, true).ok_or(SENTINEL),
            "redis+cluster" => cluster(rest, false).ok_or(CLUSTER),
            "rediss+cluster" => cluster(rest, true).ok_or(CLUSTER),
            _ => Err(ONE),
        }
    }
}

fn sentinel(rest: &str, tls: bool) -> Option<RedisUrl> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/')?;
    let (service, db) = path.trim_end_matches('/').split_once('/').unwrap_or((path.trim_end_matches('/'), ""));
    let (sentinels, login) = hosts(authority, db, 26379)?;
    let service = decoded(service).filter(|name| !name.is_empty())?;
    let mut sentinel_login = RedisConnectionInfo::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        sentinel_login = match name {
            "sentinel_user" => sentinel_login.set_username(decoded(value)?),
            "sentinel_password" => sentinel_login.set_password(decoded(value)?),
            _ => return None,
        };
    }
    Some(RedisUrl::Sentinel { sentinels, service, login, sentinel_login, tls })
}

fn cluster(rest: &str, tls: bool) -> Option<RedisUrl> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?']) {
        return None;
    }
    let (seeds, login) = hosts(authority, "", 6379)?;
    Some(RedisUrl::Cluster { seeds, login, tls })
}

/// The hosts of `user:password@host:port,host:port`, and the login, each read as the URL of one server would be.
fn hosts(authority: &str, db: &str, port: u16) -> Option<(Vec<HostPort>, RedisConnectionInfo)> {
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let mut found = Vec::new();
    let mut login = None;
    for host in hosts.split(',') {
        let named = host.rsplit_once(']').map_or(host, |(_, behind)| behind).contains(':');
        let port = if named { String::new() } else { format!(":{port}") };
        let info = format!("redis://{user}@{host}{port}/{db}").into_connection_info().ok()?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return None };
        found.push((host.clone(), *port));
        login = Some(info.redis_settings().clone());
    }
    Some((found, login?))
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> HostPort {
        (host.to_owned(), port)
    }

    #[test]
    fn a_sentinel_url_names_hosts_service_and_logins() {
        let url = "rediss+sentinel://me:p%40ss@a:1,b,[::1]:3/orders/2?sentinel_user=s&sentinel_password=x%2Fy";
        let Ok(RedisUrl::Sentinel { sentinels, service, login, sentinel_login, tls }) = RedisUrl::parse(url) else {
            panic!("not read");
        };
        assert_eq!(sentinels, [at("a", 1), at("b", 26379), at("::1", 3)]);
        assert_eq!((service.as_str(), tls, login.db()), ("orders", true, 2));
        assert_eq!((login.username(), login.password()), (Some("me"), Some("p@ss")));
        assert_eq!((sentinel_login.username(), sentinel_login.password()), (Some("s"), Some("x/y")));
    }

    #[test]
    fn a_cluster_url_names_seeds_and_a_login() {
        let Ok(RedisUrl::Cluster { seeds, login, tls }) = RedisUrl::parse("redis+cluster://:pw@a:1,b/") else {
            panic!("not read");
        };
        assert_eq!(seeds, [at("a", 1), at("b", 6379)]);
        assert_eq!((login.username(), login.password(), tls), (None, Some("pw"), false));
    }

    #[test]
    fn one_server_may_have_a_user_name_and_tls() {
        let Ok(RedisUrl::One(info)) = RedisUrl::parse("rediss://me:pw@host:1/3") else { panic!("not read") };
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { insecure: false, .. }), "{:?}", info.addr());
        assert_eq!((info.redis_settings().username(), info.redis_settings().db()), (Some("me"), 3));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_how_to_write_it() {
        for (url, hint) in [
            ("redis+sentinel://a:1", "service-name"),
            ("redis+sentinel://a:1/", "service-name"),
            ("redis+sentinel://a:1/orders?pass=x", "sentinel_password"),
            ("redis+sentinel://a:port/orders", "host:26379"),
            ("redis+cluster://a:1,/", "redis+cluster://"),
            ("redis+cluster://a:1/2", "no databases"),
            ("rediss://a/#insecure", "rediss://"),
            ("valkey://a", "redis://"),
            ("redis://a:1,b:2", "redis+cluster://"),
            ("rediss://me:pw@a,b/0", "redis+sentinel://"),
        ] {
            let error = RedisUrl::parse(url).expect_err(url).to_string();
            assert!(error.contains(hint), "{url}: {error}");
        }
    }
}
