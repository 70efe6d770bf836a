//! Where rows come from: a file, standard input, or a table. All are read in pieces.

mod file;
mod form;
mod table;

use std::path::{Path, PathBuf};

use anyhow::bail;

pub(super) use self::form::Form;
use self::{
    file::{FileRows, FileRules},
    table::TableRows,
};
use super::{
    BackfillArgs, Format,
    reason::{Remark, Skipped},
    rules::Rules,
    time::AsUtc,
    value::Row,
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
    /// Opens what the arguments name. A table may say in which zone its times are.
    pub(super) async fn open(args: &BackfillArgs, rules: &mut Rules, orders: &Orders) -> anyhow::Result<Self> {
        if let Some(table) = &args.from_table {
            let rows = TableRows::open(orders, args.source_url.as_deref(), table, &rules.names).await?;
            if rules.times.utc.is_none() && rows.is_in_utc() {
                rules.times.utc = Some(AsUtc::OfServer);
            }
            return Ok(Self { name: format!("table {}", rows.name()), rows: Rows::Table(Box::new(rows)) });
        }
        let (path, format) = file_of(args)?;
        let name = if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() };
        let rules = FileRules { format, encoding: args.rules.encoding, names: rules.names.clone() };
        Ok(Self { name, rows: Rows::File(FileRows::open(path, rules)?) })
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

    /// How it was understood so far.
    pub(super) fn form(&self) -> Form {
        match &self.rows {
            Rows::File(rows) => rows.form(),
            Rows::Table(rows) => rows.form(),
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

/// The file that the arguments name, and its format where that is told.
fn file_of(args: &BackfillArgs) -> anyhow::Result<(&PathBuf, Option<Format>)> {
    match (&args.csv, &args.jsonl, &args.file) {
        (Some(path), _, _) => Ok((path, Some(Format::Csv))),
        (_, Some(path), _) => Ok((path, Some(Format::Json))),
        (_, _, Some(path)) => Ok((path, args.format.or_else(|| by_extension(path)))),
        _ => bail!("nothing to read: name a file, or a table with --from-table"),
    }
}

/// None where the name tells nothing: then the beginning of the file does.
fn by_extension(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match Path::new(name).extension()?.to_str()? {
        "csv" | "tsv" => Some(Format::Csv),
        "json" | "jsonl" | "ndjson" => Some(Format::Json),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        for (name, format) in [
            ("a.csv", Some(Format::Csv)),
            ("a.TSV.gz", Some(Format::Csv)),
            ("orders.v2.json", Some(Format::Json)),
            ("a.ndjson.GZ", Some(Format::Json)),
            ("a.txt", None),
            ("csv", None),
            ("-", None),
        ] {
            assert_eq!(by_extension(Path::new(name)), format, "{name}");
        }
    }
}
