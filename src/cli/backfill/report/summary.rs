//! What is said at the end of a run: to people as text, to machines as JSON.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{Remarks, Report};
use crate::cli::backfill::{
    reason::{Reason, Remark},
    source::Form,
    tally::Tally,
};

/// All that is known at the end.
pub(in crate::cli::backfill) struct Summary<'a> {
    pub(in crate::cli::backfill) report: &'a Report,
    pub(in crate::cli::backfill) tally: &'a Tally,
    pub(in crate::cli::backfill) form: &'a Form,
    pub(in crate::cli::backfill) source: &'a str,
    /// What the place of a row is called: `line`.
    pub(in crate::cli::backfill) place_word: &'static str,
    pub(in crate::cli::backfill) took: Duration,
    /// Whether the source was read to its end.
    pub(in crate::cli::backfill) whole: bool,
}

/// The version of the JSON; it grows when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// So many columns and words are shown to people.
const MAX_SHOWN: usize = 60;

impl Summary<'_> {
    /// For people.
    pub(in crate::cli::backfill) fn text(&self) -> impl Display {
        fmt::from_fn(|f| {
            let report = self.report;
            let taken = if report.trial { "would be taken" } else { "taken" };
            writeln!(f, "{}: {} rows read in {:.1} s", self.source, report.read, self.took.as_secs_f64())?;
            let number = if report.trial { "ask for a number of their own" } else { "with their own number" };
            writeln!(f, "{taken} live: {}, of these {} {number}", report.live, report.own_number)?;
            writeln!(f, "{taken} finished: {}", report.finished)?;
            writeln!(f, "already there: {}", report.known)?;
            let would_be = if report.trial { "would be " } else { "" };
            for (word, count) in [("updated", report.updated), ("replaced", report.replaced)] {
                if count > 0 {
                    writeln!(f, "{would_be}{word}: {count}")?;
                }
            }
            if self.left() > 0 {
                writeln!(f, "not come to: {}", self.left())?;
            }
            writeln!(f, "skipped: {}", report.skipped())?;
            report.skipped.show(f, self.place_word)?;
            if !report.adjusted.0.is_empty() {
                writeln!(f, "put right:")?;
                report.adjusted.show(f, self.place_word)?;
            }
            if !report.noted.0.is_empty() {
                writeln!(f, "of those that were here:")?;
                report.noted.show(f, self.place_word)?;
            }
            let nothing = self.tally.nothing();
            if !nothing.is_empty() {
                let words: Vec<String> =
                    nothing.iter().map(|(word, count)| format!("{count} {}", printable(word))).collect();
                writeln!(f, "words taken for no value: {}", words.join(", "))?;
            }
            if report.still_live > 0 {
                writeln!(
                    f,
                    "{} orders have ended there and are still live here: close them here, or run this with --update",
                    report.still_live
                )?;
            }
            if report.overdue > 0 {
                writeln!(
                    f,
                    "{} of the live orders are older than their restaurant's active window: the next clean-up expires \
                     them",
                    report.overdue
                )?;
            }
            if report.trial {
                self.show_understanding(f)?;
            }
            Ok(())
        })
    }

    fn show_understanding(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = self.form;
        let mut parts = vec![form.format.to_owned()];
        parts.extend(form.delimiter.map(|sign| format!("{sign:?} between fields")));
        parts.extend(form.encoding.map(str::to_owned));
        parts.extend(form.compression.map(str::to_owned));
        writeln!(f, "\nread as {}", parts.join(", "))?;
        let columns = form.columns.iter().map(|(name, field)| {
            vec![printable(name), field.map_or_else(|| "(passed over)".to_owned(), |field| field.name().to_owned())]
        });
        show_table(f, &["column", "field"], columns)?;
        let words = self.tally.words();
        let words = words.iter().map(|(field, word, taken)| {
            let meaning = taken.meaning.unwrap_or("(not known)").to_owned();
            vec![field.name().to_owned(), printable(word), meaning, taken.rows.to_string()]
        });
        show_table(f, &["field", "word", "is taken for", "rows"], words)?;
        let report = self.report;
        let outcomes = [
            ("live", report.live),
            ("finished", report.finished),
            ("already there", report.known),
            ("updated", report.updated),
            ("replaced", report.replaced),
            ("skipped", report.skipped()),
            ("not come to", self.left()),
        ];
        let outcomes = outcomes.into_iter().filter(|(_, rows)| *rows > 0);
        show_table(f, &["outcome", "rows"], outcomes.map(|(outcome, rows)| vec![outcome.to_owned(), rows.to_string()]))
    }

    /// For machines, on one line.
    ///
    /// # Errors
    /// When it is no JSON.
    pub(in crate::cli::backfill) fn json(&self) -> anyhow::Result<String> {
        let (report, form) = (self.report, self.form);
        let columns: Vec<Value> = form
            .columns
            .iter()
            .map(|(name, field)| json!({"column": name, "field": field.map(|field| field.name())}))
            .collect();
        let words: Vec<Value> = self
            .tally
            .words()
            .into_iter()
            .map(|(field, word, taken)| {
                json!({"field": field.name(), "word": word, "meaning": taken.meaning, "rows": taken.rows})
            })
            .collect();
        let nothing: Vec<Value> =
            self.tally.nothing().into_iter().map(|(word, count)| json!({"word": word, "values": count})).collect();
        let mut remarks = report.skipped.as_json("skipped");
        remarks.extend(report.adjusted.as_json("adjusted"));
        remarks.extend(report.noted.as_json("already_there"));
        let mut form = serde_json::to_value(form)?;
        form["columns"] = Value::Array(columns);
        Ok(serde_json::to_string(&json!({
            "version": VERSION,
            "source": self.source,
            "dry_run": report.trial,
            "at_the_end": self.whole,
            "seconds": self.took.as_secs_f64(),
            "rows": {
                "read": report.read,
                "live": report.live,
                "own_number": report.own_number,
                "finished": report.finished,
                "already_there": report.known,
                "updated": report.updated,
                "replaced": report.replaced,
                "still_live": report.still_live,
                "overdue": report.overdue,
                "skipped": report.skipped(),
                "not_come_to": self.left(),
            },
            "place": self.place_word,
            "remarks": remarks,
            "form": form,
            "words": words,
            "nothing": nothing,
        }))?)
    }

    fn left(&self) -> u64 {
        let report = self.report;
        let here = report.known + report.updated + report.replaced;
        report.read - report.live - report.finished - here - report.skipped()
    }
}

/// What stands in a file does not get to a terminal as it is.
fn printable(text: &str) -> String {
    Remark::new((), text).detail
}

fn show_table(f: &mut fmt::Formatter<'_>, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> fmt::Result {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table.add_rows(rows.iter().take(MAX_SHOWN));
    writeln!(f, "\n{table}")?;
    match rows.len().saturating_sub(MAX_SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "and {more} more"),
    }
}

impl<R: Reason> Remarks<R> {
    fn show(&self, f: &mut fmt::Formatter<'_>, place_word: &str) -> fmt::Result {
        for (reason, found) in &self.0 {
            writeln!(f, "  {} {}: {}", found.count, reason.code(), reason.explained())?;
            for (place, detail) in &found.examples {
                let id = place.id.as_deref().map(|id| format!(", id {}", printable(id)));
                writeln!(f, "    {place_word} {}{}: {detail}", place.place, id.unwrap_or_default())?;
            }
            let more = found.count - found.examples.len() as u64;
            if more > 0 {
                writeln!(f, "    and {more} more")?;
            }
        }
        Ok(())
    }

    fn as_json(&self, outcome: &str) -> Vec<Value> {
        let remark = |(reason, found): (&R, &super::Found)| {
            let examples: Vec<Value> = found
                .examples
                .iter()
                .map(|(place, detail)| json!({"place": place.place, "id": place.id, "detail": detail}))
                .collect();
            json!({
                "outcome": outcome,
                "reason": reason.code(),
                "meaning": reason.explained(),
                "count": found.count,
                "examples": examples,
            })
        };
        self.0.iter().map(remark).collect()
    }
}
