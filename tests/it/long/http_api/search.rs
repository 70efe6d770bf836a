//! `GET /v1/restaurants/{restaurant_id}/search`.

use serde_json::{Value, json};

use super::world::{api, left_redis, restaurant};
use crate::support::Api;
use crate::support::api::{id, number, numbers, text};

/// The numbers of what a search finds, newest first.
async fn search(api: &Api, restaurant: u32, q: &str, more: &str) -> Vec<u64> {
    let q: String = q.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let found = api.get(&format!("/v1/restaurants/{restaurant}/search?q={q}{more}")).await.ok(200);
    numbers(found["orders"].as_array().unwrap_or_else(|| panic!("{found}")))
}

#[tokio::test]
async fn an_order_is_found_by_each_kind_of_key() {
    let (api, restaurant, elsewhere) = (api().await, restaurant(), restaurant());
    for restaurant in [restaurant, elsewhere] {
        api.configure(restaurant, json!({"min_number": 100, "format": "A-{n:04}"})).await;
    }
    let body = json!({"table_number": "T12", "external_id": "POS-9/x", "customer_name": "María-José Müller"});
    let order = api.create(restaurant, body.clone()).await;
    api.create(elsewhere, body).await;
    for _ in 0..3 {
        api.create(restaurant, json!({"table_number": "T1", "customer_name": "Bob", "note": "María T12 POS-9/x"}))
            .await;
    }
    assert_eq!((number(&order), text(&order, "display_number_formatted")), (100, "A-0100"));
    let uuid = id(&order);
    let keys = [
        "100",
        "0100",
        "A-0100",
        "a-0100",
        &format!("R{restaurant}-0100"),
        &format!("r{restaurant}-0100"),
        uuid,
        &uuid.to_uppercase(),
        &uuid.replace('-', ""),
        "POS-9/x",
        "pos-9/X",
        "T12",
        "t12",
        "María-José Müller",
        "maría",
        "MARÍA",
        "osé",
        "mül",
        "ller",
        "ma",
        " T12 ",
        "#100",
        "# 0100",
        "１００",
        "١٠٠",
        "१००",
        "No. 100",
        "№100",
        "“100”",
        "A-100",
        "a 100",
        "A100",
        "Ａ－１００",
        &format!("R{restaurant}-100"),
        &format!("r{restaurant} 0100"),
        "Ｔ１２",
        "ｐｏｓ－９／ｘ",
        "maria",
        "Maria-Jose Muller",
        "mari\u{301}a",
        "ＭÜＬＬＥＲ",
        "josé mu\u{308}ller",
        "ria‑jos",
    ]
    .map(str::to_owned);
    // Orders of one moment share the beginning of their ids, so a beginning finds at least this one.
    for prefix in [&uuid[..8], &uuid[..13], &uuid[..18]] {
        assert!(search(&api, restaurant, prefix, "").await.contains(&100), "{prefix}");
    }
    for key in &keys {
        assert_eq!(search(&api, restaurant, key, "").await, [100], "{key}");
        assert_eq!(search(&api, restaurant, key, "&include_completed=true").await, [100], "{key}");
    }
    let nothing = [
        "10",
        "1000",
        "B-100",
        "R1-0100",
        "R1-100",
        "T",
        "T123",
        "POS",
        "os",
        "üller-",
        "%",
        "_",
        "María%",
        "' OR 1=1 --",
        "no onions",
        "🍕",
        &uuid[..7],
    ];
    for other in nothing {
        assert_eq!(search(&api, restaurant, other, "").await, [0; 0], "{other}");
        assert_eq!(search(&api, restaurant, other, "&include_completed=true").await, [0; 0], "{other}");
    }
    // Just the same once it is final: still in Redis, and in the ledger.
    api.release(uuid, false).await.ok(200);
    for key in &keys {
        assert_eq!(search(&api, restaurant, key, "").await, [0; 0], "{key} is not live");
        assert_eq!(search(&api, restaurant, key, "&include_completed=false").await, [0; 0], "{key}");
        assert_eq!(search(&api, restaurant, key, "&include_completed=true").await, [100], "{key}");
    }
}

#[tokio::test]
async fn what_is_found_comes_newest_first_in_pages() {
    let (api, restaurant) = (api().await, restaurant());
    let mut orders = Vec::new();
    for at in 0..23 {
        let order = api.create(restaurant, json!({"customer_name": format!("Guest {at}"), "table_number": "7"})).await;
        orders.push(order);
    }
    orders.sort_by_key(|order| std::cmp::Reverse(id(order).to_owned()));
    for order in orders.iter().step_by(3) {
        api.release(id(order), false).await.ok(200);
    }
    let live: Vec<u64> = numbers(orders.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, order)| order));
    for (more, expected) in [("", &live), ("&include_completed=true", &numbers(&orders))] {
        for q in ["guest", "7"] {
            let mut found = Vec::new();
            let mut cursor = String::new();
            loop {
                let path = format!("/v1/restaurants/{restaurant}/search?q={q}&limit=5&cursor={cursor}{more}");
                let page = api.get(&path).await.ok(200);
                let orders = page["orders"].as_array().expect("orders");
                assert!(orders.len() == 5 || page["next_cursor"].is_null(), "{page}");
                found.extend(numbers(orders).into_iter().filter(|number| q != "7" || *number != 7));
                match &page["next_cursor"] {
                    Value::String(next) => next.clone_into(&mut cursor),
                    _ => break,
                }
            }
            let expected: Vec<u64> = expected.iter().copied().filter(|number| q != "7" || *number != 7).collect();
            assert_eq!(found, expected, "{q}{more}");
        }
    }
    let page = api.get(&format!("/v1/restaurants/{restaurant}/search?q=guest")).await.ok(200);
    assert_eq!(page["orders"].as_array().map(Vec::len), Some(live.len().min(20)));
}

#[tokio::test]
async fn searches_are_checked() {
    let (api, restaurant) = (api().await, restaurant());
    let long = "x".repeat(129);
    for (query, faults) in [
        ("", vec!["/q missing"]),
        ("q=", vec!["/q missing"]),
        ("q=%20%20", vec!["/q missing"]),
        (&format!("q={long}"), vec!["/q too_long"]),
        ("q=a%00b", vec!["/q nul_character"]),
        ("q=%ff", vec!["/q invalid_value", "/q missing"]),
        ("q=a&q=b", vec!["/q duplicate"]),
        ("q=a&include_completed=yes", vec!["/include_completed invalid_value"]),
        (
            "include_completed=2&limit=0&x=1",
            vec!["/include_completed invalid_value", "/limit out_of_range", "/q missing", "/x unknown_parameter"],
        ),
    ] {
        let answer = api.get(&format!("/v1/restaurants/{restaurant}/search?{query}")).await;
        assert_eq!(answer.faults(422, "invalid_parameter"), faults, "{query}");
    }
    assert_eq!(search(&api, restaurant, &"é".repeat(128), "").await, [0; 0]);
    assert_eq!(
        search(&api, restaurant, "x", "&include_completed=true").await,
        [0; 0],
        "a restaurant that nobody knows"
    );
}

/// What a guest is called on the ticket, and what a waiter types: live, kept in Redis, and in the ledger.
#[tokio::test]
async fn names_are_found_as_people_write_them() {
    let (api, restaurant) = (api().await, restaurant());
    let names = [
        ("José", ["jose", "JOSÉ", "jose\u{301}"]),
        ("Łukasz Żółć", ["lukasz", "zolc", "ŁUKASZ"]),
        ("İstanbul Işık", ["istanbul", "ISIK", "ışık"]),
        ("Straße", ["strasse", "STRASSE", "straß"]),
        ("O’Brien", ["o'brien", "obrien", "O´Brien"]),
        ("Ǆemal", ["džemal", "DZEMAL", "ǆem"]),
        ("Soﬁa", ["sofia", "SOFI", "oﬁa"]),
        ("Nguyê\u{303}n", ["nguyen", "Nguyễn", "NGUYE\u{302}\u{303}N"]),
        ("Ａｎｎａ", ["anna", "ANNA", "ａｎｎ"]),
        ("Ma\u{ad}ri\u{200d}on", ["marion", "Mari\u{ad}on", "rion"]),
        ("❤️ Zoë 🍕", ["❤ zoe", "zoe 🍕", "ZOË"]),
        ("山田　太郎", ["山田", "田 太郎", "山田 太郎"]),
        ("Сёмин", ["семин", "СЁМ", "семи"]),
        ("Ὀδυσσεύς", ["οδυσσευς", "ΟΔΥΣΣΕΥΣ", "δυσ"]),
    ];
    let mut orders = Vec::new();
    for (name, _) in names {
        orders.push(api.create(restaurant, json!({"customer_name": name})).await);
    }
    let all_are_found = async |more: &str| {
        for ((name, texts), order) in names.iter().zip(&orders) {
            for text in texts {
                assert_eq!(search(&api, restaurant, text, more).await, [number(order)], "{text:?} for {name:?}{more}");
            }
        }
    };
    all_are_found("").await;
    for order in &orders {
        api.release(id(order), false).await.ok(200);
    }
    all_are_found("&include_completed=true").await;
    for order in &orders {
        left_redis(order).await;
    }
    all_are_found("&include_completed=true").await;
    for nothing in ["joseph", "川田", "'", "семён"] {
        assert_eq!(search(&api, restaurant, nothing, "&include_completed=true").await, [0; 0], "{nothing}");
    }
}
