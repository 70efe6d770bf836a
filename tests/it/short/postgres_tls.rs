//! Postgres over TLS: its certificate is checked as the URL says, and a refusal says what to do.

use crate::support::servers::Tls;
use crate::support::{self, Api, Authority, Daemon, DaemonOptions, OwnPostgres};
use serde_json::json;

/// A loopback address that only one of all tests has: the first bytes are those of its process.
fn own_address() -> String {
    let [_, _, b, c] = std::process::id().to_be_bytes();
    format!("127.77.{b}.{}", c.max(1))
}

#[tokio::test]
async fn certificates_are_checked_as_the_url_says() {
    let address = own_address();
    let authority = Authority::new("the right one");
    let (certificate, key) = authority.certify(&address);
    let postgres = OwnPostgres::start_with_tls(&Tls { address: &address, certificate: &certificate, key: &key }).await;
    postgres.create_database("ledger").await;
    let at = |host: &str, rest: &str| {
        let mut options = DaemonOptions::local();
        options.redis_url = Some("unix:///nowhere.sock".into());
        options.database_url = Some(format!("postgres://nowserving@{host}:5432/ledger?{rest}"));
        options
    };
    let trusting =
        |authority: &Authority, mode: &str| format!("sslmode={mode}&sslrootcert={}", authority.file().display());

    let mut options = at(&address, &trusting(&authority, "verify-full"));
    options.redis_url = Some(support::redis_url().await);
    options.migrate();
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({})).await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    assert!(options.run("verify", &[]).stdout.contains("1 restaurants verified, 0 findings"));

    let stranger = Authority::new("another one");
    let missing = "sslmode=verify-full&sslrootcert=/does/not/exist.pem".to_owned();
    for (url, parts) in [
        (trusting(&stranger, "verify-full"), ["certificate", "sslrootcert"]),
        (trusting(&stranger, "verify-ca"), ["certificate", "sslrootcert"]),
        ("sslmode=verify-full".to_owned(), ["certificate", "sslrootcert"]),
        (missing, ["/does/not/exist.pem", "sslrootcert"]),
        ("sslmode=disable".to_owned(), ["no encryption", "sslmode"]),
    ] {
        let mut refused = at(&address, &url);
        refused.redis_url = options.redis_url.clone();
        for command in ["migrate", "verify"] {
            let refused = refused.run(command, &[]);
            assert_eq!(refused.status.code(), Some(1), "{url}: {refused:?}");
            let sentences: Vec<&str> = refused.stderr.lines().filter(|line| line.starts_with("nowserving: ")).collect();
            assert!(sentences.len() == 1 && parts.iter().all(|part| sentences[0].contains(part)), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_by_verify_full_only() {
    let address = own_address().replace("127.77.", "127.78.");
    let authority = Authority::new("the right one");
    let (certificate, key) = authority.certify("ledger.example");
    let postgres = OwnPostgres::start_with_tls(&Tls { address: &address, certificate: &certificate, key: &key }).await;
    postgres.create_database("ledger").await;
    let mut options = DaemonOptions::shared().await;
    let url = |mode: &str| {
        Some(format!(
            "postgres://nowserving@{address}:5432/ledger?sslmode={mode}&sslrootcert={}",
            authority.file().display()
        ))
    };
    options.database_url = url("verify-full");
    let refused = options.run("migrate", &[]);
    assert!(refused.stderr.contains("certificate") && refused.stderr.contains("verify-ca"), "{refused:?}");
    options.database_url = url("verify-ca");
    options.migrate();
}
