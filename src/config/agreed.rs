//! What all daemons of a deployment must agree on.

use std::collections::BTreeMap;

use super::{Settings, keys::flatten};

/// Their keys. `partitions` is one, too, but never changes: it is part of the deployment itself.
///
/// Here is what makes answers or data wrong where two daemons have it differently. What each may have for itself, or has
/// differently for a while when daemons are replaced one by one, is not: limits, times, `auto_provision`, `cleanup` and
/// `survey` (the daemon with the lease decides), `recovery` (the one that rebuilds decides).
const AGREED: [&str; 7] = [
    // Keys are kept in Redis by their window: a daemon with another one does not find them, and a repeat makes an order.
    "idempotency.window_seconds",
    // What one daemon still shows, another one drops.
    "ledger.retain_events_days",
    "ledger.retain_orders_days",
    // Each would take the other's orders for lost.
    "redis.namespace",
    "usage.keep_hours_days",
    "usage.keep_samples_days",
    // Daemons add to the same samples.
    "usage.sample_seconds",
];

impl Settings {
    /// What all daemons of a deployment must agree on beside `partitions`, by key and as text.
    #[must_use]
    pub(crate) fn agreed(&self) -> BTreeMap<String, String> {
        let all = toml::Table::try_from(self).expect("settings are TOML: they were read as such");
        let mut values = BTreeMap::new();
        flatten("", &all, &mut values);
        let text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        AGREED.iter().filter_map(|key| Some(((*key).to_owned(), text(values.get(*key)?)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::DEFAULTS;

    #[test]
    fn what_must_be_agreed_on_says_so() {
        let agreed = Settings::default().agreed();
        assert_eq!(agreed.keys().map(String::as_str).collect::<Vec<_>>(), AGREED, "each is a key, in order");
        assert_eq!((&*agreed["redis.namespace"], &*agreed["idempotency.window_seconds"]), ("ns", "86400"));
        let (mut section, mut comment, mut said) = (String::new(), String::new(), Vec::new());
        for line in DEFAULTS.lines() {
            if let Some(text) = line.strip_prefix('#') {
                comment.push_str(text);
            } else if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
            } else {
                if comment.contains("All daemons of a deployment must agree") {
                    said.push(format!("{section}.{}", line.split_once(" = ").expect("a key").0));
                }
                comment.clear();
            }
        }
        said.sort();
        assert_eq!(said, AGREED);
    }
}
