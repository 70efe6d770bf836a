//! Clients that the generators of others make of the OpenAPI document: it passes their checks, and they work.
//!
//! `make clients` does the same with openapi-generator, which needs Java and takes longer.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{Api, Daemon, DaemonOptions, api::id, scratch};

/// Where clients find the daemon.
const BASE_PATH: &str = "/shop/orders";

/// What `.ci/setup` has fetched.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/clients")
}

/// Whether it has fetched what a test needs; says so where it has not.
fn is_here(tool: &str) -> bool {
    let here = tools().join(tool).exists();
    if !here {
        eprintln!(
            "\n*** {tool} IS NOT HERE, so the OpenAPI document was not checked with it: `make setup-tests` fetches it into \
             target/test-tools/clients, which needs node, npm, Python, and registries that answer ***\n"
        );
    }
    here
}

/// A file of this test's own.
fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/long/clients").join(name)
}

/// A folder with the node packages.
fn folder_with_packages(name: &str) -> PathBuf {
    let folder = scratch::folder(name);
    symlink(tools().join("node_modules"), folder.join("node_modules")).expect("a link can be made in our own folder");
    fs::copy(ours("package.json"), folder.join("package.json")).expect("a file can be made in our own folder");
    folder
}

fn run(folder: &Path, program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let mut command = Command::new(program);
    // Neither looks for a later version of itself, nor tells who runs it.
    command.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true").env("NO_COLOR", "1");
    command.env("PYTHONPATH", [folder, &tools().join("python")].map(Path::display).map(|it| it.to_string()).join(":"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(arguments).current_dir(folder).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What it said, where it must end well.
#[track_caller]
fn must(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    said
}

/// A daemon behind a path, with a key of one restaurant, and the document as it gives it.
struct Shop {
    daemon: Daemon,
    key: String,
    document: Value,
}

impl Shop {
    async fn open() -> Self {
        let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys");
        let options = options.with("NOWSERVING_HTTP_BASE_PATH", BASE_PATH);
        let key = options.run("keys", &["create", "--name", "till", "--role", "till", "--restaurants", "7"]);
        let daemon = Daemon::start(&options);
        let document = Api::at(daemon.url()).get(&format!("{BASE_PATH}/openapi.json")).await.ok(200);
        Self { daemon, key: key.stdout.trim().to_owned(), document }
    }

    /// Where the document says that the calls are.
    fn url(&self) -> String {
        let path = self.document["servers"][0]["url"].as_str().expect("a path");
        assert_eq!(path, BASE_PATH);
        format!("{}{path}", self.daemon.url())
    }

    fn write_document(&self, folder: &Path) {
        fs::write(folder.join("openapi.json"), self.document.to_string()).expect("our own folder");
    }

    /// Looks at what a client says that it has done.
    async fn check(&self, said: &str) {
        let said: Value = serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}"));
        let (made, released) = (&said["made"], &said["released"]);
        let metadata = json!({"loyalty": {"points": 12.5, "tiers": ["gold", null]}, "paid": true});
        assert_eq!((&made["metadata"], &made["customer_name"]), (&metadata, &json!("Zoë")), "{said}");
        assert_eq!((&made["status"], &made["version"]), (&json!("pending"), &json!(1)), "{said}");
        assert_eq!(
            (&said["changed"]["status"], &said["changed"]["note"]),
            (&json!("preparing"), &Value::Null),
            "{said}"
        );
        assert_eq!(said["changed"]["metadata"]["paid"], json!(false), "{said}");
        assert_eq!((&said["refused"], &said["state"]), (&json!("version_mismatch"), &json!("live")), "{said}");
        assert_eq!(released["status"], json!("completed"), "{said}");
        let api = Api::with_key(self.daemon.url(), &self.key);
        let order = api.order(id(made)).await.ok(200);
        let instant = |order: &Value| {
            let text = order["released_at"].as_str().expect("a time");
            chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis()
        };
        for same in [released, &said["looked_up"], &said["found"][0]] {
            // Python writes times in a form of its own.
            assert_eq!(
                (id(same), &same["version"], instant(same)),
                (id(made), &order["version"], instant(&order)),
                "{said}"
            );
        }
        assert_eq!(order["metadata"], said["changed"]["metadata"]);
    }
}

#[tokio::test]
async fn redocly_finds_nothing_wrong_with_the_document() {
    if !is_here("node_modules/@redocly/cli") {
        return;
    }
    let (shop, folder) = (Shop::open().await, folder_with_packages("redocly"));
    fs::copy(ours("redocly.yaml"), folder.join("redocly.yaml")).expect("a file can be made in our own folder");
    shop.write_document(&folder);
    let lint =
        |file: &str| run(&folder, "node", ["node_modules/@redocly/cli/bin/cli.js", "lint", file, "--format=stylish"]);
    must(&lint("openapi.json"));

    for (name, spoil) in SPOILED {
        let mut document = shop.document.clone();
        spoil(&mut document);
        fs::write(folder.join(format!("{name}.json")), document.to_string()).expect("our own folder");
        assert!(!lint(&format!("{name}.json")).status.success(), "{name} was taken: redocly checks nothing");
    }
}

type Spoil = fn(&mut Value);

/// What must be found.
const SPOILED: [(&str, Spoil); 3] = [
    ("no_servers", |document| document["servers"] = json!([])),
    ("unnamed_licence", |document| document["info"]["license"] = json!({})),
    ("parameter_without_a_path", |document| {
        let call = document["paths"]["/v1/orders/{internal_order_id}"].take();
        document["paths"]["/v1/orders"] = call;
    }),
];

#[tokio::test]
async fn a_typescript_client_makes_changes_releases_and_finds_an_order() {
    if !is_here("node_modules/openapi-typescript") || !is_here("node_modules/openapi-fetch") {
        return;
    }
    let (shop, folder) = (Shop::open().await, folder_with_packages("typescript"));
    shop.write_document(&folder);
    let generator = "node_modules/openapi-typescript/bin/cli.js";
    must(&run(&folder, "node", [generator, "openapi.json", "--output", "schema.ts"]));
    fs::copy(ours("till.ts"), folder.join("till.ts")).expect("a file can be made in our own folder");
    // What may be left out, and not what the document does not allow: the types must say so.
    let wrong = "import type { components } from './schema.js';\n\
                 type Schemas = components['schemas'];\n\
                 export const some: Schemas['PoolSettingsRequest'] = { max_number: 50 };\n\
                 export const none: Schemas['ReleaseRequest'] = {};\n\
                 export const most = (settings: Schemas['PoolSettings']): number => settings.max_number;\n\
                 // @ts-expect-error\nexport const status: Schemas['OrderChange'] = { status: 'eaten' };\n\
                 export const table: Schemas['OrderDetails'] = { table_number: 7 };\n\
                 // @ts-expect-error\nexport const noTable: Schemas['OrderDetails'] = { table_number: true };\n\
                 // @ts-expect-error\nexport const name: Schemas['Order']['customer_name'] extends string ? 1 : 2 = 1;\n\
                 // @ts-expect-error\nexport const metadata: Schemas['Metadata'] = 'text';\n";
    fs::write(folder.join("wrong.ts"), wrong).expect("our own folder");
    let compiler = ["node_modules/typescript/bin/tsc", "--strict", "--pretty", "false", "--outDir", "out"];
    let target = ["--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"];
    must(&run(&folder, "node", compiler.into_iter().chain(target).chain(["till.ts", "wrong.ts"])));
    let said = must(&run(&folder, "node", ["out/till.js", &shop.url(), &shop.key]));
    shop.check(&said).await;
}

#[tokio::test]
async fn a_python_client_makes_changes_releases_and_finds_an_order() {
    if !is_here("python/openapi_python_client") {
        return;
    }
    let (shop, folder) = (Shop::open().await, scratch::folder("python"));
    shop.write_document(&folder);
    let config = ours("python.yaml");
    let arguments = ["-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"];
    let output = ["--output-path", "nowserving_client", "--fail-on-warning", "--config"];
    let arguments = arguments.iter().chain(&output).map(OsStr::new).chain([config.as_os_str()]);
    must(&run(&folder, "python3", arguments));
    let till = ours("till.py");
    let said = run(&folder, "python3", [till.as_os_str(), OsStr::new(&shop.url()), OsStr::new(&shop.key)]);
    shop.check(&must(&said)).await;
}
