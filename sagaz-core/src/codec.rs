//! How inputs and outputs become bytes.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

/// Stored bytes and what they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// A media type, such as `application/json`.
    pub content_type: String,
    /// The value as its codec wrote it.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Payload {
    /// Shows the size and never the content, which may be anybody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}", self.bytes.len(), self.content_type)
    }
}

/// Writes and reads the values of a saga: `#[saga(codec = MyCodec)]`. The default is [`Json`].
///
/// Obligations: `decode` reads what `encode` wrote, and what every earlier release of the same content type wrote.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec",
    label = "not a `Codec`",
    note = "implement `Codec`, which writes and reads the values of a saga, or use the default, `Json`"
)]
pub trait Codec: Send + Sync + 'static {
    /// The media type that is stored beside the bytes.
    const CONTENT_TYPE: &'static str;

    /// Writes a value.
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError>;

    /// Reads a value.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError>;
}

/// JSON: readable by people and by the database's own tools.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Codec for Json {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
        serde_json::to_vec(value).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::new)
    }
}

/// A value that a codec cannot write or read.
#[derive(Debug)]
pub struct CodecError(Box<dyn std::error::Error + Send + Sync>);

impl CodecError {
    /// Wraps the error of the format.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// What is wrong and where, without the value that is wrong, which the error's own words may have: for logs.
    #[must_use]
    pub fn without_values(&self) -> String {
        let Some(error) = self.0.downcast_ref::<serde_json::Error>() else {
            return "it cannot be read or written".to_owned();
        };
        let what = match error.classify() {
            serde_json::error::Category::Io => "it cannot be read or written",
            serde_json::error::Category::Syntax => "it is no JSON",
            serde_json::error::Category::Data => "a value is not of the kind that is wanted",
            serde_json::error::Category::Eof => "it ends too early",
        };
        format!(
            "{what}, at line {}, column {}",
            error.line(),
            error.column()
        )
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for CodecError {}

/// The digest by which two inputs under one start key are compared: SHA-256 of canonical JSON, object keys sorted, so that
/// the order in which a map is written does not matter.
pub(crate) fn digest<T: Serialize>(value: &T) -> Result<String, CodecError> {
    let value = serde_json::to_value(value).map_err(CodecError::new)?;
    let mut text = String::new();
    canonical(&value, &mut text);
    Ok(Sha256::digest(text)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
}

fn canonical(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Object(fields) => {
            // Sorted here: whether the map sorts by itself depends on a feature that any crate of the build can set.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, value) in fields {
                let _ = write!(out, "{}:", serde_json::Value::from(key.as_str()));
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        serde_json::Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn p10_the_order_of_keys_does_not_change_a_digest() {
        let one: serde_json::Value =
            serde_json::from_str(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#).unwrap();
        let other: serde_json::Value =
            serde_json::from_str(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#).unwrap();
        assert_eq!(digest(&one).unwrap(), digest(&other).unwrap());
    }

    #[test]
    fn p10_another_value_has_another_digest() {
        let values = [
            json!({"a": 1}),
            json!({"a": "1"}),
            json!([1, [2]]),
            json!([[1], 2]),
            json!({"a,": 1}),
            json!(null),
        ];
        let digests: std::collections::BTreeSet<_> =
            values.iter().map(|value| digest(value).unwrap()).collect();
        assert_eq!(digests.len(), values.len());
    }
}
