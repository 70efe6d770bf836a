//! Web pages of strangers, shown by a browser on the machine of a daemon: what they may not do, and what goes on all
//! the same.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::limits::series;
use crate::support::api::{Answer, Wire};
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};

const EVIL: &str = "https://evil.example";

/// A request over a connection of its own: its status, and the code of its problem if it is one.
async fn ask(mut wire: Wire, line: &str, lines: &[&str]) -> (u16, String) {
    let head: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    wire.write(format!("{line}\r\n{head}\r\n").as_bytes()).await;
    let (status, head, body) = timeout(PATIENCE, wire.read()).await.expect("an answer");
    assert!(!head.contains("access-control-"), "a page could read it: {head}");
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// A bodiless request to a daemon, that calls it by this Host.
async fn call(api: &Api, method_and_path: &str, host: &str, more: &[&str]) -> (u16, String) {
    let host = format!("Host: {host}");
    let lines: Vec<&str> = [host.as_str()].into_iter().chain(more.iter().copied()).collect();
    ask(Wire::to(api).await, &format!("{method_and_path} HTTP/1.1"), &lines).await
}

fn port(daemon: &Daemon) -> u16 {
    daemon.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// How many orders of a restaurant there are.
async fn live(api: &Api, restaurant: u32) -> u64 {
    api.slots(restaurant).await["live"].as_u64().expect("a number")
}

const CREATE: &str = "POST /v1/restaurants/7/orders";
const SLOTS: &str = "GET /v1/restaurants/7/slots";

#[tokio::test]
async fn a_name_that_is_made_to_mean_this_machine_opens_nothing() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await.with("NOWSERVING_LOG_FILTER", "debug"));
    let api = Api::at(daemon.url());
    let own = port(&daemon);
    let order = api.create(7, json!({})).await;
    let order = order["internal_order_id"].as_str().expect("an id");
    let names = [
        "evil.example".to_owned(),
        format!("evil.example:{own}"),
        "EVIL.EXAMPLE.".to_owned(),
        format!("localhost.evil.example:{own}"),
        format!("127.0.0.1.nip.io:{own}"),
        "7f000001.rbndr.example".to_owned(),
        format!("0.0.0.0:{own}"),
        "[::]".to_owned(),
        "198.51.100.1".to_owned(),
        "[2001:db8::1]".to_owned(),
        "2130706433".to_owned(),
        "0x7f.1".to_owned(),
        "localhost%00.evil.example".to_owned(),
        "\"};alert(1)//".replace(['"', '}', '/'], "'"),
        String::new(),
    ];
    for name in &names {
        // To the browser it is the page's own server: its request looks as good as any.
        let page = [&format!("Origin: http://{name}")[..], "Sec-Fetch-Site: same-origin"];
        for line in [
            SLOTS,
            "GET /v1/keys",
            "GET /metrics",
            "GET /docs/",
            "GET /openapi.json",
            "GET /nothing",
            CREATE,
            "PUT /v1/restaurants/7",
            "POST /v1/restaurants/7/cleanup?limit=1000",
            "POST /v1/keys",
            "DELETE /v1/keys/1",
            "OPTIONS /v1/restaurants/7/orders",
            &format!("PATCH /v1/orders/{order}"),
            &format!("POST /v1/orders/{order}/release"),
            "GET /",
            "GET /board/7",
            "GET /kitchen/7",
            "GET /assets/0/board.js",
            "GET /v1/feed",
            "GET /v1/restaurants/7/feed",
            "POST /v1/pairings",
        ] {
            let refused = call(&api, line, name, &page).await;
            assert_eq!(refused, (421, "misdirected_request".to_owned()), "{name:?} {line}");
        }
        let head = call(&api, "GET /healthz", name, &[]).await;
        assert_eq!((head.0, call(&api, "GET /readyz", name, &[]).await.0), (200, 200), "{name:?}");
    }
    for none in [
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost/",
        "local host",
        "localhost:x",
        "::1",
        "l\u{e9}",
    ] {
        for line in [SLOTS, CREATE, "GET /healthz"] {
            let refused = call(&api, line, none, &[]).await;
            assert_eq!(refused, (400, "malformed_request".to_owned()), "{none:?} {line}");
        }
    }
    assert_eq!(live(&api, 7).await, 1);
    assert_eq!(api.order(order).await.ok(200)["version"], 1);
    let count = series(&api, "nowserving_http_problems_total{code=\"misdirected_request\"}").await;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = (names.len() * 21) as f64;
    assert!((count - expected).abs() < 0.5, "{count}");
    let metrics = api.get("/metrics").await.text;
    assert!(!metrics.contains("evil") && !metrics.contains("nip.io"), "{metrics}");
    // One line for its operator; what the page calls itself is only in those of `debug`.
    let output = daemon.output();
    let warned: Vec<_> = output.lines().filter(|line| line.contains("WARN") && line.contains("http.hosts")).collect();
    assert!(matches!(warned.as_slice(), [line] if !line.contains("evil")), "{warned:?}");
}

#[tokio::test]
async fn this_machine_goes_by_its_own_names() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let (api, own) = (Api::at(daemon.url()), port(&daemon));
    for name in [
        "localhost".to_owned(),
        format!("LocalHost:{own}"),
        format!("localhost.:{own}"),
        format!("Board.LOCALHOST:{own}"),
        format!("127.0.0.1:{own}"),
        "127.0.0.1.".to_owned(),
        "127.8.9.10".to_owned(),
        format!("[::1]:{own}"),
        "[0:0:0:0:0:0:0:1]".to_owned(),
        "localhost:1".to_owned(),
    ] {
        assert_eq!(call(&api, SLOTS, &name, &[]).await.0, 200, "{name}");
        assert_eq!(call(&api, CREATE, &name, &[]).await.0, 201, "{name}");
    }
}

#[tokio::test]
async fn a_request_that_names_no_host_or_two_is_refused() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let (api, own) = (Api::at(daemon.url()), port(&daemon));
    let (url, evil) = (format!("http://localhost:{own}"), format!("http://evil.example:{own}"));
    let path = "/v1/restaurants/7/slots";
    for (line, lines, expected) in [
        (format!("GET {path} HTTP/1.1"), &[][..], (400, "malformed_request")),
        (format!("GET {path} HTTP/1.0"), &[], (421, "misdirected_request")),
        (format!("GET {path} HTTP/1.0"), &["Host: localhost"], (200, "")),
        (format!("GET {path} HTTP/1.0"), &["Host: evil.example"], (421, "misdirected_request")),
        (format!("GET {path} HTTP/1.1"), &["Host: localhost", "Host: localhost"], (400, "malformed_request")),
        (format!("GET {path} HTTP/1.1"), &["Host: localhost", "hOST: evil.example"], (400, "malformed_request")),
        (format!("GET {path} HTTP/1.1"), &["Host: localhost, evil.example"], (400, "malformed_request")),
        // A target that is a whole URL, as a proxy is asked: each name has to be good.
        (format!("GET {url}{path} HTTP/1.1"), &["Host: localhost"], (200, "")),
        (format!("GET {url}{path} HTTP/1.0"), &[], (200, "")),
        (format!("GET {evil}{path} HTTP/1.1"), &["Host: localhost"], (421, "misdirected_request")),
        (format!("GET {url}{path} HTTP/1.1"), &["Host: evil.example"], (421, "misdirected_request")),
        (format!("GET {url}{path} HTTP/1.1"), &[], (400, "malformed_request")),
        (format!("GET http://localhost@evil.example{path} HTTP/1.1"), &["Host: localhost"], (400, "malformed_request")),
        (format!("GET //evil.example{path} HTTP/1.1"), &["Host: localhost"], (404, "not_found")),
        ("CONNECT evil.example:443 HTTP/1.1".to_owned(), &["Host: localhost"], (421, "misdirected_request")),
        ("OPTIONS * HTTP/1.1".to_owned(), &["Host: evil.example"], (421, "misdirected_request")),
    ] {
        let got = ask(Wire::to(&api).await, &line, lines).await;
        assert_eq!((got.0, got.1.as_str()), expected, "{line} {lines:?}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let (api, own) = (Api::at(daemon.url()), port(&daemon));
    let order = api.create(7, json!({})).await;
    let order = order["internal_order_id"].as_str().expect("an id");
    let calls = [
        CREATE.to_owned(),
        format!("PATCH /v1/orders/{order}"),
        format!("POST /v1/orders/{order}/release"),
        "PUT /v1/restaurants/7".to_owned(),
        "POST /v1/restaurants/7/cleanup?limit=1000".to_owned(),
        "POST /v1/keys".to_owned(),
        "DELETE /v1/keys/1".to_owned(),
        "POST /nothing".to_owned(),
        "BREW /v1/restaurants/7/orders".to_owned(),
        // It would take the places of screens.
        "GET /v1/feed".to_owned(),
        "GET /v1/restaurants/7/feed".to_owned(),
    ];
    let host = format!("localhost:{own}");
    for page in [
        &["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"][..],
        &["Origin: https://evil.example"],
        &["Origin: null"],
        &["Origin:"],
        &["Origin: http://localhost:9999", "Sec-Fetch-Site: same-site"],
        &["Origin: http://localhost:9999"],
        &["Origin: http://localhost"],
        &["Origin: http://localhost.evil.example"],
        &["Origin: http://evil.example", "Sec-Fetch-Site: same-origin"],
        &["Origin: http://evil.example", "Sec-Fetch-Site: none"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &["Sec-Fetch-Site: CROSS-SITE"],
        &["Sec-Fetch-Site: a-new-one"],
        &["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"],
        // An empty form.
        &["Origin: null", "Content-Type: application/x-www-form-urlencoded"],
        &["Origin: https://evil.example", "Content-Type: text/plain"],
    ] {
        for line in &calls {
            let refused = call(&api, line, &host, page).await;
            assert_eq!(refused, (403, "cross_origin_request".to_owned()), "{line} {page:?}");
        }
        // It may ask; no answer lets it read.
        assert_eq!(call(&api, SLOTS, &host, page).await.0, 200, "{page:?}");
        assert_eq!(call(&api, "OPTIONS /v1/restaurants/7/orders", &host, page).await.0, 403, "{page:?}");
    }
    let same = format!("Origin: http://{host}");
    for doubled in [[same.as_str(), &same], [&same, "Origin: https://evil.example"]] {
        assert_eq!(call(&api, CREATE, &host, &doubled).await.0, 403);
    }
    assert_eq!((live(&api, 7).await, api.order(order).await.ok(200)["version"].clone()), (1, json!(1)));
    for page in [&[][..], &[same.as_str()], &[&same, "Sec-Fetch-Site: same-origin"], &["Sec-Fetch-Site: none"]] {
        assert_eq!(call(&api, CREATE, &host, page).await.0, 201, "{page:?}");
    }
    // Under each name that the page may have been loaded from.
    for name in [format!("127.0.0.1:{own}"), format!("[::1]:{own}"), format!("board.localhost.:{own}")] {
        assert_eq!(call(&api, CREATE, &name, &[&format!("Origin: http://{name}")]).await.0, 201, "{name}");
        assert_eq!(call(&api, CREATE, &name, &[&same]).await.0, 403, "{name}");
    }
}

#[tokio::test]
async fn the_body_of_a_strangers_page_is_not_waited_for() {
    // It would be waited for longer than the test.
    let daemon = Daemon::start(&DaemonOptions::migrated().await.with("NOWSERVING_HTTP_BODY_TIMEOUT_MS", 300_000));
    let api = Api::at(daemon.url());
    for (line, expected) in [("Host: localhost\r\nOrigin: https://evil.example", 403), ("Host: evil.example", 421)] {
        for more in ["", "Expect: 100-continue\r\n", "Connection: keep-alive\r\n"] {
            let mut wire = Wire::to(&api).await;
            let head = format!("{CREATE} HTTP/1.1\r\n{line}\r\nContent-Length: 1000\r\n{more}\r\n");
            wire.write(head.as_bytes()).await;
            let (status, head, _) = timeout(PATIENCE, wire.read()).await.expect("an answer");
            assert_eq!((status, head.contains("connection: close")), (expected, true), "{head}");
            assert_eq!(timeout(PATIENCE, wire.until_closed()).await.expect("it is closed"), "");
        }
        // One that came with its head is read, and the connection goes on.
        let mut wire = Wire::to(&api).await;
        wire.write(format!("{CREATE} HTTP/1.1\r\n{line}\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes()).await;
        let (status, head, _) = wire.read().await;
        assert_eq!((status, head.contains("connection: close")), (expected, false), "{head}");
        assert_eq!(wire.get("/healthz").await.0, 200);
        // A large one does not keep its client from the answer.
        let (name, value) = line.rsplit("\r\n").next().and_then(|last| last.split_once(": ")).expect("a header");
        let large = Some(vec![b' '; 3_000_000]);
        let sent = api.send("POST", "/v1/restaurants/7/orders", &[(name, value.as_bytes())], large).await;
        assert_eq!(sent.status, expected);
    }
    assert_eq!(live(&api, 7).await, 0);
}

/// An address of this machine that is not its loopback's, where it has one.
fn address_in_a_network() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: it only has the system choose the address it would send from.
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[tokio::test]
async fn an_open_daemon_is_reached_by_its_own_address_and_listed_names() {
    let mut options =
        DaemonOptions::migrated().await.with("NOWSERVING_HTTP_HOSTS", "Shop.example, kitchen.example:8443");
    options.arguments = ["--insecure-no-auth", "--listen", "0.0.0.0:0"].map(str::to_owned).to_vec();
    let daemon = Daemon::start(&options);
    let (api, own) = (Api::at(daemon.url()), port(&daemon));
    // As it says where it listens.
    assert_eq!(call(&api, CREATE, &format!("0.0.0.0:{own}"), &[]).await.0, 201);
    for (name, expected) in [
        ("shop.example", 201),
        ("SHOP.EXAMPLE.:8042", 201),
        ("kitchen.example:8443", 201),
        ("kitchen.example", 421),
        ("kitchen.example:8042", 421),
        ("localhost", 201),
        ("127.0.0.1", 201),
        ("evil.example", 421),
        ("shop.example.evil.example", 421),
        ("198.51.100.1", 421),
    ] {
        assert_eq!(call(&api, CREATE, name, &[]).await.0, expected, "{name}");
    }
    if let Some(address) = address_in_a_network() {
        let via =
            async || Wire::over(TcpStream::connect(SocketAddr::new(address, own)).await.expect("it listens there"));
        for (name, expected) in [
            (format!("{address}:{own}"), 201),
            (address.to_string(), 201),
            (format!("{address}.nip.io"), 421),
            ("198.51.100.1".to_owned(), 421),
        ] {
            let host = format!("Host: {name}");
            let got = ask(via().await, &format!("{CREATE} HTTP/1.1"), &[&host]).await;
            assert_eq!(got.0, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn with_keys_names_are_checked_only_where_they_are_listed() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys");
    let made = options.run("keys", &["create", "--name", "till", "--role", "till"]);
    let key = format!("Authorization: Bearer {}", made.stdout.trim());
    for (hosts, by_another_name) in [("", (201, 200)), ("shop.example", (421, 421))] {
        let daemon = Daemon::start(&options.clone().with("NOWSERVING_HTTP_HOSTS", hosts));
        let api = Api::at(daemon.url());
        for name in ["backend_pool", "evil.example:8042"] {
            let got = (call(&api, CREATE, name, &[&key]).await.0, call(&api, SLOTS, name, &[&key]).await.0);
            assert_eq!(got, by_another_name, "{name} {hosts:?}");
        }
        assert_eq!(call(&api, CREATE, "shop.example", &[&key]).await.0, 201);
        assert_eq!(call(&api, CREATE, "localhost", &[&key, "Origin: http://localhost"]).await.0, 201);
        // A key that a page has got hold of is no use to it, and one without a key does not hear that it needs one.
        for lines in [&[key.as_str(), "Origin: https://evil.example"][..], &["Sec-Fetch-Site: cross-site"]] {
            let refused = call(&api, CREATE, "shop.example", lines).await;
            assert_eq!(refused, (403, "cross_origin_request".to_owned()), "{lines:?}");
        }
        assert_eq!(call(&api, CREATE, "shop.example", &[]).await, (401, "unauthenticated".to_owned()));
        assert_eq!(call(&api, "GET /healthz", "10.244.3.17:8042", &[]).await.0, 200, "a probe");
        assert_eq!(call(&api, SLOTS, "a@b", &[&key]).await.0, 400);
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_what_it_was_called() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_HTTP_TRUSTED_PROXIES", "127.0.0.2");
    let daemon = Daemon::start(&options.with("NOWSERVING_HTTP_HOSTS", "shop.example"));
    let own = port(&daemon);
    let from = async |address: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{address}:0").parse().expect("an address")).expect("a free port");
        Wire::over(socket.connect(SocketAddr::from(([127, 0, 0, 1], own))).await.expect("the daemon accepts"))
    };
    let backend = format!("Host: 127.0.0.1:{own}");
    let line = format!("{CREATE} HTTP/1.1");
    for (peer, lines, expected) in [
        ("127.0.0.2", &["X-Forwarded-Host: shop.example", "Origin: https://shop.example"][..], 201),
        (
            "127.0.0.2",
            &["X-Forwarded-Host: shop.example", "X-Forwarded-Proto: https", "Origin: https://shop.example"],
            201,
        ),
        (
            "127.0.0.2",
            &["X-Forwarded-Host: shop.example", "X-Forwarded-Proto: http", "Origin: https://shop.example"],
            403,
        ),
        (
            "127.0.0.2",
            &["X-Forwarded-Host: shop.example", "X-Forwarded-Proto: https", "Origin: http://shop.example"],
            403,
        ),
        ("127.0.0.2", &["X-Forwarded-Host: shop.example:8443", "Origin: https://shop.example"], 403),
        // The proxy was called by a name that it was made to have.
        ("127.0.0.2", &["X-Forwarded-Host: evil.example", "Origin: https://evil.example"], 421),
        ("127.0.0.2", &["X-Forwarded-Host: shop.example, evil.example"], 421),
        // No other peer is believed.
        ("127.0.0.3", &["X-Forwarded-Host: shop.example", "Origin: https://shop.example"], 403),
        ("127.0.0.3", &["X-Forwarded-Host: evil.example"], 201),
    ] {
        let lines: Vec<&str> = [backend.as_str()].into_iter().chain(lines.iter().copied()).collect();
        assert_eq!(ask(from(peer).await, &line, &lines).await.0, expected, "{peer} {lines:?}");
    }
    // Nor does it vouch for another name, which a page could have it say.
    let lines = ["Host: evil.example", "X-Forwarded-Host: localhost"];
    assert_eq!(ask(from("127.0.0.2").await, &line, &lines).await.0, 421);
}

/// `/docs`, as a browser on this machine works with it.
#[tokio::test]
async fn the_documentation_page_can_try_calls_out() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let own = port(&daemon);
    let api = Api::at(&format!("http://localhost:{own}"));
    let origin = format!("http://localhost:{own}");
    let page = api.get("/docs/").await;
    assert_eq!((page.status, page.header("content-security-policy")), (200, Some("frame-ancestors 'none'")));
    let from_page = |method: &'static str, path: &'static str, body: Option<Value>| {
        let (api, origin) = (api.clone(), origin.clone());
        async move {
            let mut headers: Vec<(&str, &[u8])> =
                vec![("sec-fetch-site", b"same-origin"), ("sec-fetch-mode", b"cors"), ("sec-fetch-dest", b"empty")];
            if method != "GET" {
                headers.push(("origin", origin.as_bytes()));
                headers.push(("content-type", b"application/json"));
            }
            api.send(method, path, &headers, body.map(|body| body.to_string().into_bytes())).await
        }
    };
    let created: Answer = from_page("POST", "/v1/restaurants/7/orders", Some(json!({"note": "tried out"}))).await;
    created.ok(201);
    from_page("PUT", "/v1/restaurants/7", Some(json!({"max_number": 50}))).await.ok(200);
    from_page("GET", "/v1/restaurants/7/slots", None).await.ok(200);
    let framed = api.send("POST", "/v1/restaurants/7/orders", &[("origin", EVIL.as_bytes())], None).await;
    let problem = framed.problem(403, "cross_origin_request");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("X-Forwarded-Host")), "{problem}");
    let misdirected = api.send("GET", "/metrics", &[("host", b"evil.example")], None).await;
    let problem = misdirected.problem(421, "misdirected_request");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("http.hosts") && !problem.to_string().contains("evil"), "{problem}");
    eventually_true(PATIENCE, || async { daemon.output().contains("http.hosts") }).await;
}
