//! What a subject may be, and names that are made of one.

use sagaz_core::broker::BrokerError;
use std::fmt::Write;

/// Whether an event can be published to it.
pub(super) fn check(subject: &str) -> Result<(), BrokerError> {
    let is_one = subject.split('.').all(|token| {
        !token.is_empty()
            && !token
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || c == '*' || c == '>')
    });
    if is_one {
        Ok(())
    } else {
        Err(BrokerError::refused(format!(
            "`{subject}` is no subject of NATS; route the event to words with dots between them"
        )))
    }
}

/// Whether a subscription to `pattern` is given what is published to `subject`.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(pattern), Some(token)) if pattern == token => {}
            _ => return false,
        }
    }
}

/// A name for a stream or a consumer: no two subjects or groups have the same.
pub(super) fn name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            // A string takes whatever is written.
            let _ = write!(name, "={byte:02X}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_to_no_subject_with_wildcards_or_holes() {
        for subject in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\tb"] {
            assert!(check(subject).unwrap_err().is_refusal(), "{subject}");
        }
        for subject in ["a", "a.b-c_D.1", "bestellung.bezählt"] {
            check(subject).unwrap();
        }
    }

    #[test]
    fn patterns_match_as_the_server_has_it() {
        for (pattern, subject, is_match) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.dead", false),
            ("a.*.c", "a.b.c", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a.b", true),
        ] {
            assert_eq!(matches(pattern, subject), is_match, "{pattern} {subject}");
        }
    }

    #[test]
    fn no_two_texts_have_the_same_name() {
        let texts = ["a.b", "a_b", "a=b", "a=2Eb", "a b", "a*b", "ä"];
        let mut names: Vec<_> = texts.iter().map(|text| name(text)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), texts.len());
        assert_eq!(name("order-placed_1"), "order-placed_1");
    }
}
