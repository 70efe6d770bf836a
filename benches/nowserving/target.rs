//! A deployment that runs elsewhere, driven with the mix of the latency group: `make bench TARGET=URL`. The references
//! are of this machine, so they are left out; `GET /healthz` of the same deployment stands beside each figure.
//!
//! Orders are made and completed in 2,000 restaurants, which must have none of their own. What is no nowserving, or does
//! not let this key do what is needed, is refused before anything is measured.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{StatusCode, Uri, body::Bytes};
use serde_json::Value;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{
    Plan,
    client::{Call, Connection, Site, counted_loop, order_id},
    latency::{self, Driven},
    mix::Restaurants,
    report::Report,
};

/// The API key, where the target asks for one: in the environment, since arguments can be seen by others.
const ENV_KEY: &str = "NOWSERVING_BENCH_KEY";
/// A PEM file of who certifies the target; by default, those of this system.
const ENV_CA: &str = "NOWSERVING_BENCH_CA";
const SYSTEM_CAS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
const RESTAURANTS: u64 = 2_000;
/// Connections of the look before.
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(plan: &Plan, report: &mut Report, url: &str) -> ExitCode {
    let restaurants = Restaurants { first: plan.first_restaurant, count: RESTAURANTS };
    let driven = match tokio::time::timeout(6 * PATIENCE, look(url, restaurants)).await {
        Ok(Ok(driven)) => driven,
        Ok(Err(why)) => return refuse(url, &why),
        Err(_) => return refuse(url, "it takes too long to answer"),
    };
    report.machine.push(("target".to_owned(), url.to_owned()));
    if !driven.metrics {
        report.note(latency::GROUP, "The target does not show its metrics to this key, so its own times are left out.");
    }
    latency::measure_site(plan, report, &driven).await;
    print!("{}", report.table());
    println!("\n{}", report.write_json("target").display());
    ExitCode::SUCCESS
}

fn refuse(url: &str, why: &str) -> ExitCode {
    eprintln!("bench: {url}: {why}");
    ExitCode::FAILURE
}

/// Whether it is a nowserving, and whether the load can be put on it. Err: why not.
async fn look(url: &str, restaurants: Restaurants) -> Result<Driven<'static>, String> {
    let last = restaurants.first.saturating_add(restaurants.count);
    if restaurants.first == 0 || last > i32::MAX as u64 {
        return Err(format!("there are no {RESTAURANTS} restaurants from {} on", restaurants.first));
    }
    let site = site(url)?;
    let mut connection = tokio::time::timeout(PATIENCE, Connection::try_to(&site))
        .await
        .map_err(|_| "it does not accept connections".to_owned())??;
    let (status, document) = ask(&mut connection, Call::get("/openapi.json")).await?;
    let document: Value = serde_json::from_slice(&document).unwrap_or_default();
    if !status.is_success() || document["info"]["title"] != "nowserving" {
        return Err(format!("this is no nowserving: /openapi.json ({status}) does not say so"));
    }
    let busy = Arc::new(Mutex::new(None));
    allowed(ask(&mut connection, Call::kitchen_list(restaurants.first)).await?)?;
    let seen = Arc::clone(&busy);
    let list = move |n| Call::kitchen_list(restaurants.first + n);
    counted_loop(&site, CONNECTIONS, restaurants.count, list, move |n, body: Bytes| {
        let list: Value = serde_json::from_slice(&body).unwrap_or_default();
        if list["orders"].as_array().is_none_or(|orders| !orders.is_empty()) {
            *seen.lock().expect("no holder panics") = Some(restaurants.first + n);
        }
    })
    .await;
    if let Some(restaurant) = *busy.lock().expect("no holder panics") {
        return Err(format!("restaurant {restaurant} has live orders: choose others, with FIRST=ID"));
    }
    let made = allowed(ask(&mut connection, Call::allocate(restaurants.first)).await?)?;
    allowed(ask(&mut connection, Call::status(&order_id(&made), "completed")).await?)?;
    let metrics = ask(&mut connection, Call::get("/metrics")).await?.0.is_success();
    Ok(Driven { site, restaurants, redis: None, metrics })
}

async fn ask(connection: &mut Connection, call: Call) -> Result<(StatusCode, Bytes), String> {
    let path = call.path.clone();
    connection.try_send(call).await.map_err(|error| format!("this is no nowserving: {path}: {error}"))
}

/// The body of an answer, or what a refusal says.
fn allowed((status, body): (StatusCode, Bytes)) -> Result<Bytes, String> {
    if status.is_success() {
        return Ok(body);
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("it does not say why");
    let key = if status == StatusCode::UNAUTHORIZED { " (KEY=… gives the API key)" } else { "" };
    Err(format!("it refuses what the load needs: {status}: {detail}{key}"))
}

fn site(url: &str) -> Result<Site, String> {
    let found: Uri = url.parse().map_err(|_| "this is no URL".to_owned())?;
    let host = found.host().ok_or("this URL names no host")?;
    let (port, secure) = match found.scheme_str() {
        Some("http") => (80, false),
        Some("https") => (443, true),
        _ => return Err("this URL begins neither with http:// nor with https://".to_owned()),
    };
    if !["", "/"].contains(&found.path()) || found.query().is_some() {
        return Err("this URL has a path: the API begins at the root".to_owned());
    }
    let tls = if secure {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        Some((Arc::new(certified()?), name.map_err(|_| "its host is no name that a certificate has".to_owned())?))
    } else {
        None
    };
    let key = std::env::var(ENV_KEY).ok().filter(|key| !key.is_empty());
    let api_key = key.map(|key| format!("Bearer {key}").into());
    Ok(Site { host: format!("{host}:{}", found.port_u16().unwrap_or(port)), tls, api_key })
}

/// Trust in those whom the file of authorities names.
fn certified() -> Result<ClientConfig, String> {
    let named = [ENV_CA, "SSL_CERT_FILE"].into_iter().filter_map(std::env::var_os).find(|path| !path.is_empty());
    let system = || SYSTEM_CAS.map(PathBuf::from).into_iter().find(|path| path.exists());
    let file =
        named.map(PathBuf::from).or_else(system).ok_or("no file of certificate authorities: CA=FILE names one")?;
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add_parsable_certificates([certificate]);
    }
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
