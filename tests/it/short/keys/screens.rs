//! Screens: paired by a code, seen, and revoked.

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::browser::{Browser, OWN, cookie_of};
use super::client::{asking, call, get, ledger, make};
use crate::support::api::text;
use crate::support::{Api, Daemon, DaemonOptions, PATIENCE, eventually_true};

fn new_screen(code: &str, restaurant: u32) -> Value {
    json!({"code": code, "restaurant_id": restaurant, "role": "screen", "name": "Board at the door"})
}

async fn run_sql(options: &DaemonOptions, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut ledger(options).await).await.expect("Postgres answers");
}

#[tokio::test]
async fn a_screen_is_paired_by_its_code() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let [api, other] = [0, 1].map(|at| Api::at(daemons[at].url()));
    let (browser, code) = Browser::waiting(&api, "board", 7).await;
    assert!(code.len() == 7 && code.as_bytes()[3] == b'-', "{code}");
    let there = browser.at(&other);
    for screen in [&browser, &there] {
        let state = screen.state().await;
        assert_eq!(
            (text(&state, "state"), text(&state, "code"), &state["role"]),
            ("waiting", code.as_str(), &Value::Null)
        );
        screen.get("/v1/restaurants/7/orders").await.problem(401, "unauthenticated");
    }
    // As a person types it.
    let typed = code.replace('-', "").to_lowercase();
    let mut new = new_screen(&typed, 7);
    new["shows_names"] = json!(true);
    let screen = call(&other, &admin, "POST", "/v1/screens", Some(&new)).await.ok(201);
    assert_eq!(
        (text(&screen, "name"), text(&screen, "role"), &screen["restaurant_id"], &screen["shows_names"]),
        ("Board at the door", "screen", &json!(7), &json!(true))
    );
    assert_eq!(
        (text(&screen, "paired_by"), &screen["last_seen_at"], &screen["stale"]),
        ("key:1", &Value::Null, &json!(true))
    );
    assert!(!screen.to_string().contains("nsk_"));
    for screen in [&browser, &there] {
        screen.get("/v1/restaurants/7/orders").await.ok(200);
        screen.get("/v1/restaurants/8/orders").await.problem(403, "forbidden");
        eventually_true(PATIENCE, || async { screen.state().await["state"] == "paired" }).await;
        let state = screen.state().await;
        assert_eq!(
            (text(&state, "role"), &state["restaurant_id"], &state["code"]),
            ("screen", &json!(7), &Value::Null)
        );
    }
    // It is a key as others are, and so revoked as others are.
    let id = screen["screen_id"].as_i64().expect("an id");
    let key = get(&api, &admin, &format!("/v1/keys/{id}")).await.ok(200);
    assert_eq!((text(&key, "role"), &key["restaurants"], &key["shows_names"]), ("screen", &json!([7]), &json!(true)));
    let revoked = call(&api, &admin, "DELETE", &format!("/v1/screens/{id}"), None).await.ok(200);
    assert_eq!((text(&revoked, "revoked_by"), revoked["revoked_at"].is_string()), ("key:1", true));
    browser.get("/v1/restaurants/7/orders").await.problem(401, "unauthenticated");
    eventually_true(PATIENCE, || async { there.get("/v1/restaurants/7/orders").await.status == 401 }).await;
    eventually_true(PATIENCE, || async { there.state().await["state"] == "expired" }).await;
    assert_eq!(get(&api, &admin, "/v1/screens").await.ok(200)["screens"], json!([]));
    let read = get(&api, &admin, &format!("/v1/screens/{id}")).await.ok(200);
    assert_eq!(read["revoked_by"], "key:1");
    let again = call(&other, &admin, "DELETE", &format!("/v1/screens/{id}"), None).await.ok(200);
    assert_eq!(again["revoked_at"], revoked["revoked_at"]);
}

#[tokio::test]
async fn a_code_is_good_once_and_for_ten_minutes() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let pair = async |code: &str, restaurant| {
        call(&api, &admin, "POST", "/v1/screens", Some(&new_screen(code, restaurant))).await
    };
    let (waits, code) = Browser::waiting(&api, "board", 7).await;
    // Of two admins one is first.
    let answers = join_all((0..4).map(|_| pair(&code, 7))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409], "{answers:?}");
    pair(&code, 7).await.problem(409, "pairing_used");
    waits.get("/v1/restaurants/7/slots").await.ok(200);
    assert_eq!(get(&api, &admin, "/v1/screens").await.ok(200)["screens"].as_array().map(Vec::len), Some(1));

    let (late, code) = Browser::waiting(&api, "kitchen", 7).await;
    pair(&code, 8).await.problem(404, "pairing_not_found");
    let expires_at: DateTime<Utc> = text(&late.state().await, "expires_at").parse().expect("a time");
    let left = expires_at - Utc::now();
    assert!((540..=600).contains(&left.num_seconds()), "{left}");
    run_sql(&options, "UPDATE pairings SET expires_at = now() - interval '1 second' WHERE key_id IS NULL").await;
    pair(&code, 7).await.problem(410, "pairing_expired");
    eventually_true(PATIENCE, || async { late.state().await["state"] == "expired" }).await;
    late.get("/v1/restaurants/7/slots").await.problem(401, "unauthenticated");
    // Later it is as if it had never been.
    run_sql(&options, "UPDATE pairings SET expires_at = now() - interval '11 minutes'").await;
    eventually_true(PATIENCE, || async { pair(&code, 7).await.any_problem()["code"] == "pairing_not_found" }).await;
    waits.get("/v1/restaurants/7/slots").await.ok(200);
    assert_eq!(waits.state().await["state"], "paired", "known by its key");
    let stranger = api.json_with("GET", "/v1/pairings/current", &[OWN], &json!({})).await.ok(200);
    assert_eq!(stranger["state"], "expired");
}

#[tokio::test]
async fn guessing_codes_is_limited() {
    let options = asking().await;
    let (admin, other) = (make(&options, &["--role", "admin"]), make(&options, &["--role", "admin"]));
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for attempt in 0..20 {
        let code = format!("CCCC{:02}", attempt);
        let answer = call(&api, &admin, "POST", "/v1/screens", Some(&new_screen(&code, 7))).await;
        answer.problem(404, "pairing_not_found");
    }
    let (_, code) = Browser::waiting(&api, "board", 7).await;
    let limited = call(&api, &admin, "POST", "/v1/screens", Some(&new_screen(&code, 7))).await;
    limited.problem(429, "rate_limited");
    let wait: u64 = limited.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a wait");
    assert!((500..=601).contains(&wait), "{wait}");
    call(&api, &other, "POST", "/v1/screens", Some(&new_screen(&code, 7))).await.ok(201);
}

#[tokio::test]
async fn an_admin_of_some_restaurants_pairs_and_sees_screens_of_these() {
    let options = asking().await;
    let chain = make(&options, &["--role", "admin"]);
    let seven = make(&options, &["--role", "admin", "--restaurants", "7"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (_, code) = Browser::waiting(&api, "board", 8).await;
    call(&api, &seven, "POST", "/v1/screens", Some(&new_screen(&code, 8))).await.problem(403, "forbidden");
    call(&api, &seven, "POST", "/v1/screens", Some(&new_screen(&code, 7))).await.problem(404, "pairing_not_found");
    let eight = call(&api, &chain, "POST", "/v1/screens", Some(&new_screen(&code, 8))).await.ok(201);
    let (_, own) = Browser::paired(&api, &seven, "kitchen", 7).await;
    let ids = async |key: &str, path: &str| {
        let listed = get(&api, key, path).await.ok(200);
        let screens = listed["screens"].as_array().expect("screens").iter();
        screens.map(|screen| screen["screen_id"].as_i64().expect("an id")).collect::<Vec<_>>()
    };
    let [eight, own] = [&eight, &own].map(|screen| screen["screen_id"].as_i64().expect("an id"));
    assert_eq!(ids(&chain, "/v1/screens").await, [eight, own]);
    assert_eq!(ids(&chain, "/v1/screens?restaurant_id=7").await, [own]);
    assert_eq!(ids(&seven, "/v1/screens").await, [own]);
    assert_eq!(ids(&seven, "/v1/screens?restaurant_id=8").await, [] as [i64; 0]);
    let page = get(&api, &chain, "/v1/screens?limit=1").await.ok(200);
    let next = text(&page, "next_cursor");
    assert_eq!(ids(&chain, &format!("/v1/screens?limit=1&cursor={next}")).await, [own]);
    for (method, id) in [("GET", eight), ("DELETE", eight), ("GET", 1), ("DELETE", 1)] {
        call(&api, &seven, method, &format!("/v1/screens/{id}"), None).await.problem(404, "screen_not_found");
    }
    for bad in ["x", "0", "999999"] {
        get(&api, &chain, &format!("/v1/screens/{bad}")).await.problem(404, "screen_not_found");
    }
    // A key that was made otherwise is no screen.
    call(&api, &chain, "DELETE", "/v1/screens/2", None).await.problem(404, "screen_not_found");
}

#[tokio::test]
async fn strangers_cannot_fill_the_table() {
    let options = asking().await;
    make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let waiting = "INSERT INTO pairings (digest, code, page, restaurant_id, client, expires_at)
         SELECT sha256(n::text::bytea), lpad(n::text, 6, 'A'), 'board', 7, '127.0.0.1', now() + interval '5 minutes'
         FROM generate_series(1, 100) AS n";
    run_sql(&options, waiting).await;
    let body = json!({"page": "board", "restaurant_id": 7});
    let refused = api.json_with("POST", "/v1/pairings", &[OWN], &body).await;
    refused.problem(429, "too_many_pairings");
    assert!(refused.header("retry-after").is_some() && refused.header("set-cookie").is_none(), "{refused:?}");
    run_sql(&options, "UPDATE pairings SET client = '10.0.0.7'").await;
    let (first, _) = Browser::waiting(&api, "board", 7).await;
    // A page that is loaded anew waits once.
    let again = first.own("POST", "/v1/pairings", Some(&body)).await;
    again.ok(201);
    let second = Browser { api: api.clone(), cookie: cookie_of(&again) };
    assert_eq!(second.state().await["state"], "waiting");
    eventually_true(PATIENCE, || async { first.state().await["state"] == "expired" }).await;
    let more = "INSERT INTO pairings (digest, code, page, restaurant_id, client, expires_at)
         SELECT sha256(n::text::bytea), lpad(n::text, 6, 'A'), 'board', 7, n::text, now() + interval '5 minutes'
         FROM generate_series(101, 1999) AS n";
    run_sql(&options, more).await;
    api.json_with("POST", "/v1/pairings", &[OWN], &body).await.problem(429, "too_many_pairings");
    run_sql(&options, "UPDATE pairings SET expires_at = now() - interval '11 minutes' WHERE code LIKE 'A%'").await;
    Browser::waiting(&api, "board", 7).await;
    let left = || async {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pairings");
        count.fetch_one(&mut ledger(&options).await).await.expect("Postgres answers") == 2
    };
    eventually_true(PATIENCE, left).await;
}

#[tokio::test]
async fn faults_of_what_screens_and_admins_send_are_named() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    for (new, faults) in [
        (json!({}), &["/code missing", "/name missing", "/restaurant_id missing", "/role missing"][..]),
        (json!({"code": "K7F", "restaurant_id": 0, "role": "till", "name": ""}), &["/restaurant_id invalid_value"]),
        (
            json!({"code": "K7F", "restaurant_id": 7, "role": "till", "name": ""}),
            &["/code invalid_value", "/name invalid_value", "/role invalid_value"],
        ),
    ] {
        let answer = call(&api, &admin, "POST", "/v1/screens", Some(&new)).await;
        let mut found = answer.faults(422, "invalid_body");
        found.sort_unstable();
        assert!(faults.iter().all(|fault| found.contains(&(*fault).to_owned())), "{new}: {found:?}");
    }
    let begun = api.json_with("POST", "/v1/pairings", &[OWN], &json!({"page": "till"})).await;
    assert!(begun.faults(422, "invalid_body").contains(&"/page invalid_value".to_owned()), "{begun:?}");
    let (kitchen, _) = Browser::paired(&api, &admin, "kitchen", 7).await;
    let here = json!({"page": "kitchen", "station": "x".repeat(41), "position": "a\nb"});
    let answer = kitchen.own("PUT", "/v1/screens/self", Some(&here)).await;
    assert_eq!(answer.faults(422, "invalid_body"), ["/position invalid_value", "/station too_long"]);
}

#[tokio::test]
async fn a_screen_says_that_it_is_here() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemons = [Daemon::start(&options), Daemon::start(&options)];
    let [api, other] = [0, 1].map(|at| Api::at(daemons[at].url()));
    let (kitchen, screen) = Browser::paired(&api, &admin, "kitchen", 7).await;
    let path = format!("/v1/screens/{}", screen["screen_id"]);
    let here = json!({"page": "kitchen", "station": "grill", "sound": true, "stale": false, "position": "3-1207"});
    let said = kitchen.own("PUT", "/v1/screens/self", Some(&here)).await;
    assert_eq!((said.status, cookie_of(&said)), (204, kitchen.cookie.clone()), "the browser keeps it");
    let seen = || async { get(&api, &admin, &path).await.ok(200)["last_seen_at"].is_string() };
    eventually_true(PATIENCE, seen).await;
    let screen = get(&other, &admin, &path).await.ok(200);
    for field in ["page", "station", "sound", "position"] {
        assert_eq!(screen[field], here[field], "{field}");
    }
    assert_eq!(screen["stale"], false);
    // By its own word, and by another daemon.
    let stale = json!({"page": "board", "stale": true});
    assert_eq!(kitchen.at(&other).own("PUT", "/v1/screens/self", Some(&stale)).await.status, 204);
    let is_stale = || async { get(&api, &admin, &path).await.ok(200)["stale"] == true };
    eventually_true(PATIENCE, is_stale).await;
    let screen = get(&api, &admin, &path).await.ok(200);
    let left = (text(&screen, "page"), &screen["station"], &screen["sound"], &screen["position"]);
    assert_eq!(left, ("board", &Value::Null, &json!(false), &Value::Null));
    let count = async |freshness: &str| {
        let metrics = get(&api, &admin, "/metrics").await.text;
        let series = format!("nowserving_screens{{freshness=\"{freshness}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok()).expect("it is counted")
    };
    eventually_true(PATIENCE, || async { (count("fresh").await, count("stale").await) == (0.0, 1.0) }).await;
    // One that is silent is not here.
    run_sql(&options, "UPDATE screens SET stale = false, last_seen_at = now() - interval '2 minutes'").await;
    assert_eq!(get(&api, &admin, &path).await.ok(200)["stale"], true);
    eventually_true(PATIENCE, || async { (count("gone").await, count("stale").await) == (1.0, 0.0) }).await;
    // What was said last is written when the daemon ends.
    assert_eq!(kitchen.own("PUT", "/v1/screens/self", Some(&here)).await.status, 204);
    let [first, second] = daemons;
    let (status, output) = first.terminate();
    assert!(status.success(), "{output}");
    assert_eq!(get(&other, &admin, &path).await.ok(200)["position"], "3-1207");
    drop(second);
}

#[tokio::test]
async fn sessions_are_found_by_time_and_by_order() {
    let options = asking().await;
    let admin = make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let (_, screen) = Browser::paired(&api, &admin, "screen", 7).await;
    let id = screen["screen_id"].as_i64().expect("an id");
    let order = super::client::create(&api, &admin, 7).await;
    let sessions = "INSERT INTO screen_sessions (id, key_id, restaurant_id, page, daemon, begun_at, last_seen_at, ended_at)
         SELECT gen_random_uuid(), (SELECT max(id) FROM api_keys), s.restaurant, 'board', gen_random_uuid(),
                now() - s.begun, now() - s.seen, CASE WHEN s.has_ended THEN now() - s.seen END
         FROM (VALUES (7, interval '3 hours', interval '2 hours', true),
                      (7, interval '1 hour', interval '50 minutes', false),
                      (7, interval '10 minutes', interval '20 seconds', false),
                      (8, interval '10 minutes', interval '20 seconds', false)) AS s (restaurant, begun, seen, has_ended)";
    run_sql(&options, sessions).await;
    let path = "/v1/restaurants/7/screen-sessions";
    let found = async |query: &str| {
        let listed = get(&api, &admin, &format!("{path}{query}")).await.ok(200);
        listed["sessions"].as_array().expect("sessions").clone()
    };
    let all = found("").await;
    let ended: Vec<_> = all.iter().map(|session| session["ended_at"].is_string()).collect();
    // The second one's daemon died.
    assert_eq!(ended, [true, true, false], "{all:?}");
    assert!(all.iter().all(|session| session["screen_id"] == id && session["name"] == "a screen"), "{all:?}");
    let ago = |minutes: i64| {
        let at = Utc::now() - chrono::Duration::minutes(minutes);
        at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    };
    for (from, to, expected) in
        [(150, 130, &all[..1]), (100, 55, &all[1..2]), (52, 5, &all[1..]), (5, 1, &all[2..]), (45, 11, &[])]
    {
        let query = format!("?from={}&to={}", ago(from), ago(to));
        assert_eq!(found(&query).await, expected, "{query}");
    }
    assert_eq!(found(&format!("?from={}", ago(0))).await, &all[2..], "it goes on");
    // While an order had its number.
    let of_order = format!("?order={}", order["internal_order_id"].as_str().expect("an id"));
    assert_eq!(found(&of_order).await, &all[2..]);
    let part = get(&api, &admin, &format!("{path}?limit=2")).await.ok(200);
    assert_eq!(part["sessions"], json!(all[..2]));
    assert_eq!(found(&format!("?limit=2&cursor={}", text(&part, "next_cursor"))).await, &all[2..]);
    for (query, fault) in [
        ("?from=2026-01-02&to=2026-01-01", "/to invalid_value"),
        ("?cursor=x", "/cursor invalid_value"),
        ("?order=42", "/order invalid_value"),
        ("?order=7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f&to=2026-01-01", "/order invalid_value"),
    ] {
        assert_eq!(get(&api, &admin, &format!("{path}{query}")).await.faults(422, "invalid_parameter"), [fault]);
    }
    let elsewhere = get(&api, &admin, &format!("/v1/restaurants/8/screen-sessions{of_order}")).await;
    elsewhere.problem(404, "order_not_found");
}

#[tokio::test]
async fn where_no_keys_are_asked_for_a_screen_needs_no_pairing() {
    let options = DaemonOptions::migrated().await;
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let body = json!({"page": "board", "restaurant_id": 7});
    let answer = api.json_with("POST", "/v1/pairings", &[OWN], &body).await;
    let problem = answer.problem(409, "pairing_not_needed");
    assert!(text(&problem, "detail").contains("asks for no API keys"), "{problem}");
    api.get("/v1/pairings/current").await.problem(409, "pairing_not_needed");
    let new = new_screen("K7F3QX", 7);
    api.post("/v1/screens", new).await.problem(401, "unauthenticated");
    api.send("DELETE", "/v1/screens/1", &[], None).await.problem(401, "unauthenticated");
    assert_eq!(api.put("/v1/screens/self", json!({"page": "board"})).await.status, 204);
    assert_eq!(api.get("/v1/screens").await.ok(200)["screens"], json!([]));
}

#[tokio::test]
async fn the_command_pairs_lists_and_revokes() {
    let options = asking().await;
    make(&options, &["--role", "admin"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    assert!(options.run("screens", &["list"]).stdout.contains("no screens"));
    let (browser, code) = Browser::waiting(&api, "kitchen", 7).await;
    let wrong = options.run("screens", &["pair", &code, "--restaurant", "8"]);
    assert!(wrong.status.code() == Some(1) && wrong.stderr.contains("no screen for restaurant 8 shows"), "{wrong:?}");
    let paired = options.run("screens", &["pair", &code, "--restaurant", "7", "--role", "kitchen"]);
    assert_eq!(paired.stdout, "paired 2: kitchen \"kitchen of restaurant 7\", restaurant 7\n", "{paired:?}");
    browser.get("/v1/restaurants/7/orders").await.ok(200);
    let again = options.run("screens", &["pair", &code, "--restaurant", "7"]);
    assert!(again.status.code() == Some(1) && again.stderr.contains("was entered before"), "{again:?}");
    let listed = options.run("screens", &["list"]).stdout;
    assert!(listed.contains("by cli, never here"), "{listed}");
    let json = options.run("screens", &["list", "--json", "--restaurant", "7"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["screens"][0]["screen_id"], &json["screens"][0]["stale"]), (&json!(2), &json!(true)));
    let doctor = options.run("doctor", &[]).stdout;
    assert!(doctor.contains("every screen that was paired was here within a week"), "{doctor}");
    run_sql(&options, "UPDATE api_keys SET created_at = now() - interval '8 days' WHERE id = 2").await;
    let doctor = options.run("doctor", &[]).stdout;
    assert!(
        doctor.contains("1 screens were not here for a week") && doctor.contains("restaurant 7, never here"),
        "{doctor}"
    );
    let revoked = options.run("screens", &["revoke", "2", "1"]);
    assert_eq!(revoked.status.code(), Some(2), "{revoked:?}");
    assert!(
        revoked.stdout.contains("revoked 2:") && revoked.stdout.contains("1: there is no such screen"),
        "{revoked:?}"
    );
    eventually_true(PATIENCE, || async { browser.get("/v1/restaurants/7/orders").await.status == 401 }).await;
    for (arguments, part) in [
        (&["pair", "K7F", "--restaurant", "7"][..], "six letters and digits"),
        (&["pair", "K7F-3QX"], "--restaurant"),
        (&["pair", "K7F-3QX", "--restaurant", "7", "--role", "admin"], "screen, kitchen"),
    ] {
        let refused = options.run("screens", arguments);
        assert!(refused.status.code() == Some(1) && refused.stderr.contains(part), "{arguments:?}: {refused:?}");
    }
}
