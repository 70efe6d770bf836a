use axum::{Router, body::Body as HttpBody, routing::post};
use proptest::{collection, prelude::*, sample};
use serde_json::json;

use super::*;
use crate::domain::DisplayNumber;
use crate::http::extract::NewOrderRequest;
use crate::http::testing::{self, json_body, request, send};

fn read<T: Body>(body: &[u8]) -> Result<T, Problem> {
    let (value, faults) = parsed(body)?.expect("a body");
    decode(value, faults)
}

/// A body that is taken straight into its type is the one that the longer way finds.
fn assert_straight_is_right<T: Body + PartialEq + std::fmt::Debug>(body: &str) {
    if let Some(taken) = straight::<T>(body.as_bytes()) {
        assert_eq!(Ok(taken), decoded::<T>(body), "{body}");
    }
}

proptest! {
    #[test]
    fn what_is_taken_straight_is_what_the_longer_way_finds(body in bodies()) {
        assert_straight_is_right::<OrderDetails>(&body);
        assert_straight_is_right::<NewOrderRequest>(&body);
        assert_straight_is_right::<Change>(&body);
        assert_straight_is_right::<StatusChange>(&body);
        assert_straight_is_right::<ReleaseRequest>(&body);
        assert_straight_is_right::<ReservationRequest>(&body);
        assert_straight_is_right::<Quarantine>(&body);
        assert_straight_is_right::<CleanupRequest>(&body);
        assert_straight_is_right::<PoolSettings>(&body);
        assert_straight_is_right::<SettingsPatch>(&body);
    }
}

/// Objects of known and unknown fields, with values that may be right or not, and some that are not even JSON.
fn bodies() -> impl Strategy<Value = String> {
    let name = sample::select(vec![
        "status",
        "table_number",
        "order_source",
        "order_type",
        "external_id",
        "customer_name",
        "note",
        "metadata",
        "requested_number",
        "immediate",
        "dry_run",
        "limit",
        "reason",
        "until",
        "max_number",
        "cooldown_seconds",
        "policy",
        "format",
        "avoid",
        "ranges",
        "blocked_numbers",
        "Note",
        r"no\u0074e",
    ]);
    let value = sample::select(vec![
        "null",
        "true",
        "7",
        "-1",
        "5.0",
        "1e3",
        "18446744073709551616",
        "\"ready\"",
        "\"READY\"",
        "\"kiosk\"",
        "\"a\\u0000\"",
        "\"\\ud83c\"",
        "\"\\ud83c\\udf55\"",
        "\" \"",
        "\"2026-11-30T12:00:00Z\"",
        "[]",
        "[7]",
        "[\"teen_ty\"]",
        "{}",
        "{\"ready\": null}",
        "{\"a\": 1, \"a\": 2}",
        "\"{\"",
        "tru",
        "01",
    ]);
    let fields = collection::vec((name, value), 0..4).prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{{}}}", fields.join(", "))
    });
    let around = sample::select(vec![("", ""), (" ", "\n"), ("", " {}"), ("", ","), ("[", "]"), ("\u{feff}", "")]);
    (fields, around).prop_map(|(fields, (before, behind))| format!("{before}{fields}{behind}"))
}

#[test]
fn plain_bodies_are_taken_straight_and_no_others() {
    let details = straight::<OrderDetails>(br#" {"table_number": 12, "note": "no onions"}"#).expect("plain");
    assert_eq!((details.table_number.as_deref(), details.note.as_deref()), (Some("12"), Some("no onions")));
    for other in [r#"{"metadata": {}}"#, r#"{"note": 7}"#, r#"{"note": "a", "note": "b"}"#, r#"["12"]"#, "", "null"] {
        assert_eq!(straight::<OrderDetails>(other.as_bytes()), None, "{other}");
    }
}

fn decoded<T: Body>(body: &str) -> Result<T, (Code, Vec<(String, FaultCode)>)> {
    read(body.as_bytes()).map_err(|problem| {
        let faults = problem.faults().iter().map(|fault| (fault.pointer.clone(), fault.code)).collect();
        (problem.code(), faults)
    })
}

fn order(body: &str) -> Result<OrderDetails, (Code, Vec<(String, FaultCode)>)> {
    decoded(body)
}

fn invalid<T>(faults: &[(&str, FaultCode)]) -> Result<T, (Code, Vec<(String, FaultCode)>)> {
    Err((Code::InvalidBody, faults.iter().map(|(pointer, code)| ((*pointer).to_owned(), *code)).collect()))
}

#[test]
fn good_bodies_become_domain_types() {
    let details = order(r#"{"table_number": "12", "order_source": "kiosk", "metadata": {"a": [1, -2, 3.5, null]}}"#);
    let details = details.expect("valid");
    assert_eq!(details.table_number.as_deref(), Some("12"));
    assert_eq!(details.order_source, Some(OrderSource::Kiosk));
    assert_eq!(json!(details.metadata), json!({"a": [1, -2, 3.5, null]}));
    assert_eq!(order(r#"{"note": null}"#), Ok(OrderDetails::default()));
}

#[test]
fn what_is_not_json_is_malformed() {
    let deep = format!(r#"{{"metadata": {{"a": {}{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for bad in [
        "{",
        "nope",
        "{\"note\": \"a\nb\"}",
        r#"{"metadata": {"n": 1e999}}"#,
        r#"{"note": "x"} {}"#,
        r#"{"note": 'x'}"#,
        r#"{"note": NaN}"#,
        "{\"note\": \"\0\"}",
        "\u{feff}\u{feff}{}",
        "{\u{feff}}",
        r#"{"note": "\ud800", }"#,
        r#"{"note": "\ud80"}"#,
        " ",
        &deep,
        &"[".repeat(10_000),
    ] {
        assert_eq!(order(bad), Err((Code::MalformedJson, Vec::new())), "{bad:.40}");
    }
    for (bytes, said) in [
        (&b"{\"note\": \"Zo\xeb\"}"[..], "not in UTF-8 from byte 12 on"),
        (b"\xef\xbb\xbf{\"note\": \"Zo\xeb\"}", "not in UTF-8 from byte 15 on"),
        (deep.as_bytes(), "nested more than 127 levels deep at line 1"),
        (b"{\"note\": tru}", "expected ident at line 1"),
    ] {
        let problem = read::<OrderDetails>(bytes).expect_err(said);
        assert_eq!(problem.code(), Code::MalformedJson);
        assert!(problem.detail().contains(said), "{said}: {}", problem.detail());
    }
}

#[test]
fn a_byte_order_mark_is_passed_over_and_other_encodings_are_named() {
    assert_eq!(order("\u{feff}{\"note\": \"\u{feff}é\"}").expect("valid").note.as_deref(), Some("\u{feff}é"));
    let little: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let problem = read::<OrderDetails>(&little).expect_err("UTF-16");
    assert_eq!(problem.code(), Code::MalformedJson);
    assert!(problem.detail().contains("UTF-16; send JSON in UTF-8"), "{}", problem.detail());
}

#[test]
fn half_a_character_is_a_fault_of_its_field() {
    use FaultCode::*;
    for (body, pointer) in [
        (r#"{"customer_name": "Ana \ud83c"}"#, "/customer_name"),
        (r#"{"note": "\udc00\ud800"}"#, "/note"),
        (r#"{"table_number": "\ud83cx"}"#, "/table_number"),
        (r#"{"metadata": {"a": [1, "\uDF55"]}}"#, "/metadata/a/1"),
        (r#"{"metadata": {"a": {"x\ud83d": 1}}}"#, "/metadata/a/x\u{fffd}"),
        (r#"{"order_type": "dine_in\ud83c"}"#, "/order_type"),
    ] {
        assert_eq!(order(body), invalid(&[(pointer, InvalidValue)]), "{body}");
        assert_eq!(decoded::<Change>(body), invalid(&[(pointer, InvalidValue)]), "{body}");
    }
    let several = r#"{"note": "\ud83c", "metadata": {"\udc00": "\ud83c"}, "tabel": "\ud83c", "order_source": 5}"#;
    let (code, faults) = order(several).expect_err("faults");
    let at: Vec<_> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(code, Code::InvalidBody);
    for pointer in ["/note", "/metadata/\u{fffd}", "/tabel", "/order_source"] {
        assert!(at.contains(&pointer), "{pointer}: {at:?}");
    }
    // In bytes, too, as some languages write strings.
    let problem = read::<OrderDetails>(b"{\"note\": \"a\xed\xa0\xbc\"}").expect_err("half of a character");
    assert_eq!(problem.faults()[0].pointer, "/note");
    assert!(problem.detail().contains("half of a character"), "{}", problem.detail());
    // Whole ones are none of this, nor is what looks like one.
    let whole = r#"{"note": "\ud83c\udf55 \\ud83c \ufdd0"}"#;
    assert_eq!(order(whole).expect("valid").note.as_deref(), Some("🍕 \\ud83c \u{fdd0}"));
}

#[test]
fn a_new_order_may_ask_for_a_number() {
    let requested =
        |body: &str| decoded::<NewOrderRequest>(body).map(|new| new.0.requested_number.map(DisplayNumber::get));
    for (body, number) in [
        ("{}", None),
        (r#"{"requested_number": null}"#, None),
        (r#"{"requested_number": 42}"#, Some(42)),
        (r#"{"requested_number": "42"}"#, Some(42)),
        (r#"{"note": "x", "requested_number": "0042", "order_source": "POS"}"#, Some(42)),
        (r#"{"requested_number": 999999}"#, Some(999_999)),
    ] {
        assert_eq!(requested(body), Ok(number), "{body}");
    }
    let whole = decoded::<NewOrderRequest>(r#"{"requested_number": 7, "note": "x", "metadata": {"a": 1}}"#);
    assert_eq!(Ok(whole.expect("valid").0.details), order(r#"{"note": "x", "metadata": {"a": 1}}"#));
    for (body, faults) in [
        (r#"{"requested_number": 0}"#, &[("/requested_number", FaultCode::OutOfRange)][..]),
        (r#"{"requested_number": 1000000}"#, &[("/requested_number", FaultCode::OutOfRange)]),
        (r#"{"requested_number": -1}"#, &[("/requested_number", FaultCode::OutOfRange)]),
        (r#"{"requested_number": 4.5}"#, &[("/requested_number", FaultCode::WrongType)]),
        (r#"{"requested_number": [4]}"#, &[("/requested_number", FaultCode::WrongType)]),
        (r#"{"requested_number": {"n": 4}}"#, &[("/requested_number", FaultCode::WrongType)]),
        (r#"{"requested_number": "D01"}"#, &[("/requested_number", FaultCode::InvalidValue)]),
        (r#"{"requested_number": ""}"#, &[("/requested_number", FaultCode::InvalidValue)]),
        (r#"{"requested_numbr": 4}"#, &[("/requested_numbr", FaultCode::UnknownField)]),
        (
            r#"{"requested_number": 0, "note": 5}"#,
            &[("/note", FaultCode::WrongType), ("/requested_number", FaultCode::OutOfRange)],
        ),
    ] {
        assert_eq!(requested(body), invalid(faults), "{body}");
    }
}

#[test]
fn ranges_are_checked_element_by_element_and_then_together() {
    use FaultCode::*;
    let settings = |ranges: serde_json::Value| decoded::<PoolSettings>(&json!({"ranges": ranges}).to_string());
    let range = |id: &str, min: u32, max: u32| json!({"id": id, "min_number": min, "max_number": max});
    assert!(settings(json!([range("bar", 10_001, 10_100)])).is_ok());
    let many: Vec<_> = (0..17).map(|n| range(&format!("r{n}"), 10_001 + n, 10_001 + n)).collect();
    for (ranges, faults) in [
        (json!(7), &[("/ranges", WrongType)][..]),
        (json!([range("Bar", 10_001, 10_100)]), &[("/ranges/0/id", InvalidValue)]),
        (json!([range("main", 10_001, 10_100)]), &[("/ranges/0/id", InvalidValue)]),
        (json!([range("a", 10_001, 10_100), range("", 1, 1)]), &[("/ranges/1/id", InvalidValue)]),
        (json!([{"id": "a", "min_number": 10_001}]), &[("/ranges/0/max_number", Missing)]),
        (json!([range("a", 10_001, 1_000_000)]), &[("/ranges/0/max_number", OutOfRange)]),
        (json!([range("a", 10_002, 10_001)]), &[("/ranges/0/max_number", OutOfRange)]),
        (json!([range("a", 9_999, 10_001)]), &[("/ranges/0", Overlap)]),
        (json!([range("a", 10_001, 10_001), range("a", 10_002, 10_002)]), &[("/ranges/1/id", Duplicate)]),
        (json!(many), &[("/ranges", TooLong)]),
        (
            json!([{"id": "a", "min_number": 10_001, "max_number": 10_009, "format": "{n-10000:04}"}]),
            &[("/ranges/0/format", ShownAlike)],
        ),
        (
            json!([{"id": "a", "min_number": 10_001, "max_number": 10_009, "format": "{n-10001:04}"}]),
            &[("/ranges/0/format", OutOfRange)],
        ),
        (
            json!([{"id": "a", "min_number": 10_001, "max_number": 10_009, "match": {"order_source": ["fax"]}}]),
            &[("/ranges/0/match/order_source/0", InvalidValue)],
        ),
    ] {
        assert_eq!(settings(ranges.clone()), invalid(faults), "{ranges}");
    }
    // Where another field is missing for a fault of its own, nothing is said of what goes together.
    let body = r#"{"max_number": "x", "ranges": [{"id": "a", "min_number": 50, "max_number": 60}]}"#;
    assert_eq!(decoded::<PoolSettings>(body), invalid(&[("/max_number", WrongType)]));
    let problem =
        read::<PoolSettings>(br#"{"max_number": 9, "ranges": [{"id": "a", "min_number": 9, "max_number": 9}]}"#);
    let detail = problem.expect_err("an overlap").detail().to_owned();
    assert_eq!(detail, "/ranges/0: overlaps the main range with 9: a number belongs to one range");
}

#[test]
fn a_field_that_must_be_given_is_named_beside_the_faults_of_others() {
    use FaultCode::*;
    for (body, faults) in [
        ("{}", &[("/reason", Missing)][..]),
        (r#"{"until": 7}"#, &[("/until", WrongType), ("/reason", Missing)]),
        (r#"{"reason": null, "until": "soon"}"#, &[("/reason", WrongType), ("/until", InvalidValue)]),
        (r#"{"cause": "mould"}"#, &[("/cause", UnknownField), ("/reason", Missing)]),
        (r#"{"reason": " "}"#, &[("/reason", InvalidValue)]),
    ] {
        assert_eq!(decoded::<Quarantine>(body), invalid(faults), "{body}");
    }
}

#[test]
fn words_may_be_written_in_any_case() {
    let details = order(r#"{"order_source": "KIOSK", "order_type": "Dine_In"}"#).expect("valid");
    assert_eq!(order(r#"{"order_source": "kiosk", "order_type": "dine_in"}"#), Ok(details));
    let change =
        OrderChange::from(decoded::<Change>(r#"{"status": "Ready", "order_type": "DELIVERY"}"#).expect("valid"));
    assert_eq!((change.status, change.order_type), (Some(OrderStatus::Ready), Some(Some(OrderType::Delivery))));
    let settings = decoded::<PoolSettings>(r#"{"policy": "LOWEST"}"#).expect("valid");
    assert_eq!(settings.policy.as_str(), "lowest");
    let problem = read::<Change>(br#"{"status": "Done"}"#).expect_err("no status");
    for known in ["pending", "preparing", "completed", "cancelled"] {
        assert!(problem.detail().contains(known), "{}", problem.detail());
    }
    // Texts are left as they are.
    assert_eq!(order(r#"{"note": "KIOSK"}"#).expect("valid").note.as_deref(), Some("KIOSK"));
}

#[test]
fn a_change_of_the_status_has_one() {
    let change = decoded::<StatusChange>(r#"{"status": "ready", "note": "x"}"#).expect("valid").0;
    assert_eq!(decoded::<Change>(r#"{"status": "ready", "note": "x"}"#), Ok(change));
    for (body, faults) in [
        ("{}", &[("/status", FaultCode::Missing)][..]),
        (r#"{"note": "x"}"#, &[("/status", FaultCode::Missing)]),
        (r#"{"status": null}"#, &[("/status", FaultCode::WrongType)]),
        (r#"{"status": "eaten"}"#, &[("/status", FaultCode::InvalidValue)]),
        (r#"{"status": "ready", "state": 1}"#, &[("/state", FaultCode::UnknownField)]),
    ] {
        assert_eq!(decoded::<StatusChange>(body), invalid(faults), "{body}");
    }
}

#[test]
fn every_fault_is_named() {
    let long = "x".repeat(501);
    let body = json!({
        "table_number": true, "order_source": "pigeon", "note": long, "customer_name": "a\0", "tabel": 1,
        "metadata": {"blob": "x".repeat(2048)},
    });
    assert_eq!(
        order(&body.to_string()).map_err(|(code, mut faults)| {
            faults.sort_by(|a, b| a.0.cmp(&b.0));
            (code, faults)
        }),
        invalid(&[
            ("/customer_name", FaultCode::NulCharacter),
            ("/metadata", FaultCode::TooLarge),
            ("/note", FaultCode::TooLong),
            ("/order_source", FaultCode::InvalidValue),
            ("/tabel", FaultCode::UnknownField),
            ("/table_number", FaultCode::WrongType),
        ])
    );
}

#[test]
fn a_small_body_gets_no_huge_answer() {
    let fields: Vec<_> = (0..1000).map(|n| format!(r#""x{n}": {{}}"#)).collect();
    let (_, faults) = order(&format!("{{{}}}", fields.join(","))).expect_err("unknown fields");
    assert_eq!(faults.len(), MOST_FAULTS);
}

#[test]
fn wrong_shapes_are_refused() {
    use FaultCode::*;
    for (body, pointer, code) in [
        ("[]", "", WrongType),
        ("null", "", WrongType),
        ("42", "", WrongType),
        (r#"["12", "qr"]"#, "", WrongType),
        (r#"{"metadata": []}"#, "/metadata", WrongType),
        (r#"{"metadata": "x"}"#, "/metadata", WrongType),
        (r#"{"order_source": {"qr": null}}"#, "/order_source", WrongType),
        (r#"{"order_source": 1e30}"#, "/order_source", OutOfRange),
        (r#"{"note": "a", "note": "b"}"#, "/note", Duplicate),
        (r#"{"metadata": {"a": {"k": 1, "k": 2}}}"#, "/metadata/a/k", Duplicate),
        (r#"{"metadata": {"a/b~c": [0, 123456789012345678901234567890]}}"#, "/metadata/a~1b~0c/1", OutOfRange),
        (r#"{"metadata": {"n": -9223372036854775809}}"#, "/metadata/n", OutOfRange),
        (r#"{"metadata": {"n": 1.0e20}}"#, "/metadata/n", OutOfRange),
        (r#"{"status": "completed"}"#, "/status", UnknownField),
        (r#"{"st/atus": {}}"#, "/st~1atus", UnknownField),
        (r#"{"metadata": {"k": "\u0000"}}"#, "/metadata", NulCharacter),
    ] {
        assert_eq!(order(body), invalid(&[(pointer, code)]), "{body}");
    }
}

#[test]
fn metadata_is_taken_in_the_form_in_which_it_is_kept() {
    let sent = r#"{"metadata": {"b": 1e16, "a": [1.0, -0.0, {"": 12.10}]}}"#;
    let kept = r#"{"a":[1,0,{"":12.1}],"b":10000000000000000}"#;
    assert_eq!(json!(order(sent).expect("valid").metadata).to_string(), kept);
    let change = OrderChange::from(decoded::<Change>(sent).expect("valid"));
    assert_eq!(json!(change.metadata.flatten()).to_string(), kept);
}

#[test]
fn metadata_is_measured_in_the_form_in_which_it_is_kept() {
    // {"k":[…]} is 8 bytes around the numbers and their commas.
    let numbers =
        |number: &str, count: usize| format!(r#"{{"metadata": {{"k": [{}]}}}}"#, vec![number; count].join(","));
    assert!(order(&numbers("1.0", 1020)).is_ok());
    assert_eq!(order(&numbers("1.0", 1021)), invalid(&[("/metadata", FaultCode::TooLarge)]));
    assert!(order(&numbers("1e17", 107)).is_ok());
    assert_eq!(order(&numbers("1e17", 108)), invalid(&[("/metadata", FaultCode::TooLarge)]));
    let levels =
        |count: usize| format!(r#"{{"metadata": {{"k": {}{}}}}}"#, "[".repeat(count - 1), "]".repeat(count - 1));
    assert!(order(&levels(100)).is_ok());
    assert_eq!(order(&levels(101)), invalid(&[("/metadata", FaultCode::InvalidValue)]));
    assert_eq!(decoded::<Change>(&levels(101)), invalid(&[("/metadata", FaultCode::InvalidValue)]));
}

#[test]
fn settings_are_checked() {
    use FaultCode::*;
    for (body, pointer, code) in [
        (r#"{"min_number": 0}"#, "/min_number", OutOfRange),
        (r#"{"min_number": -1}"#, "/min_number", OutOfRange),
        (r#"{"min_number": 1.5}"#, "/min_number", WrongType),
        (r#"{"max_number": 1000000}"#, "/max_number", OutOfRange),
        (r#"{"min_number": 10, "max_number": 9}"#, "", InvalidValue),
        (r#"{"policy": "best"}"#, "/policy", InvalidValue),
        (r#"{"format": "{n:99}"}"#, "/format", InvalidValue),
        (r#"{"blocked_numbers": [13, "x"]}"#, "/blocked_numbers/1", InvalidValue),
        (r#"{"blocked_numbers": [13, -1]}"#, "/blocked_numbers/1", OutOfRange),
        (r#"{"blocked_numbers": [0]}"#, "/blocked_numbers/0", OutOfRange),
        (r#"{"blocked_numbers": [18446744073709551615]}"#, "/blocked_numbers/0", OutOfRange),
        (r#"{"blocked_numbers": [13.5]}"#, "/blocked_numbers/0", WrongType),
        (r#"{"blocked_numbers": ["13", null]}"#, "/blocked_numbers/1", WrongType),
        (r#"{"blocked_numbers": ["1-9", "9-1"]}"#, "/blocked_numbers/1", InvalidValue),
        (r#"{"blocked_numbers": "*4*"}"#, "/blocked_numbers", WrongType),
        (r#"{"max_number": 49, "min_number": 40, "blocked_numbers": ["4?"]}"#, "", InvalidValue),
        (r#"{"cooldown_seconds": null}"#, "/cooldown_seconds", WrongType),
        // The range would be upside down with the default in the faulty field's place: that is not a fault of its own.
        (r#"{"min_number": 20000, "max_number": "x"}"#, "/max_number", WrongType),
    ] {
        assert_eq!(decoded::<PoolSettings>(body), invalid(&[(pointer, code)]), "{body}");
    }
    assert_eq!(decoded::<PoolSettings>("{}"), Ok(PoolSettings::default()));
    // Of a list, all that is wrong is named.
    let entries = r#"{"blocked_numbers": [13, "x", "1-9", 0, "0*"], "min_number": 0}"#;
    let faults = [
        ("/blocked_numbers/1", InvalidValue),
        ("/blocked_numbers/3", OutOfRange),
        ("/blocked_numbers/4", InvalidValue),
        ("/min_number", OutOfRange),
    ];
    assert_eq!(decoded::<PoolSettings>(entries), invalid(&faults));
}

#[test]
fn patches_of_settings_are_checked_field_by_field() {
    use FaultCode::*;
    for (body, pointer, code) in [
        (r#"{"min_number": 0}"#, "/min_number", OutOfRange),
        (r#"{"policy": "best"}"#, "/policy", InvalidValue),
        (r#"{"blocked_numbers": [13, "499-400"]}"#, "/blocked_numbers/1", InvalidValue),
        (r#"{"blocked_numbers": {"13": null}}"#, "/blocked_numbers", WrongType),
        (r#"{"cooldown": null}"#, "/cooldown", UnknownField),
    ] {
        assert_eq!(decoded::<SettingsPatch>(body), invalid(&[(pointer, code)]), "{body}");
    }
    // Whether they go together depends on what is there.
    for good in [r#"{"min_number": 20000}"#, r#"{"blocked_numbers": ["1-9999"]}"#, r#"{"policy": null}"#, "{}"] {
        assert!(decoded::<SettingsPatch>(good).is_ok(), "{good}");
    }
}

#[test]
fn null_clears_and_absence_leaves_alone() {
    let change = OrderChange::from(decoded::<Change>(r#"{"note": null, "table_number": "4"}"#).expect("valid"));
    assert_eq!(
        change,
        OrderChange { note: Some(None), table_number: Some(Some("4".into())), ..OrderChange::default() }
    );
    let change = OrderChange::from(decoded::<Change>(r#"{"status": "ready", "metadata": null}"#).expect("valid"));
    assert_eq!((change.status, change.metadata), (Some(OrderStatus::Ready), Some(None)));
    assert_eq!(OrderChange::from(decoded::<Change>("{}").expect("valid")), OrderChange::default());
    for (body, pointer, code) in [
        (r#"{"status": null}"#, "/status", FaultCode::WrongType),
        (r#"{"status": "eaten"}"#, "/status", FaultCode::InvalidValue),
        (r#"{"version": 3}"#, "/version", FaultCode::UnknownField),
        (&format!(r#"{{"table_number": "{}"}}"#, "x".repeat(33)), "/table_number", FaultCode::TooLong),
    ] {
        assert_eq!(decoded::<Change>(body), invalid(&[(pointer, code)]), "{body}");
    }
}

#[test]
fn limits_of_a_clean_up_are_checked() {
    for (limit, good) in [("1", true), ("1000", true), ("0", false), ("1001", false), ("-1", false)] {
        assert_eq!(decoded::<CleanupRequest>(&format!(r#"{{"limit": {limit}}}"#)).is_ok(), good, "{limit}");
    }
}

fn app() -> Router {
    let routes = Router::new()
        .route(
            "/maybe",
            post(|MaybeJsonBody(details): MaybeJsonBody<OrderDetails>| async move { format!("{details:?}") }),
        )
        .route("/must", post(|JsonBody(_): JsonBody<Change>| async {}));
    testing::behind_the_edge(routes, testing::settings())
}

#[tokio::test]
async fn bodies_must_be_declared_as_json() {
    for (content_type, status) in [
        (Some("application/json"), 200),
        (Some("Application/JSON; charset=utf-8"), 200),
        (Some("application/merge-patch+json"), 200),
        (Some("text/plain"), 415),
        (Some("application/jsonp"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some(""), 415),
        (None, 415),
    ] {
        let mut sent = request("POST", "/must");
        if let Some(content_type) = content_type {
            sent = sent.header("Content-Type", content_type);
        }
        let response = send(&app(), sent.body(HttpBody::from("{}"))).await;
        assert_eq!(response.status(), status, "{content_type:?}");
    }
}

#[tokio::test]
async fn only_some_bodies_may_be_absent() {
    for content_type in ["application/json", "text/plain"] {
        let sent = |path| request("POST", path).header("Content-Type", content_type).body(HttpBody::empty());
        assert_eq!(send(&app(), sent("/maybe")).await.status(), 200);
        let response = send(&app(), sent("/must")).await;
        assert_eq!(response.status(), 400);
        assert_eq!(json_body(response).await["code"], "malformed_json");
    }
    let none = format!("{:?}", OrderDetails::default());
    for (body, must) in [("null", 422), (" null\n", 422), ("\u{feff}", 400), ("\u{feff}null", 422)] {
        let sent = |path| request("POST", path).header("Content-Type", "application/json").body(HttpBody::from(body));
        let response = send(&app(), sent("/maybe")).await;
        assert_eq!(response.status(), 200, "{body:?}");
        assert_eq!(testing::text(response).await, none, "{body:?}");
        assert_eq!(send(&app(), sent("/must")).await.status(), must, "{body:?}");
    }
}

#[tokio::test]
async fn a_refused_body_says_where_and_why() {
    let sent = request("POST", "/must").header("Content-Type", "application/json");
    let response = send(&app(), sent.body(HttpBody::from(r#"{"note": 5}"#))).await;
    assert_eq!(response.status(), 422);
    let body = json_body(response).await;
    assert_eq!(
        body["errors"],
        json!([{
            "in": "body", "pointer": "/note", "code": "wrong_type",
            "detail": "invalid type: integer `5`, expected a string",
        }])
    );
    assert_eq!(body["detail"], "/note: invalid type: integer `5`, expected a string");
}
