//! The dashboards against the schema that Grafana publishes, as types: the compiler of those types checks them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::files;
use crate::support::scratch;

/// What `.ci/setup` has fetched.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/grafana/node_modules")
}

#[test]
fn dashboards_follow_grafanas_schema() {
    if !packages().join("typescript/bin/tsc").exists() {
        eprintln!(
            "\n*** GRAFANA'S SCHEMA IS NOT HERE, so no dashboard was checked against it: `make setup` fetches it into \
             target/test-tools, which needs node, npm and a registry that answers ***\n"
        );
        return;
    }
    let folder = scratch::folder("schema");
    symlink(packages(), folder.join("node_modules")).expect("a link can be made in our own folder");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/short/dashboards/schema.ts"),
        folder.join("schema.ts"),
    )
    .expect("a file can be made in our own folder");
    for dashboard in files::all() {
        write(&folder, &dashboard.name, &dashboard.json);
    }
    for (name, spoil) in SPOILED {
        let mut dashboard = files::all().remove(0).json;
        spoil(&mut dashboard);
        write(&folder, name, &dashboard);
    }

    let complaints = compile(&folder);
    for dashboard in files::all() {
        assert!(!complaints.contains(&format!("{}.ts", dashboard.name)), "{complaints}");
    }
    for (name, _) in SPOILED {
        assert!(
            complaints.contains(&format!("{name}.ts")),
            "{name} was taken: the schema checks nothing\n{complaints}"
        );
    }
}

/// As a literal, so that what the schema does not know is refused.
fn write(folder: &Path, name: &str, dashboard: &Value) {
    let text =
        format!("import type {{ OurDashboard }} from './schema';\nexport const it: OurDashboard = {dashboard:#};\n");
    fs::write(folder.join(format!("{name}.ts")), text).expect("a file can be made in our own folder");
}

fn compile(folder: &Path) -> String {
    let mut compiler = Command::new("node");
    compiler.arg("node_modules/typescript/bin/tsc").args([
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--pretty",
        "false",
    ]);
    compiler.args(["--target", "es2022", "--module", "commonjs", "--moduleResolution", "node10"]);
    let sources = fs::read_dir(folder).expect("our own folder").map(|entry| entry.expect("a file of ours").file_name());
    compiler.args(sources.filter(|name| name.to_string_lossy().ends_with(".ts")));
    let output = compiler.current_dir(folder).output().expect("node, which has fetched the schema");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

type Spoil = fn(&mut Value);

/// What the schema must refuse, in a dashboard that is otherwise good.
const SPOILED: [(&str, Spoil); 6] = [
    ("unknown_setting", |dashboard| dashboard["refesh"] = json!("5s")),
    ("unknown_panel", |dashboard| panel(dashboard, "stat")["type"] = json!("stats")),
    ("unknown_option", |dashboard| panel(dashboard, "timeseries")["options"]["legend"]["colums"] = json!(1)),
    ("unknown_word", |dashboard| panel(dashboard, "timeseries")["options"]["legend"]["displayMode"] = json!("tables")),
    ("wrong_type", |dashboard| panel(dashboard, "stat")["fieldConfig"]["defaults"]["unit"] = json!(5)),
    ("missing", |dashboard| {
        panel(dashboard, "heatmap").as_object_mut().expect("a panel").remove("gridPos");
    }),
];

fn panel<'a>(dashboard: &'a mut Value, kind: &str) -> &'a mut Value {
    let panels = dashboard["panels"].as_array_mut().expect("panels");
    panels.iter_mut().find(|panel| panel["type"] == kind).expect("there is one of each kind")
}
