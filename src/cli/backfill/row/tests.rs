use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cli::backfill::{
    dialect::Dialect,
    names::Names,
    restaurants::Restaurants,
    time::{AsUtc, TimeRules},
    value::Objects,
    words::Told,
};

const UUID: &str = "6f0a1c52-93d4-4c0e-8f57-0d9a6be1c001";

fn at(text: &str) -> Timestamp {
    TimeRules::default().read(text, false).expect("a time").at.into()
}

fn now() -> Timestamp {
    at("2026-11-23T12:00:00Z")
}

/// A row of these fields, over one that is good.
fn row(fields: Value) -> Row {
    row_of(&Names::default(), fields)
}

fn row_of(names: &Names, fields: Value) -> Row {
    let mut all = json!({"id": UUID, "restaurant_id": 7, "status": "completed", "created_at": "2026-11-23T10:00:00Z"});
    for (name, value) in fields.as_object().expect("an object") {
        all[name] = value.clone();
    }
    Objects::new(names.clone()).row(all.to_string().as_bytes()).expect("an object")
}

fn parse_by(rules: &Rules, fields: Value) -> Result<Parsed, Remark<Skipped>> {
    parse(&row_of(&rules.names, fields), rules, &mut Tally::default(), now())
}

fn parsed(fields: Value) -> Parsed {
    parse_by(&Rules::default(), fields.clone()).unwrap_or_else(|remark| panic!("{fields}: {remark:?}"))
}

fn skipped(fields: Value) -> Skipped {
    match parse_by(&Rules::default(), fields.clone()) {
        Ok(parsed) => panic!("{fields}: {parsed:?}"),
        Err(remark) => remark.reason,
    }
}

fn adjusted(fields: Value) -> Vec<Adjusted> {
    parsed(fields).adjusted.iter().map(|remark| remark.reason).collect()
}

#[test]
fn what_cannot_be_taken_is_skipped() {
    for (fields, reason) in [
        (json!({"id": null}), Skipped::Id),
        (json!({"id": "  "}), Skipped::Id),
        (json!({"id": 1.5}), Skipped::Id),
        (json!({"id": [1]}), Skipped::Id),
        (json!({"id": "a\0b"}), Skipped::Id),
        (json!({"restaurant_id": 0}), Skipped::Restaurant),
        (json!({"restaurant_id": "-1"}), Skipped::Restaurant),
        (json!({"restaurant_id": 2_147_483_648_u64}), Skipped::Restaurant),
        (json!({"restaurant_id": null}), Skipped::Restaurant),
        (json!({"status": null}), Skipped::Status),
        (json!({"status": "gone fishing"}), Skipped::Status),
        (json!({"created_at": ""}), Skipped::CreatedAt),
        (json!({"created_at": "soon"}), Skipped::CreatedAt),
        (json!({"created_at": 1_795_402}), Skipped::CreatedAt),
        (json!({"created_at": "infinity"}), Skipped::CreatedAt),
        (json!({"created_at": "10/11/2026 10:00"}), Skipped::CreatedAt),
        (json!({"created_at": "2026-11-23 10:00"}), Skipped::NoZone),
        (json!({"created_at": "2026-11-23"}), Skipped::NoZone),
        // An open order without a zone, but in no zone of the world made by now.
        (json!({"status": "new", "created_at": "2026-11-24 02:00:01"}), Skipped::CreatedAtRange),
        (json!({"status": "paid"}), Skipped::Status),
        (json!({"restaurant_id": "7.5"}), Skipped::Restaurant),
        (json!({"id": "1.23457E+11"}), Skipped::Id),
        (json!({"created_at": "1970-01-01T00:00:00Z"}), Skipped::CreatedAtRange),
        (json!({"created_at": "2026-11-24T12:00:01Z"}), Skipped::CreatedAtRange),
    ] {
        assert_eq!(skipped(fields.clone()), reason, "{fields}");
    }
}

/// An object of so many levels.
fn deep(levels: usize) -> Value {
    json!({"k": (2..levels).fold(json!([]), |inner, _| json!([inner]))})
}

#[test]
fn items_are_taken_as_far_as_they_say_what_is_cooked() {
    let soup = json!([{"name": "Soup", "quantity": 2, "note": "hot", "station": null, "price": 4.5}, {"name": "Tea"}]);
    for items in [soup.clone(), json!(soup.to_string())] {
        let details = parsed(json!({"items": items})).order.details;
        let kept = json!([{"name": "Soup", "quantity": 2, "note": "hot"}, {"name": "Tea", "quantity": 1}]);
        assert_eq!(json!(details.items), kept);
    }
}

#[test]
fn metadata_is_taken_in_the_form_in_which_it_is_kept() {
    for status in ["ready", "completed"] {
        for metadata in [json!({"b": 1e16, "a": -0.0}), json!(r#"{"b": 1e16, "a": -0}"#)] {
            let details = parsed(json!({"status": status, "metadata": metadata})).order.details;
            assert_eq!(json!(details.metadata).to_string(), r#"{"a":0,"b":10000000000000000}"#);
        }
    }
}

#[test]
fn what_can_be_put_right_is_taken() {
    for (fields, reasons) in [
        (json!({}), vec![]),
        (json!({"note": "a\0b"}), vec![Adjusted::Encoding]),
        (json!({"note": "x".repeat(501)}), vec![Adjusted::Cut]),
        (json!({"customer_name": "é".repeat(129), "table_number": "x".repeat(33)}), vec![Adjusted::Cut; 2]),
        (json!({"external_id": "x".repeat(129)}), vec![Adjusted::LeftOut]),
        (json!({"order_number": "x".repeat(65)}), vec![Adjusted::LeftOut]),
        (json!({"order_source": "carrier pigeon", "order_type": "by post"}), vec![Adjusted::LeftOut; 2]),
        (json!({"items": 3}), vec![]),
        (json!({"items": "[]"}), vec![]),
        (json!({"items": [{"title": "Soup"}]}), vec![Adjusted::LeftOut]),
        (json!({"items": [{"name": "Soup", "quantity": 0}]}), vec![Adjusted::LeftOut]),
        (json!({"metadata": "no object"}), vec![Adjusted::LeftOut]),
        (json!({"metadata": [1]}), vec![Adjusted::LeftOut]),
        (json!({"metadata": {"k": "x".repeat(2048)}}), vec![Adjusted::LeftOut]),
        (json!({"metadata": {"k": "\0"}}), vec![Adjusted::LeftOut]),
        (json!({"metadata": {"k": [1e20]}}), vec![Adjusted::LeftOut]),
        (json!({"metadata": r#"{"sim": 89014103211118510720}"#}), vec![Adjusted::LeftOut]),
        (json!({"metadata": deep(101)}), vec![Adjusted::LeftOut]),
        (json!({"metadata": deep(100)}), vec![]),
        (json!({"display_order_number": 0}), vec![Adjusted::NumberUnclear]),
        (json!({"display_number": "forty-two"}), vec![Adjusted::NumberUnclear]),
        (json!({"display_number": "12-A-5"}), vec![Adjusted::NumberUnclear]),
        (json!({"display_number": "#1042"}), vec![]),
        (json!({"display_number": "…"}), vec![Adjusted::LeftOut]),
        (json!({"completed_at": "2026-11-23T09:00:00Z"}), vec![Adjusted::Time]),
        (json!({"completed_at": "2027-11-23T09:00:00Z"}), vec![Adjusted::Time]),
        (json!({"updated_at": "whenever"}), vec![Adjusted::LeftOut]),
        (json!({"updated_at": "2026-11-23 11:00"}), vec![Adjusted::NoZone]),
        (json!({"updated_at_utc": "2026-11-23 11:00"}), vec![]),
        (json!({"completed_at": "infinity", "updated_at": "0000-00-00 00:00:00"}), vec![]),
        (json!({"created_at": "2026-11-23T12:00:01Z"}), vec![Adjusted::Future]),
        (json!({"created_at": 1_795_428_000, "completed_at": 1_795_428_600_500.0}), vec![]),
        // It is not asked when an open order ended.
        (json!({"status": "ready", "completed_at": "2026-11-23T09:00:00Z"}), vec![]),
    ] {
        assert_eq!(adjusted(fields.clone()), reasons, "{fields}");
    }
}

#[test]
fn an_order_ends_after_it_began_and_before_now() {
    let times = |fields| {
        let order = parsed(fields).order;
        (order.released_at.to_string(), order.updated_at.to_string())
    };
    let both = |at: &str| (at.to_owned(), at.to_owned());
    assert_eq!(times(json!({})), both("2026-11-23T10:00:00.000Z"));
    assert_eq!(times(json!({"updated_at": "2026-11-23T11:00:00Z"})), both("2026-11-23T11:00:00.000Z"));
    assert_eq!(times(json!({"released_at": "2026-11-23T11:00:00Z"})), both("2026-11-23T11:00:00.000Z"));
    assert_eq!(times(json!({"completed_at": "2020-01-01T00:00:00Z"})), both("2026-11-23T10:00:00.000Z"));
    assert_eq!(times(json!({"completed_at": "2030-01-01T00:00:00Z"})), both("2026-11-23T12:00:00.000Z"));
}

#[test]
fn the_id_is_the_same_however_the_row_is_written() {
    let id = |fields| parsed(fields).order.id;
    let first = id(json!({}));
    assert_eq!(id(json!({"id": UUID.to_uppercase()})), first);
    assert_eq!(id(json!({"id": UUID.replace('-', "")})), first);
    assert_eq!(id(json!({"created_at": "2026-11-23 12:00:00+02", "restaurant_id": "7"})), first);
    assert_eq!(id(json!({"status": "pending", "note": "changed since"})), first);
    assert_ne!(id(json!({"restaurant_id": 8})), first);
    assert_ne!(id(json!({"id": "4711"})), first);
    for same in [json!("4711"), json!(4711.0), json!("4711.0"), json!(" 4711.00 ")] {
        assert_eq!(id(json!({"id": 4711})), id(json!({"id": same})), "{same}");
    }
    for other in [json!("4711."), json!("4711.5"), json!("v4711.0"), json!("04711"), json!("N4711"), json!("n4711")] {
        assert_ne!(id(json!({"id": 4711})), id(json!({"id": other})), "{other}");
    }
    assert_eq!(parsed(json!({})).order.foreign_id.map(|id| id.to_string()).as_deref(), Some(UUID));
}

#[test]
fn an_id_that_is_no_uuid_is_kept_as_the_external_id() {
    let external_id = |fields| parsed(fields).order.details.external_id;
    assert_eq!(external_id(json!({"id": 4711})).as_deref(), Some("4711"));
    assert_eq!(external_id(json!({"id": 4711, "external_id": "POS-9"})).as_deref(), Some("POS-9"));
    assert_eq!(external_id(json!({})), None);
}

#[test]
fn numbers_are_shown_as_they_were() {
    let shown = |fields| {
        let order = parsed(fields).order;
        order.number.map(|number| order.format.render(number))
    };
    assert_eq!(shown(json!({"display_order_number": 42})).as_deref(), Some("0042"));
    assert_eq!(shown(json!({"display_number": "0042"})).as_deref(), Some("0042"));
    assert_eq!(shown(json!({"display_number": "042"})).as_deref(), Some("042"));
    assert_eq!(shown(json!({"display_order_number": 42, "display_number_formatted": "042"})).as_deref(), Some("042"));
    assert_eq!(shown(json!({"display_order_number": 42, "display_number_formatted": "A-42"})).as_deref(), Some("A-42"));
    assert_eq!(shown(json!({"display_number": "#1042"})).as_deref(), Some("#1042"));
    assert_eq!(shown(json!({"display_number": "１０４２"})).as_deref(), Some("1042"));
    assert_eq!(shown(json!({"display_number": "R7-42"})).as_deref(), Some("0042"));
    assert_eq!(shown(json!({})), None);
}

#[test]
fn an_open_order_is_taken_without_a_zone_but_its_time_is_not() {
    for (written, taken) in [
        // Somewhere in the world it can be now.
        ("2026-11-23 02:00", "2026-11-23T12:00:00.000Z"),
        ("2026-11-24 01:59", "2026-11-23T12:00:00.000Z"),
        // Nowhere is it later than this.
        ("2026-11-20 10:00", "2026-11-20T22:00:00.000Z"),
    ] {
        let parsed = parsed(json!({"status": "ready", "created_at": written, "display_number": 42}));
        assert_eq!(parsed.order.id.created_at().to_string(), taken, "{written}");
        assert_eq!(parsed.adjusted.iter().map(|remark| remark.reason).collect::<Vec<_>>(), [Adjusted::NoZone]);
        assert_eq!(parsed.order.number.map(|number| number.get()), Some(42));
    }
    let rules = Rules { times: TimeRules { utc: Some(AsUtc::Assumed), ..TimeRules::default() }, ..Rules::default() };
    let taken = parse_by(&rules, json!({"status": "ready", "created_at": "2026-11-23 09:00"})).expect("it is taken");
    assert_eq!(taken.order.id.created_at().to_string(), "2026-11-23T09:00:00.000Z");
    assert_eq!(taken.adjusted[0].reason, Adjusted::ZoneAssumed);
}

#[test]
fn an_order_does_not_end_before_it_began_where_an_hour_was_twice() {
    let zone = Some(chrono_tz::Europe::Berlin);
    let rules = Rules { times: TimeRules { zone, ..TimeRules::default() }, ..Rules::default() };
    let fields = json!({"created_at": "2025-10-26T00:50:00Z", "completed_at": "2025-10-26 02:10:00"});
    let parsed = parse_by(&rules, fields).expect("it is taken");
    assert_eq!(parsed.order.released_at.to_string(), "2025-10-26T01:10:00.000Z");
    assert_eq!(parsed.adjusted.iter().map(|remark| remark.reason).collect::<Vec<_>>(), [Adjusted::TimeTwice]);
    let skipped = parse_by(&rules, json!({"created_at": "2026-03-29 02:30:00"})).expect_err("it does not exist");
    assert!(skipped.reason == Skipped::CreatedAt && skipped.detail.contains("does not exist"), "{skipped:?}");
}

/// The status of a row in a dialect; None: not known.
fn status_in(dialect: Dialect, fields: Value) -> Option<OrderStatus> {
    let rules = Rules {
        names: Names { dialect: Some(dialect), ..Names::default() },
        statuses: Vocabulary::new(Some(dialect), &[]),
        ..Rules::default()
    };
    parse_by(&rules, fields).ok().map(|parsed| parsed.order.status)
}

#[test]
fn a_status_is_made_of_what_a_dialect_has() {
    use OrderStatus::*;
    let shopify = |financial: Value, fulfillment: Value, cancelled: Value| {
        let fields = json!({"status": null, "financial_status": financial, "fulfillment_status": fulfillment,
                            "cancelled_at": cancelled});
        status_in(Dialect::Shopify, fields)
    };
    for (financial, fulfillment, cancelled, status) in [
        (json!("paid"), json!("unfulfilled"), Value::Null, Some(Preparing)),
        (json!("paid"), Value::Null, json!(""), Some(Preparing)),
        (json!("pending"), json!("unfulfilled"), Value::Null, Some(Pending)),
        (Value::Null, json!("unfulfilled"), Value::Null, Some(Preparing)),
        (json!("paid"), json!("ready_for_pickup"), Value::Null, Some(Ready)),
        (json!("paid"), json!("fulfilled"), Value::Null, Some(Completed)),
        (json!("partially_refunded"), json!("fulfilled"), Value::Null, Some(Completed)),
        (json!("refunded"), json!("unfulfilled"), Value::Null, Some(Cancelled)),
        (json!("paid"), json!("unfulfilled"), json!("2026-11-23T10:01:00Z"), Some(Cancelled)),
        (json!("paid"), json!("beamed up"), Value::Null, None),
        (Value::Null, Value::Null, Value::Null, None),
    ] {
        assert_eq!(shopify(financial.clone(), fulfillment.clone(), cancelled), status, "{financial} {fulfillment}");
    }
    let square = |state: &str, fulfillment: &str| {
        let fields = json!({"status": null, "state": state, "fulfillments": [{"state": fulfillment}]});
        status_in(Dialect::Square, fields)
    };
    assert_eq!(square("OPEN", "PROPOSED"), Some(Pending));
    assert_eq!(square("OPEN", "PREPARED"), Some(Ready));
    assert_eq!(square("OPEN", "COMPLETED"), Some(Served), "handed over, and still open");
    assert_eq!(square("COMPLETED", "PREPARED"), Some(Completed));
    assert_eq!(square("OPEN", "CANCELED"), Some(Cancelled));
    assert_eq!(status_in(Dialect::Odoo, json!({"status": null, "state": "paid"})), Some(Preparing));
    assert_eq!(status_in(Dialect::Woocommerce, json!({"status": "wc-on-hold"})), Some(Held));
}

#[test]
fn words_and_restaurants_can_be_told() {
    let told = |text| vec![Told::parse(text).expect("well-formed")];
    let rules = Rules {
        statuses: Vocabulary::new(None, &told("paid=preparing")),
        sources: Vocabulary::new(None, &[Told::parse("bot=api").expect("well-formed")]),
        restaurants: Restaurants::One(RestaurantId::new(12).expect("valid")),
        ..Rules::default()
    };
    let mut tally = Tally::default();
    let row = row(json!({"status": "Paid", "restaurant_id": "Main St", "order_source": "bot", "order_type": "beam"}));
    let order = parse(&row, &rules, &mut tally, now()).expect("it is taken").order;
    assert_eq!((order.status, order.id.restaurant().to_string()), (OrderStatus::Preparing, "12".to_owned()));
    let words: Vec<_> = tally.words().into_iter().map(|(_, word, taken)| (word.to_owned(), taken.meaning)).collect();
    let wanted = [("Paid", Some("preparing")), ("bot", Some("api")), ("beam", None)];
    assert_eq!(words, wanted.map(|(word, meaning)| (word.to_owned(), meaning)));
}

#[test]
fn a_name_may_be_in_two_columns() {
    let names = Names { dialect: Some(Dialect::Woocommerce), ..Names::default() };
    let rules = Rules { names, ..Rules::default() };
    let name = |billing: Value| {
        let parsed = parse_by(&rules, json!({"billing": billing})).expect("it is taken");
        parsed.order.details.customer_name
    };
    assert_eq!(name(json!({"first_name": "Ada", "last_name": "Lovelace"})).as_deref(), Some("Ada Lovelace"));
    assert_eq!(name(json!({"first_name": "Ada", "last_name": ""})).as_deref(), Some("Ada"));
    assert_eq!(name(json!({"city": "London"})), None);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[0-9]{1,12}".prop_map(Value::from),
        "20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-9.]{2,6}".prop_map(Value::from),
        prop::sample::select(vec!["new", "paid", "ready", "qr", "dine in"]).prop_map(Value::from),
        proptest::collection::vec(".{0,3}", 0..3).prop_map(Value::from),
        proptest::collection::hash_map(".{0,9}", ".{0,9}", 0..3).prop_map(|map| json!(map)),
    ]
}

proptest! {
    /// Whatever stands in a row: it is taken or skipped, never a panic, and what is taken can be stored.
    #[test]
    fn every_row_is_taken_or_skipped(values in proptest::collection::vec(any_value(), Column::ALL.len()), good: bool) {
        let mut row = Row::default();
        for ((column, _), value) in Column::ALL.into_iter().zip(values) {
            row.set(column, value);
        }
        if good {
            row.set(Column::Id, json!(UUID));
            row.set(Column::RestaurantId, json!(7));
            row.set(Column::Status, json!("new"));
            row.set(Column::CreatedAt, json!("2026-11-23 10:00"));
            for column in [Column::FulfillmentStatus, Column::PaymentStatus, Column::CancelledAt] {
                row.set(column, Value::Null);
            }
        }
        let parsed = parse(&row, &Rules::default(), &mut Tally::default(), now());
        prop_assert!(!good || parsed.is_ok(), "{parsed:?}");
        if let Ok(Parsed { order, .. }) = parsed {
            prop_assert!(order.details.validate().is_ok());
            prop_assert!(order.id.created_at() <= order.released_at && order.released_at <= order.updated_at.max(order.released_at));
            prop_assert!(order.legacy_number.is_none_or(|text| text.len() <= 64 && !text.contains('\0')));
        }
    }
}
