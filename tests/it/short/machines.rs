//! Environments as machines have them: variables that are meant for others, names where addresses are expected.

use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, OwnRedis, scratch};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// What a shell of a person who works with another Postgres has, and what odd locales are.
const OF_OTHERS: [(&str, &str); 18] = [
    ("PGHOST", "/nowhere"),
    ("PGHOSTADDR", "192.0.2.1"),
    ("PGPORT", "1"),
    ("PGUSER", "stranger"),
    ("PGPASSWORD", "hunter2"),
    ("PGDATABASE", "elsewhere"),
    ("PGSSLMODE", "verify-full"),
    ("PGSSLROOTCERT", "/does/not/exist.pem"),
    ("PGSSLCERT", "/does/not/exist.pem"),
    ("PGOPTIONS", "-csearch_path=elsewhere -cdefault_transaction_read_only=on"),
    ("PGAPPNAME", "psql"),
    ("PGSERVICE", "elsewhere"),
    ("PGDATA", "/var/lib/elsewhere"),
    ("PGTZ", "Pacific/Auckland"),
    ("LANG", "tr_TR.UTF-8"),
    ("LC_ALL", "xx_XX"),
    ("TZ", "Pacific/Auckland"),
    ("TMPDIR", "/does/not/exist"),
];

fn among_others(mut options: DaemonOptions) -> DaemonOptions {
    for (name, value) in OF_OTHERS {
        options = options.with(name, value);
    }
    options
}

async fn run(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.expect("good statements");
}

async fn ask(url: &str, query: &str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.expect("a good query")
}

#[tokio::test]
async fn variables_for_other_programs_do_not_reach_private_servers() {
    let options = among_others(DaemonOptions::local());
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({"customer_name": "Ada"})).await;
    let found = options.run("doctor", &["--tasks"]);
    assert!(found.stdout.contains("nowserving owns the tables in the schema public"), "{found:?}");
    let (status, output) = daemon.terminate();
    assert!(status.success() && !output.contains("ERROR"), "{output}");
    let verified = options.run("verify", &[]);
    assert!(verified.status.success() && verified.stdout.contains("1 restaurants verified"), "{verified:?}");
}

#[tokio::test]
async fn variables_for_other_programs_do_not_bend_a_url() {
    let options = among_others(DaemonOptions::shared().await);
    let url = options.database_url.clone().expect("a database");
    options.migrate();
    assert_eq!(ask(&url, "SELECT 'orders'::regclass::text").await, "orders", "in the schema that the account has");
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({})).await;
    let name = "SELECT string_agg(DISTINCT application_name, ',') FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> ''";
    assert_eq!(ask(&url, name).await, "nowserving");
    run(&url, "CREATE TABLE theirs AS SELECT 1 AS id, 7 AS restaurant_id, 'preparing' AS status, now() AS created_at")
        .await;
    let read = options.run("backfill", &["--from-table", "theirs", "--source-url", &url, "--dry-run"]);
    assert!(read.status.success(), "{read:?}");
}

/// A secret need not be in a URL.
#[tokio::test]
async fn a_password_may_come_from_the_environment_where_the_url_has_none() {
    let postgres = OwnPostgres::start().await;
    let url = postgres.create_database("ledger").await;
    run(&url, "CREATE ROLE app LOGIN PASSWORD 'p@ss w#rd:%25é'; CREATE SCHEMA app AUTHORIZATION app").await;
    let rules = postgres.data().join("pg_hba.conf");
    std::fs::write(&rules, "local all nowserving trust\nlocal all all scram-sha-256\n").expect("root, or ours");
    ask(&url, "SELECT pg_reload_conf()::text").await;
    let mut options = DaemonOptions::shared().await;
    options.database_url = Some(url.replacen("nowserving@", "app@", 1));
    let refused = options.run("migrate", &[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("Postgres does not let this account in"), "{refused:?}");
    let secret = "p@ss w#rd:%25é";
    options.clone().with("PGPASSWORD", secret).migrate();
    let file = scratch::folder("pass").join("pgpass");
    std::fs::write(&file, format!("*:*:*:app:{}\n", secret.replace(':', "\\:"))).expect("our own folder");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
    let by_file = options.clone().with("PGPASSFILE", file.display()).run("migrate", &[]);
    assert!(by_file.status.success(), "{by_file:?}");
    // What the URL says is what counts.
    let mut both = options.with("PGPASSWORD", "hunter2");
    both.database_url = Some(url.replacen("nowserving@", "app:p%40ss%20w%23rd%3A%2525%C3%A9@", 1));
    both.migrate();
}

/// Services and proxies cut connections that are idle. The first caller after a quiet night does not notice.
#[tokio::test]
async fn connections_that_were_cut_while_idle_are_made_anew() {
    let (redis, postgres) = (OwnRedis::start().await, OwnPostgres::start().await);
    let mut options = DaemonOptions::shared().await;
    options.redis_url = Some(redis.url());
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let url = postgres.url("postgres");
    for _ in 0..3 {
        for path in ["/v1/restaurants/7/search?q=zz&include_completed=true", "/v1/restaurants/7/orders"] {
            api.get(path).await.ok(200);
            api.create(7, json!({})).await;
            let mut kill = redis::cmd("CLIENT");
            kill.arg("KILL").arg("TYPE").arg("normal");
            kill.exec_async(&mut redis.connect().await).await.expect("Redis answers");
            let theirs = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE datname = 'ledger'";
            ask(&url, theirs).await;
        }
    }
}

#[tokio::test]
async fn the_links_of_a_service_are_no_settings() {
    let mut options = DaemonOptions::migrated().await;
    for (name, value) in [
        ("NOWSERVING_SERVICE_HOST", "10.0.0.7"),
        ("NOWSERVING_SERVICE_PORT", "8042"),
        ("NOWSERVING_SERVICE_PORT_HTTP", "8042"),
        ("NOWSERVING_PORT", "tcp://10.0.0.7:8042"),
        ("NOWSERVING_PORT_8042_TCP", "tcp://10.0.0.7:8042"),
        ("NOWSERVING_PORT_8042_TCP_PROTO", "tcp"),
        ("NOWSERVING_PORT_8042_TCP_PORT", "8042"),
        ("NOWSERVING_PORT_8042_TCP_ADDR", "10.0.0.7"),
        ("NOWSERVING_REDIS_SERVICE_HOST", "10.0.0.8"),
        ("NOWSERVING_REDIS_PORT", "tcp://10.0.0.8:6379"),
        ("NOWSERVING_REDIS_PORT_6379_TCP_ADDR", "10.0.0.8"),
    ] {
        options = options.with(name, value);
    }
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({})).await;
    let refused = options.with("NOWSERVING_REDIS_HOST", "10.0.0.8").run("config", &[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("`NOWSERVING_REDIS_HOST`; did you mean `NOWSERVING_"), "{refused:?}");
}

#[tokio::test]
async fn a_host_name_is_listened_on_at_all_its_addresses() {
    let mut options = DaemonOptions::migrated().await;
    options.arguments = vec!["--listen".into(), "localhost:0".into()];
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, json!({})).await;
    let port = daemon.url().rsplit(':').next().expect("a port").to_owned();
    assert!(daemon.output().contains("no API keys are asked for"), "{}", daemon.output());
    Api::at(&format!("http://localhost:{port}")).get("/v1/restaurants/7/orders").await.ok(200);
    let all: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(&format!("localhost:{port}")).expect("a name").collect();
    let here = all.iter().filter(|address| std::net::TcpListener::bind((address.ip(), 0)).is_ok());
    for address in here {
        TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        Api::at(&format!("http://{address}")).get("/v1/restaurants/7/orders").await.ok(200);
    }
    // The same port a second time.
    options.arguments = vec!["--listen".into(), format!("localhost:{port}")];
    let (status, output) = Daemon::try_start(&options).err().expect("it is taken");
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&format!(":{port}; end what listens there")), "{output}");
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn an_address_of_ipv6_is_listened_on() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("left out: this machine has no IPv6");
        return;
    }
    let mut options = DaemonOptions::migrated().await;
    options.arguments = vec!["--listen".into(), "[::1]:0".into()];
    let daemon = Daemon::start(&options);
    assert!(daemon.url().starts_with("http://[::1]:"), "{}", daemon.url());
    Api::at(daemon.url()).create(7, json!({})).await;
}
