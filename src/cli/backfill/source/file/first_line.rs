//! The first line of a file: what it shows of the rest.

use std::io::{self, BufRead, Read};

/// The longest row. In CSV a longer one is an open quote that swallows the rest of the file.
pub(super) const MAX_ROW_BYTES: u64 = 4 << 20;

/// The first line that is not empty, with its end, and how many came before it.
pub(super) fn first_line(text: &mut impl BufRead) -> io::Result<(Vec<u8>, u64)> {
    let mut line = Vec::new();
    for before in 0.. {
        line.clear();
        let read = text.by_ref().take(MAX_ROW_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 || !line.trim_ascii().is_empty() {
            return Ok((line, before));
        }
    }
    Ok((line, 0))
}

/// A line for people, as it was read.
pub(super) fn shown(line: &[u8]) -> String {
    const MAX_CHARS: usize = 120;
    let line = line.trim_ascii_end();
    let part = &line[..line.len().min(4 * MAX_CHARS)];
    // The cut may part a character.
    let whole = match std::str::from_utf8(part) {
        Err(error) if error.error_len().is_none() && part.len() < line.len() => &part[..error.valid_up_to()],
        _ => part,
    };
    let text = match std::str::from_utf8(whole) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => whole.escape_ascii().to_string(),
    };
    match text.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("«{}…»", &text[..at]),
        None => format!("«{text}»"),
    }
}
