//! A Prometheus that scrapes daemons each second and is asked as Grafana asks it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::keeper::{self, OnOurDeath};

/// How long it may take to be ready on a busy box.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running Prometheus. Dropped, it ends.
pub struct Prometheus {
    child: Child,
    url: String,
    client: reqwest::Client,
}

/// What a query gave: the labels of each series with its points, by Unix time in seconds.
pub type Series = Vec<(serde_json::Map<String, Value>, Vec<(f64, f64)>)>;

impl Prometheus {
    /// Starts one in a folder, that scrapes daemons at these `host:port` each second and applies these rules.
    ///
    /// # Errors
    /// Says what to do where it cannot be started.
    pub async fn start(folder: &Path, targets: &[&str], rules: &[PathBuf]) -> Result<Self, String> {
        let file = folder.join("prometheus.yml");
        fs::write(&file, settings(targets, rules)).map_err(|error| format!("{}: {error}", file.display()))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.map_err(|error| format!("no port is free: {error}"))?.to_string();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
        command.arg(format!("--web.listen-address={address}"));
        let mut wrapped = keeper::wrap(&command, OnOurDeath::Kill);
        let log = folder.join("prometheus.log");
        let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let second = output.try_clone().map_err(|error| error.to_string())?;
        wrapped.stdin(Stdio::null()).stdout(output).stderr(second).current_dir("/");
        let child = keeper::spawn(wrapped).map_err(|error| format!("setpriv cannot be started: {error}"))?;
        let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
        let mut server = Self { child, url: format!("http://{address}"), client };
        server.ready().await.map_err(|why| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("Prometheus {why} (`make setup` installs it):\n{log}")
        })?;
        Ok(server)
    }

    async fn ready(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended with {status}"));
            }
            let answer = self.client.get(format!("{}/-/ready", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if start.elapsed() > READY_WITHIN {
                return Err("does not get ready".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where it is, for a browser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The value of each series at this moment.
    ///
    /// # Errors
    /// What Prometheus says about the query, or why it could not be asked.
    pub async fn now(&self, query: &str) -> Result<Series, String> {
        self.ask("query", &[("query", query)]).await
    }

    /// The values of each series from a time until now, every so many seconds.
    ///
    /// # Errors
    /// As [`Prometheus::now`].
    pub async fn since(&self, query: &str, from: SystemTime, step_seconds: u64) -> Result<Series, String> {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let (start, end, step) = (seconds(from), seconds(SystemTime::now()), step_seconds.to_string());
        self.ask("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", &step)]).await
    }

    /// The names of the alerts that are `pending` or `firing`, each once.
    ///
    /// # Errors
    /// As [`Prometheus::now`].
    pub async fn alerts(&self, state: &str) -> Result<Vec<String>, String> {
        let answer = self.get("alerts", &[]).await?;
        let alerts = answer["alerts"].as_array().ok_or("no alerts in its answer")?;
        let in_state = alerts.iter().filter(|alert| alert["state"] == state);
        let mut names: Vec<String> =
            in_state.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Series, String> {
        let answer = self.get(what, parameters).await?;
        let series = answer["result"].as_array().ok_or("no result in its answer")?;
        Ok(series.iter().map(|series| (labels(series), points(series))).collect())
    }

    async fn get(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let address = reqwest::Url::parse_with_params(&format!("{}/api/v1/{what}", self.url), parameters);
        let request = self.client.get(address.map_err(|error| error.to_string())?);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let mut answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["data"].take()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn settings(targets: &[&str], rules: &[PathBuf]) -> String {
    let rules: Vec<String> = rules.iter().map(|path| format!("  - '{}'\n", path.display())).collect();
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files:\n{}\
         scrape_configs:\n  - job_name: nowserving\n    static_configs:\n      - targets: {targets:?}\n",
        if rules.is_empty() { "  []\n".to_owned() } else { rules.concat() }
    )
}

fn labels(series: &Value) -> serde_json::Map<String, Value> {
    series["metric"].as_object().cloned().unwrap_or_default()
}

/// One value, or one at each step. What is no number (a quotient of nothings) is left out, as in a picture.
fn points(series: &Value) -> Vec<(f64, f64)> {
    let many = series["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pairs = many.iter().chain(series.get("value"));
    let point = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
    pairs.filter_map(point).filter(|(_, value): &(f64, f64)| value.is_finite()).collect()
}
