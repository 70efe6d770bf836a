//! The alerts of `grafana/alerts`: each is sound, fires when it must and not when it must not, and has a runbook.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::metric_names;
use serde::Deserialize;

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// An alert, or a query that is recorded for alerts.
#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct CaseFile {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alert_rule_test: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    alertname: String,
    exp_alerts: Vec<serde::de::IgnoredAny>,
}

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// The `.yaml` files right in a folder.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the project");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("a file of the project").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    found.sort();
    assert!(!found.is_empty(), "{} has no rules", folder.display());
    found
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let text = fs::read_to_string(path).expect("text");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> Vec<Rule> {
    let files = yaml_files(&grafana().join("alerts"));
    files.iter().flat_map(|path| read::<RuleFile>(path).groups).flat_map(|group| group.rules).collect()
}

fn promtool(command: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool").args(command).args(files).output();
    let output = output.unwrap_or_else(|error| panic!("promtool (`make setup` installs it): {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {command:?}:\n{said}");
}

#[test]
fn prometheus_takes_the_rules() {
    promtool(&["check", "rules"], &yaml_files(&grafana().join("alerts")));
}

#[test]
fn alerts_fire_when_they_must_and_not_otherwise() {
    promtool(&["test", "rules"], &yaml_files(&grafana().join("alerts/tests")));
}

#[test]
fn each_alert_has_cases_of_both_kinds() {
    let files = yaml_files(&grafana().join("alerts/tests"));
    let cases = files.iter().flat_map(|path| read::<CaseFile>(path).tests).flat_map(|case| case.alert_rule_test);
    let (fires, quiet): (Vec<_>, Vec<_>) = cases.partition(|expected| !expected.exp_alerts.is_empty());
    for rule in rules() {
        let Some(alert) = rule.alert else { continue };
        assert!(fires.iter().any(|case| case.alertname == alert), "no case shows that {alert} fires");
        assert!(quiet.iter().any(|case| case.alertname == alert), "no case shows that {alert} can be quiet");
    }
}

#[test]
fn each_alert_says_what_it_is() {
    for rule in rules() {
        let Some(alert) = rule.alert else { continue };
        let severity = rule.labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning")), "{alert} has severity {severity:?}");
        for annotation in ["summary", "description", "runbook_url"] {
            assert!(rule.annotations.contains_key(annotation), "{alert} has no {annotation}");
        }
        let about = rule.annotations["runbook_url"].rsplit('#').next();
        assert_eq!(about, Some(alert.to_lowercase().as_str()), "{alert} has the runbook of another alert");
        let says = format!("{}{}", rule.annotations["summary"], rule.annotations["description"]);
        let absent = rule.expr.starts_with("absent(");
        assert!(absent || says.contains("{{ $value") || says.contains("{{ $labels"), "{alert} names no value");
    }
}

#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let runbook = fs::read_to_string(grafana().join("runbook.md")).expect("the runbook");
    let mut sections = BTreeSet::new();
    for section in runbook.split("\n### ").skip(1) {
        let (title, text) = section.split_once('\n').expect("a section has text");
        for part in ["**Means:**", "**Look at:**", "**Do:**"] {
            assert!(text.contains(part), "the runbook of {title} lacks {part}");
        }
        assert!(sections.insert(title.to_owned()), "{title} has two runbooks");
    }
    let alerts: BTreeSet<String> = rules().into_iter().filter_map(|rule| rule.alert).collect();
    assert_eq!(alerts, sections);
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let rules = rules();
    let recorded: Vec<&str> = rules.iter().filter_map(|rule| rule.record.as_deref()).collect();
    for rule in &rules {
        let name = rule.alert.as_deref().or(rule.record.as_deref()).expect("a rule has a name");
        let unknown = metric_names::unknown(&rule.expr);
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}, which src/metrics.rs does not have");
        let words = rule.expr.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
        for word in words.filter(|word| word.starts_with("nowserving:")) {
            assert!(recorded.contains(&word), "{name} asks for {word}, which no rule records");
        }
    }
}
