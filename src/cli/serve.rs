//! `nowserving serve`: puts the daemon together, runs it, and takes it down in order.

mod background;

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::background::Ended;
use super::stores::Stores;
use crate::{
    config::Settings,
    http::{self, AppState, Limits, Listening, Tls},
    metrics,
    service::Service,
};

/// How long the start waits for partitions to be opened before callers are let in.
const FIRST_LOOK: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Let everybody who reaches the address do everything, though it is not a loopback one
    #[arg(long)]
    insecure_no_auth: bool,
}

/// Runs the daemon until it is told to stop.
pub(super) async fn run(settings: &Settings, args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let keys_required =
        settings.auth.keys_required(settings.listen, args.insecure_no_auth).map_err(anyhow::Error::msg)?;
    let metrics_handle = metrics::install().context("the metrics recorder cannot be installed")?;
    let listening = listening(settings)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", settings.listen))?;
    // From here on, so that a signal during the start is not lost.
    let mut signals = Signals::new()?;
    let mut stores = tokio::select! {
        stores = Stores::start(settings) => stores?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    if let Err(error) = open(&stores, settings, keys_required).await {
        stores.close().await;
        return Err(error);
    }

    let service = stores.service.clone();
    let (requests, background) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks: JoinSet<Ended> = JoinSet::new();
    let looked = Arc::new(Notify::new());
    background::spawn(&mut tasks, &service, settings, &background);
    let alone = stores.local.is_some();
    tasks.spawn(background::keep_partitions_open(service.clone(), alone, background.clone(), looked.clone()));
    tasks.spawn(background::fold_metrics(metrics_handle.clone(), background.clone()));
    if keys_required {
        tasks.spawn(background::keep_keys(service.clone(), background.clone()));
    }
    let service = Arc::new(service);
    let reported = service.clone();
    let state = AppState {
        service,
        limits: limits(settings),
        metrics_render: Arc::new(move || {
            let survey = reported.survey_report().map(|report| metrics::render_survey(&report));
            metrics_handle.render() + &survey.unwrap_or_default()
        }),
        keys_required,
        hosts: settings.http.hosts.clone(),
        changes: TaskTracker::new(),
    };
    let address = listener.local_addr()?;
    // So that the first caller is not turned away: the first look, and with private servers, whose partitions all get a
    // new generation, the quick rebuild that it leads to.
    let _ = tokio::time::timeout(FIRST_LOOK, looked.notified()).await;
    let scheme = if listening.tls.is_some() { "https" } else { "http" };
    if let Some(tls) = &listening.tls {
        tasks.spawn(background::keep_certificate(tls.clone(), hang_ups()?, background.clone()));
    }
    warn_of_plain_text(address, &listening);
    let server = http::serve(listener, listening, state, requests.clone());
    tasks.spawn(async move {
        server.await;
        ("http", Ok(()))
    });
    if !keys_required {
        println!("no API keys are asked for: whoever reaches {address} may do everything");
    }
    println!("listening on {scheme}://{address}");
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "ready");

    let failure = tokio::select! {
        () = signals.next() => None,
        ended = tasks.join_next() => Some(unasked(ended)),
        reason = local_died(&mut stores) => Some(anyhow::anyhow!("a private server cannot be kept running: {reason}")),
    };
    let deadline = Instant::now() + settings.shutdown_deadline();
    let stopping = shut_down(stores, tasks, &requests, &background, deadline);
    tokio::select! {
        () = stopping => {}
        () = signals.next() => anyhow::bail!("stopped at once by a second signal; the next start writes what is left"),
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn open(stores: &Stores, settings: &Settings, keys_required: bool) -> anyhow::Result<()> {
    stores.check_level(settings.durability.level).await?;
    stores.open_partitions().await?;
    if keys_required {
        check_keys(&stores.service, settings).await?;
    }
    Ok(())
}

/// Without a key nobody could do anything, and somebody would switch keys off.
async fn check_keys(service: &Service, settings: &Settings) -> anyhow::Result<()> {
    service.renew_keys().await?;
    anyhow::ensure!(
        service.keys().has_good_one(service.now()?),
        "callers at {} need an API key, and there is none that is good: make the first one with `nowserving keys create \
         --name NAME --role admin`, or listen on 127.0.0.1 (auth.mode says when keys are asked for)",
        settings.listen
    );
    Ok(())
}

/// First the requests, then the background work with the write-behind's last pass, then the servers.
async fn shut_down(
    stores: Stores,
    mut tasks: JoinSet<Ended>,
    requests: &CancellationToken,
    background: &CancellationToken,
    deadline: Instant,
) {
    tracing::info!("stopping: no new requests, finishing those under way");
    requests.cancel();
    // Requests get at most half of the time; the ledger gets the rest.
    let half = Instant::now() + (deadline - Instant::now()) / 2;
    let mut background_ended = 0;
    while let Ok(Some(ended)) = timeout_at(half, tasks.join_next()).await {
        match ended {
            Ok(("http", _)) => break,
            _ => background_ended += 1,
        }
    }
    tracing::info!(ended_early = background_ended, "stopping: writing what is left into the ledger");
    background.cancel();
    if timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("the shutdown deadline has passed; the next start writes what is left");
    }
    tasks.shutdown().await;
    stores.close().await;
    tracing::info!("stopped");
}

/// A task that ends before it was told to takes the daemon down: nothing goes on half alive.
fn unasked(ended: Option<Result<Ended, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok((name, Err(error)))) => error.context(format!("the {name} task failed")),
        Some(Ok((name, Ok(())))) => anyhow::anyhow!("the {name} task ended unasked"),
        Some(Err(error)) => anyhow::Error::new(error).context("a task panicked"),
        None => anyhow::anyhow!("no task is left"),
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        max_body_bytes: settings.http.max_body_bytes,
        body_timeout: Duration::from_millis(settings.http.body_timeout_ms),
        request_timeout: Duration::from_millis(settings.http.request_timeout_ms),
        max_concurrent_requests: settings.http.max_concurrent_requests,
        queue_timeout: Duration::from_millis(settings.http.queue_timeout_ms),
        ..Limits::default()
    }
}

/// How connections are accepted. The certificate is read here, so that a bad one stops the start.
fn listening(settings: &Settings) -> anyhow::Result<Listening> {
    let http = &settings.http;
    let tls = if http.tls_cert_file.as_os_str().is_empty() {
        None
    } else {
        Some(Arc::new(Tls::load(&http.tls_cert_file, &http.tls_key_file)?))
    };
    Ok(Listening {
        tls,
        trusted_proxies: http.trusted_proxies.iter().map(|network| network.0).collect(),
        max_connections: http.max_connections,
        max_header_bytes: http.max_header_bytes,
        header_timeout: Duration::from_millis(http.header_timeout_ms),
        idle_timeout: Duration::from_millis(http.idle_timeout_ms),
    })
}

fn warn_of_plain_text(address: SocketAddr, listening: &Listening) {
    if !address.ip().is_loopback() && listening.tls.is_none() && listening.trusted_proxies.is_empty() {
        tracing::warn!(
            %address,
            "what is said to this address can be read on its way: set http.tls_cert_file and http.tls_key_file, or \
             put a proxy with TLS in front and name it in http.trusted_proxies"
        );
    }
}

/// SIGHUP, which asks for the certificate to be read again. Without TLS it ends the program, as it does any other.
fn hang_ups() -> anyhow::Result<Signal> {
    Ok(signal(SignalKind::hangup())?)
}

/// Resolves when a private server is beyond help; never, where there is none.
async fn local_died(stores: &mut Stores) -> String {
    match &mut stores.local {
        Some(local) => local.died().await,
        None => std::future::pending().await,
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
