//! `nowserving backfill`: gives existing orders their two names.
//!
//! Rows are read, checked and taken over in batches; between two of them a signal is heeded. What was taken is
//! recognized the next time, so a run that was stopped, in whatever way, is made whole by another one.

mod again;
mod column;
mod dialect;
mod names;
mod reason;
mod report;
mod restaurants;
mod row;
mod rules;
mod shown_number;
mod source;
mod tally;
mod time;
mod value;
mod words;

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{ArgGroup, Args, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use self::{
    reason::{Remark, Skipped, TIME_FORMS},
    report::{Place, Report, Summary},
    row::{Parsed, parse},
    rules::{Rules, RulesArgs},
    source::{BATCH, Source, SourceRow},
    tally::Tally,
    value::Row,
};
use crate::{
    app::Stores,
    config::Settings,
    service::{Again, BackFillBatch, DEFAULT_SOURCE, ForeignOrder, Import, Numbers, Service, ServiceError},
};

fn more_help() -> String {
    format!(
        "A row needs id, restaurant_id, status and created_at; known as well are display_order_number (or \
         display_number), order_number, table_number, order_source, order_type, external_id, customer_name, note, \
         metadata, items, updated_at and completed_at (or released_at), each also in forms such as createdAt and order_id. \
         Open orders get a number, their own if it is free; finished ones go into the ledger. It can be run again at \
         any time: nothing is taken twice.\n\n\
         Times are read in these forms: {TIME_FORMS}.\n\n\
         With --dry-run it is shown which column is which field and what each word means, before anything is taken."
    )
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true),
    after_help = more_help()
)]
pub(super) struct BackfillArgs {
    /// The orders, in a file whose format its name tells; `-` is standard input.
    #[arg(group = "source")]
    file: Option<PathBuf>,
    /// What FILE holds, where neither its name nor its beginning tells.
    #[arg(long, requires = "file")]
    format: Option<Format>,
    /// The orders, as CSV with a header; commas, semicolons, tabs or bars stand between the fields.
    #[arg(long, value_name = "FILE", group = "source")]
    csv: Option<PathBuf>,
    /// The orders, as JSON: one object a line, or an array of them.
    #[arg(long, alias = "json", value_name = "FILE", group = "source")]
    jsonl: Option<PathBuf>,
    /// The orders, in a table or view of a Postgres database.
    #[arg(long, value_name = "[SCHEMA.]TABLE", group = "source")]
    from_table: Option<String>,
    /// The database that holds the table; without it, the ledger's own.
    #[arg(long, value_name = "URL", requires = "from_table", env = "BACKFILL_SOURCE_URL", hide_env_values = true)]
    source_url: Option<String>,
    /// The system that the orders come from. Its name, the restaurant and the order's id there tell orders apart: two
    /// exports of one system need the same name.
    #[arg(long = "source", value_name = "NAME", default_value = DEFAULT_SOURCE, value_parser = system_name)]
    system: String,
    /// Live orders that are here already take over what their rows have otherwise.
    #[arg(long)]
    update: bool,
    /// Take the orders again that earlier runs of this source took: all is then as the rows say, word for word. What an
    /// order lived through here stays.
    #[arg(long, conflicts_with = "update")]
    replace: bool,
    #[command(flatten)]
    rules: RulesArgs,
    /// Only say what would be done, and how columns and words are understood.
    #[arg(long)]
    dry_run: bool,
    /// How the summary is written to standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    report_format: ReportFormat,
    /// Write what is said of single rows to a file, one JSON object a line: all that are skipped or put right.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl BackfillArgs {
    fn import(&self) -> Import {
        let again = match (self.update, self.replace) {
            (_, true) => Again::Replace,
            (true, false) => Again::Update,
            (false, false) => Again::Leave,
        };
        Import { source: self.system.clone(), again, trial: self.dry_run }
    }
}

/// One spelling of a system's name.
fn system_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_lowercase();
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err("the name of a system has 1 to 64 characters".to_owned());
    }
    Ok(name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    #[value(aliases = ["jsonl", "ndjson"])]
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    Text,
    Json,
}

/// So many orders may wait for the end of the source; past it the first of them get the next number.
const MAX_LATER: usize = 20 * BATCH;

/// Exit code of a run that a signal stopped, as shells give it.
const INTERRUPTED: u8 = 130;

/// How long to wait before a batch is tried again when a server is unreachable, one after the other.
const RETRY_AFTER: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// How long events may wait without one of them being written, before it is thought that no daemon writes them.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);
const FINAL_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn run(settings: &Settings, args: &BackfillArgs) -> anyhow::Result<ExitCode> {
    // From here on, so that a signal during the start is not lost.
    let mut stop = Stop::new()?;
    let stores = tokio::select! {
        stores = Stores::find_or_start(settings, "backfill") => stores?,
        () = stop.asked() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let result = back_fill(&stores, settings, args, &mut stop).await;
    stores.close().await;
    result
}

async fn back_fill(
    stores: &Stores,
    settings: &Settings,
    args: &BackfillArgs,
    stop: &mut Stop,
) -> anyhow::Result<ExitCode> {
    let mut rules = Rules::new(&args.rules)?;
    stores.open_partitions().await?;
    let mut source = Source::open(args, &mut rules, &stores.service.orders).await?;
    let mut work = BackFill {
        service: &stores.service,
        outbox_limit: settings.admission.outbox_limit,
        import: args.import(),
        report: Report::new(args.dry_run, args.report.as_deref())?,
        rules,
        tally: Tally::default(),
        format: args.report_format,
        seen: Seen::default(),
        later: VecDeque::new(),
        progress: progress_bar(&source),
        began: Instant::now(),
    };
    let ended = work.take_all(&mut source, stop).await;
    work.progress.finish_and_clear();
    work.report.flush()?;
    let at_the_end = matches!(ended, Ok(Ended::AtTheEnd));
    work.print_summary(&source, at_the_end)?;
    source.close().await;
    work.tell_waiting().await;
    match ended? {
        Ended::Stopped => {
            work.say("stopped before the end: run it again to go on");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Ended::AtTheEnd if work.report.nothing_usable() => {
            anyhow::bail!("not one row could be used; most often: {}", work.report.most_often())
        }
        Ended::AtTheEnd => {
            if work.report.skipped() > 0 {
                work.say(
                    "the rows that were skipped can be put right, and the whole run again: what is there stays as it is",
                );
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

enum Ended {
    AtTheEnd,
    Stopped,
}

struct BackFill<'a> {
    service: &'a Service,
    outbox_limit: u64,
    import: Import,
    report: Report,
    rules: Rules,
    tally: Tally,
    format: ReportFormat,
    seen: Seen,
    /// Open orders that cannot have the number they had: they wait until those that can have theirs.
    later: VecDeque<(Place, ForeignOrder)>,
    progress: ProgressBar,
    began: Instant,
}

impl BackFill<'_> {
    async fn take_all(&mut self, source: &mut Source, stop: &mut Stop) -> anyhow::Result<Ended> {
        loop {
            let rows = tokio::select! {
                biased;
                () = stop.asked() => return Ok(Ended::Stopped),
                rows = source.next() => rows?,
            };
            let at_the_end = rows.is_empty();
            // A batch is finished also when a signal comes, unless a second one does.
            tokio::select! {
                taken = self.take(rows) => taken?,
                () = stop.insisted() => return Ok(Ended::Stopped),
            }
            self.show(source);
            while self.later.len() > if at_the_end { 0 } else { MAX_LATER } {
                if stop.asked {
                    return Ok(Ended::Stopped);
                }
                tokio::select! {
                    taken = self.take_later() => taken?,
                    () = stop.insisted() => return Ok(Ended::Stopped),
                }
                self.show(source);
            }
            if at_the_end {
                return Ok(Ended::AtTheEnd);
            }
        }
    }

    /// Checks rows, and takes those that are orders: at first, only with the numbers that are theirs.
    async fn take(&mut self, rows: Vec<SourceRow>) -> anyhow::Result<()> {
        self.wait_for_the_ledger().await?;
        let now = self.service.keys.now()?;
        let mut orders = Vec::with_capacity(rows.len());
        for SourceRow { place, row } in rows {
            self.report.read += 1;
            let id = row.as_ref().ok().and_then(Row::id);
            let place = Place { place, id };
            let parsed = row.and_then(|mut row| {
                row.clear_nothing(&self.rules.nothing, &mut self.tally.nothing);
                parse(&row, &self.rules, &mut self.tally, now)
            });
            match parsed.and_then(|parsed| self.seen.check(parsed)) {
                Ok(Parsed { order, adjusted, .. }) => {
                    for remark in adjusted {
                        self.report.adjust(&place, remark)?;
                    }
                    orders.push((place, order));
                }
                Err(remark) => self.report.skip(place, remark)?,
            }
        }
        let left = self.take_orders(orders, Numbers::Own).await?;
        self.later.extend(left);
        Ok(())
    }

    /// Takes some of the orders that need another number.
    async fn take_later(&mut self) -> anyhow::Result<()> {
        let orders = self.later.drain(..self.later.len().min(BATCH)).collect();
        let left = self.take_orders(orders, Numbers::Any).await?;
        anyhow::ensure!(left.is_empty(), "{} orders were left without a reason", left.len());
        Ok(())
    }

    /// Answers with the orders that nothing has become of.
    async fn take_orders(
        &mut self,
        orders: Vec<(Place, ForeignOrder)>,
        numbers: Numbers,
    ) -> anyhow::Result<Vec<(Place, ForeignOrder)>> {
        let (places, orders): (Vec<Place>, Vec<ForeignOrder>) = orders.into_iter().unzip();
        let mut batch = BackFillBatch::new(orders);
        let taken = self.take_batch(&mut batch, numbers).await;
        let mut left = Vec::new();
        for (place, (order, outcome)) in places.into_iter().zip(batch.into_orders()) {
            match outcome {
                Some(outcome) => self.report.count(place, &outcome)?,
                None => left.push((place, order)),
            }
        }
        taken?;
        Ok(left)
    }

    /// Tries again for a while when a server is unreachable.
    async fn take_batch(&self, batch: &mut BackFillBatch, numbers: Numbers) -> Result<(), ServiceError> {
        let mut waits = RETRY_AFTER.into_iter();
        loop {
            match (self.service.orders.back_fill(batch, numbers, &self.import).await, waits.next()) {
                // Whatever became of an order, it is there once.
                (Err(error @ (ServiceError::Unavailable { .. } | ServiceError::OutcomeUnknown { .. })), Some(wait)) => {
                    self.progress.set_message(format!("waiting: {error}"));
                    sleep(wait).await;
                    // A partition that was closed stays so until a process opens it. Why it cannot be, the next try
                    // says.
                    let _ = self.service.recovery.open_partitions().await;
                }
                (result, _) => return result,
            }
        }
    }

    /// Lets the daemon catch up where too much waits in Redis.
    async fn wait_for_the_ledger(&self) -> anyhow::Result<()> {
        if self.service.orders.events_seen_waiting() < self.outbox_limit {
            return Ok(());
        }
        let waiting = self.wait_for_writer(self.outbox_limit / 2, WRITER_PATIENCE).await?;
        anyhow::ensure!(
            waiting < self.outbox_limit,
            "{waiting} events wait in Redis, and no daemon writes them into the ledger: run `nowserving serve`, then this again"
        );
        Ok(())
    }

    /// Waits until no more than `enough` events are left, as long as they become fewer. Answers with how many are left.
    async fn wait_for_writer(&self, enough: u64, patience: Duration) -> Result<u64, ServiceError> {
        let mut waiting = self.service.orders.events_waiting().await?;
        let mut moved = Instant::now();
        while waiting > enough && moved.elapsed() < patience {
            self.progress.set_message(format!("{waiting} events wait for the ledger"));
            sleep(Duration::from_millis(50)).await;
            let now = self.service.orders.events_waiting().await?;
            if now < waiting {
                (waiting, moved) = (now, Instant::now());
            }
        }
        Ok(waiting)
    }

    /// Says so if live orders wait for a daemon to write them.
    async fn tell_waiting(&self) {
        if self.report.live + self.report.updated == 0 || self.report.trial {
            return;
        }
        match self.wait_for_writer(0, FINAL_PATIENCE).await {
            Ok(0) => {}
            Ok(waiting) => self.say(&format!(
                "{waiting} events wait in Redis: the next `nowserving serve` writes them into the ledger, and until then \
                 foreign ids of live orders are not found"
            )),
            Err(error) => self.say(&format!("whether all is in the ledger is not known: {error}")),
        }
    }

    /// What was done. `whole`: the source was read to its end.
    fn print_summary(&self, source: &Source, whole: bool) -> anyhow::Result<()> {
        let summary = Summary {
            report: &self.report,
            tally: &self.tally,
            form: &source.form(),
            source: source.name(),
            place_word: source.place_word(),
            took: self.began.elapsed(),
            whole,
        };
        match self.format {
            ReportFormat::Text => print!("{}", summary.text()),
            ReportFormat::Json => println!("{}", summary.json()?),
        }
        Ok(())
    }

    /// Beside a summary for machines, words for people go to the error output.
    fn say(&self, text: &str) {
        match self.format {
            ReportFormat::Text => println!("{text}"),
            ReportFormat::Json => eprintln!("{text}"),
        }
    }

    fn show(&self, source: &Source) {
        let volume = source.volume();
        if let Some(total) = volume.total {
            self.progress.set_length(total.max(volume.done));
        }
        self.progress.set_position(volume.done);
        let report = &self.report;
        let rate = report.read as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        self.progress.set_message(format!(
            "{} rows ({}/s): {} live, {} finished, {} already there, {} skipped",
            HumanCount(report.read),
            HumanCount(rate as u64),
            HumanCount(report.live),
            HumanCount(report.finished),
            HumanCount(report.known),
            HumanCount(report.skipped())
        ));
    }
}

/// On the error output, and only where that is a terminal.
fn progress_bar(source: &Source) -> ProgressBar {
    let (bar, template) = match source.volume().total {
        Some(total) => (ProgressBar::new(total), "{bar:24} {percent:>3} % {elapsed} {wide_msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed} {wide_msg}"),
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    bar
}

/// The ids that were read lately. Those of a huge file are forgotten after a while; a row that is repeated even later
/// is still recognized where it is the same order.
#[derive(Default)]
struct Seen {
    recent: HashSet<[u8; 16]>,
    older: HashSet<[u8; 16]>,
}

/// Two times so many ids are remembered: some 40 MB at most.
const REMEMBERED_IDS: usize = 1000 * BATCH;

impl Seen {
    fn check(&mut self, parsed: Parsed) -> Result<Parsed, Remark<Skipped>> {
        let digest: [u8; 32] = Sha256::digest(&parsed.key).into();
        let digest = *digest.first_chunk().expect("SHA-256 has 32 bytes");
        if self.older.contains(&digest) || self.recent.contains(&digest) {
            return Err(Remark::new(Skipped::Duplicate, "the earlier row counts"));
        }
        if self.recent.len() >= REMEMBERED_IDS {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(digest);
        Ok(parsed)
    }
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    asked: bool,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            asked: false,
        })
    }

    /// Resolves when the first one has come.
    async fn asked(&mut self) {
        while !self.asked {
            self.next().await;
        }
    }

    /// Resolves at the second one.
    async fn insisted(&mut self) {
        self.asked().await;
        self.next().await;
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.asked = true;
    }
}
