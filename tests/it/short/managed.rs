//! Accounts with the rights that `docs/operations/managed.md` lists, and no others; and servers that keep things to
//! themselves. The statements are taken from the page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::api::id;
use crate::support::daemon::Finished;
use crate::support::{
    Api, Daemon, DaemonOptions, Node, OwnPostgres, OwnRedis, PATIENCE, PgBouncer, eventually_true, namespace, scratch,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/managed.md")).expect("a page")
}

/// The blocks of the page in a language.
fn blocks(language: &str) -> Vec<String> {
    let (page, fence) = (page(), format!("```{language}\n"));
    let found = page.split(&fence).skip(1);
    found.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The words behind `ACL SETUSER nowserving`, for a namespace.
fn acl(namespace: &str) -> Vec<String> {
    let block =
        blocks("text").into_iter().find(|block| block.starts_with("ACL SETUSER nowserving ")).expect("it is there");
    let words = block.split_whitespace().skip(3);
    words.map(|word| word.replace("SECRET", "secret").replace("~ns:", &format!("~{namespace}:"))).collect()
}

/// The rights among them.
fn rights() -> BTreeSet<String> {
    acl("ns").iter().filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect()
}

/// What callers and operators do on an ordinary day.
async fn ordinary_day(options: &DaemonOptions, api: &Api) {
    api.configure(7, json!({"min_number": 1, "max_number": 50, "policy": "random", "blocked_numbers": [13]})).await;
    let first = api.create(7, json!({"customer_name": "José 🌮", "external_id": "A-1", "metadata": {"k": "é"}})).await;
    let second = api.create_with_key(7, "k", &json!({"table_number": "12"})).await.ok(201);
    api.create_with_key(7, "k", &json!({"table_number": "12"})).await.ok(201);
    api.patch(id(&first), json!({"status": "ready"})).await.ok(200);
    assert_eq!(api.live(7).await.len(), 2);
    let number = first["display_order_number"].as_u64().expect("it has one");
    for path in [
        format!("/v1/restaurants/7/numbers/{number}"),
        "/v1/restaurants/7/search?q=jos&include_completed=true".to_owned(),
        "/v1/restaurants/7/slots".to_owned(),
        "/v1/restaurants/7/usage".to_owned(),
        format!("/v1/orders/{}", id(&first)),
    ] {
        api.get(&path).await.ok(200);
    }
    api.release(id(&first), false).await.ok(200);
    api.release(id(&second), true).await.ok(200);
    api.configure(7, json!({"min_number": 1, "max_number": 60})).await;
    let in_ledger = api.json_with("POST", "/v1/restaurants/7/orders", &[("durability", "ledger")], &json!({})).await;
    in_ledger.ok(201);
    let file = scratch::folder("rows").join("rows.csv");
    let rows = "id,restaurant_id,status,created_at,display_order_number\n\
                11111111-1111-4111-8111-111111111111,8,preparing,2026-11-01T10:00:00Z,5\n";
    std::fs::write(&file, rows).expect("our own folder");
    let csv = file.display().to_string();
    for (command, arguments) in
        [("backfill", vec!["--csv", &csv]), ("cleanup", vec![]), ("dead-letters", vec!["list"]), ("keys", vec!["list"])]
    {
        let done = options.run(command, &arguments);
        assert!(done.status.success(), "{command}: {done:?}");
    }
}

async fn verified(options: &DaemonOptions) {
    let done = options.run("verify", &[]);
    assert!(done.status.success() && done.stdout.contains(" 0 findings"), "{done:?}");
}

/// What doctor finds wrong, apart from how durable test servers are.
fn wrong(finished: &Finished) -> Vec<String> {
    let lines = finished.stdout.lines().filter(|line| line.starts_with("WRONG") && !line.contains("with fsync off"));
    lines.map(str::to_owned).collect()
}

/// What the server refused to the accounts.
async fn refused(node: &Node) -> Vec<String> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> = node.send("ACL LOG").await;
    log.iter().map(|entry| format!("{:?} {:?}", entry.get("reason"), entry.get("object"))).collect()
}

#[tokio::test]
async fn an_account_of_redis_with_the_rights_of_the_page_is_enough() {
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_PARTITIONS", 4);
    let account = format!("user nowserving {}", acl(&options.namespace).join(" "));
    let settings = ["appendonly yes", "save \"\"", "maxmemory-policy noeviction", &account];
    let mut node = Node::start(&settings).await;
    options.redis_url = Some(format!("redis://nowserving:secret@{}", node.address()));
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    ordinary_day(&options, &api).await;
    for (level, code) in [("replica", "invalid_durability"), ("fsync", "invalid_durability")] {
        let answer = api.json_with("POST", "/v1/restaurants/7/orders", &[("durability", level)], &json!({})).await;
        // A Redis from 7.2 on gives level fsync, which needs a right of its own.
        if level == "replica" || answer.status == 400 {
            answer.problem(400, code);
        }
    }
    verified(&options).await;
    eventually_true(PATIENCE, || async { wrong(&options.run("doctor", &[])).is_empty() }).await;
    let doctor = options.run("doctor", &[]);
    assert!(doctor.stdout.contains("(appendfsync everysec)"), "{doctor:?}");
    assert_eq!(refused(&node).await, [""; 0]);

    // It comes back as another process, and then with nothing: the daemon fills it, and has its file written anew.
    node.kill9();
    node.restart().await;
    let goes_on = async || api.post("/v1/restaurants/7/orders", json!({})).await.status == 201;
    eventually_true(PATIENCE, goes_on).await;
    eventually_true(PATIENCE, || async { node.send::<u64>("DBSIZE").await > 0 }).await;
    assert_eq!(refused(&node).await, [""; 0]);
    node.send::<redis::Value>("FLUSHALL").await;
    let full = async || api.post("/v1/restaurants/7/orders", json!({})).await.status == 201;
    eventually_true(PATIENCE, full).await;
    eventually_true(PATIENCE, || async { options.run("verify", &[]).status.success() }).await;
    assert_eq!(refused(&node).await, [""; 0]);
}

/// The page lists what is sent, neither more nor less.
#[test]
fn the_page_lists_each_command_that_is_sent() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = |folder: &str, extension: &str| -> Vec<String> {
        let (mut found, mut waiting) = (Vec::new(), vec![root.join(folder)]);
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder of the project").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|found| found == extension) {
                    found.push(std::fs::read_to_string(&path).expect("text"));
                }
            }
        }
        found
    };
    let mut sent = BTreeSet::new();
    let mut collect = |texts: Vec<String>, before: &[&str], end: char| {
        for text in &texts {
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            for mark in before {
                let named = product.split(mark).skip(1).filter_map(|rest| rest.split(end).next());
                sent.extend(named.map(str::to_ascii_lowercase));
            }
        }
    };
    collect(texts("lua", "lua"), &["redis.call('"], '\'');
    collect(
        texts("src/allocator", "rs"),
        &["cmd(\"", "command(\"", "command.arg(\"WAIT\").arg(count).arg(timeout_ms)"],
        '"',
    );
    for words in ["wait", "eval", "evalsha"] {
        sent.insert(words.to_owned());
    }
    // Those that have parts; and those for a cluster and for sentinels, which the page names apart.
    for (whole, part) in [("script", "script|load"), ("config", "config|get")] {
        assert!(sent.remove(whole), "{whole}");
        sent.insert(part.to_owned());
    }
    for apart in ["cluster", "asking", "sentinel"] {
        assert!(sent.remove(apart) && page().contains(&format!("+{apart}")), "{apart}");
    }
    sent.retain(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '|'));
    assert_eq!(sent, rights());
}

/// The rights of the message are those of the page.
#[tokio::test]
async fn an_account_without_a_right_is_told_what_it_needs() {
    let options = DaemonOptions::migrated().await;
    let few = format!("user few on >secret ~{}:* +@all -@dangerous -@admin", options.namespace);
    let node = Node::start(&["appendonly yes", "maxmemory-policy noeviction", &few]).await;
    let mut without = options.clone();
    without.redis_url = Some(format!("redis://few:secret@{}", node.address()));
    let refused = without.run("serve", &["--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("NOPERM") && refused.stderr.contains("'info'"), "{refused:?}");
    for right in rights() {
        assert!(refused.stderr.contains(&format!("+{right}")), "{right}: {refused:?}");
    }
    let doctor = without.run("doctor", &[]);
    assert!(doctor.stdout.contains("→ give the account the rights that it needs"), "{doctor:?}");

    // With INFO it works: the rest can be done without.
    node.send::<redis::Value>("ACL SETUSER few +info").await;
    let daemon = Daemon::start(&without);
    ordinary_day(&without, &Api::at(daemon.url())).await;
    verified(&without).await;
    // A right that goes while the daemon runs is no bug of the daemon's.
    node.send::<redis::Value>("ACL SETUSER few -hset").await;
    let answer = Api::at(daemon.url()).post("/v1/restaurants/7/orders", json!({})).await;
    answer.problem(503, "unavailable");
}

#[tokio::test]
async fn a_redis_whose_commands_were_renamed_away_works() {
    let gone =
        ["CONFIG", "DEBUG", "MONITOR", "KEYS", "FLUSHALL", "FLUSHDB", "SHUTDOWN", "BGREWRITEAOF", "ACL", "CLIENT"];
    let lines: Vec<String> = gone.iter().map(|name| format!("rename-command {name} \"\"")).collect();
    let mut settings = vec!["appendonly yes", "save \"\"", "maxmemory-policy noeviction"];
    settings.extend(lines.iter().map(String::as_str));
    let node = Node::start(&settings).await;
    let mut options = DaemonOptions::migrated().await;
    options.redis_url = Some(node.url());
    let daemon = Daemon::start(&options);
    ordinary_day(&options, &Api::at(daemon.url())).await;
    verified(&options).await;
    let doctor = options.run("doctor", &[]);
    assert!(doctor.stdout.contains("(appendfsync unknown)"), "{doctor:?}");
    node.send::<redis::Value>("SCRIPT FLUSH").await;
    Api::at(daemon.url()).create(7, json!({})).await;
}

#[tokio::test]
async fn valkey_works() {
    let fetched = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/usr/bin/valkey-server");
    let Some(program) = [fetched, PathBuf::from("/usr/bin/valkey-server")].into_iter().find(|path| path.exists())
    else {
        eprintln!("left out: there is no valkey-server here");
        return;
    };
    let name = namespace();
    let mut words = vec!["--user".to_owned(), "nowserving".to_owned()];
    words.extend(acl(&name));
    words.push("+waitaof".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let redis = OwnRedis::start_program(program, &words).await;
    let mut options = DaemonOptions::migrated().await.with("NOWSERVING_DURABILITY_LEVEL", "fsync");
    options.namespace = name;
    options.redis_url = Some(format!("{}?user=nowserving&pass=secret", redis.url()));
    let daemon = Daemon::start(&options);
    ordinary_day(&options, &Api::at(daemon.url())).await;
    verified(&options).await;
    let mut connection = redis.connect().await;
    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query_async(&mut connection).await.expect("it answers");
    assert_eq!(log, [], "an account with the rights of the page");
}

// Postgres

/// Runs the statements of a block of the page as the administrator of a database; some of the parts only where named.
async fn administrate(postgres: &OwnPostgres, database: &str, statements: &str) {
    let mut connection = PgConnection::connect(&postgres.url(database)).await.expect("Postgres answers");
    for statement in statements.split_inclusive(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// The block of the page that has these words.
fn statements(with: &str) -> String {
    blocks("sql").into_iter().find(|block| block.contains(with)).expect("it is there")
}

/// A deployment as the account of the page.
async fn as_app(postgres: &OwnPostgres, database: &str) -> DaemonOptions {
    let mut options = DaemonOptions::shared().await;
    options.database_url = Some(app_url(&postgres.url(database)));
    options
}

fn app_url(url: &str) -> String {
    url.replacen("postgres://nowserving@", "postgres://nowserving_app@", 1)
}

async fn ask(postgres: &OwnPostgres, database: &str, query: &str) -> i64 {
    let mut connection = PgConnection::connect(&postgres.url(database)).await.expect("Postgres answers");
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.expect("a good query")
}

/// Migrates, serves, and looks whether anything was missed.
async fn works(postgres: &OwnPostgres, database: &str, schema: &str, options: &DaemonOptions) {
    options.migrate();
    let daemon = Daemon::start(options);
    ordinary_day(options, &Api::at(daemon.url())).await;
    verified(options).await;
    let months = format!(
        "SELECT count(*) FROM pg_class WHERE relname ~ '^order_events_y\\d+m\\d+$' AND relnamespace = '{schema}'::regnamespace"
    );
    eventually_true(PATIENCE, || async { ask(postgres, database, &months).await >= 13 }).await;
    eventually_true(PATIENCE, || async { wrong(&options.run("doctor", &[])).is_empty() }).await;
    let doctor = options.run("doctor", &[]);
    let owns = format!("nowserving_app owns the tables in the schema {schema}, and may make more");
    assert!(doctor.stdout.contains(&owns), "{doctor:?}");
    let extensions = "SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql'";
    assert_eq!(ask(postgres, database, extensions).await, 0, "no extension is needed");
    let (status, output) = daemon.terminate();
    assert!(status.success() && !output.contains("ERROR"), "{output}");
}

#[tokio::test]
async fn an_account_with_a_database_of_its_own_is_enough() {
    let postgres = OwnPostgres::start().await;
    administrate(&postgres, "postgres", &statements("CREATE DATABASE nowserving")).await;
    let options = as_app(&postgres, "nowserving").await;
    works(&postgres, "nowserving", "public", &options).await;
}

#[tokio::test]
async fn an_account_with_a_schema_of_its_own_is_enough() {
    let postgres = OwnPostgres::start().await;
    postgres.create_database("shop").await;
    // As an older system has it.
    let older = "CREATE TABLE orders (id int PRIMARY KEY, restaurant_id int, status text, created_at timestamptz);
                 INSERT INTO orders VALUES (1, 7, 'preparing', now() - interval '1 minute');
                 CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
                     installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
                     execution_time bigint NOT NULL);
                 INSERT INTO _sqlx_migrations VALUES (20200101, 'another program''s', now(), true, '\\x00', 0);
                 REVOKE CONNECT ON DATABASE shop FROM PUBLIC;";
    administrate(&postgres, "shop", older).await;
    administrate(&postgres, "shop", &statements("CREATE SCHEMA nowserving")).await;
    let options = as_app(&postgres, "shop").await;
    works(&postgres, "shop", "nowserving", &options).await;
    assert_eq!(ask(&postgres, "shop", "SELECT count(*) FROM public.orders").await, 1, "theirs is left alone");

    // Read by a back-fill, once it may.
    let refused = options.run("backfill", &["--from-table", "public.orders", "--dry-run"]);
    assert!(!refused.status.success(), "{refused:?}");
    let page = page();
    for grant in ["GRANT USAGE ON SCHEMA public TO nowserving_app", "GRANT SELECT ON public.orders TO nowserving_app"] {
        assert!(page.contains(grant), "{grant}");
        administrate(&postgres, "shop", grant).await;
    }
    let read = options.run("backfill", &["--from-table", "public.orders", "--dry-run"]);
    assert!(read.status.success(), "{read:?}");
}

/// The message has the statements, and with them it works.
#[tokio::test]
async fn a_place_that_does_not_fit_is_told_with_the_statements_that_make_it_fit() {
    let postgres = OwnPostgres::start().await;
    postgres.create_database("shop").await;
    administrate(&postgres, "postgres", "CREATE ROLE nowserving_app LOGIN").await;
    let options = as_app(&postgres, "shop").await;
    for (spoil, part) in [
        // As Postgres has it since version 15.
        ("SELECT 1", "nowserving_app may not make tables in the schema public of the database shop"),
        (
            "GRANT CREATE ON SCHEMA public TO nowserving_app; CREATE TABLE leases (id int)",
            "the schema public of the database shop has a table leases already",
        ),
        (
            "DROP TABLE leases; ALTER ROLE nowserving_app SET search_path = elsewhere",
            "no schema of nowserving_app's search_path (elsewhere) is there in the database shop",
        ),
    ] {
        administrate(&postgres, "shop", spoil).await;
        let refused = options.run("migrate", &[]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        let doctor = options.run("doctor", &[]);
        assert_eq!(doctor.status.code(), Some(2), "{doctor:?}");
        assert!(doctor.stdout.contains(&format!("the ledger's tables cannot be made: {part}")), "{doctor:?}");
    }
    let refused = options.run("migrate", &[]).stderr;
    let (_, advice) = refused.split_once("as an administrator: ").expect("it says what to do");
    let (statements, _) = advice.split_once("; or let").expect("it names another way");
    administrate(&postgres, "shop", &statements.replace("; ", ";\n")).await;
    works(&postgres, "shop", "nowserving", &options).await;
}

#[tokio::test]
async fn the_options_of_a_url_lead_to_a_schema_as_well() {
    let postgres = OwnPostgres::start().await;
    postgres.create_database("shop").await;
    administrate(
        &postgres,
        "shop",
        "CREATE ROLE nowserving_app LOGIN;\nCREATE SCHEMA \"Our Orders\" AUTHORIZATION nowserving_app;",
    )
    .await;
    let mut options = as_app(&postgres, "shop").await;
    let url = options.database_url.take().expect("a database");
    options.database_url = Some(format!("{url}&options=-csearch_path%3D%22Our%5C%20Orders%22"));
    works(&postgres, "shop", "\"Our Orders\"", &options).await;
}

#[tokio::test]
async fn the_search_path_of_a_role_holds_behind_a_pooler() {
    let postgres = OwnPostgres::start().await;
    postgres.create_database("shop").await;
    administrate(&postgres, "shop", "CREATE TABLE orders (id int)").await;
    administrate(&postgres, "shop", &statements("CREATE SCHEMA nowserving")).await;
    let bouncer = PgBouncer::start(&postgres, 3).await;
    let mut options = as_app(&postgres, "shop").await;
    options.database_url = Some(app_url(&bouncer.url("shop")));
    works(&postgres, "shop", "nowserving", &options).await;
}

/// Migrated by one account, served by another one, which lacks what it needs in a month.
#[tokio::test]
async fn an_account_that_does_not_own_the_tables_is_told_of_it() {
    let postgres = OwnPostgres::start().await;
    let mut owner = DaemonOptions::shared().await;
    owner.database_url = Some(postgres.create_database("shop").await);
    owner.migrate();
    let grants = "CREATE ROLE nowserving_app LOGIN;
GRANT ALL ON ALL TABLES IN SCHEMA public TO nowserving_app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO nowserving_app;";
    administrate(&postgres, "shop", grants).await;
    let mut options = owner.clone();
    options.database_url = Some(app_url(&postgres.url("shop")));
    let doctor = options.run("doctor", &[]);
    let what = "the tables belong to nowserving, and nowserving_app has not that role";
    assert!(doctor.stdout.contains(what), "{doctor:?}");
    assert!(doctor.stdout.contains("GRANT nowserving TO nowserving_app"), "{doctor:?}");
    administrate(&postgres, "shop", "GRANT nowserving TO nowserving_app").await;
    assert!(!options.run("doctor", &[]).stdout.contains(what));
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_name_is_refused_by_each_command() {
    let postgres = OwnPostgres::start().await;
    for encoding in ["LATIN1", "SQL_ASCII", "WIN1252"] {
        let name = format!("in_{}", encoding.to_ascii_lowercase());
        let make = format!("CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'");
        administrate(&postgres, "postgres", &make).await;
        let mut options = DaemonOptions::shared().await;
        options.database_url = Some(postgres.url(&name));
        for command in ["migrate", "serve", "verify", "doctor"] {
            let refused = options.run(command, if command == "serve" { &["--listen", "127.0.0.1:0"] } else { &[] });
            assert!(!refused.status.success(), "{refused:?}");
            let said = format!("{}{}", refused.stdout, refused.stderr);
            assert!(said.contains(&format!("is encoded in {encoding}, not UTF8")), "{command}: {refused:?}");
        }
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(ask(&postgres, &name, tables).await, 0, "nothing was made");
    }
}
