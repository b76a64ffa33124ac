//! Commands in the words of the page, between double braces, each of which stands for something that was measured.
//!
//! | command | what it becomes |
//! |---|---|
//! | `table NAME`, `plot NAME` | a table, and its plot |
//! | `ratio ROW; FLOOR` | a ratio |
//! | `ratios TABLE; FLOOR` | the lowest and the highest ratio of the table's rows to that floor |
//! | `instructions`, `instructions PATH` | what callgrind counts: all of it, or for one path |
//! | `below` | which ratios are worse than wanted |
//! | `missing` | which rows nobody has measured |

/// A piece of the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Table(&'a str),
    Plot(&'a str),
    Ratio { row: &'a str, floor: &'a str },
    Ratios { table: &'a str, floor: &'a str },
    Instructions,
    InstructionsOf(&'a str),
    Below,
    Missing,
}

/// # Errors
///
/// A command that means nothing, or does not end.
pub(crate) fn pieces(words: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut pieces, mut rest) = (Vec::new(), words);
    while let Some((before, after)) = rest.split_once("{{") {
        let (command, after) = after
            .split_once("}}")
            .ok_or("the page has a `{{` without its `}}`")?;
        pieces.push(Piece::Text(before));
        pieces
            .push(piece(command).ok_or_else(|| {
                format!("the page says `{{{{{command}}}}}`, which means nothing")
            })?);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn piece(command: &str) -> Option<Piece<'_>> {
    let (verb, of) = command.split_once(' ').unwrap_or((command, ""));
    Some(match (verb, of.split_once("; ")) {
        ("ratio", Some((row, floor))) => Piece::Ratio { row, floor },
        ("ratios", Some((table, floor))) => Piece::Ratios { table, floor },
        ("table", None) => Piece::Table(of),
        ("plot", None) => Piece::Plot(of),
        ("instructions", None) if of.is_empty() => Piece::Instructions,
        ("instructions", None) => Piece::InstructionsOf(of),
        ("below", None) if of.is_empty() => Piece::Below,
        ("missing", None) if of.is_empty() => Piece::Missing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Piece, pieces};

    #[test]
    fn commands_are_told_from_text() {
        let words = "a {{ratio relay, to kafka; the raw claim}} b{{instructions}}";
        let kafka = Piece::Ratio {
            row: "relay, to kafka",
            floor: "the raw claim",
        };
        let told = [
            Piece::Text("a "),
            kafka,
            Piece::Text(" b"),
            Piece::Instructions,
            Piece::Text(""),
        ];
        assert_eq!(pieces(words), Ok(told.into()));
    }

    #[test]
    fn what_means_nothing_is_an_error() {
        for words in ["{{what}}", "{{ratio one}}", "{{below zero}}", "{{table"] {
            assert!(pieces(words).is_err(), "{words}");
        }
    }
}
