//! Whatever stands in an impl block, `#[saga]` does not panic, gives the user's methods back, and adds only what parses.

use crate::{item, property};
use proc_macro2::TokenStream;

/// The arguments of the attribute, a line `---`, and the item.
pub(crate) fn expand_saga(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (arguments, item) = text.split_once("\n---\n").unwrap_or(("", &text));
    let (Some(arguments), Some(item)) = (tokens(arguments), tokens(item)) else {
        return;
    };
    if let Err(why) = property::holds(item::expand_saga, arguments, item) {
        panic!("{why}");
    }
}

/// The tokens of a text, after brackets that have no partner were left out: else one change would make most texts none at all.
fn tokens(text: &str) -> Option<TokenStream> {
    text.parse().ok().or_else(|| balanced(text).parse().ok())
}

fn balanced(text: &str) -> String {
    let mut open = Vec::new();
    let mut balanced = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.last() == Some(&letter) => drop(open.pop()),
            ')' | ']' | '}' => continue,
            _ => {}
        }
        balanced.push(letter);
    }
    balanced.extend(open.into_iter().rev());
    balanced
}
