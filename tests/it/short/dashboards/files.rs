//! The dashboards as they lie in `grafana/dashboards`, and their queries as Grafana would send them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

/// A dashboard.
pub struct Dashboard {
    /// The name of its file without `.json`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The same, read.
    pub json: Value,
}

/// What one query asks.
pub enum Asked {
    /// Prometheus, for the present values.
    Now(String),
    /// Prometheus, for values over the time range.
    Range(String),
    /// The ledger.
    Ledger(String),
}

/// What a query's variables stand for.
pub struct Filling {
    /// When the time range begins; it ends now.
    pub from: SystemTime,
    /// The restaurant of the dashboard of one restaurant.
    pub restaurant: u32,
}

/// `$__rate_interval`: Grafana takes at least four scrapes, which are a second apart here; on a busy box some fail.
pub const RATE_INTERVAL: &str = "10s";

pub fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// All dashboards, by name.
pub fn all() -> Vec<Dashboard> {
    let entries = fs::read_dir(grafana().join("dashboards")).expect("the dashboards");
    let mut found: Vec<Dashboard> = entries.map(|entry| read(&entry.expect("a file of the project").path())).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found.len(), 4, "there are four dashboards");
    found
}

fn read(path: &Path) -> Dashboard {
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("text");
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    Dashboard { name, text, json }
}

impl Dashboard {
    /// Its panels and rows, in order.
    pub fn everything(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().expect("a dashboard has panels").iter()
    }

    /// Its panels.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        self.everything().filter(|panel| panel["type"] != "row")
    }

    /// How a panel is called in messages.
    pub fn place(&self, panel: &Value) -> String {
        format!("{} / {} ({})", self.name, panel["title"], panel["id"])
    }
}

/// The queries of a panel with their targets, as they stand there.
pub fn targets(panel: &Value) -> Vec<(&Value, &str)> {
    let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let query = |target: &Value| target["expr"].as_str().is_some();
    let text = |target| if query(target) { &target["expr"] } else { &target["rawSql"] };
    targets.iter().map(|target| (target, text(target).as_str().expect("a target has a query"))).collect()
}

/// The queries of a panel, filled in as Grafana and its data sources do it.
pub fn asked(panel: &Value, filling: &Filling) -> Vec<Asked> {
    let fill = |(target, query): (&Value, &str)| {
        if target["rawSql"].is_string() {
            return Asked::Ledger(filled_sql(query, filling));
        }
        let query = filled(query, filling);
        if target["instant"] == true { Asked::Now(query) } else { Asked::Range(query) }
    };
    targets(panel).into_iter().map(fill).collect()
}

fn filled(query: &str, filling: &Filling) -> String {
    let range = filling.from.elapsed().unwrap_or_default().as_secs().max(1);
    let query = query.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", &format!("{range}s"));
    // Both of "All".
    query.replace("$job", ".+").replace("$instance", ".+")
}

fn filled_sql(query: &str, filling: &Filling) -> String {
    let from = filling.from.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut query = query
        .replace("${restaurant:sqlstring}", &format!("'{}'", filling.restaurant))
        .replace("${number:sqlstring}", "''")
        .replace("${zone:sqlstring}", "'Asia/Kolkata'")
        .replace("$__unixEpochFrom()", &from.to_string());
    const FILTER: &str = "$__timeFilter(";
    while let Some(at) = query.find(FILTER) {
        let (before, rest) = query.split_at(at);
        let (column, after) = rest[FILTER.len()..].split_once(')').expect("a macro is closed");
        query = format!("{before}{column} BETWEEN to_timestamp({from}) AND now(){after}");
    }
    query
}
