//! `SAGAZ_DEBUG_MACRO=OrderProcessing cargo check` prints what that saga becomes.
//!
//! On standard error, where the compiler passes it on. Only lines and indentation are added: a formatter would be one more
//! thing to build before every user's crate. Cargo does not know of the variable, so a file of the crate has to be touched
//! first.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The environment variable; its value is the name of a type.
pub(crate) const VARIABLE: &str = "SAGAZ_DEBUG_MACRO";

/// Prints the expansion if it is the one that is asked for.
pub(crate) fn print(saga: Option<&str>, expansion: &TokenStream) {
    let Some(saga) = saga else { return };
    if std::env::var(VARIABLE).is_ok_and(|wanted| wanted == saga) {
        eprintln!("// {VARIABLE}={saga}\n{}", lines(expansion));
    }
}

/// The tokens, a statement or an item a line.
pub(crate) fn lines(tokens: &TokenStream) -> String {
    let mut text = String::new();
    write(tokens.clone(), 0, &mut text);
    text
}

fn write(tokens: TokenStream, depth: usize, text: &mut String) {
    let mut space = false;
    for token in tokens {
        if text.ends_with('\n') {
            text.push_str(&"    ".repeat(depth));
            space = false;
        }
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                text.push_str(" {\n");
                write(group.stream(), depth + 1, text);
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str(&"    ".repeat(depth));
                text.push_str("}\n");
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace | Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), depth, text);
                text.push_str(close);
                space = false;
            }
            TokenTree::Punct(punct) => {
                text.push(punct.as_char());
                match punct.as_char() {
                    ';' => text.push('\n'),
                    ',' => text.push(' '),
                    '=' | '>' | '+' if punct.spacing() == Spacing::Alone => text.push(' '),
                    _ => {}
                }
                space = false;
            }
            word => {
                if space {
                    text.push(' ');
                }
                text.push_str(&word.to_string());
                space = true;
            }
        }
    }
}
