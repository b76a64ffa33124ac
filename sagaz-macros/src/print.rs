//! Types and names as text. `Span::source_text` of a type is its first token on stable, so types are printed here.

use crate::syntax::{plain, ungrouped};
use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{GenericArgument, Path, PathArguments, Type, spanned::Spanned};

/// Tokens with the spaces that a person would put.
pub(crate) fn tokens(tokens: &impl ToTokens) -> String {
    let mut text = String::new();
    write(tokens.to_token_stream(), &mut text);
    text
}

fn write(tokens: TokenStream, text: &mut String) {
    let (mut after_word, mut after_dash) = (false, false);
    for token in tokens {
        let is_word = matches!(token, TokenTree::Ident(_) | TokenTree::Literal(_));
        let mut dash = false;
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), text);
                text.push_str(close);
            }
            TokenTree::Punct(punct) => match punct.as_char() {
                character @ (',' | ';') => text.extend([character, ' ']),
                character @ ('+' | '=') => text.extend([' ', character, ' ']),
                '-' if punct.spacing() == Spacing::Joint => {
                    text.push_str(" -");
                    dash = true;
                }
                '>' if after_dash => text.push_str("> "),
                '&' if after_word => text.push_str(" &"),
                character => text.push(character),
            },
            word => {
                if after_word {
                    text.push(' ');
                }
                text.push_str(&word.to_string());
            }
        }
        (after_word, after_dash) = (is_word, dash);
    }
}

/// `ty` without a leading shared reference: what an input is, not how it is taken.
pub(crate) fn referent(ty: &Type) -> &Type {
    match ungrouped(ty) {
        Type::Reference(reference) if reference.mutability.is_none() => ungrouped(&reference.elem),
        ty => ty,
    }
}

/// The `T` of `Result<T, E>`.
pub(crate) fn first_argument(ty: &Type) -> Option<&Type> {
    arguments(ty).next()
}

/// The output in what a method returns, if its name says that it is a `Result`: an alias of another name may have other
/// arguments.
pub(crate) fn output(returns: &Type) -> Option<&Type> {
    last_segment(returns)
        .filter(|name| name.ends_with("Result"))
        .and_then(|_| first_argument(returns))
}

/// The `E` of `Result<T, E>`.
pub(crate) fn second_argument(ty: &Type) -> Option<&Type> {
    arguments(ty).nth(1)
}

fn arguments(ty: &Type) -> impl Iterator<Item = &Type> {
    let arguments = match ungrouped(ty) {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.arguments),
        _ => None,
    };
    let arguments = match arguments {
        Some(PathArguments::AngleBracketed(arguments)) => Some(arguments),
        _ => None,
    };
    arguments
        .into_iter()
        .flat_map(|arguments| &arguments.args)
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ungrouped(ty)),
            _ => None,
        })
}

/// The `T` of `Option<T>`.
pub(crate) fn option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ungrouped(ty) else {
        return None;
    };
    path.path
        .segments
        .last()
        .filter(|segment| segment.ident == "Option")?;
    first_argument(ty)
}

/// The last segment of a type's path.
pub(crate) fn last_segment(ty: &Type) -> Option<String> {
    let Type::Path(path) = ungrouped(ty) else {
        return None;
    };
    last_of(&path.path)
}

/// The span that stands for a type: of a path, the one of its last segment.
pub(crate) fn last_span(ty: &Type) -> Span {
    match ungrouped(ty) {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(|| ty.span(), |segment| segment.ident.span()),
        ty => ty.span(),
    }
}

fn last_of(path: &Path) -> Option<String> {
    path.segments.last().map(|segment| plain(&segment.ident))
}

/// The first lifetime but `'static`, or the first reference.
pub(crate) fn lifetime(tokens: TokenStream) -> Option<TokenStream> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Group(group) => {
                if let Some(found) = lifetime(group.stream()) {
                    return Some(found);
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                let name = tokens.next()?;
                if name.to_string() != "static" {
                    return Some(TokenStream::from_iter([token, name]));
                }
            }
            // `&'static` borrows nothing that ends; its lifetime is looked at next.
            TokenTree::Punct(punct)
                if punct.as_char() == '&'
                    && !matches!(tokens.peek(), Some(TokenTree::Punct(tick)) if tick.as_char() == '\'') =>
            {
                return Some(token.into());
            }
            _ => {}
        }
    }
    None
}

/// `HttpOrder` → `http_order`.
pub(crate) fn snake_case(name: &str) -> String {
    words(name, '_')
}

/// `HttpOrder` → `http-order`.
pub(crate) fn kebab_case(name: &str) -> String {
    words(name, '-').replace('_', "-")
}

fn words(name: &str, separator: char) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        if letter.is_uppercase() {
            let after_lower =
                at > 0 && (letters[at - 1].is_lowercase() || letters[at - 1].is_ascii_digit());
            let ends_capitals = at > 0
                && letters[at - 1].is_uppercase()
                && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
            if after_lower || ends_capitals {
                text.push(separator);
            }
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// `charge_payment` → `ChargePayment`.
pub(crate) fn pascal_case(name: &str) -> String {
    let mut text = String::new();
    for word in name.split('_').filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        text.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        text.push_str(letters.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_printed_as_people_write_them() {
        for text in [
            "Order",
            "Vec<Order>",
            "HashMap<String, Vec<u8>>",
            "&'a mut Order",
            "Box<dyn Fn(u8) -> u8 + Send>",
            "[u8; 4]",
            "(A, B)",
            "std::io::Result<()>",
        ] {
            let ty: Type = syn::parse_str(text).expect("a type");
            assert_eq!(tokens(&ty), text);
        }
    }

    #[test]
    fn cases() {
        assert_eq!(snake_case("OrderProcessing"), "order_processing");
        assert_eq!(snake_case("HTTPOrder2Go"), "http_order2_go");
        assert_eq!(kebab_case("OrderProcessing"), "order-processing");
        assert_eq!(pascal_case("charge_payment"), "ChargePayment");
        assert_eq!(pascal_case("_x"), "X");
    }
}
