//! The bytes of a body as JSON text: in UTF-8, whatever its sender made of that.

/// The text, without the mark that some clients put before it (RFC 8259 8.1 lets it be ignored).
///
/// # Errors
/// The name of another encoding, whose bytes would be no JSON at all.
pub(super) fn utf_8(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match text {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, _, ..] | [_, 0, 0, 0, ..] => Err("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err("UTF-16"),
        // JSON begins with two characters of ASCII, unless it is a digit.
        [0, other, ..] | [other, 0, ..] if *other != 0 => Err("UTF-16"),
        _ => Ok(text),
    }
}

/// A character that means nothing, and stands in a text for each half of a character.
pub(super) type Mark = char;

/// The text with a mark for each half of a character, and the mark; None where there are none.
///
/// Characters beyond U+FFFF are written as two escapes, a surrogate pair: `\ud83c\udf55`. A client that cuts a text in
/// between sends half of one, which no parser takes. With marks the text can be read, and the field be named. Each byte
/// keeps its place.
pub(super) fn with_marks(bytes: &[u8]) -> Option<(Vec<u8>, Mark)> {
    let halves = halves(bytes);
    if halves.is_empty() {
        return None;
    }
    // Noncharacters, which no text should hold; one that this text does not.
    let mark = ('\u{fdd0}'..='\u{fdef}').find(|mark| !holds(bytes, *mark))?;
    let mut marked = bytes.to_vec();
    for half in halves {
        match half {
            Half::Escaped(at) => marked[at..at + ESCAPE].copy_from_slice(escaped(mark).as_bytes()),
            Half::Encoded(at) => _ = mark.encode_utf8(&mut marked[at..at + ENCODED]),
        }
    }
    Some((marked, mark))
}

/// Where half of a character is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// An escape.
    Escaped(usize),
    /// Bytes that would be the surrogate in UTF-8, if that had any.
    Encoded(usize),
}

/// Bytes of `\ud83c`, and of a surrogate as if it were a character; the marks have as many.
const ESCAPE: usize = 6;
const ENCODED: usize = 3;

fn escaped(mark: Mark) -> String {
    format!("\\u{:04x}", u32::from(mark))
}

fn holds(bytes: &[u8], mark: Mark) -> bool {
    let (mut buffer, escape) = ([0; ENCODED], escaped(mark));
    let encoded = mark.encode_utf8(&mut buffer).as_bytes();
    bytes.windows(ENCODED).any(|window| window == encoded)
        || bytes.windows(ESCAPE).any(|window| window.eq_ignore_ascii_case(escape.as_bytes()))
}

fn halves(bytes: &[u8]) -> Vec<Half> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        at += match (byte, unit(bytes, at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(bytes, at + ESCAPE), Some(0xdc00..=0xdfff)) => 2 * ESCAPE,
            (b'\\', Some(0xd800..=0xdfff)) => {
                found.push(Half::Escaped(at));
                ESCAPE
            }
            // The next byte is a part of the escape, a backslash among others.
            (b'\\', _) => 2,
            (0xed, _) if matches!(bytes.get(at + 1..at + ENCODED), Some([0xa0..=0xbf, 0x80..=0xbf])) => {
                found.push(Half::Encoded(at));
                ENCODED
            }
            _ => 1,
        };
    }
    found
}

/// The unit of UTF-16 that an escape at this place names.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_before_the_text_is_left_out() {
        assert_eq!(utf_8(b"\xef\xbb\xbf{}"), Ok(&b"{}"[..]));
        assert_eq!(utf_8(b"\xef\xbb\xbf"), Ok(&b""[..]));
        for text in [&b""[..], b"{}", b"1", b" ", b"\0", b"\xc3\xa9", b"{\"a\":\"\0\"}", b"\xef\xbb"] {
            assert_eq!(utf_8(text), Ok(text), "{text:?}");
        }
    }

    #[test]
    fn other_encodings_are_named() {
        let utf_16 = |text: &str, to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<u8>>();
        let utf_32 = |text: &str, to: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| to(c.into())).collect::<Vec<u8>>();
        for text in ["{}", "\u{feff}{\"note\":\"é\"}", "[]", " {}", "null"] {
            for bytes in [utf_16(text, u16::to_le_bytes), utf_16(text, u16::to_be_bytes)] {
                assert_eq!(utf_8(&bytes), Err("UTF-16"), "{bytes:?}");
            }
            for bytes in [utf_32(text, u32::to_le_bytes), utf_32(text, u32::to_be_bytes)] {
                assert_eq!(utf_8(&bytes), Err("UTF-32"), "{bytes:?}");
            }
        }
    }

    fn marked(text: &[u8]) -> Option<String> {
        let (bytes, mark) = with_marks(text)?;
        assert_eq!(bytes.len(), text.len(), "each byte keeps its place");
        let text = String::from_utf8(bytes).expect("UTF-8");
        Some(text.replace(&escaped(mark), "?").replace(mark, "!"))
    }

    #[test]
    fn halves_of_characters_are_marked() {
        for (text, expected) in [
            (r#"["Ana \ud83c"]"#, r#"["Ana ?"]"#),
            (r#"["\udf55!"]"#, r#"["?!"]"#),
            (r#"["\uD83C\uD83C\uDF55"]"#, r#"["?\uD83C\uDF55"]"#),
            (r#"["\ud83c\udf55\udf55"]"#, r#"["\ud83c\udf55?"]"#),
            (r#"["\udf55\ud83c"]"#, r#"["??"]"#),
            (r#"["\ud83c\n\udf55"]"#, r#"["?\n?"]"#),
            (r#"["\\ud83c\ud83c"]"#, r#"["\\ud83c?"]"#),
            (r#"{"\ud83c":"\ud83"}"#, r#"{"?":"\ud83"}"#),
        ] {
            assert_eq!(marked(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(marked(b"[\"a\xed\xa0\xbcb\"]").as_deref(), Some("[\"a!b\"]"));
        assert_eq!(marked(b"[\"\xed\xa0\xbc\xed\xbd\x95\"]").as_deref(), Some("[\"!!\"]"));
    }

    #[test]
    fn whole_characters_are_left_alone() {
        for text in [r#"["\ud83c\udf55 \u00e9 \\ud83c \\\\udf55"]"#, "[\"\u{d7ff}\u{e000}🍕\"]", "\\", r"\u", r"\ud8"]
        {
            assert_eq!(marked(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_mark_is_none_that_the_text_holds() {
        let text = format!(r#"["\ud83c", "\uFDD0", "{}"]"#, '\u{fdd1}');
        assert_eq!(with_marks(text.as_bytes()).map(|(_, mark)| mark), Some('\u{fdd2}'));
        let all: String = ('\u{fdd0}'..='\u{fdef}').collect();
        assert_eq!(with_marks(format!(r#"["\ud83c", "{all}"]"#).as_bytes()), None);
    }
}
