//! The daemon: put together, run, and taken down in order.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    stores::Stores,
    tasks::{self, Parts, Stops, Task, Tasks},
};
use crate::{
    config::Settings,
    http::{self, AppState, Listening, Sockets, Tls},
    metrics,
    service::Service,
};

/// How long the start waits for partitions to be opened before callers are let in.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Runs the daemon until it is told to stop.
pub(crate) async fn run(settings: &Settings, insecure_no_auth: bool) -> anyhow::Result<ExitCode> {
    let addresses = http::addresses_of(&settings.listen).await.with_context(|| {
        format!("cannot listen on {}; write an address, or a name of this machine, with --listen", settings.listen)
    })?;
    let keys_required = settings.auth.keys_required(&addresses, insecure_no_auth).map_err(anyhow::Error::msg)?;
    let metrics_handle = metrics::install().context("the metrics recorder cannot be installed")?;
    let listening = listening(settings, keys_required)?;
    let sockets = Sockets::bind(&addresses).await.map_err(|(address, error)| {
        if error.kind() == std::io::ErrorKind::AddrNotAvailable {
            return anyhow::Error::new(error)
                .context(format!("cannot listen on {address}; write an address of this machine with --listen"));
        }
        anyhow::Error::new(error).context(format!(
            "cannot listen on {address}; end what listens there, or choose another address with --listen"
        ))
    })?;
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

    let service = Arc::new(stores.service.clone());
    let (requests, background) = (CancellationToken::new(), CancellationToken::new());
    let looked = Arc::new(Notify::new());
    let parts = Parts {
        settings,
        service: (*service).clone(),
        alone: stores.local.is_some(),
        keys_required,
        certificate: certificate(&listening)?,
        metrics: metrics_handle.clone(),
        looked: looked.clone(),
    };
    let mut tasks = tasks::start(parts, &background);
    let state = AppState {
        metrics_render: render(metrics_handle, service.clone(), &tasks),
        service,
        settings: listening.settings.clone(),
        keys_required,
        streams: Arc::new(Semaphore::new(settings.http.max_streams)),
        closing: requests.clone(),
        changes: TaskTracker::new(),
    };
    let addresses = sockets.addresses()?;
    // So that the first caller is not turned away: the first look, and with private servers, whose partitions all get a
    // new generation, the quick rebuild that it leads to.
    let _ = tokio::time::timeout(FIRST_LOOK, looked.notified()).await;
    let scheme = if listening.tls.is_some() { "https" } else { "http" };
    warn_of_plain_text(&addresses, &listening);
    tasks.spawn_bare(Task::Http, http::serve(sockets, listening, state, requests.clone()));
    if !keys_required {
        println!("no API keys are asked for: every client that reaches {} may do everything", settings.listen);
    }
    for address in &addresses {
        println!("listening on {scheme}://{address}");
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "ready");
    }
    if let (Some(_), Some(address)) = (&stores.local, addresses.first()) {
        println!("{}", pages_of(&format!("{scheme}://{}", to_open(*address))));
    }

    let failure = tokio::select! {
        () = signals.next() => None,
        error = unasked(&mut tasks) => Some(error),
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
    stores.join_deployment().await?;
    let opened = async {
        stores.check_writers(settings.durability.level).await?;
        stores.open_partitions().await?;
        if keys_required {
            check_keys(&stores.service, settings).await?;
        }
        Ok(())
    };
    let opened = opened.await;
    if opened.is_err()
        && let Err(error) = stores.service.recovery.take_leave().await
    {
        tracing::debug!(%error, "other daemons will notice that this one has not started");
    }
    opened
}

/// What a newcomer may look at first.
fn pages_of(url: &str) -> String {
    format!("to see orders, open {url}/board/1, the board of restaurant 1, and {url}/kitchen/1, its kitchen")
}

/// The address as a browser on this machine opens it: no browser goes to all addresses at once.
fn to_open(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// Without a key no client could do anything, and the operator would switch keys off.
async fn check_keys(service: &Service, settings: &Settings) -> anyhow::Result<()> {
    service.keys.renew().await?;
    anyhow::ensure!(
        service.keys.ring().has_good_one(service.keys.now()?),
        "callers at {} need an API key, and there is none that is good: make the first one with `nowserving keys create \
         --name NAME --role admin`, or listen on 127.0.0.1 (auth.mode says when keys are asked for)",
        settings.listen
    );
    Ok(())
}

/// First the requests, then the background work with the write-behind's last pass, then the servers.
async fn shut_down(
    stores: Stores,
    mut tasks: Tasks,
    requests: &CancellationToken,
    background: &CancellationToken,
    deadline: Instant,
) {
    tracing::info!("stopping: no new requests, finishing those under way");
    requests.cancel();
    // Requests get at most half of the time; the ledger gets the rest.
    let half = Instant::now() + (deadline - Instant::now()) / 2;
    let mut background_ended = 0;
    while let Ok(Some(ended)) = timeout_at(half, tasks.next_end()).await {
        match ended {
            Ok(task) if task.row().stops == Stops::First => break,
            _ => background_ended += 1,
        }
    }
    tracing::info!(ended_early = background_ended, "stopping: writing what is left into the ledger");
    background.cancel();
    if timeout_at(deadline, async { while tasks.next_end().await.is_some() {} }).await.is_err() {
        tracing::warn!("the shutdown deadline has passed; the next start writes what is left");
    }
    tasks.abort().await;
    stores.close().await;
    tracing::info!("stopped");
}

/// Resolves when a task ends before it was told to, and the table says that this ends the process.
async fn unasked(tasks: &mut Tasks) -> anyhow::Error {
    loop {
        match tasks.next_end().await {
            Some(Ok(task)) if !task.row().ends_process => {}
            Some(Ok(task)) => return anyhow::anyhow!("the {task} task ended unasked"),
            Some(Err(error)) => return anyhow::Error::new(error).context("a task panicked"),
            None => return anyhow::anyhow!("no task is left"),
        }
    }
}

/// What `/metrics` answers: what was recorded, and what is told of the survey and of tasks as of now.
fn render(recorded: PrometheusHandle, service: Arc<Service>, tasks: &Tasks) -> Arc<dyn Fn() -> String + Send + Sync> {
    let board = tasks.board().clone();
    Arc::new(move || {
        metrics::task_ages(board.reports());
        let survey = service.usage.survey_report().map(|report| metrics::render_survey(&report));
        recorded.render() + &survey.unwrap_or_default()
    })
}

/// How connections are accepted. The certificate is read here, so that a bad one stops the start.
fn listening(settings: &Settings, keys_required: bool) -> anyhow::Result<Listening> {
    let http = &settings.http;
    let tls = if http.tls_cert_file.as_os_str().is_empty() {
        None
    } else {
        Some(Arc::new(Tls::load(&http.tls_cert_file, &http.tls_key_file)?))
    };
    let mut http = http.clone();
    // A name that is listened on is one that this daemon goes by. Where keys are asked for, names are checked only if the
    // settings say so.
    let called = settings.listen.authority();
    if !keys_required && called.address().is_none() {
        http.hosts.push(called.clone());
    }
    Ok(Listening { tls, settings: Arc::new(http) })
}

fn warn_of_plain_text(addresses: &[SocketAddr], listening: &Listening) {
    let open = addresses.iter().find(|address| !address.ip().is_loopback());
    if let Some(address) = open
        && listening.tls.is_none()
        && listening.settings.trusted_proxies.is_empty()
    {
        tracing::warn!(
            %address,
            "what is said to this address can be read on its way: set http.tls_cert_file and http.tls_key_file, or \
             put a proxy with TLS in front and name it in http.trusted_proxies"
        );
    }
}

/// The certificate, with SIGHUP, which asks for it to be read again. Without TLS that ends the program, as it does any
/// other.
fn certificate(listening: &Listening) -> anyhow::Result<Option<(Arc<Tls>, Signal)>> {
    let Some(tls) = &listening.tls else { return Ok(None) };
    Ok(Some((tls.clone(), signal(SignalKind::hangup())?)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_as_a_browser_opens_them() {
        let opened = |address: &str| to_open(address.parse().expect("an address")).to_string();
        assert_eq!(opened("0.0.0.0:8042"), "127.0.0.1:8042");
        assert_eq!(opened("[::]:8042"), "[::1]:8042");
        assert_eq!(opened("192.0.2.7:80"), "192.0.2.7:80");
    }
}
