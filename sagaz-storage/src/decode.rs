//! Stored values that cannot be read, and texts that cannot be stored.

use std::borrow::Cow;

/// A stored value that this code cannot have written.
pub(crate) fn unreadable(what: &str, value: impl std::fmt::Debug) -> sqlx::Error {
    sqlx::Error::Decode(format!("the stored {what} {value:?} is not of this store").into())
}

pub(crate) fn is_decoding(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
    )
}

/// What could not be read, in words.
pub(crate) fn decoding(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Decode(source) => source.to_string(),
        other => other.to_string(),
    }
}

/// No database holds a NUL character in a text.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
