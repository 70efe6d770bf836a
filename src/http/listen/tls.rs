//! TLS: the certificate that clients are shown, and its renewal while the daemon runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
    },
    server::TlsStream,
};

use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode,
};

use crate::metrics;

/// A certificate with its key, from two files. Connections keep the one that they began with.
#[derive(Debug)]
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
    seen: Mutex<Seen>,
}

/// The last look at the files.
#[derive(Debug)]
struct Seen {
    /// What they held, whether it could be used or not: a fault is told once. None where they could not be read.
    files: Option<Files>,
    /// Whether it is what new connections get.
    in_use: bool,
}

/// Why a certificate cannot be used. No message quotes what is in a key's file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("http.tls_cert_file or http.tls_key_file: cannot read {}: {source}; the daemon's account must be able to", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("http.tls_cert_file: {} holds no certificate that can be read: {reason}; it must be a PEM file", path.display())]
    BadCertificate { path: PathBuf, reason: String },
    #[error("http.tls_key_file: {} holds no private key that can be read: {source}; it must be a PEM file", path.display())]
    BadKey { path: PathBuf, source: pem::Error },
    #[error("the key in http.tls_key_file does not go with the certificate in http.tls_cert_file: {0}")]
    BadPair(#[from] rustls::Error),
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate, with those that lead to its authority, and its key.
    ///
    /// # Errors
    /// Where either cannot be read, or they do not belong together.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let files = read(&certificate, &key)?;
        let (config, expires) = configure(&certificate, &key, &files)?;
        metrics::certificate_expires(expires);
        let seen = Seen { files: Some(files), in_use: true };
        Ok(Self { certificate, key, current: ArcSwap::new(config), seen: Mutex::new(seen) })
    }

    /// Reads the files again, and takes what they hold for new connections if it is new and can be used. False where it
    /// cannot be used, which is in the log.
    pub(crate) fn renew(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = read(&self.certificate, &self.key);
        if files.as_ref().ok() == seen.files.as_ref() {
            return seen.in_use;
        }
        let renewed = files.and_then(|files| {
            let configured = configure(&self.certificate, &self.key, &files);
            seen.files = Some(files);
            configured
        });
        seen.in_use = renewed.is_ok();
        match renewed {
            Ok((config, expires)) => {
                self.current.store(config);
                metrics::certificate_expires(expires);
                tracing::info!(expires, "new connections get the new certificate");
            }
            Err(error) => {
                if matches!(error, TlsError::Unreadable { .. }) {
                    seen.files = None;
                }
                tracing::error!(%error, "the new certificate cannot be used; the one before stays");
            }
        }
        seen.in_use
    }

    /// Agrees on keys with a client.
    pub(super) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current.load_full()).accept(stream).await
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Files, TlsError> {
    let read = |path: &Path| fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source });
    Ok(Files { certificate: read(certificate)?, key: read(key)? })
}

/// The settings of connections with this certificate, and when it ends, in Unix time.
fn configure(certificate: &Path, key: &Path, files: &Files) -> Result<(Arc<ServerConfig>, i64), TlsError> {
    let bad = |reason: String| TlsError::BadCertificate { path: certificate.to_owned(), reason };
    let chain = CertificateDer::pem_slice_iter(&files.certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| bad(error.to_string()))?;
    let leaf = chain.first().ok_or_else(|| bad("there is none in it".to_owned()))?;
    // As it is: whether it keeps every rule is for the clients to judge.
    let leaf = CertificateInner::<Raw>::from_der(leaf).map_err(|error| bad(error.to_string()))?;
    let not_after = leaf.tbs_certificate().validity().not_after.to_unix_duration();
    let expires = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|source| TlsError::BadKey { path: key.to_owned(), source })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), expires))
}
