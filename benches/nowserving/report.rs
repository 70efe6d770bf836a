//! What was measured: figures, each beside its reference from the same run, and plots. Printed as one table, kept as JSON.

use std::path::PathBuf;

use serde::Serialize;

use crate::rounds::Spread;

/// All that a run has found, in the order it was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub machine: Vec<(String, String)>,
    pub figures: Vec<Figure>,
    /// Figures that the table would be too long with.
    pub details: Vec<Figure>,
    pub plots: Vec<Plot>,
    /// What a reader must know of how it was measured, by group.
    pub notes: Vec<(String, String)>,
}

/// One measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The group that measured it: its name on the command line.
    pub group: &'static str,
    pub name: String,
    pub unit: &'static str,
    pub value: Spread,
    pub reference: Reference,
    pub target: Option<Target>,
    /// The ratios of rounds, where value and reference were measured in turn in each of them.
    pub by_round: Option<Spread>,
}

/// What a value stands beside: measured in the same rounds, on the same servers.
#[derive(Debug, Clone, Serialize)]
pub struct Reference {
    pub name: String,
    pub value: Spread,
}

/// What has to be reached.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Target {
    pub of: Of,
    pub bound: Bound,
}

/// Which number a target is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    Value,
    /// Value ÷ reference.
    Ratio,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    /// Of rounds in each of which value and reference were measured in turn.
    pub fn of_rounds(
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        values: &[f64],
        (reference, beside): (&str, &[f64]),
        target: Option<Target>,
    ) -> Self {
        let ratios = values.iter().zip(beside).map(|(value, beside)| value / beside);
        let by_round = Some(Spread::of(ratios));
        let of = |rounds: &[f64]| Spread::of(rounds.iter().copied());
        let reference = Reference { name: reference.to_owned(), value: of(beside) };
        Self { group, name: name.into(), unit, value: of(values), reference, target, by_round }
    }

    /// The median of the rounds' ratios where there are such, else median ÷ median.
    pub fn ratio(&self) -> f64 {
        self.by_round.map_or_else(|| self.value.median / self.reference.value.median, |ratios| ratios.median)
    }

    /// Whether the target was reached; None without one.
    pub fn reached(&self) -> Option<bool> {
        let target = self.target?;
        let found = match target.of {
            Of::Value => self.value.median,
            Of::Ratio => self.ratio(),
        };
        Some(match target.bound {
            Bound::AtMost(most) => found <= most,
            Bound::AtLeast(least) => found >= least,
        })
    }
}

impl Target {
    pub const fn value(bound: Bound) -> Option<Self> {
        Some(Self { of: Of::Value, bound })
    }

    pub const fn ratio(bound: Bound) -> Option<Self> {
        Some(Self { of: Of::Ratio, bound })
    }

    pub fn text(self) -> String {
        let of = if self.of == Of::Ratio { "ratio " } else { "" };
        match self.bound {
            Bound::AtMost(most) => format!("{of}≤ {}", number(most)),
            Bound::AtLeast(least) => format!("{of}≥ {}", number(least)),
        }
    }
}

/// Lines over one horizontal axis.
#[derive(Debug, Clone, Serialize)]
pub struct Plot {
    pub group: &'static str,
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Axis {
    pub label: String,
    pub logarithmic: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

impl Axis {
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), logarithmic: false }
    }

    pub fn logarithmic(label: &str) -> Self {
        Self { label: label.to_owned(), logarithmic: true }
    }
}

impl Report {
    /// Adds a figure, and says it at once: long work shows progress.
    pub fn figure(&mut self, figure: Figure) {
        eprintln!("  {:<66} {:>11} {:<9} {:>9}", figure.name, number(figure.value.median), figure.unit, {
            format!("÷ {}", number(figure.ratio()))
        });
        self.figures.push(figure);
    }

    pub fn note(&mut self, group: &str, text: impl Into<String>) {
        self.notes.push((group.to_owned(), text.into()));
    }

    /// The table, one row a figure.
    pub fn table(&self) -> String {
        use std::fmt::Write;
        let mut table = format!(
            "{:<68} {:>11} {:>21} {:<9} {:>9}  {:<44} {}\n",
            "figure", "median", "min … max", "unit", "ratio", "÷ reference (median)", "target"
        );
        let mut group = "";
        for figure in &self.figures {
            if figure.group != group {
                group = figure.group;
                writeln!(table, "\n{group}").expect("a String takes everything");
            }
            let spread = format!("{} … {}", number(figure.value.min), number(figure.value.max));
            let reference = format!("{} ({})", figure.reference.name, number(figure.reference.value.median));
            let target = match (figure.target, figure.reached()) {
                (Some(target), Some(true)) => format!("{}  reached", target.text()),
                (Some(target), _) => format!("{}  MISSED", target.text()),
                (None, _) => String::new(),
            };
            let row = format!(
                "  {:<66} {:>11} {:>21} {:<9} {:>9}  {:<44} {}",
                figure.name,
                number(figure.value.median),
                spread,
                figure.unit,
                number(figure.ratio()),
                reference,
                target
            );
            writeln!(table, "{}", row.trim_end()).expect("a String takes everything");
        }
        table
    }

    /// Writes a file of this name, as JSON; its path.
    pub fn write_json(&self, name: &str) -> PathBuf {
        let rows = |figures: &[Figure]| -> Vec<serde_json::Value> {
            let row = |figure: &Figure| {
                let mut row = serde_json::to_value(figure).expect("plain data");
                row["ratio"] = figure.ratio().into();
                row["reached"] = figure.reached().into();
                row
            };
            figures.iter().map(row).collect()
        };
        let report = serde_json::json!({
            "machine": self.machine.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "figures": rows(&self.figures),
            "details": rows(&self.details),
            "plots": self.plots,
            "notes": self.notes,
        });
        let path = folder().join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&report).expect("plain data");
        std::fs::write(&path, text).expect("target/bench can be written");
        path
    }
}

/// Where the results lie.
pub fn folder() -> PathBuf {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"));
    std::fs::create_dir_all(&folder).expect("target/ can be written");
    folder
}

/// A number with as many digits as matter.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    let digits = whole.trim_start_matches('-');
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    rest.map_or_else(|| format!("{sign}{grouped}"), |rest| format!("{sign}{grouped}.{rest}"))
}
