//! CSV and JSON lines, from a file or standard input.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{BATCH, SourceRow, Volume, check_columns, is_stdin};
use crate::cli::backfill::{
    Format,
    reason::{Remark, Skipped},
    row::{Column, Row},
};

/// The longest row. In CSV a longer one is an open quote that swallows the rest of the file.
const MAX_ROW_BYTES: u64 = 4 << 20;

const BUFFER_BYTES: usize = 1 << 16;

type Batch = anyhow::Result<Vec<SourceRow>>;

pub(super) struct FileRows {
    batches: Receiver<Batch>,
    read: Arc<AtomicU64>,
    size: Option<u64>,
}

impl FileRows {
    pub(super) fn open(path: &Path, format: Format) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let (input, size): (Box<dyn Read + Send>, _) = if is_stdin(path) {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).with_context(cannot)?;
            let about = file.metadata().with_context(cannot)?;
            if about.is_dir() {
                bail!("{} is a folder", path.display());
            }
            (Box::new(file), Some(about.len()).filter(|_| about.is_file()))
        };
        let read = Arc::new(AtomicU64::new(0));
        let counted =
            Counted { input, read: read.clone(), row_began: Arc::new(AtomicU64::new(0)), limit: format.limit() };
        let (sender, batches) = channel(2);
        // A thread that nothing waits for: it ends when the receiver has gone, except while it waits for standard
        // input, where nothing can wake it. It writes nothing, and ends with the process.
        thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let done = match format {
                Format::Csv => read_csv(counted, &sender),
                Format::Jsonl => read_lines(counted, &sender),
            };
            if let Err(error) = done {
                // No receiver listens any more: then it does not matter.
                let _ = sender.blocking_send(Err(error));
            }
        })?;
        Ok(Self { batches, read, size })
    }

    pub(super) async fn next(&mut self) -> Batch {
        self.batches.recv().await.unwrap_or_else(|| Ok(Vec::new()))
    }

    pub(super) fn volume(&self) -> Volume {
        Volume { done: self.read.load(Relaxed), total: self.size }
    }
}

impl Format {
    fn limit(self) -> u64 {
        match self {
            Self::Csv => MAX_ROW_BYTES,
            // There a long line is told by its end, and passed over.
            Self::Jsonl => u64::MAX,
        }
    }
}

/// Counts what is read, and refuses a row that does not end.
struct Counted {
    input: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    row_began: Arc<AtomicU64>,
    limit: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.load(Relaxed) - self.row_began.load(Relaxed) > self.limit {
            return Err(io::Error::other(format!(
                "a row is longer than {} MiB: is a quote left open?",
                self.limit >> 20
            )));
        }
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

/// Collects rows, and hands them over when there are enough.
struct Pieces<'a> {
    rows: Vec<SourceRow>,
    to: &'a Sender<Batch>,
}

impl Pieces<'_> {
    /// False when no receiver wants more.
    fn push(&mut self, place: u64, row: Result<Row, Remark<Skipped>>) -> bool {
        self.rows.push(SourceRow { place, row });
        self.rows.len() < BATCH || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.rows.is_empty() || self.to.blocking_send(Ok(std::mem::take(&mut self.rows))).is_ok()
    }
}

fn read_csv(input: Counted, to: &Sender<Batch>) -> anyhow::Result<()> {
    let (read, row_began) = (input.read.clone(), input.row_began.clone());
    let mut reader = csv::ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(input);
    let header: Vec<String> =
        reader.byte_headers()?.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    check_columns("the header", &header.iter().map(String::as_str).collect::<Vec<_>>())?;
    let columns: Vec<Option<Column>> = header.iter().map(|name| Column::named(name)).collect();
    let mut pieces = Pieces { rows: Vec::new(), to };
    let mut record = csv::ByteRecord::new();
    loop {
        row_began.store(read.load(Relaxed), Relaxed);
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                pieces.flush();
                return Err(error).with_context(|| format!("after line {}", reader.position().line()));
            }
        }
        let place = record.position().map_or(0, csv::Position::line);
        if !pieces.push(place, csv_row(&record, &columns)) {
            return Ok(());
        }
    }
    pieces.flush();
    Ok(())
}

fn csv_row(record: &csv::ByteRecord, columns: &[Option<Column>]) -> Result<Row, Remark<Skipped>> {
    if record.len() != columns.len() {
        let detail = format!("{} fields where the header has {}", record.len(), columns.len());
        return Err(Remark::new(Skipped::Unreadable, detail));
    }
    let mut row = Row::default();
    for (value, column) in record.iter().zip(columns) {
        let Some(column) = column else { continue };
        let text = String::from_utf8_lossy(value);
        row.lossy |= matches!(text, std::borrow::Cow::Owned(_));
        row.set(*column, Value::String(text.into_owned()));
    }
    Ok(row)
}

fn read_lines(input: Counted, to: &Sender<Batch>) -> anyhow::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut pieces = Pieces { rows: Vec::new(), to };
    let mut line = Vec::new();
    for place in 1.. {
        line.clear();
        let read = reader.by_ref().take(MAX_ROW_BYTES).read_until(b'\n', &mut line);
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
            let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| place == 1).unwrap_or(&line).trim_ascii();
            if text.is_empty() {
                continue;
            }
            Row::from_json(text)
        } else {
            skip_line(&mut reader)?;
            Err(Remark::new(Skipped::Unreadable, format!("longer than {} MiB", MAX_ROW_BYTES >> 20)))
        };
        if !pieces.push(place, row) {
            return Ok(());
        }
    }
    pieces.flush();
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn rows_of(format: Format, bytes: &[u8]) -> (Vec<(u64, Result<Row, Remark<Skipped>>)>, Option<String>) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        io::Write::write_all(&mut file, bytes).expect("it can be written");
        let mut rows = FileRows::open(file.path(), format).expect("it can be read");
        let mut all = Vec::new();
        loop {
            match rows.next().await {
                Ok(batch) if batch.is_empty() => return (all, None),
                Ok(batch) => all.extend(batch.into_iter().map(|row| (row.place, row.row))),
                Err(error) => return (all, Some(format!("{error:#}"))),
            }
        }
    }

    #[tokio::test]
    async fn csv_keeps_count_of_its_lines() {
        let text =
            b"\xef\xbb\xbfID,Restaurant_Id,status,created_at,note\n1,7,new,x,\"two\nlines\"\n2,7\n3,7,new,x,caf\xe9\n";
        let (rows, error) = rows_of(Format::Csv, text).await;
        assert_eq!(error, None);
        assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 5]);
        assert_eq!(rows[0].1.as_ref().expect("a row").id().as_deref(), Some("1"));
        assert_eq!(rows[1].1.as_ref().expect_err("too short").reason, Skipped::Unreadable);
        assert!(rows[2].1.as_ref().expect("a row").lossy);
    }

    #[tokio::test]
    async fn a_header_that_lacks_a_column_is_told() {
        let (rows, error) = rows_of(Format::Csv, b"id;restaurant_id;status;created_at\n1;7;new;x\n").await;
        assert!(rows.is_empty());
        let error = error.expect("no such column");
        assert!(error.contains("no column id, restaurant_id, status, created_at"), "{error}");
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
        text.extend_from_slice(b"}\n{\"ID\": 5}");
        let (rows, error) = rows_of(Format::Jsonl, &text).await;
        assert_eq!(error, None);
        let read: Vec<(u64, Option<Option<String>>)> =
            rows.iter().map(|(line, row)| (*line, row.as_ref().ok().map(Row::id))).collect();
        let id = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(read, [(1, id("1")), (3, None), (4, id("\u{fffd}")), (5, None), (6, id("5"))]);
    }

    #[tokio::test]
    async fn nothing_is_no_rows() {
        assert_eq!(rows_of(Format::Jsonl, b"").await.0.len(), 0);
        assert!(rows_of(Format::Csv, b"").await.1.is_some(), "a header is missing");
    }
}
