//! What runs, and what is read off it.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    ops::ControlFlow,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    keeper::{self, OnOurDeath},
    prometheus::{Prometheus, Series},
    rush::{self, Rush},
};

/// How long the daemon may take to make its servers.
const LISTENS_WITHIN: Duration = Duration::from_secs(120);

/// A lunch to be run.
pub struct Lunch {
    /// The program.
    pub daemon: PathBuf,
    /// How long it takes.
    pub seconds: u64,
    /// Orders a second at its height.
    pub peak: f64,
}

/// What is seen at one moment.
pub struct Figures {
    pub elapsed: u64,
    pub daemon_url: String,
    pub prometheus_url: String,
    pub orders_per_second: f64,
    pub refused_per_second: f64,
    pub live: f64,
    pub latency_ms: f64,
    /// How many restaurants are at most so full (0 to 1), each count including those before.
    pub utilization: Vec<(f64, f64)>,
    /// The fullest restaurants, how full they are, and for how many minutes their free numbers last, where they dwindle.
    pub fullest: Vec<(String, f64, Option<f64>)>,
    pub pending: Vec<String>,
    pub firing: Vec<String>,
}

impl Figures {
    /// What can be looked at, and heard, while it lasts.
    pub fn pages(&self) -> String {
        let (url, busiest) = (&self.daemon_url, rush::busiest());
        format!(
            "The busiest restaurant is number {busiest}. Its board: {url}/board/{busiest}, its kitchen: {url}/kitchen/{busiest}"
        )
    }
}

impl Lunch {
    /// Runs it to its end, or until `show` breaks off, and shows its figures each second.
    ///
    /// # Errors
    /// Says what could not be started or asked.
    pub async fn run(&self, mut show: impl FnMut(&Figures) -> ControlFlow<()>) -> Result<(), String> {
        let folder = folder().map_err(|error| format!("no folder can be made under /tmp: {error}"))?;
        let daemon = Daemon::start(&self.daemon, folder.path())?;
        let target = daemon.url.trim_start_matches("http://");
        let prometheus = Prometheus::start(folder.path(), &[target], &alerts()?).await?;
        let rush = Rush::begin(&daemon.url, self.peak, Duration::from_secs(self.seconds)).await?;
        let start = Instant::now();
        while start.elapsed().as_secs() < self.seconds {
            let figures = figures(&prometheus, &daemon.url, start.elapsed().as_secs()).await?;
            if show(&figures).is_break() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        rush.end();
        Ok(())
    }
}

/// A place that the account of Postgres can pass through, with a name short enough for sockets.
fn folder() -> std::io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("nowserving-demo-").tempdir_in("/tmp")?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
    Ok(folder)
}

fn alerts() -> Result<Vec<PathBuf>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/alerts");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect())
}

async fn figures(prometheus: &Prometheus, daemon_url: &str, elapsed: u64) -> Result<Figures, String> {
    let one = async |query: &str| prometheus.now(query).await.map(|series| last(&series));
    let rate = |outcome: &str| format!("sum(rate(nowserving_allocations_total{{outcome=\"{outcome}\"}}[10s]))");
    let latency = "histogram_quantile(0.99, sum by (le) (rate(nowserving_http_request_duration_seconds_bucket{\
                   route=\"/v1/restaurants/{restaurant_id}/orders\",method=\"POST\"}[10s])))";
    let mut utilization = by_label(&prometheus.now("nowserving_pool_utilization_bucket").await?, "le");
    utilization.retain(|(le, _)| le != "+Inf");
    let mut utilization: Vec<(f64, f64)> =
        utilization.into_iter().filter_map(|(le, count)| Some((le.parse().ok()?, count))).collect();
    utilization.sort_by(|a, b| a.0.total_cmp(&b.0));
    let seconds = by_label(&prometheus.now("nowserving_restaurant_exhaustion_seconds").await?, "restaurant");
    let mut fullest =
        by_label(&prometheus.now("topk(6, nowserving_restaurant_utilization_ratio)").await?, "restaurant");
    fullest.sort_by(|a, b| b.1.total_cmp(&a.1));
    let lasts =
        |restaurant: &str| seconds.iter().find(|(other, _)| other == restaurant).map(|(_, seconds)| *seconds / 60.0);
    Ok(Figures {
        elapsed,
        daemon_url: daemon_url.to_owned(),
        prometheus_url: prometheus.url().to_owned(),
        orders_per_second: one(&rate("allocated")).await?,
        refused_per_second: one(&rate("exhausted")).await?,
        live: one("max(nowserving_numbers{state=\"live\"})").await?,
        latency_ms: one(latency).await? * 1000.0,
        utilization,
        fullest: fullest.into_iter().map(|(name, full)| (name.clone(), full, lasts(&name))).collect(),
        pending: prometheus.alerts("pending").await?,
        firing: prometheus.alerts("firing").await?,
    })
}

/// The value of a query that gives one; 0 while there is none.
fn last(series: &Series) -> f64 {
    series.first().and_then(|(_, points)| points.last()).map_or(0.0, |(_, value)| *value)
}

fn by_label(series: &Series, label: &str) -> Vec<(String, f64)> {
    let named = |(labels, points): &(serde_json::Map<String, serde_json::Value>, Vec<(f64, f64)>)| {
        Some((labels.get(label)?.as_str()?.to_owned(), points.last()?.1))
    };
    series.iter().filter_map(named).collect()
}

/// The daemon with its private servers. Dropped, it is asked to end, and waited for: its servers end with it.
struct Daemon {
    child: Child,
    url: String,
}

impl Daemon {
    fn start(program: &Path, folder: &Path) -> Result<Self, String> {
        let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.join("data"));
        let mut wrapped = keeper::wrap(&command, OnOurDeath::Interrupt);
        // Figures that move, on a screen that is looked at for minutes.
        wrapped.env("NOWSERVING_SURVEY_INTERVAL_SECONDS", "2").env("NO_COLOR", "1");
        let log = fs::File::create(folder.join("daemon.log")).map_err(|error| error.to_string())?;
        // Ctrl-C in a terminal must not reach it beside our own signal: two would stop it at once, and not its servers.
        wrapped.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).current_dir("/");
        let mut child = keeper::spawn(wrapped).map_err(|error| format!("setpriv cannot be started: {error}"))?;
        let (found, address) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().ok_or("its output is not piped")?).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("listening on ") {
                    found.send(url.trim().to_owned()).ok();
                }
            }
        });
        let mut daemon = Self { child, url: String::new() };
        daemon.url = address.recv_timeout(LISTENS_WITHIN).map_err(|_| {
            let log = fs::read_to_string(folder.join("daemon.log")).unwrap_or_default();
            format!("the daemon does not listen:\n{log}")
        })?;
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It is a child that was not waited for, so the pid is its own.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        self.child.wait().ok();
    }
}
