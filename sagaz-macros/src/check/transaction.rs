//! Transactional steps and compensations: those that take `tx`.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::{Saga, Source},
    print,
    syntax::{Method, ungrouped},
};
use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{GenericArgument, PathArguments, Type};

/// Which features of the library have a store with transactions, and by which word of their type they are known.
const FEATURES: [(&str, &[&str], bool); 2] = [
    (
        "postgres",
        &["PgTransaction", "Postgres"],
        cfg!(feature = "postgres"),
    ),
    (
        "sqlite",
        &["SqliteTransaction", "Sqlite"],
        cfg!(feature = "sqlite"),
    ),
];

pub(crate) fn check(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    let mut first: Option<(String, &Method)> = None;
    for (method, ty) in transactions(saga) {
        let Some(elem) = transaction(ty) else {
            let found = print::tokens(print::referent(ty));
            diagnostics.push(
                Diagnostic::at(
                    ty,
                    format!("`tx` of `{}` is not a `&mut` transaction", method.name()),
                )
                .note("a step writes in the transaction that its output is committed in")
                .help(format!("write `tx: &mut {}`", with_lifetime(&found))),
            );
            continue;
        };
        if let Some(feature) = missing_feature(elem, |_, is_there| is_there) {
            diagnostics.push(
                Diagnostic::at(elem, format!("`tx` needs the feature `{feature}` of sagaz")).help(
                    format!("write `sagaz = {{ features = [\"{feature}\"] }}` in Cargo.toml"),
                ),
            );
            continue;
        }
        let name = print::last_segment(elem).unwrap_or_default();
        match &first {
            None => first = Some((name, method)),
            Some((other, of)) if *other != name => diagnostics.push(
                Diagnostic::at(
                    elem,
                    format!(
                        "`{}` writes in `{name}`, and `{}` in `{other}`",
                        method.name(),
                        of.name()
                    ),
                )
                .note("the transactional steps of a saga write in one store, that of its engine"),
            ),
            Some(_) => {}
        }
    }
}

/// The feature that a type of transactions needs and that is not there.
fn missing_feature(ty: &Type, is_there: impl Fn(&str, bool) -> bool) -> Option<&'static str> {
    let words = words(ty.to_token_stream());
    FEATURES
        .iter()
        .find(|(feature, known, enabled)| {
            words.iter().any(|word| known.contains(&word.as_str())) && !is_there(feature, *enabled)
        })
        .map(|(feature, ..)| *feature)
}

fn words(tokens: TokenStream) -> Vec<String> {
    let words = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    });
    words.collect()
}

fn with_lifetime(name: &str) -> String {
    if name.ends_with("Transaction") && name != "MemoryTransaction" {
        format!("{name}<'_>")
    } else {
        name.to_owned()
    }
}

/// The `tx` of every method that has one, with its type as it is written.
fn transactions<'a>(saga: &'a Saga<'_>) -> impl Iterator<Item = (&'a Method, &'a Type)> {
    let steps = saga.steps.iter().map(|step| (step.method, &step.inputs));
    let undos = saga
        .compensations
        .iter()
        .map(|undo| (undo.method, &undo.inputs));
    steps.chain(undos).flat_map(|(method, inputs)| {
        let taken = inputs
            .iter()
            .filter(|input| input.source == Source::Transaction);
        taken.map(move |input| (method, input.ty))
    })
}

/// The `T` of `&mut T`.
fn transaction(ty: &Type) -> Option<&Type> {
    match ungrouped(ty) {
        Type::Reference(reference) if reference.mutability.is_some() => {
            Some(ungrouped(&reference.elem))
        }
        _ => None,
    }
}

/// The type of the transactions that a saga's steps take, as it is written, if they take any.
pub(crate) fn of<'a>(saga: &'a Saga<'_>) -> Option<&'a Type> {
    transactions(saga).find_map(|(_, ty)| transaction(ty))
}

/// The same, as one that lives as long as it likes: its lifetime may be left out in a signature, and nowhere else.
pub(crate) fn owned(ty: &Type) -> TokenStream {
    let mut ty = ty.clone();
    if let Type::Path(path) = &mut ty
        && let Some(last) = path.path.segments.last_mut()
        && last.ident.to_string().ends_with("Transaction")
    {
        let span = last.ident.span();
        let of = match &last.arguments {
            PathArguments::AngleBracketed(arguments) => Some(arguments),
            _ => None,
        };
        let has_lifetime = of.is_some_and(|of| {
            of.args
                .iter()
                .any(|argument| matches!(argument, GenericArgument::Lifetime(_)))
        });
        // That of the memory store has none.
        if !has_lifetime && last.ident != "MemoryTransaction" {
            let rest = of.map(|of| &of.args).into_iter().flatten();
            last.arguments = PathArguments::AngleBracketed(
                syn::parse_quote_spanned!(span=> <'static #(, #rest)*>),
            );
        }
    }
    statically(ty.to_token_stream())
}

/// With every lifetime as `'static`.
fn statically(tokens: TokenStream) -> TokenStream {
    let mut result = TokenStream::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let mut inner =
                    proc_macro2::Group::new(group.delimiter(), statically(group.stream()));
                inner.set_span(group.span());
                result.extend([TokenTree::Group(inner)]);
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                tokens.next();
                result.extend(quote!('static));
            }
            token => result.extend([token]),
        }
    }
    result
}

/// The type in words: without lifetimes, which say nothing to people.
pub(crate) fn words_of(ty: &Type) -> String {
    let text = print::tokens(ty);
    ["<'_, ", "<'static, "]
        .iter()
        .fold(text, |text, lifetime| text.replace(lifetime, "<"))
        .replace("<'_>", "")
        .replace("<'static>", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn a_type_of_transactions_is_known_by_its_words_and_needs_its_feature() {
        let none = |_: &str, _| false;
        let all = |_: &str, _| true;
        let cases: [(Type, _); 5] = [
            (parse_quote!(PgTransaction<'_>), Some("postgres")),
            (
                parse_quote!(sqlx::Transaction<'_, sqlx::Postgres>),
                Some("postgres"),
            ),
            (parse_quote!(SqliteTransaction<'_>), Some("sqlite")),
            (parse_quote!(sqlx::Transaction<'_, Sqlite>), Some("sqlite")),
            (parse_quote!(MemoryTransaction), None),
        ];
        for (ty, feature) in cases {
            assert_eq!(missing_feature(&ty, none), feature);
            assert_eq!(missing_feature(&ty, all), None);
        }
    }

    #[test]
    fn a_lifetime_may_be_left_out() {
        let cases: [(Type, &str, &str); 5] = [
            (
                parse_quote!(PgTransaction<'_>),
                "PgTransaction<'static>",
                "PgTransaction",
            ),
            (
                parse_quote!(sqlx::PgTransaction),
                "sqlx::PgTransaction<'static>",
                "sqlx::PgTransaction",
            ),
            (
                parse_quote!(Transaction<'_, Postgres>),
                "Transaction<'static, Postgres>",
                "Transaction<Postgres>",
            ),
            (
                parse_quote!(Transaction<Postgres>),
                "Transaction<'static, Postgres>",
                "Transaction<Postgres>",
            ),
            (
                parse_quote!(MemoryTransaction),
                "MemoryTransaction",
                "MemoryTransaction",
            ),
        ];
        for (ty, long, words) in cases {
            assert_eq!(print::tokens(&owned(&ty)), long);
            assert_eq!(words_of(&ty), words);
        }
    }

    #[test]
    fn what_is_no_transaction_is_told() {
        assert!(transaction(&parse_quote!(&mut PgTransaction<'_>)).is_some());
        assert!(transaction(&parse_quote!(&PgTransaction<'_>)).is_none());
        assert!(transaction(&parse_quote!(PgTransaction<'_>)).is_none());
    }
}
