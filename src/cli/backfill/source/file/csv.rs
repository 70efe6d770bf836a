//! CSV with a header, whatever stands between its fields.

use std::{
    cell::{Cell, RefCell},
    io::{BufRead, Cursor, Read},
    rc::Rc,
};

use anyhow::{Context, anyhow, bail};
use csv::{ByteRecord, Position, ReaderBuilder};
use serde_json::Value;

use super::{
    Pieces,
    bytes::{BUFFER_BYTES, Latest, Limited},
    first_line::{MAX_ROW_BYTES, first_line, shown},
};
use crate::cli::backfill::{
    names::{Match, Names},
    reason::{Remark, Skipped},
    source::form::Form,
    value::{Row, not_utf8},
};

/// What may stand between fields; the first is thought of where none stands there.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

pub(super) fn read_csv(mut text: Box<dyn BufRead>, names: &Names, pieces: &mut Pieces) -> anyhow::Result<()> {
    let (mut first, mut lines_before) = first_line(&mut text)?;
    let told = separator(&first);
    if told.is_some() {
        let (next, before) = first_line(&mut text)?;
        first = next;
        lines_before += before + 1;
    }
    let head = header_of(&first);
    let head = std::str::from_utf8(head).map_err(|_| {
        anyhow!(
            "its first line is no UTF-8: {}; if the file comes from Windows, add --encoding windows-1252",
            shown(&first)
        )
    })?;
    let delimiter = told.unwrap_or_else(|| delimiter_of(head, names));
    let header = fields(head, delimiter);
    let found = names.header(&header).map_err(|clash| anyhow!("{clash}"))?;
    pieces.understood(|form: &mut Form| {
        form.format = "csv";
        form.delimiter = Some(char::from(delimiter));
        let columns = header.iter().zip(&found).map(|(name, found)| (name.clone(), found.map(|found| found.column)));
        form.columns = columns.collect();
    });
    let missing = names.missing(found.iter().flatten().map(|found| found.column));
    if !missing.is_empty() {
        let hint =
            if head.trim_start().starts_with(['{', '[']) { "; it looks like JSON: add --format json" } else { "" };
        bail!(
            "the header has no column {}; the first line was read as {}, with {:?} between its fields, and what is \
             expected is a header that names id, restaurant_id, status and created_at (or --dialect, --column, \
             --restaurant){hint}",
            missing.join(", "),
            shown(&first),
            char::from(delimiter),
        );
    }
    let (read, row_began) = (Rc::new(RefCell::new(Latest::default())), Rc::new(Cell::new(0)));
    let input = Limited {
        input: Cursor::new(first).chain(text),
        read: read.clone(),
        row_began: row_began.clone(),
        limit: MAX_ROW_BYTES,
    };
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(input);
    reader.byte_headers()?;
    let mut record = ByteRecord::new();
    loop {
        row_began.set(read.borrow().total);
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                pieces.flush();
                return Err(error).with_context(|| format!("after line {}", reader.position().line() + lines_before));
            }
        }
        let place = line_of(&record, reader.position(), &read.borrow()) + lines_before;
        if !pieces.push(place, row(&record, &found)) {
            return Ok(());
        }
    }
}

/// The line on which a record begins. The reader counts line feeds: it knows of them where it stands now, and before a
/// record it may still have to pass over the second half of an end of line, and over empty lines.
fn line_of(record: &ByteRecord, now: &Position, latest: &Latest) -> u64 {
    let within = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
    let behind = u64::from(latest.before(now.byte()) == Some(b'\n'));
    now.line().saturating_sub(within + behind)
}

fn row(record: &ByteRecord, columns: &[Option<Match>]) -> Result<Row, Remark<Skipped>> {
    if record.len() != columns.len() {
        let detail = format!("{} fields where the header has {}", record.len(), columns.len());
        return Err(Remark::new(Skipped::Unreadable, detail));
    }
    let mut row = Row::default();
    for (value, column) in record.iter().zip(columns) {
        let Some(column) = column else { continue };
        let text = std::str::from_utf8(value).map_err(|_| not_utf8(value))?;
        row.set_matched(*column, Value::String(text.to_owned()));
    }
    Ok(row)
}

/// Excel is told by a first line which sign stands between fields: `sep=;`.
fn separator(line: &[u8]) -> Option<u8> {
    let line = line.trim_ascii_end();
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    // A tab at the end is what it is about.
    let (name, sign) = line.split_at_checked(4)?;
    let sign = if sign.is_empty() { b"\t" } else { sign };
    (name.eq_ignore_ascii_case(b"sep=") && sign.len() == 1).then(|| sign[0])
}

/// The line without its end; old files of the Mac have nothing but carriage returns.
fn header_of(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(line.len());
    &line[..end]
}

/// The sign that makes the most of the header: fields that are known, and more of them.
fn delimiter_of(head: &str, names: &Names) -> u8 {
    let merit = |sign: u8| {
        let fields = fields(head, sign);
        (fields.iter().filter(|name| names.of(name).is_some()).count(), fields.len())
    };
    DELIMITERS.into_iter().rev().max_by_key(|sign| merit(*sign)).unwrap_or(DELIMITERS[0])
}

fn fields(line: &str, delimiter: u8) -> Vec<String> {
    let mut reader = ReaderBuilder::new().has_headers(false).delimiter(delimiter).from_reader(line.as_bytes());
    let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
    record.iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_told_or_found() {
        for (line, sign) in [
            (&b"sep=;\r\n"[..], Some(b';')),
            (b"SEP=,\n", Some(b',')),
            (b"sep=\t\n", Some(b'\t')),
            (b"\"sep=|\"\n", Some(b'|')),
            (b"sep=ab\n", None),
            (b"separate,id\n", None),
            (b"", None),
        ] {
            assert_eq!(separator(line), sign, "{}", line.escape_ascii());
        }
        let names = Names::default();
        for (head, sign) in [
            ("id,restaurant_id,status,created_at", b','),
            ("id;restaurant_id;status;created_at;\"a,b,c,d,e,f\"", b';'),
            ("\"id\"\t\"restaurant_id\"\t\"status\"", b'\t'),
            ("id|restaurantId|status", b'|'),
            ("a,b;c;d", b';'),
            ("id", b','),
        ] {
            assert_eq!(char::from(delimiter_of(head, &names)), char::from(sign), "{head}");
        }
    }
}
