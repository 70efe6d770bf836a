//! When keys are asked for, and the command that makes the first one.

use serde_json::Value;

use super::client::{asking, call_with, get, make};
use crate::support::{Api, Daemon, DaemonOptions, scratch};

#[track_caller]
fn refusal(options: &DaemonOptions, arguments: &[&str]) -> String {
    let refused = options.run("serve", arguments);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(!refused.stdout.contains("listening"), "{refused:?}");
    let sentences: Vec<_> = refused.stderr.lines().filter_map(|line| line.strip_prefix("nowserving: ")).collect();
    assert_eq!(sentences.len(), 1, "{refused:?}");
    sentences[0].to_owned()
}

#[test]
fn an_open_house_on_any_address_needs_a_flag() {
    let options = DaemonOptions::local().with("NOWSERVING_AUTH_MODE", "none");
    let sentence = refusal(&options, &["--listen", "0.0.0.0:0"]);
    assert!(sentence.contains("--insecure-no-auth") && sentence.contains("0.0.0.0:0"), "{sentence}");
    // Nothing was begun.
    assert!(scratch::servers_under(&options.data_dir).is_empty());
    assert_eq!(std::fs::read_dir(&options.data_dir).expect("the folder").count(), 0);

    let options = DaemonOptions::local().with("NOWSERVING_AUTH_MODE", "keys");
    let sentence = refusal(&options, &["--insecure-no-auth"]);
    assert!(sentence.contains("auth.mode is keys"), "{sentence}");
    let options = DaemonOptions::local().with("NOWSERVING_INSECURE_NO_AUTH", "true");
    assert!(refusal(&options, &[]).contains("NOWSERVING_INSECURE_NO_AUTH"));
}

#[tokio::test]
async fn without_a_good_key_no_daemon_listens_where_others_can_reach() {
    let options = DaemonOptions::migrated().await;
    let sentence = refusal(&options, &["--listen", "0.0.0.0:0"]);
    assert!(sentence.contains("nowserving keys create") && sentence.contains("--role admin"), "{sentence}");
    make(&options, &["--role", "admin"]);
    assert!(options.run("keys", &["revoke", "1"]).status.success());
    refusal(&options, &["--listen", "0.0.0.0:0"]);
    let doctor = options.run("doctor", &["--listen", "0.0.0.0:0"]);
    assert!(doctor.stdout.contains("WRONG  callers at 0.0.0.0:0 need an API key"), "{doctor:?}");

    let key = make(&options, &["--role", "till"]);
    let mut everywhere = options.clone();
    everywhere.arguments = ["--listen", "0.0.0.0:0"].map(str::to_owned).to_vec();
    let daemon = Daemon::start(&everywhere);
    assert!(!daemon.output().contains("no API keys"), "{}", daemon.output());
    let api = Api::at(daemon.url());
    call_with(&api, None, "GET", "/v1/restaurants/7/slots", None).await.problem(401, "unauthenticated");
    get(&api, &key, "/v1/restaurants/7/slots").await.ok(200);
    drop(daemon);

    everywhere.arguments.push("--insecure-no-auth".to_owned());
    let daemon = Daemon::start(&everywhere);
    assert!(daemon.output().contains("no API keys are asked for"), "{}", daemon.output());
    call_with(&Api::at(daemon.url()), None, "GET", "/v1/restaurants/7/slots", None).await.ok(200);
}

#[tokio::test]
async fn on_a_loopback_address_no_key_is_asked_for_and_a_line_says_so() {
    let options = DaemonOptions::migrated().await;
    let daemon = Daemon::start(&options);
    assert!(daemon.output().contains("no API keys are asked for"), "{}", daemon.output());
    let api = Api::at(daemon.url());
    call_with(&api, None, "GET", "/v1/restaurants/7/slots", None).await.ok(200);
    // Nothing looks at what is shown.
    get(&api, "nsk_whatever", "/v1/restaurants/7/slots").await.ok(200);
    let doctor = options.run("doctor", &[]);
    assert!(doctor.stdout.contains("only this machine can reach it"), "{doctor:?}");
}

#[tokio::test]
async fn keys_are_made_before_and_beside_a_daemon_with_private_servers() {
    let options = DaemonOptions::local().with("NOWSERVING_AUTH_MODE", "keys");
    let first = make(&options, &["--role", "till", "--restaurants", "7,8", "--expires-in", "90d", "--rate", "50"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    get(&api, &first, "/v1/restaurants/7/slots").await.ok(200);
    let second = make(&options, &["--role", "admin"]);
    get(&api, &second, "/v1/keys").await.ok(200);

    let listed = options.run("keys", &["list"]).stdout;
    assert!(listed.contains("1: till \"a test's\", restaurants 7, 8, at most 50 requests a second"), "{listed}");
    assert!(listed.contains("2: admin \"a test's\", all restaurants\n") && listed.contains(" by cli, good until "));
    assert!(!listed.contains(&first[4..]) && !listed.contains(&second[4..]), "{listed}");
    let listed: Value = serde_json::from_str(&options.run("keys", &["list", "--json"]).stdout).expect("JSON");
    assert_eq!(listed["keys"][0]["restaurants"], serde_json::json!([7, 8]));

    let revoked = options.run("keys", &["revoke", "1", "77"]);
    assert_eq!(revoked.status.code(), Some(2), "{revoked:?}");
    assert!(revoked.stdout.contains("revoked 1: till") && revoked.stdout.contains("77: there is no such key"));
    crate::support::eventually_true(crate::support::PATIENCE, || async {
        get(&api, &first, "/v1/restaurants/7/slots").await.status == 401
    })
    .await;
    assert!(options.run("keys", &["list"]).stdout.contains("revoked at "));
}

#[tokio::test]
async fn only_a_time_that_a_key_is_good_for_needs_redis() {
    // A certificate that is not there: no connection can even be tried.
    let mut options = DaemonOptions::local().with("NOWSERVING_REDIS_CA_FILE", "/nonexistent/ca.pem");
    options.redis_url = Some("rediss://localhost:1".into());
    make(&options, &["--role", "till"]);
    make(&options, &["--role", "till", "--expires-at", "2999-01-01T00:00:00Z"]);
    let listed = options.run("keys", &["list"]);
    assert!(listed.status.success() && listed.stdout.contains("2: till"), "{listed:?}");
    let revoked = options.run("keys", &["revoke", "1"]);
    assert!(revoked.status.success(), "{revoked:?}");

    let refused = options.run("keys", &["create", "--name", "x", "--role", "till", "--expires-in", "1h"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("give --expires-at") && refused.stderr.contains("/nonexistent/ca.pem"),
        "{refused:?}"
    );
    // The private Postgres was stopped, and not left to end by itself.
    let data = options.data_dir.join("postgres");
    assert!(data.join("PG_VERSION").exists() && !data.join("postmaster.pid").exists());
}

#[tokio::test]
async fn the_command_says_what_is_wrong() {
    let options = asking().await;
    for (arguments, part) in [
        (&["--name", "x"][..], "--role"),
        (&["--role", "till"], "--name"),
        (&["--name", "x", "--role", "chef"], "admin, till, kitchen, screen, metrics"),
        (&["--name", "", "--role", "till"], "1 to 100 characters"),
        (&["--name", "x", "--role", "till", "--restaurants", "0"], "2147483647"),
        (&["--name", "x", "--role", "till", "--restaurants", ""], "2147483647"),
        (&["--name", "x", "--role", "till", "--rate", "0"], "--rate"),
        (&["--name", "x", "--role", "till", "--expires-in", "soon"], "--expires-in"),
        (&["--name", "x", "--role", "till", "--expires-in", "0s"], "a later expiry"),
        (&["--name", "x", "--role", "till", "--expires-in", "99999999999y"], "expir"),
        (&["--name", "x", "--role", "till", "--expires-at", "2020-01-01T00:00:00Z"], "a later expiry"),
        (&["--name", "x", "--role", "till", "--expires-at", "2020"], "--expires-at"),
    ] {
        let mut all = vec!["create"];
        all.extend(arguments);
        let refused = options.run("keys", &all);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(part) && !refused.stderr.contains("panicked"), "{arguments:?}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
    assert!(options.run("keys", &["list"]).stdout.contains("no keys; make one with"));

    let unmigrated = DaemonOptions::shared().await;
    let refused = unmigrated.run("keys", &["list"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("nowserving migrate"), "{refused:?}");
}
