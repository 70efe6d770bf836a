//! CSV and JSON, from a file or standard input.

mod bytes;
mod csv;
mod first_line;
mod json;

use std::{
    fs::File,
    io::{self, BufRead, Read},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use anyhow::{Context, bail};
use encoding_rs::Encoding;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::{bytes::text_of, csv::read_csv, json::read_json};
use super::{BATCH, SourceRow, Volume, form::Form, is_stdin};
use crate::cli::backfill::{
    Format,
    names::Names,
    reason::{Remark, Skipped},
    value::{Objects, Row},
};

type Batch = anyhow::Result<Vec<SourceRow>>;

pub(super) struct FileRows {
    batches: Receiver<Batch>,
    read: Arc<AtomicU64>,
    size: Option<u64>,
    form: Arc<Mutex<Form>>,
}

/// How a file is to be read.
#[derive(Debug, Clone)]
pub(super) struct FileRules {
    /// None: its beginning tells.
    pub(super) format: Option<Format>,
    pub(super) encoding: Option<&'static Encoding>,
    pub(super) names: Names,
}

impl FileRows {
    pub(super) fn open(path: &Path, rules: FileRules) -> anyhow::Result<Self> {
        let name = if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() };
        let cannot = || format!("cannot read {name}");
        let (input, size): (Box<dyn Read + Send>, _) = if is_stdin(path) {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).with_context(cannot)?;
            let about = file.metadata().with_context(cannot)?;
            if about.is_dir() {
                bail!("{name} is a folder");
            }
            (Box::new(file), Some(about.len()).filter(|_| about.is_file()))
        };
        let (read, form) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::default()));
        let counted = Counted { input, read: read.clone() };
        let (sender, batches) = channel(2);
        let mut pieces = Pieces { rows: Vec::new(), to: sender, form: form.clone() };
        // A thread that nothing waits for: it ends when the receiver has gone, except while it waits for standard
        // input, where nothing can wake it. It writes nothing, and ends with the process.
        thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let done = read_all(counted, &rules, &mut pieces);
            pieces.flush();
            if let Err(error) = done {
                // No receiver listens any more: then it does not matter.
                let _ = pieces.to.blocking_send(Err(error.context(format!("cannot read {name}"))));
            }
        })?;
        Ok(Self { batches, read, size, form })
    }

    pub(super) async fn next(&mut self) -> Batch {
        self.batches.recv().await.unwrap_or_else(|| Ok(Vec::new()))
    }

    pub(super) fn volume(&self) -> Volume {
        Volume { done: self.read.load(Relaxed), total: self.size }
    }

    /// What is known of its form by now.
    pub(super) fn form(&self) -> Form {
        self.form.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_all(input: Counted, rules: &FileRules, pieces: &mut Pieces) -> anyhow::Result<()> {
    let mut found = text_of(input, rules.encoding)?;
    pieces.understood(|form| {
        form.encoding = Some(found.encoding.name());
        form.compression = found.compression;
    });
    let format = match rules.format {
        Some(format) => format,
        None => format_of(found.text.fill_buf()?),
    };
    match format {
        Format::Csv => read_csv(found.text, &rules.names, pieces),
        Format::Json => read_json(found.text, &rules.names, pieces),
    }
}

fn format_of(beginning: &[u8]) -> Format {
    match beginning.trim_ascii_start().first() {
        Some(b'{' | b'[') => Format::Json,
        _ => Format::Csv,
    }
}

/// Counts what is read, as it is stored.
struct Counted {
    input: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

/// Collects rows, and hands them over when there are enough.
struct Pieces {
    rows: Vec<SourceRow>,
    to: Sender<Batch>,
    form: Arc<Mutex<Form>>,
}

impl Pieces {
    /// False when no receiver wants more.
    fn push(&mut self, place: u64, row: Result<Row, Remark<Skipped>>) -> bool {
        self.rows.push(SourceRow { place, row });
        self.rows.len() < BATCH || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.rows.is_empty() || self.to.blocking_send(Ok(std::mem::take(&mut self.rows))).is_ok()
    }

    fn understood(&mut self, what: impl FnOnce(&mut Form)) {
        what(&mut self.form.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Names of fields that have not come before.
    fn learn(&mut self, objects: &mut Objects) {
        let fresh = objects.fresh();
        if !fresh.is_empty() {
            self.understood(|form| form.columns.extend(fresh));
        }
    }
}

#[cfg(test)]
mod tests;
