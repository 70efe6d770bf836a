//! Where rows come from: a file, standard input, or a table. All are read in pieces.

mod file;
mod table;

use std::path::{Path, PathBuf};

use anyhow::bail;

use self::{file::FileRows, table::TableRows};
use super::{
    BackfillArgs, Format,
    reason::{Remark, Skipped},
    row::{Column, Row},
};
use crate::service::Orders;

/// Rows that are read, and written, at once.
pub(super) const BATCH: usize = 500;

/// One row, or why it is none.
#[derive(Debug)]
pub(super) struct SourceRow {
    /// Its line in the file, or its place in the table.
    pub(super) place: u64,
    pub(super) row: Result<Row, Remark<Skipped>>,
}

/// How much of the source has been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume {
    /// Bytes of a file, rows of a table.
    pub(super) done: u64,
    /// None where it is not known.
    pub(super) total: Option<u64>,
}

pub(super) struct Source {
    name: String,
    rows: Rows,
}

enum Rows {
    File(FileRows),
    Table(Box<TableRows>),
}

impl Source {
    /// Opens what the arguments name.
    pub(super) async fn open(args: &BackfillArgs, orders: &Orders) -> anyhow::Result<Self> {
        if let Some(table) = &args.from_table {
            let rows = TableRows::open(orders, args.source_url.as_deref(), table).await?;
            return Ok(Self { name: format!("table {}", rows.name()), rows: Rows::Table(Box::new(rows)) });
        }
        let (path, format) = file_of(args)?;
        let name = if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() };
        Ok(Self { name, rows: Rows::File(FileRows::open(path, format)?) })
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the place of a row is called: `line 7`.
    pub(super) fn place_word(&self) -> &'static str {
        match self.rows {
            Rows::File(_) => "line",
            Rows::Table(_) => "row",
        }
    }

    /// The next rows; none at the end. May be dropped half-way only if nothing more is read.
    pub(super) async fn next(&mut self) -> anyhow::Result<Vec<SourceRow>> {
        match &mut self.rows {
            Rows::File(rows) => rows.next().await,
            Rows::Table(rows) => rows.next().await,
        }
    }

    pub(super) fn volume(&self) -> Volume {
        match &self.rows {
            Rows::File(rows) => rows.volume(),
            Rows::Table(rows) => rows.volume(),
        }
    }

    pub(super) async fn close(self) {
        if let Rows::Table(rows) = self.rows {
            rows.close().await;
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The file that the arguments name, and its format.
fn file_of(args: &BackfillArgs) -> anyhow::Result<(&PathBuf, Format)> {
    match (&args.csv, &args.jsonl, &args.file) {
        (Some(path), _, _) => Ok((path, Format::Csv)),
        (_, Some(path), _) => Ok((path, Format::Jsonl)),
        (_, _, Some(path)) => match args.format.or_else(|| by_extension(path)) {
            Some(format) => Ok((path, format)),
            None => {
                bail!("what is in {} cannot be told from its name: add --format csv or --format jsonl", path.display())
            }
        },
        _ => bail!("nothing to read: name a file, or a table with --from-table"),
    }
}

fn by_extension(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        _ => None,
    }
}

/// Says which columns are missing, and what is there instead.
fn check_columns<'a>(what: &str, names: &[&'a str]) -> anyhow::Result<()> {
    let missing = Column::missing(names.iter().copied());
    if missing.is_empty() {
        return Ok(());
    }
    let there: Vec<&'a str> = names.iter().copied().take(20).collect();
    let there = Remark::new((), there.join(", ")).detail;
    bail!("{what} has no column {}; it has: {there}", missing.join(", "))
}
