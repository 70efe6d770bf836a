use proptest::prelude::*;
use serde_json::json;

use super::*;

const UUID: &str = "6f0a1c52-93d4-4c0e-8f57-0d9a6be1c001";

fn now() -> Timestamp {
    time("2026-11-23T12:00:00Z").expect("a time").into()
}

/// A row of these fields, over one that is good.
fn row(fields: Value) -> Row {
    let mut all = json!({"id": UUID, "restaurant_id": 7, "status": "completed", "created_at": "2026-11-23T10:00:00Z"});
    for (name, value) in fields.as_object().expect("an object") {
        all[name] = value.clone();
    }
    Row::from_json(all.to_string().as_bytes()).expect("an object")
}

fn parsed(fields: Value) -> Parsed {
    parse(&row(fields.clone()), now()).unwrap_or_else(|remark| panic!("{fields}: {remark:?}"))
}

fn skipped(fields: Value) -> Skipped {
    match parse(&row(fields.clone()), now()) {
        Ok(parsed) => panic!("{fields}: {parsed:?}"),
        Err(remark) => remark.reason,
    }
}

fn adjusted(fields: Value) -> Vec<Adjusted> {
    parsed(fields).adjusted.iter().map(|remark| remark.reason).collect()
}

#[test]
fn times_are_read_as_they_are_written_elsewhere() {
    for text in [
        "2026-11-23T02:50:41.123Z",
        "2026-11-23t02:50:41.123z",
        "2026-11-23T04:50:41.123456+02:00",
        "2026-11-23 02:50:41.123+00",
        "2026-11-23 04:50:41.123+02",
        "2026-11-23 08:20:41.123+0530",
        "2026-11-23 02:50:41.123",
        "2026-11-23T02:50:41.123999",
        "2026-11-23 02:50:41.123 UTC",
    ] {
        let at = time(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(Timestamp::from(at).to_string(), "2026-11-23T02:50:41.123Z", "{text}");
    }
    assert_eq!(time("2026-11-23 02:50").map(|at| Timestamp::from(at).unix_ms()), Some(1_795_402_200_000));
    for bad in ["", "infinity", "-infinity", "0001-01-01 00:00:00 BC", "2026-13-01 00:00:00", "yesterday", "1795402241"]
    {
        assert_eq!(time(bad), None, "{bad}");
    }
}

#[test]
fn statuses_have_many_names() {
    use OrderStatus::*;
    for (name, status) in [
        ("NEW", Pending),
        ("received", Pending),
        ("In Progress", Preparing),
        ("in-progress", Preparing),
        ("Confirmed", Preparing),
        ("ready", Ready),
        ("Delivered in-house", Served),
        ("delivered-in-house", Served),
        ("ON_HOLD", Held),
        ("delivered", Completed),
        ("Paid", Completed),
        ("canceled", Cancelled),
        ("VOID", Cancelled),
        ("expired", Expired),
    ] {
        assert_eq!(status_named(name), Some(status), "{name}");
    }
    for status in OrderStatus::ALL {
        assert_eq!(status_named(status.as_str()), Some(status));
    }
    assert_eq!(status_named("gone fishing"), None);
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
        (json!({"created_at": 1_795_402_241}), Skipped::CreatedAt),
        (json!({"created_at": "1970-01-01T00:00:00Z"}), Skipped::CreatedAtRange),
        (json!({"created_at": "2026-11-24T12:00:01Z"}), Skipped::CreatedAtRange),
    ] {
        assert_eq!(skipped(fields.clone()), reason, "{fields}");
    }
    // A number with more digits than there is room for would be another one.
    let huge = br#"{"id": 123456789012345678901234567890}"#;
    let remark = parse(&Row::from_json(huge).expect("an object"), now()).expect_err("no id");
    assert_eq!(remark.reason, Skipped::Id);
}

/// An object of so many levels.
fn deep(levels: usize) -> Value {
    json!({"k": (2..levels).fold(json!([]), |inner, _| json!([inner]))})
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
        (json!({"metadata": "no object"}), vec![Adjusted::LeftOut]),
        (json!({"metadata": [1]}), vec![Adjusted::LeftOut]),
        (json!({"metadata": {"k": "x".repeat(2048)}}), vec![Adjusted::LeftOut]),
        (json!({"metadata": {"k": "\0"}}), vec![Adjusted::LeftOut]),
        (json!({"metadata": {"k": [1e20]}}), vec![Adjusted::LeftOut]),
        (json!({"metadata": r#"{"sim": 89014103211118510720}"#}), vec![Adjusted::LeftOut]),
        (json!({"metadata": deep(101)}), vec![Adjusted::LeftOut]),
        (json!({"metadata": deep(100)}), vec![]),
        (json!({"display_order_number": 0}), vec![Adjusted::LeftOut]),
        (json!({"display_number": "forty-two"}), vec![Adjusted::LeftOut]),
        (json!({"completed_at": "2026-11-23T09:00:00Z"}), vec![Adjusted::Time]),
        (json!({"completed_at": "2027-11-23T09:00:00Z"}), vec![Adjusted::Time]),
        (json!({"updated_at": "whenever"}), vec![Adjusted::LeftOut]),
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
    assert_eq!(id(json!({"id": 4711})), id(json!({"id": "4711"})));
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
    assert_eq!(shown(json!({"display_order_number": 42, "display_number_formatted": "A-42"})).as_deref(), Some("0042"));
    assert_eq!(shown(json!({})), None);
}

#[test]
fn bytes_that_are_no_text_do_not_get_into_ids() {
    let row = |line: &[u8]| Row::from_json(line).expect("an object");
    let good = row(b"{\"id\": 1, \"restaurant_id\": 7, \"status\": \"new\", \"created_at\": \"2026-11-23 10:00\", \"note\": \"caf\xe9\"}");
    let parsed = parse(&good, now()).expect("it can be taken");
    assert_eq!(parsed.order.details.note.as_deref(), Some("caf\u{fffd}"));
    assert_eq!(parsed.adjusted[0].reason, Adjusted::Encoding);
    let bad =
        row(b"{\"id\": \"\xe9\", \"restaurant_id\": 7, \"status\": \"new\", \"created_at\": \"2026-11-23 10:00\"}");
    assert_eq!(parse(&bad, now()).expect_err("no id").reason, Skipped::Id);
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
        }
        let parsed = parse(&row, now());
        prop_assert!(!good || parsed.is_ok(), "{parsed:?}");
        if let Ok(Parsed { order, .. }) = parsed {
            prop_assert!(order.details.validate().is_ok());
            prop_assert!(order.id.created_at() <= order.released_at && order.released_at <= order.updated_at.max(order.released_at));
            prop_assert!(order.legacy_number.is_none_or(|text| text.len() <= 64 && !text.contains('\0')));
        }
    }

    #[test]
    fn other_lines_are_refused_without_a_panic(bytes: Vec<u8>) {
        let _ = Row::from_json(&bytes).map(|row| parse(&row, now()));
    }
}
