//! TLS, with an authority of the test's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_rustls::{TlsConnector, rustls};

use crate::support::api::Wire;
use crate::support::{Daemon, DaemonOptions, PATIENCE, eventually_true, scratch};

/// An authority that signs certificates for the daemon, and the files it reads them from.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it can sign");
        Self { issuer, folder: scratch::folder("tls") }
    }

    /// A certificate that ends with this year, and its key, both as PEM.
    fn certify(&self, last_year: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a valid address");
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        (certificate.pem(), key.serialize_pem())
    }

    fn files(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("cert.pem"), self.folder.join("key.pem"))
    }

    fn write(&self, certificate: &str, key: &str) {
        let (certificate_file, key_file) = self.files();
        let put = |path: &Path, text: &str| std::fs::write(path, text).expect("it can be written");
        put(&key_file, key);
        put(&certificate_file, certificate);
    }

    async fn options(&self) -> DaemonOptions {
        let (certificate, key) = self.files();
        let options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_TLS_CERT_FILE", certificate.display());
        options.with("NOWSERVING_HTTP_TLS_KEY_FILE", key.display())
    }

    /// A connection of a client that trusts this authority, and the certificate that it was shown.
    async fn connect(&self, daemon: &Daemon) -> (TlsStream<TcpStream>, Vec<u8>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the versions are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = plain(daemon).await;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
        let shown = stream.get_ref().1.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        let shown = shown.expect("a certificate is shown").to_vec();
        (stream, shown)
    }

    /// Whether new connections are shown this certificate.
    async fn shows(&self, daemon: &Daemon, certificate: &str) -> bool {
        self.connect(daemon).await.1 == der(certificate)
    }

    async fn expiry(&self, daemon: &Daemon) -> i64 {
        let (_, _, metrics) = Wire::over(self.connect(daemon).await.0).get("/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix("nowserving_tls_certificate_expires_seconds "));
        value.expect("the metric is there").parse().expect("a whole number")
    }
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
}

/// A connection without TLS.
async fn plain(daemon: &Daemon) -> TcpStream {
    let address = daemon.url().strip_prefix("https://").expect("an https address");
    TcpStream::connect(address).await.expect("the daemon accepts")
}

fn year_end(year: i32) -> i64 {
    chrono::NaiveDate::from_ymd_opt(year, 12, 31)
        .expect("a date")
        .and_time(chrono::NaiveTime::MIN)
        .and_utc()
        .timestamp()
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let (first, first_key) = authority.certify(2040);
    authority.write(&first, &first_key);
    let daemon = Daemon::start(&authority.options().await);
    let (stream, shown) = authority.connect(&daemon).await;
    assert_eq!(shown, der(&first));
    let mut old = Wire::over(stream);
    assert_eq!(old.get("/healthz").await.0, 200);
    assert_eq!(authority.expiry(&daemon).await, year_end(2040));

    let (second, second_key) = authority.certify(2041);
    authority.write(&second, &second_key);
    daemon.signal(Signal::SIGHUP);
    eventually_true(PATIENCE, || authority.shows(&daemon, &second)).await;
    assert_eq!(authority.expiry(&daemon).await, year_end(2041));
    assert_eq!(old.get("/healthz").await.0, 200, "connections outlive the renewal");

    let (third, third_key) = authority.certify(2042);
    for (certificate, key, complaint) in [
        (third.as_str(), second_key.as_str(), "does not go with the certificate"),
        ("not PEM at all", &third_key, "holds no certificate"),
        (&third, "not PEM at all", "holds no private key"),
    ] {
        authority.write(certificate, key);
        daemon.signal(Signal::SIGHUP);
        eventually_true(PATIENCE, || async { daemon.output().contains(complaint) }).await;
        assert!(authority.shows(&daemon, &second).await, "{complaint}");
        assert_eq!(authority.expiry(&daemon).await, year_end(2041));
    }
    std::fs::remove_file(authority.files().0).expect("it is there");
    daemon.signal(Signal::SIGHUP);
    eventually_true(PATIENCE, || async { daemon.output().contains("cannot read") }).await;

    // No client has to ask.
    authority.write(&third, &third_key);
    eventually_true(PATIENCE, || authority.shows(&daemon, &third)).await;
    assert_eq!(old.get("/healthz").await.0, 200);
    assert!(!daemon.output().contains("PRIVATE KEY"), "{}", daemon.output());
}

#[tokio::test]
async fn a_shutdown_closes_open_connections_in_order() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(2040);
    authority.write(&certificate, &key);
    let daemon = Daemon::start(&authority.options().await);
    let mut open = Wire::over(authority.connect(&daemon).await.0);
    assert_eq!(open.get("/readyz").await.0, 200);
    // A handshake that never comes does not hold it up.
    let _silent = plain(&daemon).await;
    let ended = tokio::task::spawn_blocking(|| daemon.terminate());
    assert_eq!(timeout(PATIENCE, open.until_closed()).await.expect("it is closed"), "");
    let (status, output) = ended.await.expect("no panic");
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn plain_and_silent_clients_get_nothing_from_the_tls_port() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(2040);
    authority.write(&certificate, &key);
    let daemon = Daemon::start(&authority.options().await.with("NOWSERVING_HTTP_HEADER_TIMEOUT_MS", 2000));
    for sent in ["GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "\u{16}\u{3}\u{1}"] {
        let mut wire = Wire::over(plain(&daemon).await);
        wire.write(sent.as_bytes()).await;
        let said = timeout(PATIENCE, wire.until_closed()).await.expect("it is closed");
        assert!(!said.contains("HTTP"), "{said:?}");
    }
    assert!(authority.shows(&daemon, &certificate).await);
}

/// A page in plain text under the daemon's own name may be changed on the way.
#[tokio::test]
async fn over_tls_only_a_page_over_tls_is_the_daemons_own() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(2040);
    authority.write(&certificate, &key);
    let daemon = Daemon::start(&authority.options().await);
    let mut wire = Wire::over(authority.connect(&daemon).await.0);
    for (origin, expected) in [
        ("https://localhost:8042", 201),
        ("http://localhost:8042", 403),
        ("https://localhost", 403),
        ("https://localhost:8043", 403),
    ] {
        let head = format!("Host: localhost:8042\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n");
        wire.write(format!("POST /v1/restaurants/7/orders HTTP/1.1\r\n{head}").as_bytes()).await;
        assert_eq!(wire.read().await.0, expected, "{origin}");
    }
    wire.write(b"GET /v1/restaurants/7/slots HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(wire.read().await.0, 421);
}

#[tokio::test]
async fn a_bad_certificate_stops_the_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(2040);
    let (_, other_key) = authority.certify(2040);
    let options = authority.options().await;
    for (certificate, key, complaint) in [
        (certificate.as_str(), other_key.as_str(), "does not go with the certificate"),
        (&key, &certificate, "holds no certificate"),
        ("", &key, "there is none in it"),
    ] {
        authority.write(certificate, key);
        let (status, output) = Daemon::try_start(&options).err().expect("it does not start");
        assert_eq!(status.code(), Some(1));
        assert!(output.contains(complaint) && output.contains("http.tls_"), "{output}");
    }
    std::fs::remove_file(authority.files().1).expect("it is there");
    let (_, output) = Daemon::try_start(&options).err().expect("it does not start");
    assert!(output.contains("cannot read") && output.contains("key.pem"), "{output}");
}
