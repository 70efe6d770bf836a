//! What is in a panel of each kind.

use chrono::{DateTime, Utc};
use plotters::prelude::*;
use serde_json::{Map, Value};

use super::{
    draw::{Area, FAINT, INK, write},
    queries::{Answer, Row},
    units::written,
};

/// A named curve.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
    color: RGBColor,
    right: bool,
    stacked: bool,
}

const PALETTE: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(23, 160, 175),
    RGBColor(227, 119, 194),
    RGBColor(140, 86, 75),
    RGBColor(188, 160, 34),
    RGBColor(127, 127, 127),
    RGBColor(90, 90, 200),
];

/// More curves than this would hide each other, and make the picture large.
const MOST_CURVES: usize = 8;
const MOST_POINTS: usize = 45;

/// Draws a panel's answers.
pub fn draw(area: &Area, panel: &Value, answers: &[Answer]) {
    match panel["type"].as_str().expect("a kind") {
        "stat" => stat(area, panel, answers),
        "timeseries" => timeseries(area, panel, answers),
        "heatmap" => heatmap(area, panel, answers),
        "bargauge" | "barchart" => bars(area, panel, answers),
        "table" => table(area, panel, answers),
        other => panic!("there is no drawing of a {other}"),
    }
}

fn unit(panel: &Value) -> &str {
    panel["fieldConfig"]["defaults"]["unit"].as_str().expect("a unit")
}

fn ints((w, h): (u32, u32)) -> (i32, i32) {
    (i32::try_from(w).expect("small"), i32::try_from(h).expect("small"))
}

/// The property of a field that overrides the panel's.
fn overridden<'a>(panel: &'a Value, field: &str, property: &str) -> Option<&'a Value> {
    let overrides = panel["fieldConfig"]["overrides"].as_array()?;
    let of = overrides.iter().filter(|one| one["matcher"]["options"] == field);
    let mut properties = of.flat_map(|one| one["properties"].as_array().into_iter().flatten());
    properties.find(|one| one["id"] == property).map(|one| &one["value"])
}

fn named(color: &str) -> RGBColor {
    match color {
        "green" => RGBColor(55, 150, 70),
        "red" => RGBColor(207, 34, 46),
        "dark-red" => RGBColor(130, 20, 30),
        "orange" => RGBColor(225, 120, 20),
        "yellow" => RGBColor(200, 160, 10),
        "blue" => RGBColor(40, 100, 200),
        "purple" => RGBColor(130, 80, 200),
        _ => INK,
    }
}

/// The color of the threshold that a value has passed.
fn threshold(panel: &Value, value: f64) -> RGBColor {
    let steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array().expect("thresholds");
    let passed = steps.iter().rfind(|step| step["value"].as_f64().is_none_or(|from| value >= from));
    named(passed.and_then(|step| step["color"].as_str()).unwrap_or_default())
}

fn legend(format: &str, labels: &Map<String, Value>) -> String {
    labels.iter().fold(format.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), value.as_str().unwrap_or_default())
    })
}

/// The curves of all queries; of many the highest.
fn curves(panel: &Value, answers: &[Answer]) -> Vec<Curve> {
    let targets = panel["targets"].as_array().expect("targets");
    let mut found: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for (target, answer) in targets.iter().zip(answers) {
        match answer {
            Answer::Series(series) => found.extend(series.iter().map(|(labels, points)| {
                (legend(target["legendFormat"].as_str().unwrap_or_default(), labels), points.clone())
            })),
            Answer::Rows(rows) => found.extend(columns(rows)),
        }
    }
    let height = |points: &[(f64, f64)]| points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if found.len() > MOST_CURVES {
        found.sort_by(|(_, a), (_, b)| height(b).total_cmp(&height(a)));
        found.truncate(MOST_CURVES);
    }
    let curve = |(nth, (name, points)): (usize, (String, Vec<(f64, f64)>))| {
        let fixed = overridden(panel, &name, "color").or(Some(&panel["fieldConfig"]["defaults"]["color"]));
        let fixed = fixed.and_then(|color| color["fixedColor"].as_str());
        let color = fixed.map_or(PALETTE[nth % PALETTE.len()], named);
        let right = overridden(panel, &name, "custom.axisPlacement").is_some_and(|place| place == "right");
        let stacking = &panel["fieldConfig"]["defaults"]["custom"]["stacking"];
        let stacked = overridden(panel, &name, "custom.stacking").unwrap_or(stacking)["mode"] == "normal";
        Curve { name, points: thinned(points), color, right, stacked }
    };
    found.into_iter().enumerate().map(curve).collect()
}

/// Rows with a time as curves, one a column.
fn columns(rows: &[Row]) -> Vec<(String, Vec<(f64, f64)>)> {
    let names = rows.first().into_iter().flatten().map(|(name, _)| name).filter(|name| *name != "time");
    let column = |name: &String| {
        let points = rows.iter().filter_map(|row| {
            let field = |wanted: &str| row.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
            let time: DateTime<Utc> = field("time")?.as_str()?.parse().ok()?;
            #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
            Some((time.timestamp() as f64, field(name)?.as_f64()?))
        });
        (name.clone(), points.collect())
    };
    names.map(column).collect()
}

fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(nth, _)| nth % every == 0 || *nth == last).map(|(_, point)| point).collect()
}

fn stat(area: &Area, panel: &Value, answers: &[Answer]) {
    let (w, h) = ints(area.dim_in_pixel());
    let values: Vec<f64> = answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Series(series) => series.first()?.1.last().map(|(_, value)| *value),
            Answer::Rows(rows) => rows.first()?.iter().find_map(|(_, value)| value.as_f64()),
        })
        .collect();
    let color = threshold(panel, *values.first().expect("a value"));
    area.draw(&Rectangle::new([(2, 4), (w - 2, h - 2)], color.mix(0.9).filled())).expect("text can be written");
    let text: Vec<String> = values.iter().map(|value| written(*value, unit(panel))).collect();
    write(area, &text.join(" of "), (14, h / 2 - 14), 28.0, WHITE);
}

fn timeseries(area: &Area, panel: &Value, answers: &[Answer]) {
    let curves = curves(panel, answers);
    let lines =
        1 + curves.iter().map(|curve| curve.name.len() + 4).sum::<usize>() / (area.dim_in_pixel().0 as usize / 7);
    let below = u32::try_from(lines * 16).expect("small");
    let (chart_area, legend_area) = area.split_vertically(area.dim_in_pixel().1 - below);
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (from, to) = all().fold((f64::MAX, 0.0_f64), |(from, to), (time, _)| (from.min(*time), to.max(*time)));
    let top = |right: bool| {
        let points = curves.iter().filter(|curve| curve.right == right).flat_map(|curve| &curve.points);
        let stack = if right { 0.0 } else { stack_top(&curves) };
        let highest = points.map(|(_, y)| *y).fold(stack, f64::max);
        if highest > 0.0 { highest * 1.08 } else { 1.0 }
    };
    let right = curves.iter().any(|curve| curve.right);
    let mut chart = ChartBuilder::on(&chart_area)
        .x_label_area_size(20)
        .y_label_area_size(52)
        .right_y_label_area_size(if right { 48 } else { 4 })
        .build_cartesian_2d(from..to.max(from + 1.0), 0.0..top(false))
        .expect("a chart fits")
        .set_secondary_coord(from..to.max(from + 1.0), 0.0..top(true));
    let unit_left = unit(panel);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.08))
        .axis_style(BLACK.mix(0.3))
        .x_labels(5)
        .y_labels(5)
        .label_style(("sans-serif", 11).into_font().color(&FAINT))
        .x_label_formatter(&|time| written(time - from, "s"))
        .y_label_formatter(&|value| written(*value, unit_left))
        .draw()
        .expect("text can be written");
    if right {
        let unit_right =
            curves.iter().find(|curve| curve.right).and_then(|curve| overridden(panel, &curve.name, "unit"));
        let unit_right = unit_right.and_then(Value::as_str).unwrap_or(unit_left);
        chart
            .configure_secondary_axes()
            .axis_style(BLACK.mix(0.3))
            .y_labels(5)
            .label_style(("sans-serif", 11).into_font().color(&FAINT))
            .y_label_formatter(&|value| written(*value, unit_right))
            .draw()
            .expect("text can be written");
    }
    let mut ground: Vec<(f64, f64)> = Vec::new();
    for curve in &curves {
        let line = curve.color.stroke_width(2);
        if curve.right {
            chart.draw_secondary_series(LineSeries::new(curve.points.clone(), line)).expect("text can be written");
        } else if let [point] = curve.points[..] {
            chart.draw_series([Circle::new(point, 4, curve.color.filled())]).expect("text can be written");
        } else if curve.stacked {
            let upper = raised(&curve.points, &ground);
            let mut outline = upper.clone();
            outline.extend(upper.iter().rev().map(|(time, _)| (*time, level(&ground, *time))));
            chart.draw_series([Polygon::new(outline, curve.color.mix(0.35).filled())]).expect("text can be written");
            chart.draw_series(LineSeries::new(upper.clone(), line)).expect("text can be written");
            ground = upper;
        } else {
            chart.draw_series(LineSeries::new(curve.points.clone(), line)).expect("text can be written");
        }
    }
    names(&legend_area, &curves);
}

fn stack_top(curves: &[Curve]) -> f64 {
    let mut ground = Vec::new();
    for curve in curves.iter().filter(|curve| curve.stacked && !curve.right) {
        ground = raised(&curve.points, &ground);
    }
    ground.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}

/// Points on top of others.
fn raised(points: &[(f64, f64)], ground: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().map(|(time, value)| (*time, value + level(ground, *time))).collect()
}

/// How high the ground is at a time: what its nearest earlier point says.
fn level(ground: &[(f64, f64)], time: f64) -> f64 {
    ground.iter().rfind(|(at, _)| *at <= time).map_or(0.0, |(_, value)| *value)
}

/// The names of the curves, in their colors.
fn names(area: &Area, curves: &[Curve]) {
    let width = ints(area.dim_in_pixel()).0;
    let (mut x, mut y) = (8, 2);
    for curve in curves {
        let wide = 22 + i32::try_from(curve.name.chars().count()).expect("small") * 6;
        if x + wide > width && x > 8 {
            (x, y) = (8, y + 15);
        }
        area.draw(&Rectangle::new([(x, y + 4), (x + 9, y + 8)], curve.color.filled())).expect("text can be written");
        write(area, &curve.name, (x + 13, y), 11.0, INK);
        x += wide;
    }
}

/// Buckets count all below them: a cell is the difference to the one below.
fn heatmap(area: &Area, panel: &Value, answers: &[Answer]) {
    let Some(Answer::Series(series)) = answers.first() else { panic!("a heat map has one query") };
    let bound = |labels: &Map<String, Value>| labels["le"].as_str().and_then(|le| le.parse::<f64>().ok());
    let mut buckets: Vec<(f64, &Vec<(f64, f64)>)> =
        series.iter().filter_map(|(labels, points)| Some((bound(labels)?, points))).collect();
    buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let count = |nth: usize, time: f64| level(buckets[nth].1, time);
    let times = thinned(buckets.last().expect("buckets").1.clone());
    let cell = |nth: usize, time: f64| count(nth, time) - if nth == 0 { 0.0 } else { count(nth - 1, time) };
    let used: Vec<usize> = (0..buckets.len()).filter(|nth| times.iter().any(|(at, _)| cell(*nth, *at) > 0.0)).collect();
    let (low, high) = (*used.first().expect("a count"), *used.last().expect("a count") + 1);
    let most = used.iter().flat_map(|nth| times.iter().map(|(at, _)| cell(*nth, *at))).fold(0.0, f64::max);

    let (from, to) = (times[0].0, times[times.len() - 1].0);
    let step = (to - from) / (times.len().max(2) - 1) as f64;
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(20)
        .y_label_area_size(60)
        .margin_right(6)
        .build_cartesian_2d(from..to + step, low..high)
        .expect("a chart fits");
    let unit = unit(panel);
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(BLACK.mix(0.3))
        .x_labels(6)
        .y_labels((high - low).min(10))
        .label_style(("sans-serif", 11).into_font().color(&FAINT))
        .x_label_formatter(&|time| written(time - from, "s"))
        .y_label_formatter(&|nth| match nth.checked_sub(1).and_then(|below| buckets.get(below)) {
            Some((bound, _)) if bound.is_finite() => written(*bound, unit),
            Some(_) => "more".to_owned(),
            None => written(0.0, unit),
        })
        .draw()
        .expect("text can be written");
    let cells = times.iter().flat_map(|(at, _)| (low..high).map(move |nth| (nth, *at)));
    let filled = cells.filter(|(nth, at)| cell(*nth, *at) > 0.0).map(|(nth, at)| {
        let strength = (cell(nth, at) / most).sqrt();
        Rectangle::new([(at, nth), (at + step, nth + 1)], shade(strength).filled())
    });
    chart.draw_series(filled).expect("text can be written");
}

/// From nearly white to a deep orange.
fn shade(strength: f64) -> RGBColor {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two colors")]
    let between = |from: f64, to: f64| (from + (to - from) * strength.clamp(0.0, 1.0)) as u8;
    RGBColor(between(255.0, 190.0), between(238.0, 70.0), between(215.0, 10.0))
}

/// Names with their values.
fn bars(area: &Area, panel: &Value, answers: &[Answer]) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let bars: Vec<(String, f64)> = match answers.first().expect("one query") {
        Answer::Series(series) => {
            let format = panel["targets"][0]["legendFormat"].as_str().unwrap_or_default();
            series.iter().filter_map(|(labels, points)| Some((legend(format, labels), points.last()?.1))).collect()
        }
        Answer::Rows(rows) => {
            rows.iter().filter_map(|row| Some((text(&row.first()?.1), row.get(1)?.1.as_f64()?))).collect()
        }
    };
    let (w, h) = ints(area.dim_in_pixel());
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let by_threshold = panel["fieldConfig"]["defaults"]["color"]["mode"] == "thresholds";
    for ((name, value), y) in bars.iter().zip((6..h - 16).step_by(22)) {
        write(area, name, (8, y), 12.0, INK);
        #[expect(clippy::cast_possible_truncation, reason = "within the panel")]
        let long = (f64::from(w - 190) * value / most) as i32;
        let color = if by_threshold { threshold(panel, *value) } else { PALETTE[0] };
        area.draw(&Rectangle::new([(90, y - 1), (92 + long, y + 13)], color.mix(0.8).filled()))
            .expect("text can be written");
        write(area, &written(*value, unit(panel)), (98 + long, y), 12.0, INK);
    }
}

fn table(area: &Area, panel: &Value, answers: &[Answer]) {
    let rows = match answers.first() {
        Some(Answer::Rows(rows)) => rows.clone(),
        _ => joined(panel, answers),
    };
    let (w, h) = ints(area.dim_in_pixel());
    let names: Vec<&String> = rows.first().into_iter().flatten().map(|(name, _)| name).collect();
    let wide = (w - 10) / i32::try_from(names.len().max(1)).expect("few columns");
    for (name, x) in names.iter().zip((8..).step_by(wide.unsigned_abs() as usize)) {
        write(area, name, (x, 4), 11.0, FAINT);
    }
    for (row, y) in rows.iter().zip((22..h - 12).step_by(18)) {
        for ((name, value), x) in row.iter().zip((8..).step_by(wide.unsigned_abs() as usize)) {
            let unit = overridden(panel, name, "unit").and_then(Value::as_str).unwrap_or("none");
            let full = match value {
                Value::Null => String::new(),
                Value::Number(number) => written(number.as_f64().unwrap_or_default(), unit),
                Value::String(time) if unit == "dateTimeAsIso" => time.get(11..19).unwrap_or(time).to_owned(),
                other => other.as_str().map_or_else(|| other.to_string(), str::to_owned),
            };
            let room = (wide.unsigned_abs() as usize / 6).max(4);
            let short: String = full.chars().take(room).collect();
            let text = if short.len() < full.len() { format!("{}…", &short[..short.len() - 1]) } else { short };
            write(area, &text, (x, y), 11.0, INK);
        }
    }
}

/// The present values of several queries, side by side, as the panel's transformations join and name them.
fn joined(panel: &Value, answers: &[Answer]) -> Vec<Row> {
    let [join, organize] = &panel["transformations"].as_array().expect("transformations")[..] else {
        panic!("a table of metrics is joined, then named")
    };
    let by = join["options"]["byField"].as_str().expect("a field");
    let series = |answer: &Answer| match answer {
        Answer::Series(series) => series.clone(),
        Answer::Rows(_) => panic!("metrics only"),
    };
    let all: Vec<_> = answers.iter().map(series).collect();
    let mut first = all[0].clone();
    let last = |points: &[(f64, f64)]| points.last().map(|(_, value)| *value);
    first.sort_by(|(_, a), (_, b)| last(b).unwrap_or_default().total_cmp(&last(a).unwrap_or_default()));
    let row = |labels: &Map<String, Value>| {
        let mut row: Row = vec![(by.to_owned(), labels[by].clone())];
        for (target, series) in panel["targets"].as_array().expect("targets").iter().zip(&all) {
            let field = format!("Value #{}", target["refId"].as_str().expect("an id"));
            let name = organize["options"]["renameByName"][&field].as_str().expect("a name").to_owned();
            let found = series.iter().find(|(other, _)| other[by] == labels[by]).and_then(|(_, points)| last(points));
            row.push((name, found.map_or(Value::Null, Value::from)));
        }
        row
    };
    first.iter().map(|(labels, _)| row(labels)).collect()
}
