//! Accepts connections, and keeps each within its limits.
//!
//! A loop of our own over hyper's HTTP/1.1 connection, since what is at hand leaves gaps. `axum::serve` has no TLS and
//! no limits. `axum-server` has no time limit before the first line of a request is there (its issue 183), none for
//! idle connections, none for their number. hyper itself has one timeout for headers and idleness together. HTTP/2 is
//! not offered: its streams would escape the limits on connections, and a till has one request at a time.

pub(super) mod arrival;
pub(super) mod prefix;
mod proxies;
mod pulse;
mod sockets;
mod tls;

use std::{
    io,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Once},
    time::Duration,
};

use axum::{Router, http::Request};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::arrival::{Arrival, Scheme};
pub(super) use self::pulse::Endless;
use self::pulse::{Pulse, Verdict, Watched};
pub(crate) use self::sockets::{Sockets, addresses_of};
pub(crate) use self::tls::Tls;
use crate::{
    config::HttpSettings,
    metrics::{self, Shed},
};

/// How connections are accepted.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    /// With which certificate; None: without TLS.
    pub tls: Option<Arc<Tls>>,
    /// The limits of connections, and the proxies from which `X-Forwarded-For`, `-Host`, `-Proto` and `-Prefix` are
    /// believed. Where there are any and no TLS, others than these and this machine itself are turned away.
    pub settings: Arc<HttpSettings>,
}

/// How long no connections are accepted when the system has none left to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// File descriptors for everything but clients: servers, files, listeners.
const OTHER_FILES: u64 = 512;

/// Serves until `shutdown`; then connections without a request are closed, and the others when they have their answer.
pub(crate) async fn serve(mut sockets: Sockets, listening: Listening, router: Router, shutdown: CancellationToken) {
    make_room(listening.settings.max_connections);
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(listening.settings.max_connections));
    let acceptor = Arc::new(Acceptor { listening, router: TowerToHyperService::new(router), shutdown });
    loop {
        let (stream, peer, address) = tokio::select! {
            () = acceptor.shutdown.cancelled() => break,
            accepted = sockets.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    not_accepted(&error).await;
                    continue;
                }
            },
        };
        let peer = peer.ip().to_canonical();
        if !acceptor.lets_in(peer) {
            continue;
        }
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            metrics::shed(Shed::Connections);
            continue;
        };
        let (acceptor, open) = (acceptor.clone(), metrics::connection_open());
        connections.spawn(async move {
            acceptor.accept(stream, peer, address).await;
            drop((permit, open));
        });
    }
    drop(sockets);
    connections.close();
    connections.wait().await;
}

/// The client that gave up meanwhile is no concern; a system without file descriptors needs a moment.
async fn not_accepted(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "cannot accept connections just now");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Asks the system for as many open files as there may be connections.
fn make_room(max_connections: usize) {
    let wanted = max_connections as u64 + OTHER_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= wanted {
        return;
    }
    let given = wanted.min(hard);
    let raised = setrlimit(Resource::RLIMIT_NOFILE, given, hard).is_ok();
    if !raised || given < wanted {
        tracing::warn!(
            limit = if raised { given } else { soft },
            wanted,
            "the system's limit on open files allows fewer connections than http.max_connections; raise it (ulimit -n)"
        );
    }
}

/// What the connections share.
struct Acceptor {
    listening: Listening,
    router: TowerToHyperService<Router>,
    shutdown: CancellationToken,
}

impl Acceptor {
    /// With proxies in front that speak TLS to the clients, no other peer may come in plain text.
    fn lets_in(&self, peer: IpAddr) -> bool {
        static SAID: Once = Once::new();
        let (tls, trusted_proxies) = (&self.listening.tls, &self.listening.settings.trusted_proxies);
        let lets_in =
            tls.is_some() || trusted_proxies.is_empty() || peer.is_loopback() || proxies::trusts(trusted_proxies, peer);
        if !lets_in {
            // Once, since it may come again and again; the first one finds a mistake in the setting.
            SAID.call_once(|| tracing::warn!(%peer, "turned away, since it is not among http.trusted_proxies"));
            tracing::debug!(%peer, "turned away");
        }
        lets_in
    }

    /// `address` is what is listened on; may stand for all addresses.
    async fn accept(&self, stream: TcpStream, peer: IpAddr, address: Option<IpAddr>) {
        // Answers are small and wanted at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let local = stream.local_addr().ok().map(|address| address.ip().to_canonical());
        let arrival = Arrival {
            client: Some(peer),
            at: [local, address],
            by_proxy: proxies::trusts(&self.listening.settings.trusted_proxies, peer),
            scheme: self.listening.tls.is_some().then_some(Scheme::Https),
        };
        let Some(tls) = &self.listening.tls else {
            return self.answer(stream, peer, arrival).await;
        };
        let handshake = timeout(self.listening.settings.header_timeout(), tls.handshake(stream));
        let stream = tokio::select! {
            () = self.shutdown.cancelled() => return,
            done = handshake => done,
        };
        match stream {
            // Longer than one in plain text, which is not to have room for it.
            Ok(Ok(stream)) => Box::pin(self.answer(stream, peer, arrival)).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
            Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
        }
    }

    /// Answers requests until the client, a limit or the shutdown ends the connection.
    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
        arrival: Arrival,
    ) {
        let settings = &self.listening.settings;
        let pulse = Arc::new(Pulse::new(settings.header_timeout(), settings.idle_timeout()));
        let service = service_fn(|mut request: Request<Incoming>| {
            pulse.request_is_here();
            let arrival = proxies::believe(arrival, peer, request.headers(), &settings.trusted_proxies);
            request.extensions_mut().insert(arrival);
            prefix::settle(&mut request, arrival.by_proxy, &settings.base_path);
            let (answer, pulse) = (self.router.call(request), pulse.clone());
            async move {
                let answer = answer.await;
                let endless = answer.as_ref().ok().and_then(|answer| answer.extensions().get::<Endless>());
                match endless {
                    Some(endless) => pulse.stream_is_here(*endless),
                    None => pulse.answer_is_here(),
                }
                answer
            }
        });
        let connection = http1::Builder::new()
            // The pulse measures it.
            .header_read_timeout(None)
            .max_buf_size(settings.max_header_bytes)
            .serve_connection(TokioIo::new(Watched::new(stream, pulse.clone())), service);
        let (mut connection, mut stopping) = (pin!(connection), pin!(self.shutdown.cancelled()));
        let mut look = pin!(sleep_until(pulse.next_look()));
        let mut ending = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection broke off");
                    }
                    return;
                }
                () = stopping.as_mut(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = look.as_mut() => match pulse.verdict(Instant::now()) {
                    Verdict::LookAgain(at) => look.as_mut().reset(at),
                    Verdict::Idle if !ending => {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(Instant::now() + settings.header_timeout());
                    }
                    Verdict::Idle | Verdict::TooSlow => {
                        tracing::debug!(%peer, "closed: too slow");
                        return;
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;

    #[test]
    fn behind_proxies_no_other_peer_comes_in_plain_text() {
        let acceptor = |proxies: &[&str]| Acceptor {
            listening: Listening {
                tls: None,
                settings: Arc::new(HttpSettings {
                    trusted_proxies: proxies.iter().map(|network| network.parse().map(Network).expect("one")).collect(),
                    ..crate::http::testing::settings()
                }),
            },
            router: TowerToHyperService::new(Router::new()),
            shutdown: CancellationToken::new(),
        };
        for (proxies, peer, lets_in) in [
            (&[][..], "203.0.113.9", true),
            (&["10.0.0.0/8"], "10.1.1.1", true),
            (&["10.0.0.0/8"], "127.0.0.1", true),
            (&["10.0.0.0/8"], "203.0.113.9", false),
            (&["10.0.0.0/8", "fd00::/8"], "fd00::7", true),
        ] {
            assert_eq!(acceptor(proxies).lets_in(peer.parse().expect("an address")), lets_in, "{proxies:?} {peer}");
        }
    }
}
