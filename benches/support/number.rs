//! Numbers for people: three digits that mean something, and groups of thousands.

/// Such as `12,300`, `4.56` or `0.08`.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size < 0.005 {
        return "0".to_owned();
    }
    let digits = match size {
        100.0.. => 0,
        10.0..100.0 => 1,
        _ => 2,
    };
    grouped(&format!("{:.digits$}", three_digits(value)))
}

/// With all its digits, for it is no measurement.
pub(crate) fn count(count: u64) -> String {
    grouped(&count.to_string())
}

/// The rest is noise.
fn three_digits(value: f64) -> f64 {
    if value.abs() < 1_000.0 {
        return value;
    }
    let step = 10_f64.powf(value.abs().log10().floor() - 2.0);
    (value / step).round() * step
}

fn grouped(number: &str) -> String {
    let (whole, rest) = number
        .find('.')
        .map_or((number, ""), |point| number.split_at(point));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |it| ("-", it));
    let mut text = String::new();
    for (nth, digit) in whole.chars().enumerate() {
        if nth > 0 && (whole.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}{rest}")
}
