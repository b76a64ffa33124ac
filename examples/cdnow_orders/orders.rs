//! The orders, read from CSV. Nothing starts unless every line can be read.

use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt, fs, path::Path};

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

const COLUMNS: [&str; 5] = [
    "order_no",
    "customer_id",
    "date",
    "quantity",
    "amount_cents",
];
const COMPLAINTS_SHOWN: usize = 10;

pub(crate) fn read(path: &Path) -> Result<Vec<Order>, Refused> {
    let refused = |complaints| Refused {
        file: path.display().to_string(),
        complaints,
    };
    let bytes = fs::read(path).map_err(|error| refused(vec![error.to_string()]))?;
    parse(&bytes).map_err(refused)
}

fn parse(bytes: &[u8]) -> Result<Vec<Order>, Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true) // a wrong number of columns is our complaint, with those of the other lines
        .from_reader(bytes);
    if !reader
        .headers()
        .is_ok_and(|header| header.iter().eq(COLUMNS))
    {
        return Err(vec![format!(
            "line 1: the columns are not {}",
            COLUMNS.join(",")
        )]);
    }

    let mut orders = Vec::new();
    let mut complaints = Vec::new();
    let mut lines = Lines {
        bytes,
        at: 0,
        line: 1,
    };
    let mut line_of = HashMap::new();
    for record in reader.byte_records() {
        let record = record.map_err(|error| vec![error.to_string()])?;
        let line = lines.of(record.position());
        match parse_order(&record) {
            Err(why) => complaints.push(format!("line {line}: {why}")),
            Ok(order) => match line_of.insert(order.number, line) {
                Some(first) => complaints.push(format!(
                    "line {line}: order {} is already on line {first}",
                    order.number
                )),
                None => orders.push(order),
            },
        }
    }
    if complaints.is_empty() && orders.is_empty() {
        complaints.push("there are no orders in it".to_owned());
    }
    if complaints.is_empty() {
        Ok(orders)
    } else {
        Err(complaints)
    }
}

/// Counts lines as an editor does. The reader's own count takes no notice of empty lines before a record, nor of the second
/// half of a Windows line end.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// Positions must not go back.
    fn of(&mut self, position: Option<&csv::Position>) -> usize {
        let start = position.map_or(self.at, |position| {
            usize::try_from(position.byte()).unwrap_or(usize::MAX)
        });
        while let Some(byte) = self.bytes.get(self.at)
            && (self.at < start || matches!(byte, b'\r' | b'\n'))
        {
            self.line += usize::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

fn parse_order(record: &csv::ByteRecord) -> Result<Order, String> {
    let fields: Result<Vec<&str>, _> = record.iter().map(str::from_utf8).collect();
    let fields = fields.map_err(|_| "it is not UTF-8".to_owned())?;
    let [number, customer, date, quantity, cents] = fields[..] else {
        return Err(format!(
            "{} columns instead of {}",
            fields.len(),
            COLUMNS.len()
        ));
    };
    if !is_date(date) {
        return Err(format!("date: `{date}` is no date like 1997-12-31"));
    }
    let order = Order {
        number: whole("order_no", number)?,
        customer: whole("customer_id", customer)?,
        date: date.to_owned(),
        quantity: whole("quantity", quantity)?,
        cents: whole("amount_cents", cents)?,
    };
    if order.quantity == 0 {
        return Err("quantity: an order of nothing".to_owned());
    }
    Ok(order)
}

fn whole(column: &str, text: &str) -> Result<u32, String> {
    // `parse` alone would take "+7".
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        _ => Err(format!(
            "{column}: `{text}` is not a whole number from 0 to {}",
            u32::MAX
        )),
    }
}

fn is_date(text: &str) -> bool {
    let is_digit = |place: usize, byte: u8| {
        if matches!(place, 4 | 7) {
            byte == b'-'
        } else {
            byte.is_ascii_digit()
        }
    };
    if text.len() != 10
        || !text
            .bytes()
            .enumerate()
            .all(|(place, byte)| is_digit(place, byte))
    {
        return false;
    }
    let (Ok(year), Ok(month), Ok(day)) = (
        text[..4].parse::<u32>(),
        text[5..7].parse::<u32>(),
        text[8..].parse::<u32>(),
    ) else {
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "order_no,customer_id,date,quantity,amount_cents";

    fn complaints(lines: &str) -> Vec<String> {
        parse(format!("{HEADER}\n{lines}").as_bytes()).expect_err("refused")
    }

    #[test]
    fn a_gift_is_an_order() {
        let orders = parse(format!("{HEADER}\n7,1,1996-02-29,3,0\n").as_bytes()).unwrap();
        assert_eq!(
            (
                orders.len(),
                orders[0].number,
                orders[0].quantity,
                orders[0].cents
            ),
            (1, 7, 3, 0)
        );
    }

    #[test]
    fn every_malformed_line_is_named_by_its_number() {
        let bad = "1,2,1997-01-01,1,100\n1,2,1997-01-01,1,100\n2,2,1997-02-29,1,100\n3,2,1997-01-01,-1,100\n4,2,1997-01-01,1\n\
            5,2,1997-01-01,1,1.5\n6,2,1997-13-01,1,1\n7,2,1997-01-01,0,1\n8,2,1997-01-01,1,99999999999\n,2,1997-01-01,1,1\n";
        let complaints = complaints(bad);
        let named: Vec<&str> = complaints
            .iter()
            .map(|complaint| complaint.split(':').next().unwrap())
            .collect();
        let expected: Vec<String> = (3..=11).map(|line| format!("line {line}")).collect();
        assert_eq!(named, expected);
    }

    #[test]
    fn empty_lines_and_windows_line_ends_count() {
        assert!(complaints("\n\n1,2,1997-01-01,1,x")[0].starts_with("line 4:"));
        assert!(
            complaints("1,2,1997-01-01,1,1\r\n\r\n2,2,1997-01-01,1,x\r\n")[0]
                .starts_with("line 4:")
        );
    }

    #[test]
    fn a_long_list_of_complaints_is_cut() {
        let refused = Refused {
            file: "x.csv".into(),
            complaints: complaints(&"bad\n".repeat(12)),
        };
        assert_eq!(refused.to_string().lines().last(), Some("  and 2 more"));
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        for bytes in [&b""[..], b"\xff\xfe\x00", b"a,b\n1,2\n"] {
            assert_eq!(parse(bytes).unwrap_err().len(), 1);
        }
        assert_eq!(complaints(""), ["there are no orders in it"]);
    }
}
