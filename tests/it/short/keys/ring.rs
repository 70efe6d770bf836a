//! How soon a change is so on every daemon, and what it takes from the ledger.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use super::client::{asking, call, create, get, ledger, made_up, make};
use crate::support::{Api, Daemon, DaemonOptions, OwnPostgres, PATIENCE, eventually, eventually_true};

#[tokio::test]
async fn a_key_works_at_once_everywhere_and_a_revoked_one_stops_everywhere() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let [here, there] = [0, 1].map(|at| Api::at(daemons[at].url()));
    for round in 0..5 {
        let new = json!({"name": "till", "role": "till", "restaurants": [7]});
        let made = call(&here, &admin, "POST", "/v1/keys", Some(&new)).await.ok(201);
        let (key, path) = (made["key"].as_str().expect("the key"), format!("/v1/keys/{}", made["key_id"]));
        // The very first call, on a daemon that has not heard of it.
        create(&there, key, 7).await;
        create(&here, key, 7).await;

        // Callers that never stop calling: the key has to stop for them, too.
        let revoked = call(&here, &admin, "DELETE", &path, None).await.ok(200);
        assert_eq!(revoked["revoked_by"], "key:1");
        get(&here, key, "/v1/restaurants/7/slots").await.problem(401, "unauthenticated");
        eventually_true(PATIENCE, || async { get(&there, key, "/v1/restaurants/7/slots").await.status == 401 }).await;
        // And for good.
        for api in [&here, &there] {
            get(api, key, "/v1/restaurants/7/slots").await.problem(401, "unauthenticated");
        }
        let again = call(&there, &admin, "DELETE", &path, None).await.ok(200);
        assert_eq!(again, revoked, "round {round}");
    }
}

#[tokio::test]
async fn made_up_keys_cost_the_ledger_little_and_known_keys_nothing() {
    let options = asking().await;
    let till = make(&options, &["--role", "till"]);
    let start = Instant::now();
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    create(&api, &till, 7).await;
    let mut outcomes = [0; 2];
    for _ in 0..4 {
        let strangers = join_all((0..400).map(|_| async {
            let answer = get(&api, &made_up(), "/v1/restaurants/7/slots").await;
            match answer.status {
                401 => drop(answer.problem(401, "unauthenticated")),
                // No more than so many may wait.
                _ => drop(answer.problem(503, "unavailable")),
            }
            usize::from(answer.status == 503)
        }));
        let known = join_all((0..100).map(|_| async {
            get(&api, &till, "/v1/restaurants/7/slots").await.ok(200);
        }));
        let (strangers, _) = tokio::join!(strangers, known);
        strangers.into_iter().for_each(|outcome| outcomes[outcome] += 1);
    }
    assert!(outcomes[0] > 0, "{outcomes:?}");
    // Its servers tell the last of what they counted when they are let go.
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    let elapsed = start.elapsed();
    let mut ledger = ledger(&options).await;
    let looks: i64 = eventually(PATIENCE, || {
        let looks = sqlx::query_scalar::<_, i64>(
            "SELECT (seq_scan + coalesce(idx_scan, 0))::bigint FROM pg_stat_user_tables WHERE relname = 'api_key_revision'",
        );
        let url = options.database_url.clone().expect("a Postgres that is not private");
        async move {
            use sqlx::Connection;
            let mut connection = sqlx::PgConnection::connect(&url).await.expect("Postgres answers");
            let counted = looks.fetch_one(&mut connection).await.expect("Postgres counts");
            (counted > 0).then_some(counted)
        }
    })
    .await;
    let most = 4.0 * elapsed.as_secs_f64() + 10.0;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let looks = looks as f64;
    assert!(looks <= most, "{looks} looks at the ledger in {elapsed:?}");
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM api_keys").fetch_one(&mut ledger).await.expect("a count");
    assert_eq!(keys, 1);
}

#[tokio::test]
async fn without_postgres_known_keys_work_and_unknown_ones_are_told_to_come_back() {
    let mut postgres = OwnPostgres::start().await;
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_AUTH_MODE", "keys");
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let till = make(&options, &["--role", "till"]);
    let elsewhere = make(&options, &["--role", "till", "--restaurants", "8"]);
    let expired = make(&options, &["--role", "till"]);
    let past = "UPDATE api_keys SET expires_at = now() - interval '1 hour' WHERE id = 3";
    sqlx::raw_sql(past).execute(&mut ledger(&options).await).await.expect("a key can expire");
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    create(&api, &till, 7).await;

    postgres.immediate();
    for _ in 0..3 {
        create(&api, &till, 7).await;
        let away = get(&api, &made_up(), "/v1/restaurants/7/slots").await;
        away.problem(503, "unavailable");
        assert!(away.header("retry-after").is_some(), "{away:?}");
        get(&api, &elsewhere, "/v1/restaurants/7/slots").await.problem(403, "forbidden");
        get(&api, &expired, "/v1/restaurants/7/slots").await.problem(401, "unauthenticated");
    }

    postgres.restart().await;
    let new = make(&options, &["--role", "till"]);
    eventually_true(PATIENCE, || async { get(&api, &new, "/v1/restaurants/7/slots").await.status == 200 }).await;
    get(&api, &made_up(), "/v1/restaurants/7/slots").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_ledger_that_hangs_holds_up_no_request() {
    let mut options = DaemonOptions::shared().await.with("NOWSERVING_AUTH_MODE", "keys");
    let postgres = OwnPostgres::start().await;
    options.database_url = Some(postgres.create_database("ledger").await);
    options.migrate();
    let till = make(&options, &["--role", "till"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    // No daemon reads the revision while a transaction holds the table.
    let mut holder = ledger(&options).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE api_key_revision IN ACCESS EXCLUSIVE MODE")
        .execute(&mut holder)
        .await
        .expect("it can");
    let stranger = made_up();
    let (known, unknown) =
        tokio::join!(get(&api, &till, "/v1/restaurants/7/slots"), get(&api, &stranger, "/v1/restaurants/7/slots"));
    known.ok(200);
    unknown.problem(503, "unavailable");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("it can");
    eventually_true(PATIENCE, || async { get(&api, &made_up(), "/v1/restaurants/7/slots").await.status == 401 }).await;
}

#[tokio::test]
async fn a_ledger_that_fell_back_is_believed() {
    let options = asking().await;
    let first = make(&options, &["--role", "till"]);
    let second = make(&options, &["--role", "till"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    get(&api, &second, "/v1/restaurants/7/slots").await.ok(200);
    // As after the return of a backup from before the second key was made.
    let back = "ALTER TABLE api_keys DISABLE TRIGGER USER; DELETE FROM api_keys WHERE id = 2;
                UPDATE api_key_revision SET revision = 1; ALTER TABLE api_keys ENABLE TRIGGER USER";
    sqlx::raw_sql(back).execute(&mut ledger(&options).await).await.expect("a ledger can be put back");
    eventually_true(PATIENCE, || async { get(&api, &second, "/v1/restaurants/7/slots").await.status == 401 }).await;
    get(&api, &first, "/v1/restaurants/7/slots").await.ok(200);
}

#[tokio::test]
async fn what_is_changed_by_hand_is_noticed_and_nothing_can_be_deleted() {
    let options = asking().await;
    let till = make(&options, &["--role", "till"]);
    let other = make(&options, &["--role", "till"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    get(&api, &till, "/v1/restaurants/7/slots").await.ok(200);
    let mut ledger = ledger(&options).await;
    let deleted = sqlx::raw_sql("DELETE FROM api_keys WHERE id = 1").execute(&mut ledger).await;
    assert!(deleted.is_err_and(|error| error.to_string().contains("revoked, not deleted")));
    let by_hand = "UPDATE api_keys SET expires_at = now() WHERE id = 1; UPDATE api_keys SET name = '' WHERE id = 2";
    sqlx::raw_sql(by_hand).execute(&mut ledger).await.expect("keys can be changed");
    for key in [&till, &other] {
        eventually_true(PATIENCE, || async { get(&api, key, "/v1/restaurants/7/slots").await.status == 401 }).await;
    }
}

#[tokio::test]
async fn a_key_that_expires_stops() {
    let options = asking().await;
    let till = make(&options, &["--role", "till", "--expires-in", "1h"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    get(&api, &till, "/v1/restaurants/7/slots").await.ok(200);
    let soon = "UPDATE api_keys SET expires_at = now() + interval '2 seconds'";
    sqlx::raw_sql(soon).execute(&mut ledger(&options).await).await.expect("a key can expire");
    eventually_true(PATIENCE, || async { get(&api, &till, "/v1/restaurants/7/slots").await.status == 401 }).await;
}

#[tokio::test]
async fn a_rate_is_kept_by_each_daemon_alone() {
    let options = asking().await;
    let (slow, admin) = (make(&options, &["--role", "till", "--rate", "1"]), make(&options, &["--role", "admin"]));
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let [here, there] = [0, 1].map(|at| Api::at(daemons[at].url()));
    let answers = join_all((0..50).map(|_| get(&here, &slow, "/v1/restaurants/7/slots"))).await;
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!((1..50).contains(&limited.len()), "{answers:?}");
    for answer in &limited {
        answer.problem(429, "rate_limited");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    get(&there, &slow, "/v1/restaurants/7/slots").await.ok(200);
    join_all((0..50).map(|_| async { get(&here, &admin, "/v1/restaurants/7/slots").await.ok(200) })).await;
    eventually_true(PATIENCE, || async { get(&here, &slow, "/v1/restaurants/7/slots").await.status == 200 }).await;
    let metrics = get(&here, &admin, "/metrics").await.text;
    let count = |outcome: &str| {
        let series = format!("nowserving_auth_total{{outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series)).expect("every outcome has a series");
        line.parse::<usize>().expect("a number")
    };
    assert!(count("rate_limited") >= limited.len() && count("accepted") > 50);
    assert_eq!((count("forbidden"), count("unavailable")), (0, 0));
}
