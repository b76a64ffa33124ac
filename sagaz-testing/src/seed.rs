//! The name of one run.

use crate::simulation::Choice;
use std::{fmt, str::FromStr};

/// The seed of the matrix, the number of the input, and the faults: as `1-0-9f3a21c4-77b01e2d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    pub(crate) matrix: u64,
    pub(crate) input: usize,
    pub(crate) path: Vec<FaultId>,
}

/// A fault at a point, by what they are called: a change of the saga that gives them no other name leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultId(u32);

impl FaultId {
    /// Of a choice, of which so many that are called the same come earlier. It is FNV-1a of the words, 32 bits
    /// (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same with every release of Rust.
    pub(crate) fn of(choice: &Choice, before: usize) -> Self {
        let words = format!("{}: {} {before}", choice.site, choice.fault);
        Self(words.bytes().fold(0x811c_9dc5, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        }))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_whole = text.len() == 8 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let number = is_whole.then(|| u32::from_str_radix(text, 16).ok())?;
        number.map(Self)
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A text that is no seed.
#[derive(Debug)]
pub(crate) struct NoSeed(String);

impl fmt::Display for NoSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no seed: one has two numbers and, for each fault, eight hexadecimal digits, with `-` in between, as \
             `1-0-9f3a21c4-77b01e2d`",
            self.0
        )
    }
}

impl FromStr for Seed {
    type Err = NoSeed;

    fn from_str(text: &str) -> Result<Self, NoSeed> {
        let read = || {
            let mut parts = text.split('-');
            Some(Self {
                matrix: parts.next()?.parse().ok()?,
                input: parts.next()?.parse().ok()?,
                path: parts.map(FaultId::parse).collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| NoSeed(text.to_owned()))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.matrix, self.input)?;
        self.path.iter().try_for_each(|id| write!(f, "-{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Site};

    #[test]
    fn a_seed_is_read_as_it_is_written() {
        for text in [
            "1-0",
            "7-2-0000000f",
            "18446744073709551615-0-9f3a21c4-77b01e2d",
        ] {
            assert_eq!(text.parse::<Seed>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_it_is() {
        let texts = [
            "",
            "1",
            "a-0",
            "1-0-x",
            "1-0-17",
            "1-0-+f3a21c4",
            "1-0-9f3a21c4a",
            "1--9f3a21c4",
            "1-0-",
            "-1-0",
        ];
        for text in texts {
            let error = text.parse::<Seed>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no seed")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_fault_is_known_by_its_point_and_what_it_is() {
        let choice = |visit, site, fault| Choice { visit, site, fault };
        let claim = FaultId::of(&choice(3, Site::Claim, Fault::ReplyLost), 0);
        let later = FaultId::of(&choice(9, Site::Claim, Fault::ReplyLost), 0);
        assert_eq!(claim, later, "more points before it");
        let others = [
            FaultId::of(&choice(9, Site::Claim, Fault::ReplyLost), 1),
            FaultId::of(&choice(3, Site::Claim, Fault::DiesAfter), 0),
            FaultId::of(&choice(3, Site::Mark, Fault::ReplyLost), 0),
        ];
        assert!(!others.contains(&claim));
        assert_eq!(claim.to_string(), "affb6b66", "whoever builds it");
    }
}
