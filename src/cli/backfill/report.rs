//! What a back-fill did, and what it found.

mod summary;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::Context;
use serde::Serialize;

pub(super) use self::summary::Summary;
use super::{
    again::{self, Noted},
    reason::{Adjusted, Reason, Remark, Skipped},
};
use crate::service::BackFilled;

/// So many rows are named for each reason.
const EXAMPLES: usize = 5;

/// A row, as it is named in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) place: u64,
    pub(super) id: Option<String>,
}

/// Counts, and a few rows for each reason.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) trial: bool,
    pub(super) read: u64,
    pub(super) live: u64,
    pub(super) own_number: u64,
    overdue: u64,
    pub(super) finished: u64,
    pub(super) known: u64,
    still_live: u64,
    pub(super) updated: u64,
    replaced: u64,
    skipped: Remarks<Skipped>,
    adjusted: Remarks<Adjusted>,
    noted: Remarks<Noted>,
    file: Option<BufWriter<File>>,
}

#[derive(Debug)]
struct Remarks<R>(BTreeMap<R, Found>);

impl<R> Default for Remarks<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[derive(Debug, Default)]
struct Found {
    count: u64,
    examples: Vec<(Place, String)>,
}

/// A line of the report's file.
#[derive(Serialize)]
struct Line<'a> {
    outcome: &'static str,
    place: u64,
    id: Option<&'a str>,
    reason: &'static str,
    detail: &'a str,
}

impl Report {
    /// With a file, every remark is written there.
    pub(super) fn new(trial: bool, file: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        Ok(Self { trial, file: file.map(create).transpose()?.map(BufWriter::new), ..Self::default() })
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped.0.values().map(|found| found.count).sum()
    }

    /// Whether there were rows, and none of them could be used.
    pub(super) fn nothing_usable(&self) -> bool {
        self.read > 0 && self.skipped() == self.read
    }

    /// Why rows were skipped most often.
    pub(super) fn most_often(&self) -> &'static str {
        let most = self.skipped.0.iter().max_by_key(|(_, found)| found.count);
        most.map(|(reason, _)| reason.explained()).unwrap_or_default()
    }

    pub(super) fn skip(&mut self, place: Place, remark: Remark<Skipped>) -> anyhow::Result<()> {
        self.write("skipped", &place, &remark)?;
        self.skipped.add(place, remark);
        Ok(())
    }

    pub(super) fn adjust(&mut self, place: &Place, remark: Remark<Adjusted>) -> anyhow::Result<()> {
        self.write("adjusted", place, &remark)?;
        self.adjusted.add(place.clone(), remark);
        Ok(())
    }

    /// Counts what became of an order.
    pub(super) fn count(&mut self, place: Place, outcome: &BackFilled) -> anyhow::Result<()> {
        for remark in again::remarks(outcome) {
            self.write(remark.reason.code(), &place, &remark)?;
            self.noted.add(place.clone(), remark);
        }
        match outcome {
            BackFilled::Live { own_number, renamed, overdue, .. } => {
                self.live += 1;
                self.own_number += u64::from(*own_number);
                self.overdue += u64::from(*overdue);
                if let Some((old, new)) = renamed {
                    self.adjust(&place, Remark::new(Adjusted::NumberChanged, format!("{old} → {new}")))?;
                }
            }
            BackFilled::Finished => self.finished += 1,
            BackFilled::Known(known) => {
                self.known += 1;
                self.still_live += u64::from(known.still_live);
            }
            BackFilled::Updated(_) => self.updated += 1,
            BackFilled::Replaced(_) => self.replaced += 1,
            BackFilled::Refused(refusal) => self.skip(place, refusal.into())?,
        }
        Ok(())
    }

    fn write<R: Reason>(&mut self, outcome: &'static str, place: &Place, remark: &Remark<R>) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = Line {
            outcome,
            place: place.place,
            id: place.id.as_deref(),
            reason: remark.reason.code(),
            detail: &remark.detail,
        };
        serde_json::to_writer(&mut *file, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .context("the report cannot be written")
    }

    /// Writes what is left to the file.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush).context("the report cannot be written")
    }
}

impl<R: Reason> Remarks<R> {
    fn add(&mut self, place: Place, remark: Remark<R>) {
        let found = self.0.entry(remark.reason).or_default();
        found.count += 1;
        if found.examples.len() < EXAMPLES {
            found.examples.push((place, remark.detail));
        }
    }
}
