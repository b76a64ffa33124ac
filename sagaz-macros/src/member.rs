//! `#[step]`, `#[compensate]` and `#[recover]` as attributes of their own: inside a saga they have been read already;
//! outside of one they say so.

use crate::{
    diagnostic::Diagnostic,
    syntax::{MARKER, Method, RoleKind, keyword},
};
use proc_macro2::TokenStream;
use quote::quote;

pub(crate) fn expand(kind: RoleKind, arguments: &TokenStream, item: TokenStream) -> TokenStream {
    if arguments.to_string() == MARKER {
        return item;
    }
    let Ok(method) = syn::parse2::<Method>(item.clone()) else {
        let found = keyword(item.clone());
        let error = Diagnostic::at(
            &found,
            format!("a {} is an async method of a saga", kind.noun()),
        )
        .into_error();
        return quote!(#item #error);
    };
    let error = Diagnostic::new(
        &method.sig.ident,
        format!("{} `{}` is not in a saga", kind.noun(), method.name()),
    )
    .help("put `#[saga]` on the impl block around it")
    .into_error();
    // Inside of the body: next to a method of a trait or an impl, a macro call would be an item of it.
    method.with_error(&error)
}
