//! A trace as a picture: a row for each span, below its parent, and a bar for its time.

use crate::collector::Seen;
use std::fmt::Write;

const WIDTH: f64 = 980.0;
const NAMES: f64 = 330.0;
const ROW: f64 = 26.0;
const TOP: f64 = 58.0;
/// One for each service, in the order of their first spans. Readable on light and on dark ground.
const COLOURS: [&str; 3] = ["#3b82c4", "#c2742c", "#3d9a63"];

/// The spans in the order of their rows, with how deep they are.
fn rows(spans: &[Seen]) -> Vec<(usize, &Seen)> {
    fn add<'s>(spans: &'s [Seen], parent: &str, depth: usize, rows: &mut Vec<(usize, &'s Seen)>) {
        let mut children: Vec<&Seen> = spans.iter().filter(|span| span.parent == parent).collect();
        children.sort_by_key(|span| span.began);
        for child in children {
            rows.push((depth, child));
            add(spans, &child.id, depth + 1, rows);
        }
    }
    let mut rows = Vec::new();
    add(spans, "", 0, &mut rows);
    rows
}

/// Draws a trace, and when a process was killed, in nanoseconds since the Unix epoch.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is drawn is not that exact"
)]
pub(crate) fn draw(spans: &[Seen], killed_at: u64) -> String {
    let rows = rows(spans);
    let began = rows
        .iter()
        .map(|(_, span)| span.began)
        .min()
        .unwrap_or_default();
    let ended = rows
        .iter()
        .map(|(_, span)| span.ended)
        .max()
        .unwrap_or_default();
    let whole = (ended - began) as f64;
    let mut services: Vec<&str> = Vec::new();
    for (_, span) in &rows {
        if !services.contains(&span.service.as_str()) {
            services.push(&span.service);
        }
    }
    let colour = |service: &str| {
        COLOURS[services.iter().position(|it| *it == service).unwrap_or(0) % COLOURS.len()]
    };
    let height = TOP + ROW * rows.len() as f64 + 14.0;
    let mut picture = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" rx="8" fill="#fbfbfd" stroke="#d9dce3"/>
"##
    );
    for (nth, service) in services.iter().enumerate() {
        let x = 16.0 + 120.0 * nth as f64;
        let _ = writeln!(
            picture,
            r##"<circle cx="{x}" cy="24" r="5" fill="{}"/><text x="{}" y="28.5" fill="#30343d">{service}</text>"##,
            colour(service),
            x + 11.0
        );
    }
    let room = WIDTH - NAMES - 74.0;
    for tick in 0..=4 {
        let x = NAMES + room * f64::from(tick) / 4.0;
        let _ = writeln!(
            picture,
            r##"<line x1="{x:.1}" y1="{}" x2="{x:.1}" y2="{}" stroke="#e6e8ee"/><text x="{x:.1}" y="{}" fill="#8a90a0" font-size="11" text-anchor="middle">{:.1} s</text>"##,
            TOP - 8.0,
            height - 12.0,
            TOP - 14.0,
            whole * f64::from(tick) / 4.0 / 1e9
        );
    }
    let x = NAMES + room * (killed_at - began) as f64 / whole;
    let _ = writeln!(
        picture,
        r##"<line x1="{x:.1}" y1="{}" x2="{x:.1}" y2="{}" stroke="#cc4444" stroke-dasharray="4 3"/><text x="{:.1}" y="{}" fill="#cc4444" font-size="11">kill -9 of {}</text>"##,
        TOP - 8.0,
        height - 12.0,
        x + 6.0,
        height - 16.0,
        services[0]
    );
    for (nth, (depth, span)) in rows.iter().enumerate() {
        let y = TOP + ROW * nth as f64;
        let x = NAMES + room * (span.began - began) as f64 / whole;
        let took = (span.ended - span.began) as f64;
        let width = (room * took / whole).max(3.0);
        let (fill, mark) = if span.status == 2 {
            ("#cc4444", " ✗")
        } else {
            (colour(&span.service), "")
        };
        let _ = writeln!(
            picture,
            r##"<circle cx="{}" cy="{}" r="3.5" fill="{}"/><text x="{}" y="{}" fill="#30343d">{}{mark}</text><rect x="{x:.1}" y="{}" width="{width:.1}" height="14" rx="3" fill="{fill}"/><text x="{:.1}" y="{}" fill="#8a90a0" font-size="11">{}</text>"##,
            20.0 + 16.0 * *depth as f64,
            y + 9.0,
            colour(&span.service),
            30.0 + 16.0 * *depth as f64,
            y + 13.5,
            escaped(&span.name),
            y + 2.0,
            x + width + 6.0,
            y + 13.0,
            duration(took)
        );
    }
    picture + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// In milliseconds.
fn duration(nanos: f64) -> String {
    format!("{:.1} ms", nanos / 1e6)
}
