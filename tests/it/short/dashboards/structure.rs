//! What a reviewer of a dashboard would look for.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::files::{self, Dashboard, targets};
use crate::support::metric_names;

#[test]
fn panels_are_where_they_can_be_seen() {
    for dashboard in files::all() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in dashboard.everything() {
            let place = dashboard.place(panel);
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{place}: its id is another's, too");
            let grid = |side: &str| panel["gridPos"][side].as_u64().unwrap_or_else(|| panic!("{place} has no {side}"));
            let (x, y, w, h) = (grid("x"), grid("y"), grid("w"), grid("h"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{place} is not within the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{place} lies over another panel at {cell:?}");
            }
        }
        let on_top = dashboard.panels().filter(|panel| panel["gridPos"]["y"] == 0).count();
        assert_eq!(on_top, 6, "{}: the first row says it at a glance", dashboard.name);
    }
}

#[test]
fn panels_say_what_they_show() {
    for dashboard in files::all() {
        let mut titles = BTreeSet::new();
        for panel in dashboard.panels() {
            let place = dashboard.place(panel);
            for field in ["title", "description"] {
                assert!(panel[field].as_str().is_some_and(|text| !text.is_empty()), "{place} has no {field}");
            }
            titles.insert((panel["title"].to_string(), panel["type"].to_string()));
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].is_string(), "{place} has no unit");
            assert!(defaults["thresholds"]["steps"].is_array(), "{place} has no thresholds");
            assert!(!targets(panel).is_empty(), "{place} asks nothing");
            for (target, _) in targets(panel) {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{place} asks a fixed data source");
                let table = target["format"] == "table";
                let named = table || target["legendFormat"].as_str().is_some_and(|name| !name.is_empty());
                assert!(named || target["rawSql"].is_string(), "{place} has series without a legend");
            }
        }
        assert_eq!(titles.len(), dashboard.panels().count(), "{}: two panels have one title", dashboard.name);
    }
}

#[test]
fn queries_ask_for_metrics_that_there_are() {
    for dashboard in files::all() {
        for panel in dashboard.panels() {
            for (target, query) in targets(panel).into_iter().filter(|(target, _)| target["expr"].is_string()) {
                let unknown = metric_names::unknown(query);
                let place = dashboard.place(panel);
                assert!(unknown.is_empty(), "{place} asks for {unknown:?}, which src/metrics.rs does not have");
                let foreign = query.contains("up{");
                assert!(foreign || !metric_names::named(query).is_empty(), "{place} asks for nothing: {target}");
            }
        }
    }
}

/// Variables of Grafana itself that we use.
const BUILT_IN: [&str; 7] =
    ["__rate_interval", "__range", "__timeFilter", "__unixEpochFrom", "__url_time_range", "__data", "__all"];

#[test]
fn variables_are_defined_and_used() {
    for dashboard in files::all() {
        let defined = dashboard.json["templating"]["list"].as_array().expect("variables");
        let defined: BTreeSet<&str> =
            defined.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
        let used = variables_of(&dashboard.text);
        for name in &used {
            assert!(defined.contains(name) || BUILT_IN.contains(name), "{} uses ${name}", dashboard.name);
        }
        for name in defined {
            assert!(used.contains(name), "{} does not use ${name}", dashboard.name);
        }
    }
}

/// Every `$name` and `${name…}`.
fn variables_of(text: &str) -> BTreeSet<&str> {
    let after = text.split('$').skip(1).map(|rest| rest.strip_prefix('{').unwrap_or(rest));
    after
        .map(|rest| &rest[..rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())])
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let runbook = fs::read_to_string(files::grafana().join("runbook.md")).expect("the runbook");
    let sections: BTreeSet<String> = runbook.split("\n### ").skip(1).map(heading).collect();
    let dashboards = files::all();
    let uids: BTreeSet<&str> = dashboards.iter().map(|one| one.json["uid"].as_str().expect("a uid")).collect();
    assert_eq!(uids.len(), dashboards.len(), "two dashboards have one uid");
    for Dashboard { name, text, .. } in &dashboards {
        for link in text.split("${runbook}#").skip(1) {
            let section = link.split('"').next().expect("a link ends");
            assert!(sections.contains(section), "{name} links to {section}, which the runbook does not have");
        }
        for link in text.split("\"/d/").skip(1) {
            let uid = link.split(['?', '"', '/']).next().expect("a link ends");
            assert!(uids.contains(uid), "{name} links to {uid}, which is no dashboard");
        }
        assert!(text.contains("\"${runbook}\""), "{name} does not link to the runbook");
    }
}

fn heading(section: &str) -> String {
    section.lines().next().unwrap_or_default().to_lowercase()
}

#[test]
fn data_sources_are_those_that_are_provisioned() {
    let path = files::grafana().join("provisioning/datasources/nowserving.yaml");
    let provisioned: Value = serde_saphyr::from_str(&fs::read_to_string(path).expect("text")).expect("YAML");
    let sources = provisioned["datasources"].as_array().expect("a list of data sources");
    for dashboard in files::all() {
        let variables = dashboard.json["templating"]["list"].as_array().expect("variables");
        let asked = variables.iter().find(|variable| variable["type"] == "datasource").expect("a data source");
        let there = |source: &Value| source["type"] == asked["query"] && source["uid"] == asked["current"]["value"];
        assert!(sources.iter().any(there), "{} asks a data source that is not provisioned", dashboard.name);
    }
}
