//! Names of metrics in queries and rules, against those that the daemon has.

use nowserving::metrics;

/// The metrics of nowserving that a query names.
pub fn named(query: &str) -> Vec<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    query.split(|c| !word(c)).filter(|name| name.starts_with("nowserving_")).collect()
}

/// The metrics that a query names and that the daemon does not have.
pub fn unknown(query: &str) -> Vec<&str> {
    named(query).into_iter().filter(|name| !known(name)).collect()
}

/// Histograms have three series each.
fn known(name: &str) -> bool {
    let plain = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    metrics::ALL.contains(&name) || plain.is_some_and(|plain| metrics::ALL.contains(&plain))
}
