//! Repeated rounds: what they have in the middle, and how far they lie apart.

use serde::Serialize;

/// The middle and the ends of some rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: usize,
}

impl Spread {
    /// Of at least one round.
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = rounds.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Self { median, min, max, rounds: sorted.len() }
    }

    /// Of one round: what was counted, or was too long to repeat.
    pub fn once(value: f64) -> Self {
        Self::of([value])
    }
}

/// Rounds of several things, in the order in which these were first measured.
#[derive(Debug, Default)]
pub struct Rows(pub Vec<(String, Vec<f64>)>);

impl Rows {
    pub fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, rounds)) => rounds.push(value),
            None => self.0.push((name.to_owned(), vec![value])),
        }
    }

    pub fn of(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, rounds)| rounds.as_slice())
    }
}
