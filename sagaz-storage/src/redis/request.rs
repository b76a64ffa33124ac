//! A request: a script or a plain command on one slot, and what the replies are made of.

use super::script::Script;
use redis::{Cmd, Value};
use std::borrow::Cow;

/// Texts of a request's arguments.
pub(super) type Argument<'a> = Cow<'a, [u8]>;

/// One request, to one slot.
pub(super) struct Request<'a> {
    what: What,
    /// The hash tag for a script, the key for a command.
    pub(super) key: Cow<'a, str>,
    arguments: Vec<Argument<'a>>,
}

#[derive(Clone, Copy)]
enum What {
    Script(&'static Script),
    Command(&'static str),
}

impl<'a> Request<'a> {
    pub(super) fn script(script: &'static Script, tag: &'a str) -> Self {
        Self {
            what: What::Script(script),
            key: Cow::Borrowed(tag),
            arguments: Vec::with_capacity(16),
        }
    }

    pub(super) fn command(name: &'static str, key: String) -> Self {
        Self {
            what: What::Command(name),
            key: Cow::Owned(key),
            arguments: Vec::new(),
        }
    }

    pub(super) fn bytes(mut self, argument: &'a [u8]) -> Self {
        self.arguments.push(Cow::Borrowed(argument));
        self
    }

    pub(super) fn text(self, argument: &'a str) -> Self {
        self.bytes(argument.as_bytes())
    }

    pub(super) fn owned(mut self, argument: String) -> Self {
        self.arguments.push(Cow::Owned(argument.into_bytes()));
        self
    }

    /// A number, or whatever else is shown as its text.
    pub(super) fn shown(self, argument: impl ToString + Copy) -> Self {
        self.owned(argument.to_string())
    }

    pub(super) fn flag(self, is_set: bool) -> Self {
        self.text(if is_set { "1" } else { "0" })
    }

    /// The slot's hash tag: requests of one slot go together.
    pub(super) fn slot(&self) -> &str {
        let key: &str = &self.key;
        key.find('}').map_or(key, |end| &key[..=end])
    }

    pub(super) fn script_of(&self) -> Option<&'static Script> {
        match self.what {
            What::Script(script) => Some(script),
            What::Command(_) => None,
        }
    }

    /// As the server takes it; with the script's text if the server may not know it.
    ///
    /// A script declares two keys of its slot, and neither is ever there. While a slot moves, a node serves what it has, and
    /// sends one who asks for what is not there on to the next, where a script would find half of the partition. With two keys it
    /// is told to try again, until all of the slot is in one place.
    pub(super) fn to_cmd(&self, with_text: bool) -> Cmd {
        let size = self
            .arguments
            .iter()
            .map(|argument| argument.len())
            .sum::<usize>();
        let mut cmd = Cmd::with_capacity(self.arguments.len() + 5, size + 160);
        match self.what {
            What::Script(script) if with_text => {
                cmd.arg("EVAL").arg(script.text).arg(2);
            }
            What::Script(script) => {
                cmd.arg("EVALSHA").arg(script.hash()).arg(2);
            }
            What::Command(name) => {
                cmd.arg(name);
            }
        }
        cmd.arg(self.key.as_bytes());
        if matches!(self.what, What::Script(_)) {
            cmd.arg(format!("{}:-", self.key));
        }
        for argument in &self.arguments {
            cmd.arg(&argument[..]);
        }
        cmd
    }
}

/// The elements of a reply; none if it is no list.
pub(super) fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) | Value::Set(elements) => elements,
        _ => Vec::new(),
    }
}

/// A reply as bytes; `None` if there is none.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// A reply as a text. Whatever is no UTF-8 was not written by this store, and fits nothing that is compared with it.
pub(super) fn text(value: Value) -> Option<String> {
    bytes(value).map(|bytes| String::from_utf8(bytes).unwrap_or_default())
}

pub(super) fn number(value: Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        other => text(other)?.parse().ok(),
    }
}
