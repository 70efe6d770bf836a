//! What a back-fill did, and what it found.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use anyhow::Context;
use serde::Serialize;

use super::reason::{Adjusted, Reason, Remark, Skipped};
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
    skipped: Remarks<Skipped>,
    adjusted: Remarks<Adjusted>,
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
        match outcome {
            BackFilled::Live { own_number, overdue } => {
                self.live += 1;
                self.own_number += u64::from(*own_number);
                self.overdue += u64::from(*overdue);
            }
            BackFilled::Finished => self.finished += 1,
            BackFilled::Known { still_live } => {
                self.known += 1;
                self.still_live += u64::from(*still_live);
            }
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

    /// For people.
    pub(super) fn shown<'a>(&'a self, source: &'a str, place_word: &'static str, took: Duration) -> impl Display + 'a {
        fmt::from_fn(move |f| {
            let taken = if self.trial { "would be taken" } else { "taken" };
            writeln!(f, "{source}: {} rows read in {:.1} s", self.read, took.as_secs_f64())?;
            let number = if self.trial { "ask for a number of their own" } else { "with their own number" };
            writeln!(f, "{taken} live: {}, of these {} {number}", self.live, self.own_number)?;
            writeln!(f, "{taken} finished: {}", self.finished)?;
            writeln!(f, "already there: {}", self.known)?;
            let left = self.read - self.live - self.finished - self.known - self.skipped();
            if left > 0 {
                writeln!(f, "not come to: {left}")?;
            }
            writeln!(f, "skipped: {}", self.skipped())?;
            self.skipped.show(f, place_word)?;
            if !self.adjusted.0.is_empty() {
                writeln!(f, "put right:")?;
                self.adjusted.show(f, place_word)?;
            }
            if self.still_live > 0 {
                writeln!(f, "{} orders have ended there and are still live here: close them here", self.still_live)?;
            }
            if self.overdue > 0 {
                writeln!(
                    f,
                    "{} of the live orders are older than their restaurant's active window: the next clean-up expires \
                     them",
                    self.overdue
                )?;
            }
            Ok(())
        })
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

    fn show(&self, f: &mut fmt::Formatter<'_>, place_word: &str) -> fmt::Result {
        for (reason, found) in &self.0 {
            writeln!(f, "  {} {}: {}", found.count, reason.code(), reason.explained())?;
            for (place, detail) in &found.examples {
                let id = place.id.as_deref().map(|id| format!(", id {}", Remark::new((), id).detail));
                writeln!(f, "    {place_word} {}{}: {detail}", place.place, id.unwrap_or_default())?;
            }
            let more = found.count - found.examples.len() as u64;
            if more > 0 {
                writeln!(f, "    and {more} more")?;
            }
        }
        Ok(())
    }
}
