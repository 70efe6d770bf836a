//! The text of a file: unpacked, and in UTF-8.

use std::{
    cell::{Cell, RefCell},
    io::{self, BufRead, BufReader, Cursor, ErrorKind, Read},
    rc::Rc,
};

use anyhow::bail;
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::read::MultiGzDecoder;

pub(super) const BUFFER_BYTES: usize = 1 << 16;

/// So much of the beginning is looked at.
const HEAD_BYTES: u64 = 4096;

/// A text, and how it was stored.
pub(super) struct Text {
    pub(super) text: Box<dyn BufRead>,
    pub(super) encoding: &'static Encoding,
    pub(super) compression: Option<&'static str>,
}

/// Finds out how a file is packed and encoded.
///
/// # Errors
/// When it is no text, or not in the encoding that was named.
pub(super) fn text_of(input: impl Read + 'static, named: Option<&'static Encoding>) -> anyhow::Result<Text> {
    let (head, input) = peek(input)?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let (head, input) = peek(MultiGzDecoder::new(input))?;
        return Ok(Text { compression: Some("gzip"), ..decoded(&head, input, named)? });
    }
    decoded(&head, input, named)
}

fn peek(mut input: impl Read + 'static) -> io::Result<(Vec<u8>, impl Read + 'static)> {
    let mut head = Vec::new();
    input.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(input)))
}

/// Beginnings of files that are no text.
const PACKED: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a ZIP file or an Excel workbook: save the sheet as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it, or pipe it in"),
    (b"BZh", "packed with bzip2: unpack it, or pipe it in"),
    (b"\xfd7zXZ", "packed with xz: unpack it, or pipe it in"),
    (b"PAR1", "a Parquet file: save it as CSV or JSON"),
];

fn decoded(head: &[u8], input: impl Read + 'static, named: Option<&'static Encoding>) -> anyhow::Result<Text> {
    if let Some((_, what)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
        bail!("it is {what}");
    }
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        bail!("it is UTF-32: save it as UTF-8");
    }
    let (marked, mark) = match Encoding::for_bom(head) {
        Some((encoding, length)) => (Some(encoding), length),
        None => (without_mark(head), 0),
    };
    if let (Some(marked), Some(named)) = (marked, named)
        && marked != named
    {
        bail!("it is {}, not {}: leave --encoding out", marked.name(), named.name());
    }
    let encoding = marked.or(named).unwrap_or(UTF_8);
    if named.is_some() && encoding != UTF_8 && marked.is_none() && is_utf8_with_letters(head) {
        bail!("it is UTF-8, not {}: leave --encoding out", encoding.name());
    }
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    io::copy(&mut input.by_ref().take(mark as u64), &mut io::sink())?;
    let text: Box<dyn BufRead> = if encoding == UTF_8 {
        Box::new(input)
    } else {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, Decoding::new(input, encoding)))
    };
    Ok(Text { text, encoding, compression: None })
}

/// UTF-16 without a mark: the first two characters of every format here are ASCII, so each has a byte of zeros.
fn without_mark(head: &[u8]) -> Option<&'static Encoding> {
    match head {
        [1..=255, 0, 1..=255, 0, ..] => Some(UTF_16LE),
        [0, 1..=255, 0, 1..=255, ..] => Some(UTF_16BE),
        _ => None,
    }
}

/// Whether there is more than ASCII, and all of it is UTF-8: in other encodings that does not happen by chance.
fn is_utf8_with_letters(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => head.len(),
        // The end of what was looked at may part a character.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return false,
    };
    !head[..valid].is_ascii()
}

/// Turns another encoding into UTF-8. What is not of that encoding is an error.
struct Decoding<R> {
    input: R,
    decoder: Decoder,
    name: &'static str,
    /// UTF-8 that is still to be given out.
    ready: Vec<u8>,
    given: usize,
    at: u64,
    ended: bool,
}

impl<R: BufRead> Decoding<R> {
    fn new(input: R, encoding: &'static Encoding) -> Self {
        let decoder = encoding.new_decoder_without_bom_handling();
        Self { input, decoder, name: encoding.name(), ready: Vec::new(), given: 0, at: 0, ended: false }
    }

    fn decode_more(&mut self) -> io::Result<()> {
        let raw = self.input.fill_buf()?;
        self.ended = raw.is_empty();
        let room = self.decoder.max_utf8_buffer_length_without_replacement(raw.len()).unwrap_or(BUFFER_BYTES * 3);
        self.ready.resize(room.max(16), 0);
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(raw, &mut self.ready, self.ended);
        self.ready.truncate(written);
        self.given = 0;
        self.input.consume(read);
        self.at += read as u64;
        match result {
            DecoderResult::Malformed(..) => {
                let message = format!("near byte {} it is not {}: name another --encoding", self.at, self.name);
                Err(io::Error::new(ErrorKind::InvalidData, message))
            }
            DecoderResult::InputEmpty => Ok(()),
            DecoderResult::OutputFull => {
                self.ended = false;
                Ok(())
            }
        }
    }
}

impl<R: BufRead> Read for Decoding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() && !self.ended {
            self.decode_more()?;
        }
        let count = (&self.ready[self.given..]).read(buffer)?;
        self.given += count;
        Ok(count)
    }
}

/// Counts what is read, and refuses a row that does not end.
pub(super) struct Limited<R> {
    pub(super) input: R,
    pub(super) read: Rc<RefCell<Latest>>,
    pub(super) row_began: Rc<Cell<u64>>,
    pub(super) limit: u64,
}

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Latest {
    /// How much was read in all.
    pub(super) total: u64,
    /// The end of that.
    bytes: Vec<u8>,
}

impl Latest {
    /// The byte before this place, if it was among the latest.
    pub(super) fn before(&self, place: u64) -> Option<u8> {
        let from_the_end = usize::try_from(self.total.checked_sub(place)?).ok()?;
        let at = self.bytes.len().checked_sub(from_the_end + 1)?;
        self.bytes.get(at).copied()
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut latest = self.read.borrow_mut();
        if latest.total - self.row_began.get() > self.limit {
            return Err(io::Error::other(format!(
                "a row is longer than {} MiB: is a quote left open?",
                self.limit >> 20
            )));
        }
        let count = self.input.read(buffer)?;
        if count > 0 {
            latest.total += count as u64;
            latest.bytes.clear();
            latest.bytes.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    /// The text, and what was said of it.
    fn read(bytes: &[u8], named: Option<&'static Encoding>) -> anyhow::Result<(String, &'static str)> {
        let mut found = text_of(Cursor::new(bytes.to_vec()), named)?;
        let mut text = String::new();
        found.text.read_to_string(&mut text)?;
        Ok((text, found.encoding.name()))
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    }

    const TEXT: &str = "id;name\n1;José 🍜\n";

    #[test]
    fn encodings_are_told_apart() {
        for (bytes, name) in [
            (TEXT.as_bytes().to_vec(), "UTF-8"),
            ([b"\xef\xbb\xbf", TEXT.as_bytes()].concat(), "UTF-8"),
            (utf16(&format!("\u{feff}{TEXT}"), true), "UTF-16LE"),
            (utf16(&format!("\u{feff}{TEXT}"), false), "UTF-16BE"),
            (utf16(TEXT, true), "UTF-16LE"),
            (utf16(TEXT, false), "UTF-16BE"),
        ] {
            assert_eq!(read(&bytes, None).expect("it is read"), (TEXT.to_owned(), name), "{name}");
        }
        let long = TEXT.repeat(20_000);
        assert_eq!(read(&utf16(&long, true), None).expect("it is read").0, long);
    }

    #[test]
    fn another_encoding_is_asked_for() {
        let cafe = b"id,name\n1,caf\xe9 \x80\n";
        assert!(read(cafe, None).is_err(), "no UTF-8");
        assert_eq!(read(cafe, Some(WINDOWS_1252)).expect("it is read").0, "id,name\n1,café €\n");
        assert_eq!(read(b"id\n\x83\x89\n", Some(SHIFT_JIS)).expect("it is read").0, "id\nラ\n");
        for (bytes, named, words) in [
            (TEXT.as_bytes().to_vec(), WINDOWS_1252, "it is UTF-8"),
            (b"\xef\xbb\xbfid\n".to_vec(), WINDOWS_1252, "it is UTF-8"),
            (utf16("id\n", true), WINDOWS_1252, "it is UTF-16LE"),
            (b"id\n\x83\n".to_vec(), SHIFT_JIS, "not Shift_JIS"),
            (b"\xff\xfei\0d\0\x00\xd8".to_vec(), UTF_16LE, "not UTF-16LE"),
        ] {
            let error = format!("{:#}", read(&bytes, Some(named)).expect_err(words));
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn packed_files_are_unpacked_or_named() {
        let mut packed = Vec::new();
        // Two members, as tools that append write them.
        for part in ["id;na", "me\n1;José 🍜\n"] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(part.as_bytes()).expect("memory can be written");
            packed.extend(encoder.finish().expect("memory can be written"));
        }
        assert_eq!(read(&packed, None).expect("it is read").0, TEXT);
        let cut = &packed[..packed.len() - 9];
        assert!(read(cut, None).is_err(), "a part of a file is not taken for the whole");
        for (bytes, words) in [(&b"PK\x03\x04..."[..], "Excel"), (b"\xff\xfe\0\0i\0\0\0", "UTF-32"), (b"BZh9", "bzip2")]
        {
            assert!(read(bytes, None).expect_err(words).to_string().contains(words));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, gzip: bool, named in 0..4_usize) {
            let named = [None, Some(WINDOWS_1252), Some(SHIFT_JIS), Some(UTF_16LE)][named];
            let mut all = if gzip { vec![0x1f, 0x8b, 8, 0] } else { Vec::new() };
            all.extend(&bytes);
            let _ = read(&all, named);
        }

        #[test]
        fn text_comes_back_from_utf16(text in "[a-z]{2}.{0,200}", little: bool) {
            prop_assert_eq!(read(&utf16(&text, little), None).expect("it is read").0, text);
        }
    }
}
