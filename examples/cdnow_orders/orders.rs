//! The orders, read from CSV. Nothing starts unless every line can be read.

use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt, path::Path};

/// One purchase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) customer: u32,
    pub(crate) date: String,
    /// How many CDs.
    pub(crate) quantity: u32,
    /// The price of all of them. Zero is a price: a gift.
    pub(crate) cents: u32,
}

/// What is wrong with a file of orders: the lines by their numbers, or the file as a whole.
#[derive(Debug)]
pub(crate) struct Refused {
    file: String,
    complaints: Vec<String>,
}

const COLUMNS: [&str; 5] = ["order_no", "customer_id", "date", "quantity", "amount_cents"];
const COMPLAINTS_SHOWN: usize = 10;

pub(crate) fn read(path: &Path) -> Result<Vec<Order>, Refused> {
    let refused = |complaints| Refused { file: path.display().to_string(), complaints };
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true) // a wrong number of columns is our complaint, with those of the other lines
        .from_path(path)
        .map_err(|error| refused(vec![error.to_string()]))?;
    match reader.headers() {
        Ok(header) if header.iter().eq(COLUMNS) => {}
        Ok(_) => return Err(refused(vec![format!("line 1: the columns are not {}", COLUMNS.join(","))])),
        Err(error) => return Err(refused(vec![error.to_string()])),
    }

    let mut orders = Vec::new();
    let mut complaints = Vec::new();
    let mut line_of = HashMap::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                complaints.push(complaint_of(&error));
                if error.is_io_error() {
                    break;
                }
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        match parse(&record) {
            Err(why) => complaints.push(format!("line {line}: {why}")),
            Ok(order) => match line_of.insert(order.number, line) {
                Some(first) => complaints.push(format!("line {line}: order {} is already on line {first}", order.number)),
                None => orders.push(order),
            },
        }
    }
    if complaints.is_empty() && orders.is_empty() {
        complaints.push("there are no orders in it".to_owned());
    }
    if complaints.is_empty() { Ok(orders) } else { Err(refused(complaints)) }
}

fn parse(record: &csv::StringRecord) -> Result<Order, String> {
    let fields: Vec<&str> = record.iter().collect();
    let [number, customer, date, quantity, cents] = fields[..] else {
        return Err(format!("{} columns instead of {}", fields.len(), COLUMNS.len()));
    };
    Ok(Order {
        number: whole("order_no", number)?,
        customer: whole("customer_id", customer)?,
        date: if is_date(date) { date.to_owned() } else { return Err(format!("date: `{date}` is no date like 1997-12-31")) },
        quantity: match whole("quantity", quantity)? {
            0 => return Err("quantity: an order of nothing".to_owned()),
            quantity => quantity,
        },
        cents: whole("amount_cents", cents)?,
    })
}

fn whole(column: &str, text: &str) -> Result<u32, String> {
    // `parse` alone would take "+7".
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        _ => Err(format!("{column}: `{text}` is not a whole number from 0 to {}", u32::MAX)),
    }
}

fn is_date(text: &str) -> bool {
    let is_digit = |place: usize, byte: u8| if matches!(place, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    if text.len() != 10 || !text.bytes().enumerate().all(|(place, byte)| is_digit(place, byte)) {
        return false;
    }
    let (Ok(year), Ok(month), Ok(day)) = (text[..4].parse::<u32>(), text[5..7].parse::<u32>(), text[8..].parse::<u32>()) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn complaint_of(error: &csv::Error) -> String {
    match error.position() {
        Some(position) => format!("line {}: {}", position.line(), kind_of(error)),
        None => error.to_string(),
    }
}

fn kind_of(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is refused, and nothing was started:", self.file)?;
        for complaint in self.complaints.iter().take(COMPLAINTS_SHOWN) {
            write!(f, "\n  {complaint}")?;
        }
        match self.complaints.len().saturating_sub(COMPLAINTS_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Refused {}
