//! JSON: one object a line, objects over several lines, an array of them, or an answer of an API that holds one.
//!
//! Lines that cannot be read do not stop those that can. In the other forms nothing says where the next object begins,
//! so values are cut by their brackets.

use std::{
    collections::HashMap,
    io::{self, BufRead, Cursor, Read},
};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Pieces,
    first_line::{MAX_ROW_BYTES, first_line, shown},
};
use crate::cli::backfill::{
    column::Column,
    names::Names,
    reason::{Remark, Skipped},
    value::Objects,
};

/// Under these names the answers of APIs hold their orders.
const ENVELOPES: [&str; 8] = ["orders", "data", "results", "result", "records", "rows", "edges", "nodes"];

/// An answer holds its orders not deeper than this: `{"data": {"orders": {"edges": [`.
const MAX_ENVELOPES: usize = 4;

pub(super) fn read_json(mut text: Box<dyn BufRead>, names: &Names, pieces: &mut Pieces) -> anyhow::Result<()> {
    let (first, before) = first_line(&mut text)?;
    let mut objects = Objects::new(names.clone());
    pieces.understood(|form| form.format = "json");
    match shape_of(&first, names) {
        Shape::Nothing => Ok(()),
        Shape::Other => bail!(
            "its first line was read as {}, and what is expected is JSON: one object a line, or an array of objects{}",
            shown(&first),
            if first.contains(&b',') || first.contains(&b';') { "; if it is CSV, add --format csv" } else { "" }
        ),
        Shape::Lines => {
            pieces.understood(|form| form.format = "json lines");
            read_lines(Cursor::new(first).chain(text), before, &mut objects, pieces)
        }
        Shape::Values => {
            let text = Cursor::new(first).chain(text);
            let mut values =
                Values { text, line: before + 1, objects: &mut objects, names, pieces, buffer: Vec::new() };
            values.read_all().map(|_| ())
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Nothing,
    Lines,
    Values,
    Other,
}

/// What the first line shows of the file.
fn shape_of(first: &[u8], names: &Names) -> Shape {
    let line = first.trim_ascii();
    match line.first() {
        None => return Shape::Nothing,
        Some(b'[') => return Shape::Values,
        Some(b'{') => {}
        Some(_) => return Shape::Other,
    }
    let mut read = serde_json::Deserializer::from_slice(line).into_iter::<HashMap<String, &RawValue>>();
    match read.next() {
        Some(Ok(fields)) => {
            let rest = line[read.byte_offset()..].trim_ascii_start();
            let holds = |(name, value): (&String, &&RawValue)| {
                ENVELOPES.contains(&name.as_str()) && value.get().starts_with(['[', '{'])
            };
            let is_envelope = !fields.keys().any(|name| is_id(names, name)) && fields.iter().any(holds);
            if is_envelope || rest.starts_with(b",") || rest.starts_with(b"{") { Shape::Values } else { Shape::Lines }
        }
        Some(Err(error)) if error.is_eof() => Shape::Values,
        _ => Shape::Lines,
    }
}

fn is_id(names: &Names, name: &str) -> bool {
    names.of(name).is_some_and(|found| found.column == Column::Id)
}

fn read_lines(mut text: impl BufRead, before: u64, objects: &mut Objects, pieces: &mut Pieces) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for place in before + 1.. {
        line.clear();
        let read = text.by_ref().take(MAX_ROW_BYTES).read_until(b'\n', &mut line);
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                pieces.flush();
                return Err(error).with_context(|| format!("line {place}"));
            }
        };
        if read == 0 {
            break;
        }
        let whole = line.last() == Some(&b'\n') || (read as u64) < MAX_ROW_BYTES;
        let row = if whole {
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            objects.row(text)
        } else {
            skip_line(&mut text)?;
            Err(too_long())
        };
        pieces.learn(objects);
        if !pieces.push(place, row) {
            break;
        }
    }
    Ok(())
}

fn too_long() -> Remark<Skipped> {
    Remark::new(Skipped::Unreadable, format!("longer than {} MiB", MAX_ROW_BYTES >> 20))
}

/// Passes over the rest of a line, however long it is.
fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let (count, done) = end.map_or((buffer.len(), buffer.is_empty()), |at| (at + 1, true));
        reader.consume(count);
        if done {
            return Ok(());
        }
    }
}

/// Values one after the other, cut by their brackets.
struct Values<'a, R> {
    text: R,
    line: u64,
    objects: &'a mut Objects,
    names: &'a Names,
    pieces: &'a mut Pieces,
    /// The object that is being read.
    buffer: Vec<u8>,
}

/// How an object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It is in the buffer.
    Object,
    /// Its rows are taken.
    Envelope,
    /// No receiver wants more.
    Unwanted,
}

impl<R: BufRead> Values<'_, R> {
    /// False when no receiver wants more.
    fn read_all(&mut self) -> anyhow::Result<bool> {
        while let Some(byte) = self.peek()? {
            let line = self.line;
            match byte {
                b',' => self.text.consume(1),
                b'[' => {
                    self.text.consume(1);
                    if !self.array("")? {
                        return Ok(false);
                    }
                }
                b'{' => {
                    self.buffer.clear();
                    let ended = self.object(0)?;
                    if ended == Ended::Unwanted || (ended == Ended::Object && !self.push(line, "")) {
                        return Ok(false);
                    }
                }
                _ => {
                    self.buffer.clear();
                    self.value()?;
                    if !self.push(line, "") {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// The rest of an array, each of its values a row. `name`: the field that holds it.
    fn array(&mut self, name: &str) -> anyhow::Result<bool> {
        let began = self.line;
        loop {
            match self.peek()? {
                None => {
                    self.pieces.flush();
                    bail!("it ends within the array that begins at line {began}: a part of it is missing");
                }
                Some(b']') => {
                    self.text.consume(1);
                    return Ok(true);
                }
                Some(b',') => self.text.consume(1),
                Some(_) => {
                    let line = self.line;
                    self.buffer.clear();
                    self.value()?;
                    if !self.push(line, name) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// An object: into the buffer, unless it is the answer of an API that holds orders.
    fn object(&mut self, depth: usize) -> anyhow::Result<Ended> {
        self.take(1);
        let mut has_id = false;
        loop {
            match self.peek()? {
                // The row is broken, and is told as such.
                None => return Ok(Ended::Object),
                Some(b'}') => {
                    self.take(1);
                    return Ok(Ended::Object);
                }
                Some(b'"') => {
                    let from = self.buffer.len();
                    self.value()?;
                    let name: String = serde_json::from_slice(&self.buffer[from..]).unwrap_or_default();
                    if self.peek()? != Some(b':') {
                        continue;
                    }
                    self.take(1);
                    has_id = has_id || is_id(self.names, &name);
                    let next = self.peek()?;
                    let may_hold = !has_id && depth < MAX_ENVELOPES && ENVELOPES.contains(&name.as_str());
                    match next {
                        Some(b'[') if may_hold => {
                            self.text.consume(1);
                            let wanted = self.array(&name)?;
                            self.leave_object()?;
                            return Ok(if wanted { Ended::Envelope } else { Ended::Unwanted });
                        }
                        Some(b'{') if may_hold => match self.object(depth + 1)? {
                            Ended::Object => {}
                            Ended::Envelope => {
                                self.leave_object()?;
                                return Ok(Ended::Envelope);
                            }
                            Ended::Unwanted => return Ok(Ended::Unwanted),
                        },
                        Some(_) => self.value()?,
                        None => {}
                    }
                }
                Some(_) => self.take(1),
            }
        }
    }

    /// Passes over the rest of the object around an array of rows.
    fn leave_object(&mut self) -> anyhow::Result<()> {
        loop {
            self.buffer.clear();
            match self.peek()? {
                None => return Ok(()),
                Some(b'}') => {
                    self.text.consume(1);
                    return Ok(());
                }
                Some(b',' | b':') => self.text.consume(1),
                Some(_) => self.value()?,
            }
        }
    }

    /// False when no receiver wants more.
    fn push(&mut self, line: u64, name: &str) -> bool {
        let row = if self.buffer.len() as u64 > MAX_ROW_BYTES {
            Err(too_long())
        } else {
            let bytes = if name == "edges" { node_of(&self.buffer) } else { &self.buffer };
            self.objects.row(bytes)
        };
        self.pieces.learn(self.objects);
        self.pieces.push(line, row)
    }

    /// The next byte that is no white space; it is not taken.
    fn peek(&mut self) -> anyhow::Result<Option<u8>> {
        loop {
            let buffer = self.text.fill_buf().with_context(|| format!("after line {}", self.line))?;
            let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let next = buffer.get(blank).copied();
            let lines = buffer[..blank].iter().filter(|byte| **byte == b'\n').count();
            let at_the_end = buffer.is_empty();
            self.line += lines as u64;
            self.text.consume(blank);
            if next.is_some() || at_the_end {
                return Ok(next);
            }
        }
    }

    /// Moves bytes that were peeked at into the buffer.
    fn take(&mut self, count: usize) {
        let bytes = self.text.fill_buf().unwrap_or_default();
        let count = count.min(bytes.len());
        keep(&mut self.buffer, &bytes[..count]);
        self.text.consume(count);
    }

    /// Reads one value to its end, into the buffer. A sign that begins none is a value of its own.
    fn value(&mut self) -> anyhow::Result<()> {
        let (mut depth, mut in_string, mut escaped) = (0_u64, false, false);
        let mut began = false;
        loop {
            let bytes = self.text.fill_buf().with_context(|| format!("after line {}", self.line))?;
            if bytes.is_empty() {
                return Ok(());
            }
            let mut ends = None;
            for (at, byte) in bytes.iter().enumerate() {
                self.line += u64::from(*byte == b'\n');
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => {
                            in_string = false;
                            if depth == 0 {
                                ends = Some(at + 1);
                            }
                        }
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' if depth > 1 => depth -= 1,
                        b'}' | b']' if depth == 1 || !began => ends = Some(at + 1),
                        b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                            self.line -= u64::from(*byte == b'\n');
                            ends = Some(if began { at } else { at + 1 });
                        }
                        _ => {}
                    }
                }
                began = true;
                if ends.is_some() {
                    break;
                }
            }
            let count = ends.unwrap_or(bytes.len());
            keep(&mut self.buffer, &bytes[..count]);
            self.text.consume(count);
            if ends.is_some() {
                return Ok(());
            }
        }
    }
}

/// Keeps no more than shows that it is too long.
fn keep(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if buffer.len() as u64 <= MAX_ROW_BYTES {
        buffer.extend_from_slice(bytes);
    }
}

/// GraphQL wraps each order: `{"node": {…}}`.
fn node_of(bytes: &[u8]) -> &[u8] {
    #[derive(Deserialize)]
    struct Edge<'a> {
        #[serde(borrow)]
        node: &'a RawValue,
    }
    serde_json::from_slice::<Edge>(bytes).map_or(bytes, |edge| edge.node.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_shows_the_shape() {
        let names = Names::default();
        for (line, shape) in [
            (&b""[..], Shape::Nothing),
            (b"[\n", Shape::Values),
            (b"{\n", Shape::Values),
            (b"{\"id\": 1,\n", Shape::Values),
            (b"{\"id\": 1}\n", Shape::Lines),
            (b"{\"id\": 1}, {\"id\": 2}\n", Shape::Values),
            (b"{\"id\": 1, \"data\": [1]}\n", Shape::Lines),
            (b"{\"orders\": [{\"id\": 1}]}\n", Shape::Values),
            (b"{'id': 1}\n", Shape::Lines),
            (b"id,status\n", Shape::Other),
            (b"nothing\n", Shape::Other),
        ] {
            assert_eq!(shape_of(line, &names), shape, "{}", line.escape_ascii());
        }
    }
}
