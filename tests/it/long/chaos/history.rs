//! What the tills saw: every call, when it was made, when it ended, and how.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::support::api::Answer;

/// One attempt of one operation. Attempts of the same operation are repeats of the same request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Which operation; its creations carry it as `op-<operation>` in `external_id`.
    pub operation: u64,
    /// Its `X-Request-Id`, which no other attempt has: the audit log tells by it what came of this one.
    pub request: String,
    pub restaurant: u32,
    pub action: Action,
    /// By the clock of the tills, from the beginning of the run.
    pub invoked_us: u64,
    pub ended_us: u64,
    pub outcome: Outcome,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create {
        /// The `Idempotency-Key`; one without is attempted once.
        key: Option<String>,
        /// The table that it is for.
        table: Option<String>,
        /// The number that it asks for.
        wish: Option<u32>,
    },
    Change {
        order: Uuid,
        status: String,
    },
    /// A new note, which no other call writes.
    Edit {
        order: Uuid,
        note: String,
        /// The version in `If-Match`.
        expected: Option<u32>,
    },
    /// New settings of the restaurant, which no other call puts.
    Configure {
        settings: Value,
    },
    /// A number is kept for a table; None: for none any more.
    Reserve {
        number: u32,
        table: Option<String>,
    },
    /// A number is taken out, or put back.
    Quarantine {
        number: u32,
        out: bool,
        /// None: until it is put back.
        until: Option<String>,
    },
    /// The business date is set by hand.
    SetDate {
        date: String,
    },
    Release {
        order: Uuid,
        immediate: bool,
    },
    /// Taken back, if it was completed and its number rests.
    Reopen {
        order: Uuid,
    },
    /// Its guest is told that it is ready.
    Call {
        order: Uuid,
    },
    Read {
        order: Uuid,
    },
}

/// How it ended, as far as the caller can know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Acknowledged(Seen),
    /// As [`Outcome::Acknowledged`], of settings, special numbers and business dates.
    Configured,
    /// A 4xx: it did not happen.
    Refused {
        status: u16,
        code: String,
    },
    /// A 503. It may have happened all the same: the answer of Redis may be what was lost.
    Unavailable {
        code: String,
        retry_after_s: Option<u64>,
    },
    /// No answer.
    Unknown {
        why: String,
    },
    /// An answer that no daemon should give.
    Broken {
        status: u16,
        text: String,
    },
}

/// An order as an answer showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub order: Uuid,
    pub number: u32,
    pub version: u32,
    pub status: String,
    pub note: Option<String>,
    /// Whether the answer says that a copy of the call had been made before, and what is shown is how things are now.
    pub replayed: bool,
    /// By the clock of Redis.
    pub updated_ms: i64,
    pub released_ms: Option<i64>,
    /// When it was reopened the last time.
    pub reopened_ms: Option<i64>,
    /// How often it was called.
    pub calls: u32,
    /// Its business date, and its place in it.
    pub place: Option<(String, u32)>,
    /// The id of the range that gave its number.
    pub range: Option<String>,
    /// Why it has that number, where that is told.
    pub reason: Option<String>,
}

/// The codes of a 503 that say so.
const MAY_HAVE_HAPPENED: [&str; 3] = ["timeout", "durability_unknown", "outcome_unknown"];

/// Whether an order of this status has given its number back.
pub fn is_final(status: &str) -> bool {
    ["completed", "cancelled", "expired"].contains(&status)
}

impl Call {
    pub fn seen(&self) -> Option<&Seen> {
        match &self.outcome {
            Outcome::Acknowledged(seen) => Some(seen),
            _ => None,
        }
    }

    /// The order that it is about; a creation tells only with its answer.
    pub fn order(&self) -> Option<Uuid> {
        match &self.action {
            Action::Create { .. } => self.seen().map(|seen| seen.order),
            Action::Change { order, .. }
            | Action::Edit { order, .. }
            | Action::Release { order, .. }
            | Action::Reopen { order }
            | Action::Call { order }
            | Action::Read { order } => Some(*order),
            Action::Configure { .. } | Action::Reserve { .. } | Action::Quarantine { .. } | Action::SetDate { .. } => {
                None
            }
        }
    }

    /// Whether it asks for the end of an order.
    pub fn ends_order(&self) -> bool {
        match &self.action {
            Action::Release { .. } => true,
            Action::Change { status, .. } => is_final(status),
            Action::Create { .. }
            | Action::Edit { .. }
            | Action::Configure { .. }
            | Action::Reserve { .. }
            | Action::Quarantine { .. }
            | Action::SetDate { .. }
            | Action::Reopen { .. }
            | Action::Call { .. }
            | Action::Read { .. } => false,
        }
    }

    /// Whether the stores may hold what it asked for.
    pub fn may_have_happened(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused { .. })
    }
}

impl Action {
    /// Whether it is about a restaurant and not about an order.
    fn is_of_settings(&self) -> bool {
        use Action::{Configure, Quarantine, Reserve, SetDate};
        matches!(self, Configure { .. } | Reserve { .. } | Quarantine { .. } | SetDate { .. })
    }
}

impl Outcome {
    /// What an answer to such a call comes to.
    pub fn of(action: &Action, answer: &Answer) -> Self {
        let code = || serde_json::from_str::<Value>(&answer.text).ok()?["code"].as_str().map(str::to_owned);
        let outcome = match answer.status {
            200 | 204 if action.is_of_settings() => Some(Self::Configured),
            200 | 201 => Seen::parse(answer).map(Self::Acknowledged),
            503 => code().map(|code| Self::Unavailable {
                code,
                retry_after_s: answer.header("retry-after").and_then(|seconds| seconds.parse().ok()),
            }),
            status @ 400..=499 => code().map(|code| Self::Refused { status, code }),
            _ => None,
        };
        outcome.unwrap_or_else(|| Self::Broken { status: answer.status, text: answer.text.clone() })
    }

    /// The class that it is counted in.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Acknowledged(_) | Self::Configured => "acknowledged",
            Self::Refused { .. } => "refused",
            Self::Unavailable { code, .. } if MAY_HAVE_HAPPENED.contains(&code.as_str()) => "unknown",
            Self::Unavailable { .. } => "unavailable",
            Self::Unknown { .. } => "unknown",
            Self::Broken { .. } => "broken",
        }
    }
}

impl Seen {
    fn parse(answer: &Answer) -> Option<Self> {
        let order: Value = serde_json::from_str(&answer.text).ok()?;
        let small = |name: &str| order[name].as_u64().and_then(|value| u32::try_from(value).ok());
        let time = |name: &str| Some(DateTime::parse_from_rfc3339(order[name].as_str()?).ok()?.timestamp_millis());
        Some(Self {
            order: order["internal_order_id"].as_str()?.parse().ok()?,
            number: small("display_order_number")?,
            version: small("version")?,
            status: order["status"].as_str()?.to_owned(),
            note: order["note"].as_str().map(str::to_owned),
            replayed: answer.header("idempotent-replayed").is_some(),
            updated_ms: time("updated_at")?,
            released_ms: time("released_at"),
            reopened_ms: time("reopened_at"),
            calls: small("call_count")?,
            place: order["business_date"].as_str().map(str::to_owned).zip(small("daily_sequence")),
            range: order["number_range"].as_str().map(str::to_owned),
            reason: order["number_reason"].as_str().map(str::to_owned),
        })
    }

    pub fn is_live(&self) -> bool {
        !is_final(&self.status)
    }
}

/// Collects the calls of a run.
#[derive(Debug)]
pub struct History {
    start: Instant,
    calls: Mutex<Vec<Call>>,
    operations: AtomicU64,
}

impl History {
    pub fn begin() -> Self {
        Self { start: Instant::now(), calls: Mutex::default(), operations: AtomicU64::new(1) }
    }

    /// A number for an operation.
    pub fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed)
    }

    pub fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).expect("a run is not that long")
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn add(&self, call: Call) {
        self.calls.lock().expect("no holder panics").push(call);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no holder panics").clone()
    }

    /// How many calls that fit ended since then.
    pub fn count_since(&self, since_us: u64, fits: impl Fn(&Call) -> bool) -> usize {
        let calls = self.calls.lock().expect("no holder panics");
        // They are added as they end, but for a few that overtake each other.
        calls
            .iter()
            .rev()
            .take_while(|call| call.ended_us + 1_000_000 >= since_us)
            .filter(|call| call.ended_us >= since_us && fits(call))
            .count()
    }
}

/// Writes things as JSON, one a line.
pub fn write_lines<T: Serialize>(file: &Path, lines: impl IntoIterator<Item = T>) {
    let mut out = BufWriter::new(File::create(file).expect("target can be written"));
    for line in lines {
        serde_json::to_writer(&mut out, &line).expect("plain data");
        out.write_all(b"\n").expect("target can be written");
    }
    out.flush().expect("target can be written");
}
