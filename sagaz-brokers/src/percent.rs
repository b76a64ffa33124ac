//! `%` and two digits for a byte, in URLs and in the headers of NATS.

/// The text that is meant, if it is one. A `%` without two digits behind it stands for itself.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes
            .get(at + 1..at + 3)
            .filter(|digits| *byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(digits.unwrap_or(*byte));
        at += if digits.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn what_is_encoded_is_decoded_and_the_rest_stays_as_it_is() {
        for (text, meant) in [
            ("", ""),
            ("plain", "plain"),
            ("us%40er", "us@er"),
            ("%e6%97%A5", "日"),
            ("w+d&1", "w+d&1"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%+1", "%+1"),
            ("ä", "ä"),
            ("\u{fffd}", "\u{fffd}"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(meant), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_told() {
        for text in ["%FF", "a%C3b", "%E6%97"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
