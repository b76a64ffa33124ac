//! Inputs that are nearly right: files of a corpus with a few changes.
//!
//! Invariant: what comes out depends on the corpus and the seed alone, so a failure is the same tomorrow.
//!
//! Deliberately blind: it knows nothing of what the input reaches. `cargo xtask fuzz` does.

use fastrand::Rng;

/// What programs stumble over.
const STRANGE: [&str; 40] = [
    "", "\0", " ", "\t", "\n", "\r\n", "\u{85}", "\u{a0}", "\u{feff}", "\u{202e}", "\u{fffd}", "ä",
    "日本", "🦀", "%", "%00", "%zz", "%40", "'", "\"", "\\", "/", "//", ":", ";", ",", "@", "?",
    "#", "&", "=", "-", "+", "*", "[", "]", "{", "}", "(", ")",
];

/// What is one too many, or one too few.
const NUMBERS: [&str; 15] = [
    "0",
    "1",
    "-1",
    "7",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999",
];

const LENGTH_MAX: usize = 4096;

/// The file of a corpus with one to six changes.
pub(crate) fn mutant(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut input = any(corpus, &mut rng).to_vec();
    for _ in 0..rng.usize(1..=6) {
        change(&mut input, corpus, &mut rng);
    }
    input.truncate(LENGTH_MAX);
    input
}

fn any<'c>(corpus: &'c [Vec<u8>], rng: &mut Rng) -> &'c [u8] {
    &corpus[rng.usize(..corpus.len())]
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let (from, to) = part(input, rng);
    match rng.u8(..10) {
        0 => drop(input.drain(from..to)),
        1 => {
            let copy = input[from..to].to_vec();
            input.splice(to..to, copy);
        }
        2 => {
            let strange = STRANGE[rng.usize(..STRANGE.len())];
            input.splice(from..from, strange.bytes());
        }
        3 => {
            let strange = STRANGE[rng.usize(..STRANGE.len())];
            input.splice(from..to, strange.bytes());
        }
        4 => {
            let number = NUMBERS[rng.usize(..NUMBERS.len())];
            let at = digits(input, rng).unwrap_or((from, from));
            input.splice(at.0..at.1, number.bytes());
        }
        // Words and lines of others.
        5 | 6 => {
            let other = any(corpus, rng);
            let (other_from, other_to) = part(other, rng);
            let end = if rng.bool() { from } else { to };
            input.splice(from..end, other[other_from..other_to].iter().copied());
        }
        // The beginning of one, and the end of another.
        7 => {
            let other = any(corpus, rng);
            let (at, _) = part(other, rng);
            input.truncate(from);
            input.extend_from_slice(&other[at..]);
        }
        8 if from < input.len() => input[from] = rng.u8(..),
        _ => input.truncate(to),
    }
}

/// A word, a line or any part of an input; empty if it is.
fn part(input: &[u8], rng: &mut Rng) -> (usize, usize) {
    let at = rng.usize(..=input.len());
    let is_end = |byte: u8| match at % 3 {
        0 => !byte.is_ascii_alphanumeric(),
        1 => byte == b'\n',
        _ => false,
    };
    if at % 3 == 2 {
        return (at, (at + rng.usize(..8)).min(input.len()));
    }
    let from = input[..at].iter().rposition(|&byte| is_end(byte));
    let from = from.map_or(0, |before| before + 1);
    let to = input[at..].iter().position(|&byte| is_end(byte));
    (from, to.map_or(input.len(), |length| at + length))
}

/// A whole number that stands there.
fn digits(input: &[u8], rng: &mut Rng) -> Option<(usize, usize)> {
    let at = rng.usize(..=input.len());
    let from = at + input[at..].iter().position(u8::is_ascii_digit)?;
    let length = input[from..].iter().position(|byte| !byte.is_ascii_digit());
    Some((from, length.map_or(input.len(), |length| from + length)))
}
