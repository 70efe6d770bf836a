//! The report as a page of its own: the table, and a picture of each plot.

use std::path::PathBuf;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::{
    coord::{
        combinators::IntoLogRange,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::*,
};

use crate::report::{Figure, Plot, Report, folder, number};

const SIZE: (u32, u32) = (760, 380);
/// So many lines have their names inside of the picture; the names of more would hide the lines, and stand beside it.
const NAMED_INSIDE: usize = 6;
/// Room for names beside a picture.
const BESIDE: u32 = 190;

const STYLE: &str = "
    body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1c1c1c }
    table { border-collapse: collapse; width: 100%; margin: 0 0 1.5rem }
    th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
    td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
    .reached { color: #176b2c } .missed { color: #a61b1b; font-weight: 600 } .small { color: #666; font-size: .85em }
    .plots { display: flex; flex-wrap: wrap; gap: 1rem } svg { max-width: 100%; height: auto }";

/// Writes `report.html` and each plot as an SVG file; the path of the page.
pub fn write(report: &Report) -> PathBuf {
    let pictures: Vec<String> = report.plots.iter().map(draw).collect();
    for (plot, picture) in report.plots.iter().zip(&pictures) {
        let path = folder().join(format!("{}.svg", file_name(plot)));
        std::fs::write(path, picture).expect("target/bench can be written");
    }
    let path = folder().join("report.html");
    std::fs::write(&path, page(report, &pictures).into_string()).expect("target/bench can be written");
    path
}

fn file_name(plot: &Plot) -> String {
    let title: String = plot.title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = title.split('-').filter(|word| !word.is_empty()).collect();
    format!("{}-{}", plot.group, words.join("-").to_lowercase())
}

fn page(report: &Report, pictures: &[String]) -> Markup {
    let mut groups: Vec<&str> = report.figures.iter().map(|figure| figure.group).collect();
    groups.dedup();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "nowserving, measured" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "nowserving, measured" }
                p { @for (name, value) in &report.machine { (name) ": " b { (value) } "  " } }
                @for group in groups {
                    h2 { (group) }
                    @for (_, note) in report.notes.iter().filter(|(of, _)| of == group) { p { (note) } }
                    (table(report.figures.iter().filter(|figure| figure.group == group)))
                    @let details = || report.details.iter().filter(|figure| figure.group == group);
                    @if details().next().is_some() {
                        details { summary { "all " (details().count()) " figures of these" } (table(details())) }
                    }
                    div.plots {
                        @for (_, picture) in report.plots.iter().zip(pictures).filter(|(plot, _)| plot.group == group) {
                            (PreEscaped(picture))
                        }
                    }
                }
            }
        }
    }
}

fn table<'a>(figures: impl Iterator<Item = &'a Figure>) -> Markup {
    html! {
        table {
            thead { tr {
                th { "figure" } th.number { "median" } th.number { "min … max" } th { "unit" }
                th.number { "ratio" } th { "reference (its median)" } th { "target" }
            } }
            tbody {
                @for figure in figures { tr {
                    td { (figure.name) }
                    td.number { (number(figure.value.median)) }
                    td.number { span.small {
                        (number(figure.value.min)) " … " (number(figure.value.max)) " in " (figure.value.rounds)
                    } }
                    td { (figure.unit) }
                    td.number { (number(figure.ratio())) }
                    td { (figure.reference.name) " (" (number(figure.reference.value.median)) ")" }
                    td { @if let (Some(target), Some(reached)) = (figure.target, figure.reached()) {
                        span class=(if reached { "reached" } else { "missed" }) {
                            (target.text()) (if reached { "" } else { ": missed" })
                        }
                    } }
                } }
            }
        }
    }
}

fn draw(plot: &Plot) -> String {
    let points = || plot.series.iter().flat_map(|series| series.points.iter().copied());
    let x = range(points().map(|point| point.0), plot.x.logarithmic);
    let y = range(points().map(|point| point.1).chain((!plot.y.logarithmic).then_some(0.0)), plot.y.logarithmic);
    let mut picture = String::new();
    match (plot.x.logarithmic, plot.y.logarithmic) {
        (false, false) => lines(&mut picture, plot, x.0..x.1, y.0..y.1),
        (true, false) => lines(&mut picture, plot, (x.0..x.1).log_scale(), y.0..y.1),
        (false, true) => lines(&mut picture, plot, x.0..x.1, (y.0..y.1).log_scale()),
        (true, true) => lines(&mut picture, plot, (x.0..x.1).log_scale(), (y.0..y.1).log_scale()),
    }
    picture
}

/// From the smallest to the largest, with a margin, and never empty.
fn range(values: impl Iterator<Item = f64>, logarithmic: bool) -> (f64, f64) {
    let (min, max) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
    if logarithmic {
        (min / 1.2, max * 1.2)
    } else {
        (min, if max > min { max + (max - min) * 0.08 } else { min + 1.0 })
    }
}

fn lines<X, Y>(picture: &mut String, plot: &Plot, x: X, y: Y)
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let beside = if plot.series.len() > NAMED_INSIDE { BESIDE } else { 0 };
    let area = SVGBackend::with_string(picture, (SIZE.0 + beside, SIZE.1)).into_drawing_area();
    let drawn = (|| -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&plot.title, ("sans-serif", 17))
            .margin(10)
            .margin_right(10 + beside)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)
            .map_err(|error| error.to_string())?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(&plot.x.label)
            .y_desc(&plot.y.label)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()
            .map_err(|error| error.to_string())?;
        for (at, series) in plot.series.iter().enumerate() {
            let color = Palette99::pick(at).to_rgba();
            chart
                .draw_series(LineSeries::new(series.points.clone(), color.stroke_width(2)).point_size(3))
                .map_err(|error| error.to_string())?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        if beside > 0 {
            let lines = i32::try_from(SIZE.0)?;
            for (at, series) in plot.series.iter().enumerate() {
                let (y, color) = (50 + 16 * i32::try_from(at)?, Palette99::pick(at).to_rgba());
                area.draw(&PathElement::new([(lines, y), (lines + 18, y)], color.stroke_width(2)))?;
                area.draw(&Text::new(series.name.as_str(), (lines + 24, y - 6), ("sans-serif", 12)))?;
            }
        } else {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.2))
                .draw()
                .map_err(|error| error.to_string())?;
        }
        area.present()?;
        Ok(())
    })();
    drawn.expect("a picture can be drawn into a String");
}
