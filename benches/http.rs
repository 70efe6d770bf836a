//! Allocations a second over HTTP, with the daemon, Redis, Postgres, the write-behind and this client all on one machine.
//!
//! A closed loop: each connection sends its next request when it has the answer to the last one. The reference is the
//! same daemon's `/healthz` in the same run: what HTTP alone costs here. The budget of the foundation is 12,000
//! allocations a second on 2 cores.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use support::{Daemon, DaemonOptions};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);

/// What is measured: its name, and the request that a connection sends next.
struct Load {
    name: &'static str,
    request: fn(&str, u64) -> Request<Full<Bytes>>,
}

const LOADS: [Load; 3] = [
    Load { name: "GET /healthz (reference)", request: healthz },
    Load { name: "allocate, one restaurant", request: |host, _| allocate(host, 1) },
    Load { name: "allocate, 10,000 restaurants", request: |host, n| allocate(host, 2 + n % 10_000) },
];

fn healthz(host: &str, _: u64) -> Request<Full<Bytes>> {
    let request = Request::builder().uri("/healthz").header("host", host);
    request.body(Full::default()).expect("a valid request")
}

fn allocate(host: &str, restaurant: u64) -> Request<Full<Bytes>> {
    Request::builder()
        .method("POST")
        .uri(format!("/v1/restaurants/{restaurant}/orders"))
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::from(
            r#"{"table_number":"12","order_source":"kiosk","order_type":"dine_in","customer_name":"Ada"}"#,
        ))
        .expect("a valid request")
}

#[tokio::main]
async fn main() {
    // `cargo test` builds and runs bench targets too, to see that they work; measuring is for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let options = DaemonOptions::local().with("NOWSERVING_LOG_FILTER", "warn");
    let daemon = Daemon::start(&options);
    let host = daemon.url().trim_start_matches("http://").to_owned();
    widen(&host, 1).await;

    let mut rates = vec![Vec::new(); LOADS.len()];
    for round in 1..=ROUNDS {
        for (load, rates) in LOADS.iter().zip(&mut rates) {
            let rate = closed_loop(&host, load).await;
            eprintln!("round {round}/{ROUNDS}  {:<30} {rate:>9.0} /s", load.name);
            rates.push(rate);
        }
    }
    report(&mut rates);
}

fn report(rates: &mut [Vec<f64>]) {
    let mut rows = Vec::new();
    let mut reference = f64::NAN;
    println!(
        "{:<30} {:>10} {:>10} {:>10} {:>12}",
        "closed loop, 64 connections", "median /s", "min", "max", "÷ /healthz"
    );
    for (load, rates) in LOADS.iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        let (min, median, max) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        if reference.is_nan() {
            reference = median;
        }
        println!("{:<30} {median:>10.0} {min:>10.0} {max:>10.0} {:>12.2}", load.name, median / reference);
        rows.push(serde_json::json!({"load": load.name, "median": median, "min": min, "max": max}));
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench");
    std::fs::create_dir_all(folder).expect("target/ can be written");
    let json = serde_json::to_string_pretty(&rows).expect("plain JSON");
    std::fs::write(format!("{folder}/http.json"), json).expect("target/bench can be written");
}

/// One restaurant has room for as many orders as a run makes.
async fn widen(host: &str, restaurant: u64) {
    let mut connection = connect(host).await;
    let request = Request::builder()
        .method("PUT")
        .uri(format!("/v1/restaurants/{restaurant}"))
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::from(r#"{"max_number": 999999}"#))
        .expect("a valid request");
    assert!(connection.send_request(request).await.expect("answers").status().is_success());
}

async fn connect(host: &str) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(host).await.expect("the daemon listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
    tokio::spawn(connection);
    sender
}

async fn closed_loop(host: &str, load: &Load) -> f64 {
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (host, stop, sent, request) = (host.to_owned(), Arc::clone(&stop), Arc::clone(&sent), load.request);
        clients.spawn(async move {
            let mut connection = connect(&host).await;
            let mut answered = 0_u64;
            while !stop.load(Relaxed) {
                let response =
                    connection.send_request(request(&host, sent.fetch_add(1, Relaxed))).await.expect("answers");
                assert!(response.status().is_success(), "{}", response.status());
                response.into_body().collect().await.expect("a body");
                answered += 1;
            }
            answered
        });
    }
    let started = Instant::now();
    tokio::time::sleep(ROUND).await;
    stop.store(true, Relaxed);
    let answered: u64 = clients.join_all().await.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = answered as f64 / started.elapsed().as_secs_f64();
    rate
}
