//! A picture of a dashboard: its panels where they are, with what their queries gave.

use std::fs;

use plotters::{coord::Shift, prelude::*};
use serde_json::Value;

use super::{
    charts,
    files::{self, Dashboard},
    queries::Answer,
};

/// A part of the picture.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Grafana's grid has 24 columns; a row of it is as high as this.
const COLUMN: u32 = 50;
const ROW: u32 = 30;
const GAP: u32 = 5;

pub const INK: RGBColor = RGBColor(36, 41, 46);
pub const FAINT: RGBColor = RGBColor(110, 118, 129);
const FRAME: RGBColor = RGBColor(208, 215, 222);
const PAPER: RGBColor = RGBColor(246, 248, 250);

/// Draws a dashboard into `grafana/pictures`.
pub fn picture(dashboard: &Dashboard, answers: &[Vec<Answer>]) {
    let place = |panel: &Value, side: &str| {
        u32::try_from(panel["gridPos"][side].as_u64().expect("panels have a place")).expect("and a small one")
    };
    let rows = dashboard.everything().map(|panel| place(panel, "y") + place(panel, "h")).max();
    let height = (rows.expect("there are panels") + 1) * ROW + GAP;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (24 * COLUMN, height)).into_drawing_area();
        root.fill(&PAPER).expect("text can be written");
        heading(&root, dashboard.json["title"].as_str().expect("a title"), 8, 18.0);
        let mut answers = answers.iter();
        for panel in dashboard.everything() {
            let at = (place(panel, "x") * COLUMN, (place(panel, "y") + 1) * ROW);
            let title = panel["title"].as_str().expect("a title");
            if panel["type"] == "row" {
                heading(&root, title, i32::try_from(at.1).expect("small") + 8, 15.0);
                continue;
            }
            let size = (place(panel, "w") * COLUMN - GAP, place(panel, "h") * ROW - GAP);
            let area = root.clone().shrink(at, size);
            frame(&area, title);
            let inside = area.margin(26, 4, 6, 6);
            charts::draw(&inside, panel, answers.next().expect("an answer for each panel"));
        }
        root.present().expect("text can be written");
    }
    let folder = files::grafana().join("pictures");
    fs::create_dir_all(&folder).expect("a folder of the project");
    let file = folder.join(format!("{}.svg", dashboard.name));
    fs::write(&file, svg).expect("a file of the project");
    println!("{}", file.display());
}

fn heading(root: &Area, text: &str, y: i32, size: f64) {
    write(root, text, (8, y), size, INK);
}

fn frame(area: &Area, title: &str) {
    let (w, h) = area.dim_in_pixel();
    let corner = (i32::try_from(w).expect("small") - 1, i32::try_from(h).expect("small") - 1);
    area.draw(&Rectangle::new([(0, 0), corner], WHITE.filled())).expect("text can be written");
    area.draw(&Rectangle::new([(0, 0), corner], FRAME)).expect("text can be written");
    write(area, title, (8, 7), 13.0, INK);
}

/// Writes a line of text, by its upper left corner.
pub fn write(area: &Area, text: &str, at: (i32, i32), size: f64, color: RGBColor) {
    let style = ("sans-serif", size).into_font().color(&color);
    area.draw(&Text::new(text.to_owned(), at, style)).expect("text can be written");
}
