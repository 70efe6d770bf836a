//! What commands say when they cannot start: each message is produced here, and compared with the text that a person
//! has read, in `tests/it/messages.txt`. `NOWSERVING_WRITE_MESSAGES=1` writes that file anew, to be read again.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;

use crate::support::daemon::Finished;
use crate::support::{
    Authority, Cluster, Daemon, DaemonOptions, Node, OwnPostgres, PATIENCE, Sentinel, eventually_true, scratch,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Words with which a message says what to do.
const ADVICE: [&str; 39] = [
    "bring ",
    "check ",
    "choose ",
    "correct ",
    "did you mean",
    "do ",
    "end ",
    "expected ",
    "free ",
    "give ",
    "install ",
    "keep ",
    "leave ",
    "let ",
    "lists the known",
    "look ",
    "lower ",
    "make ",
    "mend ",
    "move ",
    "must ",
    "name ",
    "needs ",
    "point ",
    "put ",
    "raise ",
    "read ",
    "remove ",
    "run ",
    "see ",
    "set ",
    "start ",
    "stop ",
    "switch ",
    "try ",
    "upgrade ",
    "use ",
    "wait",
    "write ",
];

/// What is of no use to an operator: lines of sources, and names of types.
const INNARDS: [&str; 10] =
    [" at line ", "LINE 1", ".rs:", ".c:", "src/", "Error {", "Some(", "panicked", "Os {", " - Io"];

/// The messages of one subject.
struct Said {
    subject: &'static str,
    lines: Vec<String>,
    /// What differs from run to run, and what is written for it.
    masks: Vec<(String, &'static str)>,
}

impl Said {
    fn about(subject: &'static str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("docs/operations/managed.md")).expect("a page");
        let rights: Vec<&str> = page
            .split_once("-@all\n")
            .expect("the rights")
            .1
            .split("```")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let names = std::fs::read_dir(root.join("migrations")).expect("a folder").flatten();
        let names = names.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".sql")?.replace('_', " ")));
        let migrations: std::collections::BTreeSet<String> = names.collect();
        let migrations = Vec::from_iter(migrations).join(", ");
        Self { subject, lines: Vec::new(), masks: vec![(rights.join(" "), "RIGHTS"), (migrations, "MIGRATIONS")] }
    }

    fn mask(&mut self, what: impl Into<String>, with: &'static str) {
        self.masks.push((what.into(), with));
        // A part of another one comes after it.
        self.masks.sort_by_key(|(what, _)| std::cmp::Reverse(what.len()));
    }

    fn mask_options(&mut self, options: &DaemonOptions) {
        self.mask(options.data_dir.display().to_string(), "FOLDER");
        for (url, with) in [(&options.redis_url, "REDIS"), (&options.database_url, "DATABASE")] {
            if let Some(url) = url {
                self.mask(url.clone(), with);
            }
        }
    }

    fn line(&mut self, case: &str, text: &str) {
        let mut text = text.to_owned();
        for (what, with) in &self.masks {
            text = text.replace(what, with);
        }
        for innards in INNARDS {
            assert!(!text.contains(innards), "{case}: {innards} is of no use to an operator: {text}");
        }
        assert!(!text.contains("hunter2"), "{case}: a password is told: {text}");
        assert!(ADVICE.iter().any(|word| text.contains(word)), "{case}: what is to be done about it? {text}");
        self.lines.push(format!("{case} | {text}"));
    }

    /// A command that ends with one sentence.
    fn refused(&mut self, case: &str, finished: &Finished) {
        assert_eq!(finished.status.code(), Some(1), "{case}: {finished:?}");
        let sentences: Vec<&str> =
            finished.stderr.lines().filter_map(|line| line.strip_prefix("nowserving: ")).collect();
        assert_eq!(sentences.len(), 1, "{case}: {finished:?}");
        self.line(case, sentences[0]);
    }

    /// As [`Said::refused`], of these commands alike.
    fn refused_by(&mut self, commands: &[&str], case: &str, options: &DaemonOptions) {
        for command in commands {
            let arguments: &[&str] = if *command == "serve" { &["--listen", "127.0.0.1:0"] } else { &[] };
            self.refused(&format!("{command}: {case}"), &options.run(command, arguments));
        }
    }

    /// What doctor finds wrong, and advises, that has these words.
    fn found(&mut self, case: &str, options: &DaemonOptions, words: &str) {
        let finished = options.run("doctor", &[]);
        let lines: Vec<&str> = finished.stdout.lines().collect();
        let found = lines.windows(2).find(|pair| !pair[0].starts_with("ok") && pair[0].contains(words));
        let found = found.unwrap_or_else(|| panic!("{case}: {words} is not in {finished:?}"));
        self.line(&format!("doctor: {case}"), &format!("{} {}", found[0], found[1].trim()));
    }

    /// They are those that were read.
    fn are_approved(self) {
        static FILE: Mutex<()> = Mutex::new(());
        let _one_at_a_time = FILE.lock();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/messages.txt");
        let all = std::fs::read_to_string(&path).unwrap_or_default();
        let title = format!("## {}\n", self.subject);
        let said = self.lines.join("\n") + "\n";
        let sections = all.split_inclusive("\n\n").map(|section| section.trim_end().to_owned() + "\n");
        let (own, mut others): (Vec<String>, Vec<String>) =
            sections.filter(|section| section.starts_with("## ")).partition(|section| section.starts_with(&title));
        if std::env::var_os("NOWSERVING_WRITE_MESSAGES").is_some() {
            others.push(format!("{title}{said}"));
            others.sort();
            let about = "Each line: what is the matter | what is said. See tests/it/short/messages.rs.\n\n";
            std::fs::write(&path, format!("{about}{}", others.join("\n"))).expect("our own file");
            return;
        }
        let approved = own.first().and_then(|section| section.strip_prefix(&title)).unwrap_or_default();
        for (said, approved) in said.lines().zip(approved.lines()) {
            assert_eq!(said, approved, "not the text that stands in {}", path.display());
        }
        assert_eq!(said.lines().count(), approved.lines().count(), "more or fewer than in {}", path.display());
    }
}

/// The program in an environment with these variables and no others.
fn with(variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nowserving"));
    command.env_clear().envs(variables.iter().copied()).args(arguments).current_dir("/").stdin(Stdio::null());
    let output = command.output().expect("the program can be started");
    Finished {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test]
async fn settings() {
    let mut said = Said::about("Settings");
    let folder = scratch::folder("settings");
    said.mask(folder.display().to_string(), "FOLDER");
    for (name, value) in [
        ("NOWSERVING_PORT", "8042"),
        ("NOWSERVING_REDIS_HOST", "10.0.0.8"),
        ("NOWSERVING_REDIS_URI", "redis://:hunter2@host"),
        ("NOWSERVING_PARTITIONS", "many"),
        ("NOWSERVING_PARTITIONS", "0"),
        ("NOWSERVING_AUTO_PROVISION", "yes"),
        ("NOWSERVING_LISTEN", "8042"),
        ("NOWSERVING_LISTEN", "*:8042"),
        ("NOWSERVING_REDIS_URL", "http://:hunter2@host"),
        ("NOWSERVING_REDIS_URL", "redis://:hunter2@a:1,b:2"),
        ("NOWSERVING_REDIS_URL", "redis+sentinel://:hunter2@a:1"),
        ("NOWSERVING_REDIS_URL", "redis+cluster://:hunter2@a:1/2"),
        ("NOWSERVING_DATABASE_URL", "mysql://u:hunter2@host/db"),
        ("NOWSERVING_DATABASE_URL", "postgres://u:hunter2@a:5432,b:5432/db"),
        ("NOWSERVING_DATABASE_URL", "postgres://u:hunter2@a/db?target_session_attrs=read-write"),
        ("NOWSERVING_DATABASE_URL", "postgres://u:hunter2@a/db?sslmod=verify-full"),
        ("NOWSERVING_DATABASE_URL", "postgres://u:hunter2@a/db?schema=shop"),
        ("NOWSERVING_DURABILITY_LEVEL", "disk"),
        ("NOWSERVING_HTTP_TLS_CERT_FILE", "/a.pem"),
        ("NOWSERVING_LOG_FORMAT", "xml"),
        ("NOWSERVING_CONFIG", "/does/not/exist.toml"),
    ] {
        let shown = value.replace("hunter2", "…");
        said.refused(&format!("{name}={shown}"), &with(&[(name, value)], &["config"]));
    }
    for (at, text) in ["partition = 3", "[writebehind]", "listen", "partitions = 'x'"].iter().enumerate() {
        let file = folder.join(format!("{at}.toml"));
        std::fs::write(&file, text).expect("our own folder");
        said.refused(&format!("a file with {text}"), &with(&[], &["config", "--config", &file.display().to_string()]));
    }
    let data = folder.join("data").display().to_string();
    for (case, listen, more, variables) in [
        ("a host name that is not known", "does.not.exist.invalid:1", None, vec![]),
        ("an address of another machine", "192.0.2.1:1", Some("--insecure-no-auth"), vec![]),
        ("no keys where others reach it", "0.0.0.0:1", None, vec![("NOWSERVING_AUTH_MODE", "none")]),
        ("keys, and none", "127.0.0.1:0", Some("--insecure-no-auth"), vec![("NOWSERVING_AUTH_MODE", "keys")]),
        (
            "a certificate that is not there",
            "127.0.0.1:0",
            None,
            vec![("NOWSERVING_HTTP_TLS_CERT_FILE", "/a.pem"), ("NOWSERVING_HTTP_TLS_KEY_FILE", "/a.key")],
        ),
    ] {
        let mut arguments = vec!["serve", "--data-dir", &data, "--listen", listen];
        arguments.extend(more);
        said.refused(&format!("serve: {case}"), &with(&variables, &arguments));
    }
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = socket.local_addr().expect("it is bound").port().to_string();
    said.mask(port.clone(), "PORT");
    let listen = format!("127.0.0.1:{port}");
    said.refused("serve: a port that is taken", &with(&[], &["serve", "--data-dir", &data, "--listen", &listen]));
    said.are_approved();
}

#[tokio::test]
async fn redis() {
    let mut said = Said::about("Redis");
    let good = DaemonOptions::migrated().await;
    said.mask_options(&good);
    let on = |url: &str| DaemonOptions { redis_url: Some(url.to_owned()), ..good.clone() };
    let start = ["serve", "migrate"];
    let data = ["appendonly yes", "save \"\"", "maxmemory-policy noeviction"];
    let node = Node::start(&[&data[..], &["user few on >secret ~* +@all -@dangerous"]].concat()).await;
    said.mask(node.port.to_string(), "PORT");
    let info: String = node.send("INFO server").await;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).expect("it has one");
    said.mask(format!("Redis {version}"), "Redis VERSION");

    said.refused_by(&start, "unreachable", &on("redis://me:hunter2@127.0.0.1:1/0"));
    said.found("unreachable", &on("redis://me:hunter2@127.0.0.1:1/0"), "the Redis at");
    said.refused_by(&["serve"], "a host that is not known", &on("redis://does.not.exist.invalid"));
    said.refused_by(&["serve"], "a socket that is not there", &on("unix:///does/not/exist.sock"));
    said.refused_by(&["serve"], "TLS, and it has none", &on(&format!("rediss://{}", node.address())));
    let missing = on(&format!("rediss://{}", node.address())).with("NOWSERVING_REDIS_CA_FILE", "/does/not/exist.pem");
    said.refused_by(&["serve"], "a CA that is not there", &missing);
    said.refused_by(&start, "a wrong password", &on(&format!("redis://few:hunter2@{}", node.address())));
    let few = on(&format!("redis://few:secret@{}", node.address()));
    said.refused_by(&start, "no right to INFO", &few);
    said.found("no right to INFO", &few, "the Redis at");
    node.send::<redis::Value>("CONFIG SET requirepass secret").await;
    said.refused_by(&["serve"], "no password", &on(&node.url()));
    said.found("no password", &on(&node.url()), "the Redis at");

    let evicting = Node::start(&["appendonly yes", "maxmemory 50mb", "maxmemory-policy allkeys-lru"]).await;
    said.mask(evicting.port.to_string(), "PORT");
    said.refused_by(&start, "it evicts", &on(&evicting.url()));
    said.found("it evicts", &on(&evicting.url()), "the Redis at");
    let replica = Node::start(&[&data[..], &[&format!("replicaof 127.0.0.1 {}", evicting.port)]].concat()).await;
    said.mask(replica.port.to_string(), "PORT");
    said.refused_by(&start, "a replica", &on(&replica.url()));

    let plain = Node::start(&["appendonly no", "save \"\"", "maxmemory-policy noeviction"]).await;
    said.mask(plain.port.to_string(), "PORT");
    for level in ["fsync", "replica"] {
        let options = on(&plain.url()).with("NOWSERVING_DURABILITY_LEVEL", level);
        said.refused_by(&["serve"], &format!("level {level} cannot be given"), &options);
        said.found(&format!("level {level} cannot be given"), &options, "cannot be given");
    }
    said.found("no append-only file", &on(&plain.url()), "no append-only file");
    let unwritten =
        on(&plain.url()).with("NOWSERVING_DURABILITY_LEVEL", "ledger").with("NOWSERVING_WRITE_BEHIND_ENABLED", false);
    said.refused_by(&["serve"], "level ledger cannot be given", &unwritten);
    said.found("level ledger cannot be given", &unwritten, "cannot be given");
    said.are_approved();
}

#[tokio::test]
async fn redis_over_tls() {
    let mut said = Said::about("Redis over TLS");
    let good = DaemonOptions::migrated().await;
    said.mask_options(&good);
    let (authority, stranger) = (Authority::new("the right one"), Authority::new("another one"));
    let node = Node::start(&["appendonly yes", "maxmemory-policy noeviction"]).await;
    let port = node.port + 10_000;
    said.mask(port.to_string(), "PORT");
    let folder = scratch::folder("tls");
    let set = async |name: &str, value: &str| node.send::<redis::Value>(&format!("CONFIG SET {name} {value}")).await;
    let show = async |named: &str| {
        let (certificate, key) = authority.certify(named);
        std::fs::write(folder.join("key.pem"), key).expect("our own folder");
        std::fs::write(folder.join("cert.pem"), certificate).expect("our own folder");
        let [cert, key] = ["cert.pem", "key.pem"].map(|file| folder.join(file).display().to_string());
        let pair = format!("CONFIG SET tls-cert-file {cert} tls-key-file {key}");
        node.send::<redis::Value>(&pair).await;
    };
    set("tls-ca-cert-file", &authority.file().display().to_string()).await;
    show("127.0.0.1").await;
    set("tls-auth-clients", "no").await;
    set("tls-port", &port.to_string()).await;
    let trusting = |ca: Option<&Authority>| {
        let options = DaemonOptions { redis_url: Some(format!("rediss://127.0.0.1:{port}")), ..good.clone() };
        ca.map_or(options.clone(), |ca| options.with("NOWSERVING_REDIS_CA_FILE", ca.file().display()))
    };
    let start = ["serve", "migrate"];
    said.refused_by(&start, "signed by an authority that is not named", &trusting(None));
    said.found("signed by an authority that is not named", &trusting(None), "the Redis at");
    said.refused_by(&start, "signed by another authority", &trusting(Some(&stranger)));
    show("cache.example").await;
    said.refused_by(&start, "made for another name", &trusting(Some(&authority)));
    said.found("made for another name", &trusting(Some(&authority)), "the Redis at");
    show("127.0.0.1").await;
    trusting(Some(&authority)).migrate();
    said.are_approved();
}

#[tokio::test]
async fn redis_of_several_servers() {
    let mut said = Said::about("Redis of several servers");
    let good = DaemonOptions::migrated().await;
    said.mask_options(&good);
    let on = |url: &str| DaemonOptions { redis_url: Some(url.to_owned()), ..good.clone() };
    said.refused_by(&["serve"], "no sentinel is there", &on("redis+sentinel://127.0.0.1:1,127.0.0.1:2/orders"));
    said.refused_by(&["serve"], "no node is there", &on("redis+cluster://127.0.0.1:1,127.0.0.1:2"));
    let sentinel = Sentinel::start().await;
    for node in sentinel.sentinels.iter().chain(&sentinel.servers) {
        said.mask(node.port.to_string(), "PORT");
    }
    let other = sentinel.url().replace("/orders", "/others");
    said.refused_by(&["serve"], "a service that no sentinel knows", &on(&other));
    for server in &sentinel.servers {
        server.send::<redis::Value>("CONFIG SET min-replicas-to-write 0").await;
    }
    said.refused_by(&["serve"], "a master that waits for no replica", &on(&sentinel.url()));
    said.found("a master that waits for no replica", &on(&sentinel.url()), "no replica has");
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        said.mask(node.port.to_string(), "PORT");
    }
    said.refused_by(&["serve"], "a cluster, as one server", &on(&cluster.nodes[0].url()));
    said.found("a cluster, as one server", &on(&cluster.nodes[0].url()), "luster");
    said.are_approved();
}

async fn run(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
    for statement in statements.split(";\n") {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[tokio::test]
async fn postgres() {
    let mut said = Said::about("Postgres");
    let postgres = OwnPostgres::start().await;
    let (shared, admin) = (DaemonOptions::shared().await, postgres.url("postgres"));
    said.mask_options(&shared);
    let sockets = admin.split_once("host=").expect("a socket").1.split('&').next().expect("a path").to_owned();
    said.mask(sockets, "SOCKETS");
    said.mask(postgres.sockets().display().to_string(), "SOCKETS");
    let on = |url: &str| DaemonOptions { database_url: Some(url.to_owned()), ..shared.clone() };
    let start = ["migrate", "serve"];

    said.refused_by(&start, "unreachable", &on("postgres://me:hunter2@127.0.0.1:1/db"));
    said.found("unreachable", &on("postgres://me:hunter2@127.0.0.1:1/db"), "the database at");
    said.refused_by(&["migrate"], "a host that is not known", &on("postgres://me:hunter2@does.not.exist.invalid/db"));
    let rules = "local all nowserving trust\nlocal all app scram-sha-256\n";
    std::fs::write(postgres.data().join("pg_hba.conf"), rules).expect("root, or ours");
    run(&admin, "CREATE ROLE app LOGIN PASSWORD 'secret';\nSELECT pg_reload_conf()").await;
    let as_app =
        |database: &str, password: &str| postgres.url(database).replacen("nowserving@", &format!("app:{password}@"), 1);
    said.refused_by(&start, "a wrong password", &on(&as_app("postgres", "hunter2")));
    said.found("a wrong password", &on(&as_app("postgres", "hunter2")), "the database at");
    said.refused_by(&["migrate"], "an account that has no rule", &on(&admin.replacen("nowserving@", "other@", 1)));
    said.refused_by(&start, "no such database", &on(&postgres.url("nowhere")));
    said.refused_by(&["migrate"], "TLS, and it has none", &on(&admin.replace("sslmode=disable", "sslmode=require")));
    for encoding in ["LATIN1", "SQL_ASCII"] {
        run(&admin, &format!("CREATE DATABASE {encoding} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")).await;
        let options = on(&postgres.url(&encoding.to_lowercase()));
        said.refused_by(&start, &format!("encoded in {encoding}"), &options);
        said.found(&format!("encoded in {encoding}"), &options, "the database at");
    }

    let shop = postgres.create_database("shop").await;
    let app = on(&as_app("shop", "secret"));
    run(&shop, "REVOKE CONNECT ON DATABASE shop FROM PUBLIC").await;
    said.refused_by(&["migrate"], "no right to connect", &app);
    run(&shop, "GRANT CONNECT ON DATABASE shop TO app").await;
    said.refused_by(&["migrate"], "no right to make tables", &app);
    said.found("no right to make tables", &app, "cannot be made");
    run(&shop, "CREATE TABLE orders (id int)").await;
    said.refused_by(&["migrate"], "tables of another program", &on(&shop));
    said.found("tables of another program", &on(&shop), "cannot be made");
    run(&shop, "ALTER ROLE app SET search_path = gone").await;
    said.refused_by(&["migrate"], "no schema", &app);
    run(&shop, "DROP TABLE orders;\nALTER DATABASE shop SET default_transaction_read_only = on").await;
    said.refused_by(&["migrate"], "read-only", &on(&shop));
    let writable = "SET default_transaction_read_only = off;\nALTER DATABASE shop RESET default_transaction_read_only";
    run(&shop, writable).await;
    run(
        &shop,
        "ALTER DATABASE shop CONNECTION LIMIT 0;\nGRANT ALL ON SCHEMA public TO app;\nALTER ROLE app RESET search_path",
    )
    .await;
    said.refused_by(&["migrate"], "no connection is left", &app);
    run(&shop, "ALTER DATABASE shop CONNECTION LIMIT -1").await;

    said.refused_by(&["serve", "verify"], "an older schema", &app);
    said.found("an older schema", &app, "not up to date");
    app.migrate();
    run(&shop, "INSERT INTO _sqlx_migrations VALUES (9999, 'from the future', now(), true, '\\x00', 0)").await;
    said.refused_by(&["migrate"], "a newer schema", &app);
    run(&shop, "DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    run(&shop, "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 2").await;
    said.refused_by(&["migrate"], "a schema of another build", &app);
    drop(Daemon::start(&app));
    said.refused_by(&["serve"], "another number of partitions", &app.clone().with("NOWSERVING_PARTITIONS", 32));
    said.found("another number of partitions", &app.clone().with("NOWSERVING_PARTITIONS", 32), "32");
    let window = app.clone().with("NOWSERVING_IDEMPOTENCY_WINDOW_SECONDS", 60);
    said.refused_by(&["serve"], "settings that are not shared", &window);
    said.found("settings that are not shared", &window, "idempotency.window_seconds");
    let mut keys = app.clone().with("NOWSERVING_AUTH_MODE", "keys");
    said.refused_by(&["serve"], "no API key", &keys);
    keys.redis_url = app.redis_url.clone();
    said.found("no API key", &keys, "API key");

    run(&shop, "CREATE ROLE other LOGIN;\nGRANT CONNECT ON DATABASE shop TO other;\nGRANT ALL ON ALL TABLES IN SCHEMA public TO other").await;
    std::fs::write(postgres.data().join("pg_hba.conf"), "local all all trust\n").expect("root, or ours");
    run(&admin, "SELECT pg_reload_conf()").await;
    let other = on(&shop.replacen("nowserving@", "other@", 1));
    said.found("tables of another account", &other, "the tables belong to");
    run(&shop, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM other").await;
    said.refused_by(&["migrate", "serve"], "no right to the tables", &other);
    said.are_approved();
}

#[tokio::test]
async fn back_fill() {
    let mut said = Said::about("Back-fill");
    let options = DaemonOptions::migrated().await;
    said.mask_options(&options);
    let url = options.database_url.clone().expect("a database");
    run(&url, "CREATE TABLE theirs (id int, restaurant_id int, status text, created_at timestamptz)").await;
    let of = |more: &[&str]| options.run("backfill", more);
    said.refused("backfill: no such file", &of(&["--csv", "/does/not/exist.csv"]));
    said.refused("backfill: no such table", &of(&["--from-table", "nowhere"]));
    for (case, source) in [
        ("a source of another kind", "mysql://me:hunter2@host/db"),
        ("a source that is unreachable", "postgres://me:hunter2@127.0.0.1:1/db"),
    ] {
        said.refused(&format!("backfill: {case}"), &of(&["--from-table", "theirs", "--source-url", source]));
    }
    // The role belongs to all databases of the server.
    let role = format!("reader_{}", options.namespace);
    run(&url, &format!("CREATE ROLE {role} LOGIN")).await;
    said.mask(role.clone(), "ROLE");
    let reader = url.replacen("nowserving@", &format!("{role}@"), 1);
    said.refused("backfill: a table that may not be read", &of(&["--from-table", "theirs", "--source-url", &reader]));
    said.are_approved();
}

#[tokio::test]
async fn private_servers() {
    let mut said = Said::about("Private servers");
    let options = DaemonOptions::local();
    said.mask(options.data_dir.display().to_string(), "FOLDER");
    let folder = |name: &str| DaemonOptions { data_dir: options.data_dir.join(name), ..options.clone() };
    let data = folder("data");
    let daemon = Daemon::start(&data);
    said.mask(daemon.pid().to_string(), "PID");
    said.refused_by(&["serve"], "a folder in use", &data);
    let unwritten =
        data.clone().with("NOWSERVING_DURABILITY_LEVEL", "ledger").with("NOWSERVING_WRITE_BEHIND_ENABLED", false);
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    let replicated = data.clone().with("NOWSERVING_DURABILITY_LEVEL", "replica");
    said.refused_by(&["serve"], "level replica cannot be given", &replicated);
    said.refused_by(&["serve"], "level ledger cannot be given", &unwritten);

    let open = folder("open");
    std::fs::create_dir(&open.data_dir).expect("our own folder");
    std::fs::set_permissions(&open.data_dir, Permissions::from_mode(0o777)).expect("it is ours");
    said.refused_by(&["serve"], "a folder that others can change", &open);
    std::fs::write(options.data_dir.join("file"), "").expect("our own folder");
    said.refused_by(&["serve"], "a file in the place of the folder", &folder("file"));

    let cluster = std::fs::read_link(data.data_dir.join("postgres")).unwrap_or_else(|_| data.data_dir.join("postgres"));
    let version = std::fs::read_to_string(cluster.join("PG_VERSION")).expect("it has one");
    said.mask(format!("only {} is here", version.trim()), "only VERSION is here");
    for other in ["14", "99"] {
        std::fs::write(cluster.join("PG_VERSION"), other).expect("root, or ours");
        said.refused_by(&["serve"], &format!("a cluster of version {other}"), &data);
    }
    std::fs::write(cluster.join("PG_VERSION"), &version).expect("root, or ours");
    // A start that is given up leaves its Redis to end by itself.
    eventually_true(PATIENCE, || async { scratch::servers_under(&data.data_dir).is_empty() }).await;
    let files = data.data_dir.join("redis/appendonlydir");
    std::fs::write(files.join("appendonly.aof.manifest"), "nonsense\n").expect("root, or ours");
    let damaged = data.run("serve", &["--listen", "127.0.0.1:0"]);
    let sentence = damaged.stderr.lines().find_map(|line| line.strip_prefix("nowserving: ")).expect("it says why");
    // What Redis says has times and versions in it.
    let (before, rest) = sentence.split_once("redis.log: ").unwrap_or_else(|| panic!("it shows no log: {sentence}"));
    let (_, advice) = rest.rsplit_once("; ").expect("it says what to do");
    said.line("serve: a damaged append-only file", &format!("{before}redis.log: …; {advice}"));
    said.are_approved();
}

#[test]
fn messages_stay_short_enough_to_be_read() {
    let all = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/messages.txt"));
    let long: Vec<String> =
        all.expect("it is there").lines().map(str::to_owned).filter(|line| line.len() > 1000).collect();
    assert!(long.is_empty(), "{long:#?}");
}
