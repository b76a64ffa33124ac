//! Orders in CSV, as the example `cdnow_orders` reads them.
//!
//! Either all of it is read, and writing it down and reading it again gives the same; or it is refused with the number of every
//! line that is wrong, and nothing of it is taken. Which lines are wrong is what a model says, line by line, of texts without
//! quotes.

use crate::cdnow::orders;
use std::{fmt::Write, fs, str};
use tempfile::NamedTempFile;

const HEADER: &str = "order_no,customer_id,date,quantity,amount_cents";

pub(crate) fn csv_orders(input: &[u8]) {
    let read = read(input);
    let wrong = model(input);
    match &read {
        Ok(orders) => {
            assert!(!orders.is_empty());
            let again = self::read(written(orders).as_bytes()).expect("what was written is read");
            assert_eq!(format!("{again:?}"), format!("{orders:?}"));
            if let Some(wrong) = wrong {
                assert_eq!(wrong, Wrong::Lines(Vec::new()));
            }
        }
        Err(words) => {
            let words = words.split_once('\n').expect("a reason").1;
            if let Some(wrong) = wrong {
                assert_eq!(wrong, told(words), "{words}");
            }
        }
    }
}

fn read(bytes: &[u8]) -> Result<Vec<orders::Order>, String> {
    let file = NamedTempFile::new().expect("a temporary file");
    fs::write(&file, bytes).expect("a temporary file");
    orders::read(file.path()).map_err(|refused| refused.to_string())
}

fn written(orders: &[orders::Order]) -> String {
    let mut text = format!("{HEADER}\n");
    for orders::Order {
        number,
        customer,
        date,
        quantity,
        cents,
    } in orders
    {
        writeln!(text, "{number},{customer},{date},{quantity},{cents}").expect("a text grows");
    }
    text
}

#[derive(Debug, PartialEq)]
enum Wrong {
    /// Their numbers: ten are told, and how many more there are.
    Lines(Vec<usize>),
    Columns,
    Empty,
}

fn told(words: &str) -> Wrong {
    let mut lines = Vec::new();
    for complaint in words.lines().map(str::trim) {
        if complaint.starts_with("line 1: the columns are not") {
            return Wrong::Columns;
        }
        if complaint == "there are no orders in it" {
            return Wrong::Empty;
        }
        if let Some(more) = complaint
            .strip_prefix("and ")
            .and_then(|it| it.strip_suffix(" more"))
        {
            let more: usize = more.parse().expect("a number");
            lines.extend(vec![0; more]);
            continue;
        }
        let number = complaint
            .strip_prefix("line ")
            .and_then(|it| it.split_once(": "));
        let (number, why) = number.unwrap_or_else(|| panic!("it names no line: {complaint}"));
        assert!(!why.is_empty());
        lines.push(number.parse().expect("a number"));
    }
    Wrong::Lines(lines)
}

/// What is wrong; `None` of what is beyond it.
fn model(input: &[u8]) -> Option<Wrong> {
    if input.contains(&b'"') || input.contains(&b'\r') || input.starts_with("\u{feff}".as_bytes()) {
        return None;
    }
    let lines = input.split(|byte| *byte == b'\n').enumerate();
    let mut lines = lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| (at + 1, line));
    if lines
        .next()
        .is_none_or(|(_, line)| line != HEADER.as_bytes())
    {
        return Some(Wrong::Columns);
    }
    let (mut wrong, mut numbers) = (Vec::new(), Vec::new());
    for (at, line) in lines {
        match number(line).filter(|number| !numbers.contains(number)) {
            Some(number) => numbers.push(number),
            None => wrong.push(at),
        }
    }
    if wrong.is_empty() && numbers.is_empty() {
        return Some(Wrong::Empty);
    }
    wrong.iter_mut().skip(10).for_each(|line| *line = 0);
    Some(Wrong::Lines(wrong))
}

/// The number of the order on a line, if it is one.
fn number(line: &[u8]) -> Option<u128> {
    let line = str::from_utf8(line).ok()?;
    let fields: Vec<&str> = line.split(',').collect();
    let [number, customer, date, quantity, cents] = fields[..] else {
        return None;
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else {
        return None;
    };
    let part = |text: &str, length| (text.len() == length).then(|| whole(text)).flatten();
    let month = time::Month::try_from(u8::try_from(part(month, 2)?).ok()?).ok()?;
    let (year, day) = (
        i32::try_from(part(year, 4)?).ok()?,
        u8::try_from(part(day, 2)?).ok()?,
    );
    time::Date::from_calendar_date(year, month, day).ok()?;
    let _ = (whole(customer)?, whole(cents)?);
    (whole(quantity)? > 0).then_some(whole(number)?)
}

/// Of digits alone, below 2^32.
fn whole(text: &str) -> Option<u128> {
    let mut number = 0_u128;
    for letter in text.chars() {
        let digit = letter.to_digit(10)?;
        number = number * 10 + u128::from(digit);
        if number >= 1 << 32 {
            return None;
        }
    }
    (!text.is_empty()).then_some(number)
}
