//! What a URL of Postgres may say. The driver passes over parameters that it does not know; here they are refused, since
//! a `sslmod=verify-full` that is passed over is no check of a certificate.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;

/// Parameters that the driver reads.
const READ: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Parameters of other drivers, as URLs are copied with them, that change nothing about where and how safely it is
/// connected: timeouts are settings here.
const PASSED_OVER: [&str; 19] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "pgbouncer",
    "pool_timeout",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcompression",
    "sslnegotiation",
    "sslsni",
    "tcp_user_timeout",
];

/// Parameters of other drivers that mean something which does not happen here, and what to do instead.
const REFUSED: [(&str, &str); 9] = [
    ("target_session_attrs", ONE_HOST),
    ("load_balance_hosts", ONE_HOST),
    ("schema", SEARCH_PATH),
    ("currentSchema", SEARCH_PATH),
    ("search_path", SEARCH_PATH),
    ("ssl", "write sslmode=require, or sslmode=verify-full with sslrootcert=FILE to check the certificate"),
    ("service", WHOLE),
    ("servicefile", WHOLE),
    ("passfile", "leave it out; PGPASSFILE names such a file"),
];

const THE_HOST: &str =
    "name the one that always leads to the primary (the service's own address for writers, or a proxy)";
const ONE_HOST: &str = "it chooses among several hosts, and one is connected to: leave it out, and name the host that always \
                        leads to the primary (the service's own address for writers, or a proxy)";
const SEARCH_PATH: &str = "leave it out: the account says it (ALTER ROLE … IN DATABASE … SET search_path = …), or \
                           options=-csearch_path%3D… here, which a pooler does not pass on";
const WHOLE: &str = "leave it out, and write the host, the user and the database into the URL";

/// Checks a URL. What is wrong is said without quoting a value: it may be a password.
///
/// # Errors
/// With what to write.
pub(super) fn check(url: &str) -> Result<(), String> {
    let form = || {
        "not a Postgres URL; write postgres://user:password@host:5432/database, or leave it empty for a private Postgres"
            .to_owned()
    };
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or_else(form)?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    // An `@` behind a `?` may belong to a password with a bare `?` in it, of which no part must be told.
    let told = if query.contains('@') { "" } else { query };
    let pairs = told.split('&').filter_map(|pair| pair.split_once('='));
    let authority = place.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let hosts = pairs.clone().filter(|(name, _)| ["host", "hostaddr", "port"].contains(name)).map(|(_, value)| value);
    if std::iter::once(host).chain(hosts).any(|host| decoded(host).contains(',')) {
        return Err(format!("names several hosts, and one is connected to: {THE_HOST}"));
    }
    for (name, _) in pairs {
        let name = decoded(name);
        if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(format!("has the parameter `{name}`: {instead}"));
        }
        let is_known = READ.contains(&&*name) || PASSED_OVER.contains(&&*name) || name.starts_with("options[");
        if !is_known {
            let known = READ.iter().map(|known| (strsim::jaro_winkler(&name, known), known));
            let hint = match known.max_by(|a, b| a.0.total_cmp(&b.0)) {
                Some((likeness, known)) if likeness > 0.7 => format!("did you mean `{known}`?"),
                _ => format!("known are {}", READ.join(", ")),
            };
            return Err(format!("has the parameter `{name}`, which there is not; {hint}"));
        }
    }
    // The error is dropped on purpose: it may quote the URL, and so the password.
    PgConnectOptions::from_str(url).map(drop).map_err(|_| form())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_from_elsewhere_is_taken() {
        for good in [
            "postgres://host/db",
            "postgresql://u:p%2Cw@host:1/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://u:a,b@host/db",
            "postgres://u@localhost/db?host=/run/a%20b&options=-csearch_path%3Dnowserving",
            "postgres://u@host/db?options[search_path]=nowserving",
            // As Neon and Supabase show theirs.
            "postgresql://u:p@ep-x-pooler.eu.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
            "postgresql://postgres.ref:p@aws-0.pooler.supabase.com:6543/postgres?pgbouncer=true&connect_timeout=10",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_would_not_happen_is_refused_with_what_to_write() {
        for (bad, part) in [
            ("postgres://u:hunter2@a:5432,b:5432/db", "names several hosts"),
            ("postgres://u:hunter2@a,b/db", "names several hosts"),
            ("postgres://u:hunter2@/db?host=a,b", "names several hosts"),
            ("postgres://u:hunter2@/db?host=a%2Cb&port=1,2", "names several hosts"),
            ("postgres://u:hunter2@a/db?target_session_attrs=read-write", "`target_session_attrs`: it chooses"),
            ("postgres://u:hunter2@a/db?schema=shop", "search_path"),
            ("postgres://u:hunter2@a/db?currentSchema=shop", "ALTER ROLE"),
            ("postgres://u:hunter2@a/db?service=orders", "write the host"),
            ("postgres://u:hunter2@a/db?sslmod=verify-full", "did you mean `sslmode`?"),
            ("postgres://u:hunter2@a/db?ssl=true", "write sslmode=require"),
            ("postgres://u:hunter2@a/db?zzz=1", "known are application_name"),
            ("postgres://u:hunter2@a/db?sslmode=verify", "not a Postgres URL"),
            ("postgres://u:hunter2@a:port/db", "not a Postgres URL"),
            ("postgres://u:hun?ter2=x@a/db", "not a Postgres URL"),
            ("mysql://u:hunter2@a/db", "not a Postgres URL"),
        ] {
            let reason = check(bad).expect_err(bad);
            assert!(reason.contains(part), "{bad}: {reason}");
            assert!(!reason.contains("hun") && !reason.contains("ter2"), "{reason}");
        }
    }

    #[test]
    fn every_parameter_is_in_one_list() {
        let all: Vec<&str> =
            READ.iter().chain(&PASSED_OVER).chain(REFUSED.iter().map(|(name, _)| name)).copied().collect();
        let unique: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(unique.len(), all.len());
    }
}
