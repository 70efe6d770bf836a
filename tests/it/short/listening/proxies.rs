//! Which client the log names.

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::support::api::Wire;
use crate::support::{Daemon, DaemonOptions, PATIENCE, eventually};

/// A connection from another address of this machine.
pub async fn from(daemon: &Daemon, address: &str) -> Wire {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{address}:0").parse().expect("an address")).expect("a free port");
    let to = daemon.url().strip_prefix("http://").expect("an http address").parse().expect("an address");
    Wire::over(socket.connect(to).await.expect("the daemon accepts"))
}

/// The client that the log names for a request.
async fn logged(daemon: &Daemon, request_id: &str) -> String {
    let line = eventually(PATIENCE, || async {
        let output = daemon.output();
        output.lines().find(|line| line.contains(request_id) && line.contains("answered")).map(str::to_owned)
    })
    .await;
    let line: Value = serde_json::from_str(&line).expect("the log is JSON");
    assert_eq!(line["span"]["request_id"], request_id);
    line["span"]["client"].as_str().expect("it names the client").to_owned()
}

#[tokio::test]
async fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_TRUSTED_PROXIES", "127.0.0.2, 10.0.0.0/8");
    let options = options.with("NOWSERVING_LOG_FORMAT", "json").with("NOWSERVING_LOG_FILTER", "nowserving::http=debug");
    let daemon = Daemon::start(&options);
    for (request_id, peer, forwarded, client) in [
        ("proxied", "127.0.0.2", "203.0.113.9", "203.0.113.9"),
        ("lied-to-the-proxy", "127.0.0.2", "10.9.9.9, 203.0.113.9", "203.0.113.9"),
        ("two-proxies", "127.0.0.2", "203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("a-broken-proxy", "127.0.0.2", "who knows", "127.0.0.2"),
        ("not-a-proxy", "127.0.0.3", "203.0.113.9", "127.0.0.3"),
    ] {
        let mut wire = from(&daemon, peer).await;
        wire.write(
            format!(
                "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {request_id}\r\nX-Forwarded-For: {forwarded}\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
        assert_eq!(wire.read().await.0, 200);
        assert_eq!(logged(&daemon, request_id).await, client, "{request_id}");
    }
}
