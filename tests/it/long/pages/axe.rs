//! What axe finds on a page: faults by the WCAG.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::world::World;

/// The levels that have to hold.
const TAGS: &str = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";

/// What `.ci/setup tests` has fetched.
fn axe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/axe/node_modules/axe-core/axe.min.js")
}

impl World {
    /// The page as it is has no fault that axe knows.
    pub async fn check(&self, state: &str) {
        self.check_without("", state).await;
    }

    /// As [`World::check`], without this rule.
    pub async fn check_without(&self, rule: &str, state: &str) {
        let Ok(axe) = std::fs::read_to_string(axe()) else {
            eprintln!("\n*** axe IS NOT HERE, so no page was checked with it: `.ci/setup tests` fetches it ***\n");
            return;
        };
        self.browser.run(&axe).await;
        let run = format!(
            "axe.run(document, {{ runOnly: {{ type: 'tag', values: {TAGS} }}, resultTypes: ['violations'],
                rules: Object.fromEntries([{rule}].map((one) => [one, {{ enabled: false }}])) }})
                .then((found) => done(found.violations), (error) => done([String(error)]));"
        );
        let found = self.browser.run_async(&run).await;
        let faults = found.as_array().expect("a list of faults");
        let lines: Vec<_> = faults.iter().flat_map(fault).collect();
        assert!(faults.is_empty(), "{state}:\n{}", lines.join("\n"));
    }
}

fn fault(fault: &Value) -> Vec<String> {
    let nodes = fault["nodes"].as_array().into_iter().flatten();
    let line = |node: &Value| format!("{}: {} {} {}", fault["id"], fault["help"], node["html"], node["failureSummary"]);
    nodes.map(line).chain(fault.as_str().map(str::to_owned)).collect()
}
