//! What scripts take by how many numbers are held, under which policy, and how these lie: a cell for each of the three.

use nowserving::domain::SelectionPolicy;

use super::{
    filled::{FILLS, Layout, POLICIES},
    micros, reference,
};
use crate::{
    report::{Axis, Plot, Reference, Report, Series},
    rounds::{Rows, Spread},
};

/// The rounds of one script with one kind of pool.
struct Cell {
    script: String,
    policy: SelectionPolicy,
    layout: Layout,
    fill: f64,
    rounds: Vec<f64>,
    empty_script: Reference,
}

/// All cells, in the order in which they were measured.
#[derive(Default)]
pub struct Matrix(Vec<Cell>);

impl Matrix {
    /// What was measured with pools of one kind, and what the empty script took meanwhile.
    pub fn add(
        &mut self,
        policy: SelectionPolicy,
        layout: Layout,
        fill: f64,
        rows: &mut Rows,
        empty_script: &Reference,
    ) {
        for (script, rounds) in rows.0.drain(..) {
            self.0.push(Cell { script, policy, layout, fill, rounds, empty_script: empty_script.clone() });
        }
    }

    /// For each script a figure of how the fullest pools compare with the emptiest, and a line in the picture; every
    /// cell is kept as a detail.
    pub fn report(&self, what: &str, report: &mut Report) {
        for Cell { script, policy, layout, fill, rounds, empty_script } in &self.0 {
            let name = format!("{script}, {}, {}, {fill} % full", policy.as_str(), layout.as_str());
            let spread = Spread::of(rounds.iter().copied());
            report.details.push(micros(&name, spread, empty_script.clone(), None));
        }
        for layout in Layout::ALL {
            let mut series = Vec::new();
            for script in self.scripts() {
                let [emptiest, .., fullest] = FILLS.map(|fill| self.of_all_policies(script, layout, fill));
                let name = format!("{script}, {}, 99.9 % full beside 1 %", layout.as_str());
                report.figure(micros(&name, fullest, reference("the same at 1 % full", emptiest), None));
                let points = FILLS.map(|fill| (fill, self.of_all_policies(script, layout, fill).median));
                series.push(Series { name: script.to_owned(), points: points.to_vec() });
            }
            report.plots.push(Plot {
                group: super::GROUP,
                title: format!("Redis time of {what} by fill, {} pool, median of all policies", layout.as_str()),
                x: Axis::linear("% of the numbers held"),
                y: Axis::logarithmic("µs"),
                series,
            });
        }
    }

    fn scripts(&self) -> Vec<&str> {
        let mut scripts: Vec<&str> = Vec::new();
        for cell in &self.0 {
            if !scripts.contains(&cell.script.as_str()) {
                scripts.push(&cell.script);
            }
        }
        scripts
    }

    /// The rounds of all policies together: only what chooses a number can tell them apart.
    fn of_all_policies(&self, script: &str, layout: Layout, fill: f64) -> Spread {
        let is_meant =
            |cell: &&Cell| cell.script == script && cell.layout == layout && cell.fill.total_cmp(&fill).is_eq();
        let cells: Vec<&Cell> = self.0.iter().filter(is_meant).collect();
        assert_eq!(cells.len(), POLICIES.len(), "{script} is measured under each policy");
        Spread::of(cells.into_iter().flat_map(|cell| cell.rounds.iter().copied()))
    }
}
