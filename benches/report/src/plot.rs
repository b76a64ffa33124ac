//! A table as bars: for each case what was measured, and below it its floors.
//!
//! Invariant: a plot brings its own background, so that its text can be read on any page (`every_text_can_be_read_on_any_page`).

use crate::{
    figure::Figure,
    number::{count, number},
};
use plotters::{
    coord::{Shift, ranged1d::ValueFormatter, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::{collections::BTreeSet, ops::RangeInclusive, path::Path};

const BACKGROUND: RGBColor = RGBColor(255, 255, 255);
const TEXT: RGBColor = RGBColor(31, 35, 40);
const GRID: RGBColor = RGBColor(222, 226, 230);
const OURS: RGBColor = RGBColor(9, 105, 218);
const FLOORS: [RGBColor; 3] = [
    RGBColor(140, 149, 159),
    RGBColor(191, 135, 0),
    RGBColor(130, 80, 223),
];

const WIDTH: u32 = 860;
const LABELS: i32 = 235;
const HEADER: i32 = 46;
const BAR: i32 = 18;
const GAP: i32 = 14;
const FOOTER: i32 = 48;
const AXIS: i32 = 40;

/// With a quotient of the largest and the smallest value within these, the scale is logarithmic. Beyond, the smallest is as good as
/// nothing, which a linear scale shows.
const WIDE: RangeInclusive<f64> = 20.0..=2_000.0;

pub(crate) fn draw(path: &Path, table: &str, figures: &[Figure]) -> Result<(), String> {
    let height = height(figures);
    let svg = SVGBackend::new(path, (WIDTH, height.cast_unsigned()));
    let area = svg.into_drawing_area();
    paint(&area, table, figures, height)
        .and_then(|()| area.present())
        .map_err(|error| format!("{}: {error}", path.display()))
}

type Painted<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn rows(figure: &Figure) -> i32 {
    1 + i32::try_from(figure.floors.len()).unwrap_or(0)
}

fn height(figures: &[Figure]) -> i32 {
    let bars: i32 = figures.iter().map(|it| rows(it) * BAR + GAP).sum();
    HEADER + bars + FOOTER
}

/// The names of the floors, in the order of their colours.
fn floor_names(figures: &[Figure]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let all = figures.iter().flat_map(|figure| &figure.floors);
    all.map(|floor| floor.name.as_str())
        .filter(|name| seen.insert(*name))
        .collect()
}

fn colour(names: &[&str], name: &str) -> RGBColor {
    let nth = names.iter().position(|it| *it == name).unwrap_or(0);
    FLOORS[nth % FLOORS.len()]
}

fn paint<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    table: &str,
    figures: &[Figure],
    height: i32,
) -> Painted<'a> {
    area.fill(&BACKGROUND)?;
    legend(area, table, figures)?;
    let values = figures.iter().flat_map(|figure| {
        let floors = figure.floors.iter().map(|floor| floor.spread().median);
        floors.chain([figure.spread().median])
    });
    let (lowest, highest) = values.fold((f64::INFINITY, f64::MIN_POSITIVE), |(low, high), it| {
        (low.min(it), high.max(it))
    });
    let unit = figures.first().map_or("", |figure| figure.unit.as_str());
    let bottom = f64::from(height - HEADER - FOOTER);
    let mut chart = ChartBuilder::on(area);
    chart
        .margin_top(HEADER)
        .margin_right(24)
        .margin_left(LABELS)
        .margin_bottom(FOOTER - AXIS)
        .x_label_area_size(AXIS);
    // Room for the words beside the longest bar.
    if lowest > 0.0 && WIDE.contains(&(highest / lowest)) {
        let from = 10_f64.powf((lowest / 1.2).log10().floor());
        let to = highest * (highest / from).powf(0.14);
        let mut chart = chart.build_cartesian_2d((from..to).log_scale(), bottom..0.0)?;
        bars(&mut chart, figures, from, &format!("{unit} (logarithmic)"))?;
    } else {
        let mut chart = chart.build_cartesian_2d(0.0..highest * 1.16, bottom..0.0)?;
        bars(&mut chart, figures, 0.0, unit)?;
    }
    labels(area, figures)
}

/// The name of the table, and what is drawn in which colour.
fn legend<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    table: &str,
    figures: &[Figure],
) -> Painted<'a> {
    area.draw(&Text::new(table.to_owned(), (12, 8), style(16)))?;
    let mut x = 12;
    let names = floor_names(figures);
    let entries = names.iter().map(|name| (*name, colour(&names, name)));
    for (name, colour) in [("sagaz", OURS)].into_iter().chain(entries) {
        area.draw(&Rectangle::new([(x, 31), (x + 11, 42)], colour.filled()))?;
        area.draw(&Text::new(name.to_owned(), (x + 16, 31), style(12)))?;
        // As wide as the letters are on the average.
        x += 32 + 7 * i32::try_from(name.len()).unwrap_or(0);
    }
    Ok(())
}

/// The names of the cases, left of their bars.
fn labels<'a>(area: &DrawingArea<SVGBackend<'a>, Shift>, figures: &[Figure]) -> Painted<'a> {
    let mut y = HEADER;
    for figure in figures {
        let text = match figure.in_flight {
            Some(in_flight) => format!("{}, {} at once", figure.case, count(in_flight.into())),
            None => figure.case.clone(),
        };
        let right = style(12).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(
            text,
            (LABELS - 10, y + i32::midpoint(GAP, BAR)),
            right,
        ))?;
        y += rows(figure) * BAR + GAP;
    }
    Ok(())
}

/// The axis, and the bars with their values. `from`: where the bars begin.
fn bars<'a, X: Ranged<ValueType = f64> + ValueFormatter<f64>>(
    chart: &mut ChartContext<'_, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
    figures: &[Figure],
    from: f64,
    unit: &str,
) -> Painted<'a> {
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(BACKGROUND)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_label_formatter(&|value| tick(*value))
        .x_labels(7)
        .x_desc(unit)
        .label_style(style(12))
        .draw()?;
    let names = floor_names(figures);
    let mut y = 0.0;
    for figure in figures {
        y += f64::from(GAP) / 2.0;
        let ours = figure.spread().median;
        let ours = (ours, OURS, number(ours));
        let floors = figure.floors.iter().map(|floor| {
            let (value, ratio) = (floor.spread().median, figure.ratio(floor).median);
            let words = format!("{} ({} x)", number(value), number(ratio));
            (value, colour(&names, &floor.name), words)
        });
        for (value, colour, words) in [ours].into_iter().chain(floors) {
            let value = value.max(from);
            let below = y + f64::from(BAR);
            let bar = Rectangle::new([(from, y + 1.0), (value, below - 1.0)], colour.filled());
            let beside = style(12).pos(Pos::new(HPos::Left, VPos::Center));
            let words = EmptyElement::at((value, f64::midpoint(y, below)))
                + Text::new(words, (5, 0), beside);
            let area = chart.plotting_area();
            area.draw(&bar)?;
            area.draw(&words)?;
            y = below;
        }
        y += f64::from(GAP) / 2.0;
    }
    Ok(())
}

/// Without zeros behind the point.
fn tick(value: f64) -> String {
    let text = number(value);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

fn style(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&TEXT)
}

#[cfg(test)]
mod tests {
    use super::{BACKGROUND, TEXT};
    use plotters::style::RGBColor;

    /// As WCAG defines it.
    fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    #[test]
    fn every_text_can_be_read_on_any_page() {
        let contrast = (luminance(BACKGROUND) + 0.05) / (luminance(TEXT) + 0.05);
        assert!(contrast >= 7.0, "{contrast}");
    }
}
