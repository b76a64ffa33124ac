//! What holds of `#[saga]` on whatever stands in an impl block: it does not panic, gives the user's methods back, and adds only what
//! parses. The fuzz target `expand_saga` asks the same of its inputs.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::panic::{UnwindSafe, catch_unwind};

/// What does not hold of these arguments and this item, in words.
pub(crate) fn holds(
    expand: impl FnOnce(TokenStream, TokenStream) -> TokenStream + UnwindSafe,
    arguments: TokenStream,
    item: TokenStream,
) -> Result<(), String> {
    let (given, top) = (methods(&item), item.clone().into_iter().count());
    let parses = is_rust(&item).is_ok();
    let output = catch_unwind(|| expand(arguments, item));
    let output = output.map_err(|_| "the macro panicked".to_owned())?;
    let printed = output.to_string();
    if printed.contains("the macro panicked") {
        return Err(printed);
    }
    let kept = methods(&output);
    if !kept.starts_with(&given) {
        return Err(format!("{given:?} became {kept:?}"));
    }
    // What was no Rust before the macro is none after it; what the macro adds always is.
    is_rust(&output.clone().into_iter().skip(top).collect())?;
    if parses { is_rust(&output) } else { Ok(()) }
}

fn is_rust(tokens: &TokenStream) -> Result<(), String> {
    let parsed = syn::parse2::<syn::File>(tokens.clone());
    parsed
        .map(drop)
        .map_err(|error| format!("{error} in {tokens}"))
}

/// The names after `fn`, in source order, but for those in attributes: before parentheses, or generics (which `syn` does not
/// print when they are empty).
fn methods(tokens: &TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = |n: usize| at.checked_sub(n).map(|at| &tokens[at]);
        match (before(2), before(1), token) {
            (_, Some(TokenTree::Punct(hash)), TokenTree::Group(_)) if hash.as_char() == '#' => {}
            (Some(TokenTree::Ident(keyword)), Some(TokenTree::Ident(name)), _)
                if keyword == "fn" && opens(token) =>
            {
                names.push(name.to_string());
            }
            (_, _, TokenTree::Group(group)) => names.extend(methods(&group.stream())),
            _ => {}
        }
    }
    names
}

fn opens(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() != Delimiter::None,
        TokenTree::Punct(punct) => punct.as_char() == '<',
        _ => false,
    }
}
