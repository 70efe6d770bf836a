//! Values as Grafana writes them, near enough for a picture.

/// A value in one of Grafana's units.
pub fn written(value: f64, unit: &str) -> String {
    match unit {
        "percentunit" => format!("{} %", short(value * 100.0)),
        "s" if value == 0.0 => "0 s".to_owned(),
        "s" if value.abs() < 0.001 => format!("{} µs", short(value * 1e6)),
        "s" if value.abs() < 1.0 => format!("{} ms", short(value * 1e3)),
        "s" if value.abs() < 120.0 => format!("{} s", short(value)),
        "s" => format!("{} min", short(value / 60.0)),
        "m" if value < 1.0 => format!("{} s", short(value * 60.0)),
        "m" => format!("{} min", short(value)),
        "bytes" => format!("{} MiB", short(value / 1_048_576.0)),
        "ops" | "reqps" => format!("{} /s", short(value)),
        _ => short(value),
    }
}

/// Three digits, or so.
fn short(value: f64) -> String {
    let (value, sign) = match value.abs() {
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 10_000.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{sign}")
}
