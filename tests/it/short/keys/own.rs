//! The older calls, where a key is good for one restaurant: the older system did not ask which one.

use serde_json::{Value, json};

use super::client::{asking, call, get, make};
use crate::support::api::{Answer, id};
use crate::support::{Api, Daemon, DaemonOptions};

/// The orders that an answer of the older search has.
fn found(answer: &Answer) -> Vec<String> {
    let found = answer.ok(200);
    let orders = found["orders"].as_array().expect("orders");
    orders.iter().map(|order| id(order).to_owned()).collect()
}

#[tokio::test]
async fn a_key_of_one_restaurant_need_not_name_it() {
    let options = asking().await;
    let till = |restaurants: &str| make(&options, &["--role", "till", "--restaurants", restaurants]);
    let (seven, eight, both) = (till("7"), till("8"), till("7,8"));
    let all = make(&options, &["--role", "till"]);
    let screen = make(&options, &["--role", "screen", "--restaurants", "7"]);
    let daemon = Daemon::start(&options);
    let api = Api::at(daemon.url());
    let create = async |key: &str, restaurant: u32| -> Value {
        let body = json!({"customer_name": format!("Guest of {restaurant}")});
        call(&api, key, "POST", &format!("/v1/restaurants/{restaurant}/orders"), Some(&body)).await.ok(201)
    };
    let (here, there) = (create(&seven, 7).await, create(&eight, 8).await);
    assert_eq!(here["display_number_formatted"], there["display_number_formatted"]);
    let lookup = "/api/orders/lookup?display_number=0001";
    let search = "/api/orders/search?q=guest";

    // Each is led to its own.
    for (key, order) in [(&seven, &here), (&eight, &there)] {
        assert_eq!(get(&api, key, lookup).await.ok(200), *order);
        assert_eq!(get(&api, key, "/api/orders/lookup?restaurant_id=&display_number=1").await.ok(200), *order);
        assert_eq!(found(&get(&api, key, search).await), [id(order)]);
    }
    // And where it is named, it is that one or none.
    assert_eq!(get(&api, &seven, &format!("{lookup}&restaurant_id=7")).await.ok(200), here);
    assert_eq!(found(&get(&api, &seven, &format!("{search}&restaurant_id=7")).await), [id(&here)]);
    for path in [
        format!("{lookup}&restaurant_id=8"),
        format!("{search}&restaurant_id=8"),
        format!("{lookup}&restaurant_id=7&restaurant_id=8"),
        format!("{lookup}&restaurant_id=x"),
        format!("/api/orders/lookup?internal_id={}", id(&there)),
    ] {
        get(&api, &seven, &path).await.problem(403, "forbidden");
    }
    get(&api, &screen, lookup).await.problem(403, "forbidden");

    // Of several, no key says which one is meant.
    for key in [&both, &all] {
        for path in [lookup, search] {
            let problem = get(&api, key, path).await;
            assert_eq!(problem.faults(422, "invalid_parameter"), ["/restaurant_id missing"], "{path}");
            let problem = problem.any_problem();
            assert!(
                problem["detail"].as_str().is_some_and(|text| text.contains("a key of one restaurant")),
                "{problem}"
            );
        }
        assert_eq!(get(&api, key, &format!("{lookup}&restaurant_id=8")).await.ok(200), there);
    }
    let faults = get(&api, &both, "/api/orders/lookup").await.faults(422, "invalid_parameter");
    assert_eq!(faults, ["/display_number missing", "/restaurant_id missing"]);
    let faults = get(&api, &seven, "/api/orders/search?q=").await.faults(422, "invalid_parameter");
    assert_eq!(faults, ["/q missing"]);
}

#[tokio::test]
async fn without_keys_the_restaurant_must_be_named() {
    let daemon = Daemon::start(&DaemonOptions::migrated().await);
    let api = Api::at(daemon.url());
    let order = api.create(7, json!({})).await;
    for path in ["/api/orders/lookup?display_number=0001", "/api/orders/search?q=1"] {
        assert_eq!(api.get(path).await.faults(422, "invalid_parameter"), ["/restaurant_id missing"], "{path}");
    }
    assert_eq!(api.get("/api/orders/lookup?display_number=0001&restaurant_id=7").await.ok(200), order);
}
