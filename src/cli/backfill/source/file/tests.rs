use std::io::Write;

use encoding_rs::WINDOWS_1252;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::cli::backfill::{column::Column, dialect::Dialect};

type Rows = Vec<(u64, Result<Row, Remark<Skipped>>)>;

fn rules(format: Option<Format>) -> FileRules {
    FileRules { format, encoding: None, names: Names::default() }
}

async fn rows_by(rules: FileRules, bytes: &[u8]) -> (Rows, Option<String>, Form) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    file.write_all(bytes).expect("it can be written");
    let mut rows = FileRows::open(file.path(), rules).expect("it can be read");
    let mut all = Vec::new();
    loop {
        match rows.next().await {
            Ok(batch) if batch.is_empty() => return (all, None, rows.form()),
            Ok(batch) => all.extend(batch.into_iter().map(|row| (row.place, row.row))),
            Err(error) => return (all, Some(format!("{error:#}")), rows.form()),
        }
    }
}

async fn rows_of(format: Format, bytes: &[u8]) -> (Rows, Option<String>) {
    let (rows, error, _) = rows_by(rules(Some(format)), bytes).await;
    (rows, error)
}

/// The ids of rows that could be read, with their places.
fn ids(rows: &Rows) -> Vec<(u64, Option<String>)> {
    rows.iter().map(|(place, row)| (*place, row.as_ref().ok().and_then(Row::id))).collect()
}

fn id(place: u64, id: &str) -> (u64, Option<String>) {
    (place, Some(id.to_owned()))
}

#[tokio::test]
async fn csv_keeps_count_of_its_lines() {
    let text =
        b"\xef\xbb\xbfID,Restaurant_Id,status,created_at,note\n1,7,new,x,\"two\nlines\"\n2,7\n3,7,new,x,caf\xe9\n4,7,new,x,\n";
    let (rows, error) = rows_of(Format::Csv, text).await;
    assert_eq!(error, None);
    assert_eq!(ids(&rows), [id(2, "1"), (4, None), (5, None), id(6, "4")]);
    assert_eq!(rows[1].1.as_ref().expect_err("too short").reason, Skipped::Unreadable);
    assert_eq!(rows[2].1.as_ref().expect_err("no UTF-8").reason, Skipped::Encoding);
}

#[tokio::test]
async fn any_usual_sign_may_stand_between_fields() {
    for (sign, told) in [(",", ""), (";", ""), ("\t", ""), ("|", ""), (";", "sep=;\r\n"), ("!", "sep=!\n")] {
        let text = format!("{told}id,restaurant_id,status,created_at,note\r\n1,7,new,x,\"a;b\"\r\n\r\n2,7,new,x,\r\n");
        let text = text.replace(',', sign);
        let (rows, error, form) = rows_by(rules(None), text.as_bytes()).await;
        assert_eq!(error, None, "{text}");
        let first = if told.is_empty() { 2 } else { 3 };
        assert_eq!(ids(&rows), [id(first, "1"), id(first + 2, "2")], "{text}");
        assert_eq!(rows[0].1.as_ref().expect("a row").word(Column::Note).as_deref(), Some("a;b"));
        assert_eq!(form.delimiter, sign.chars().next());
    }
    let (rows, error) = rows_of(Format::Csv, b"id,restaurant_id,status,created_at\r1,7,new,x\r2,7,new,x\r").await;
    assert_eq!((ids(&rows).len(), error), (2, None), "lines of an old Mac");
}

#[tokio::test]
async fn a_header_that_is_not_understood_is_shown() {
    for (text, words) in [
        (&b"nr;wo;wann\n1;7;x\n"[..], &["no column id, restaurant_id, status, created_at", "«nr;wo;wann»", "';'"][..]),
        (b"[{\"id\": 1}]", &["«[{\\\"id\\\": 1}]»", "--format json"]),
        (b"", &["no column id"]),
        (b"id,restaurant_id,status,createdAt,created_at\n", &["\"createdAt\" and \"created_at\"", "--column"]),
        (b"id,caf\xe9\n", &["no UTF-8", "--encoding windows-1252", "caf\\xe9"]),
        (b"PK\x03\x04abc", &["Excel"]),
    ] {
        let (rows, error) = rows_of(Format::Csv, text).await;
        let error = error.expect("it is told");
        assert!(rows.is_empty() && words.iter().all(|word| error.contains(word)), "{error}");
        assert!(error.starts_with("cannot read ") && !error.contains('\n'), "{error}");
    }
    for (text, words) in [
        (&b"nothing\n"[..], &["«nothing»", "one object a line, or an array"][..]),
        (b"id,status\n", &["«id,status»", "--format csv"]),
        (b"[{\"id\": 1}, {\"id\"", &["ends within the array"]),
    ] {
        let (_, error) = rows_of(Format::Json, text).await;
        let error = error.expect("it is told");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[tokio::test]
async fn a_quote_left_open_does_not_fill_the_memory() {
    let mut text = b"id,restaurant_id,status,created_at\n1,7,new,x\n2,7,\"new,x\n".to_vec();
    text.resize(text.len() + 6 * (1 << 20), b'x');
    let (rows, error) = rows_of(Format::Csv, &text).await;
    assert_eq!(rows.len(), 1, "what came before it is taken");
    assert!(error.expect("it is told").contains("quote"));
}

#[tokio::test]
async fn bad_lines_do_not_stop_the_good_ones() {
    let mut text = b"\xef\xbb\xbf{\"id\": 1}\n\n[1]\n{\"id\": \"\xff\"}\n{\"id\": ".to_vec();
    text.resize(text.len() + 5 * (1 << 20), b'1');
    text.extend_from_slice(b"}\nnothing\n{\"ID\": 5}");
    let (rows, error) = rows_of(Format::Json, &text).await;
    assert_eq!(error, None);
    assert_eq!(ids(&rows), [id(1, "1"), (3, None), (4, None), (5, None), (6, None), id(7, "5")]);
}

#[tokio::test]
async fn json_has_many_shapes() {
    let wanted = ["1", "2", "3"];
    for text in [
        "{\"id\": 1}\n{\"id\": 2}\n{\"id\": 3}\n",
        "[{\"id\": 1}, {\"id\": 2}, {\"id\": 3}]",
        "[\n  {\n    \"id\": 1\n  },\n  {\n    \"id\": 2,\n    \"note\": \"}],\\\"{\"\n  },\n  {\"id\": 3}\n]\n",
        "{\n  \"id\": 1\n}\n{\n  \"id\": 2\n}\n{\n  \"id\": 3\n}\n",
        "{\"id\": 1},\n{\"id\": 2},\n{\"id\": 3}\n",
        "[{\"id\": 1}]\n[{\"id\": 2}, {\"id\": 3}]\n",
        "{\"orders\": [{\"id\": 1}, {\"id\": 2}, {\"id\": 3}], \"cursor\": \"x\"}",
        "{\n \"page\": {\"next\": 2},\n \"orders\": [\n {\"id\": 1}, {\"id\": 2}, {\"id\": 3}\n ]\n}",
        "{\"data\": {\"orders\": {\"edges\": [{\"node\": {\"id\": 1}}, {\"node\": {\"id\": 2}}, {\"node\": {\"id\": 3}}]}}}",
        "\u{feff}\n\n [ {\"id\": 1, \"data\": [{\"id\": 9}]}, {\"id\": 2}, {\"id\": 3} ] ",
    ] {
        for format in [None, Some(Format::Json)] {
            let (rows, error, form) = rows_by(rules(format), text.as_bytes()).await;
            let read: Vec<_> = ids(&rows).into_iter().filter_map(|(_, id)| id).collect();
            assert_eq!((read.as_slice(), error), (&wanted.map(str::to_owned)[..], None), "{text}");
            assert!(form.columns.contains(&("id".to_owned(), Some(Column::Id))), "{form:?}");
        }
    }
    let (rows, error) = rows_of(Format::Json, b"[\n{\"id\": 1},\nnull, 5, \"x\", [2],\n{\"id\": 3}]").await;
    assert_eq!(error, None);
    assert_eq!(ids(&rows), [id(2, "1"), (3, None), (3, None), (3, None), (3, None), id(4, "3")]);
    let long = format!("[{{\"note\": \"{}\"}},\n{{\"id\": 2}}]", "x".repeat(5 << 20));
    assert_eq!(ids(&rows_of(Format::Json, long.as_bytes()).await.0), [(1, None), id(2, "2")]);
}

#[tokio::test]
async fn packed_and_otherwise_encoded_files_are_the_same() {
    let text = "id;restaurant_id;status;created_at;customer_name\n1;7;new;x;Zoë €\n";
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).expect("memory can be written");
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let windows = WINDOWS_1252.encode(text).0.into_owned();
    for (bytes, encoding, form_of) in [
        (packed.finish().expect("memory can be written"), None, ("UTF-8", Some("gzip"))),
        (utf16, None, ("UTF-16LE", None)),
        (windows.clone(), Some(WINDOWS_1252), ("windows-1252", None)),
    ] {
        let (rows, error, form) = rows_by(FileRules { encoding, ..rules(None) }, &bytes).await;
        assert_eq!(error, None);
        assert_eq!(rows[0].1.as_ref().expect("a row").word(Column::CustomerName).as_deref(), Some("Zoë €"));
        assert_eq!((form.encoding, form.compression), (Some(form_of.0), form_of.1));
    }
    let (rows, _, _) = rows_by(rules(None), &windows).await;
    assert_eq!(rows[0].1.as_ref().expect_err("nothing is replaced").reason, Skipped::Encoding);
}

#[tokio::test]
async fn nothing_is_no_rows() {
    assert_eq!(rows_of(Format::Json, b"").await.0.len(), 0);
    assert_eq!(rows_of(Format::Json, b"[]").await, (Vec::new(), None));
    assert!(rows_of(Format::Csv, b"").await.1.is_some(), "a header is missing");
}

fn read_whatever(bytes: &[u8], dialect: Option<Dialect>) {
    for format in [None, Some(Format::Csv), Some(Format::Json)] {
        let rules = FileRules { names: Names { dialect, ..Names::default() }, ..rules(format) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (rows, error, _) = runtime.block_on(rows_by(rules, bytes));
        assert!(rows.len() <= bytes.len() + 1, "{error:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_the_reader_panic(bytes: Vec<u8>) {
        read_whatever(&bytes, None);
    }

    #[test]
    fn nothing_that_looks_like_rows_makes_it_panic(
        json in "(\\{|\\[|\"orders\":|\"id\":1|,|\\}|\\]|\"|\\\\|\n| ){0,40}",
        csv in "id[,;\t|](restaurant_id|status|\"|,|;|\n){0,30}",
    ) {
        read_whatever(json.as_bytes(), Some(Dialect::Shopify));
        read_whatever(csv.as_bytes(), Some(Dialect::Square));
    }
}
