//! How connections are made: logins, TLS and timeouts, the same for every server of a topology.

use std::{path::PathBuf, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, TlsCertificates, aio::MultiplexedConnection,
};

use super::server::Server;
use crate::{
    allocator::AllocatorError,
    config::{HostPort, RedisSettings},
};

/// A server that only says where the masters are is not waited for long: there are others to ask.
const SCOUT_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Dial {
    settings: RedisSettings,
    certificates: Option<TlsCertificates>,
}

impl Dial {
    /// # Errors
    /// When a file cannot be read or used.
    pub(in crate::allocator) fn new(settings: &RedisSettings) -> Result<Self, AllocatorError> {
        Ok(Self { settings: settings.clone(), certificates: certificates(settings)? })
    }

    pub(in crate::allocator) fn server(&self, info: ConnectionInfo) -> Result<Server, AllocatorError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout()))
            .set_response_timeout(Some(self.settings.timeout()));
        Server::new(self.certified(unnamed(info))?, config, &self.settings)
    }

    /// The way to one of the servers of a topology.
    pub(in crate::allocator) fn info(
        at: &HostPort,
        tls: bool,
        login: &RedisConnectionInfo,
    ) -> Result<ConnectionInfo, AllocatorError> {
        let (host, port) = at.clone();
        let addr = if tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        Ok(addr.into_connection_info()?.set_redis_settings(login.clone()))
    }

    /// A connection that has proved nothing: only to ask where the masters are.
    pub(super) async fn scout(&self, info: ConnectionInfo) -> Result<MultiplexedConnection, AllocatorError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout().min(SCOUT_TIMEOUT)))
            .set_response_timeout(Some(self.settings.timeout().min(SCOUT_TIMEOUT)));
        Ok(Client::open(self.certified(unnamed(info))?)?.get_multiplexed_async_connection_with_config(&config).await?)
    }

    fn certified(&self, info: ConnectionInfo) -> Result<ConnectionInfo, AllocatorError> {
        match (&self.certificates, info.addr()) {
            (Some(certificates), ConnectionAddr::TcpTls { .. }) => {
                Ok(Client::build_with_tls(info, certificates.clone())?.get_connection_info().clone())
            }
            _ => Ok(info),
        }
    }
}

/// Without `CLIENT SETINFO`, which says which library this is, and needs a right of its own.
fn unnamed(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    info.set_redis_settings(settings)
}

/// None where the system's authorities will do and no certificate is shown.
fn certificates(files: &RedisSettings) -> Result<Option<TlsCertificates>, AllocatorError> {
    let read = |name: &str, path: &PathBuf| -> Result<Option<Vec<u8>>, AllocatorError> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        std::fs::read(path).map(Some).map_err(|e| {
            AllocatorError::NoConnection(format!(
                "redis.{name}: cannot read {}: {e}; name a PEM file that this account may read",
                path.display()
            ))
        })
    };
    let root_cert = read("ca_file", &files.ca_file)?;
    let client_cert = read("client_cert_file", &files.client_cert_file)?;
    let client_key = read("client_key_file", &files.client_key_file)?;
    let client_tls =
        client_cert.zip(client_key).map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    if root_cert.is_none() && client_tls.is_none() {
        return Ok(None);
    }
    Ok(Some(TlsCertificates { client_tls, root_cert }))
}
