//! `#[step]`, `#[compensate]` and `#[recover]` as attributes of their own: inside a saga they have been read already;
//! outside of one they say so.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    syntax::{MARKER, Method, RoleKind, keyword},
};
use proc_macro2::TokenStream;
use quote::quote;

pub(crate) fn expand(kind: RoleKind, arguments: &TokenStream, item: TokenStream) -> TokenStream {
    if arguments.to_string() == MARKER {
        return item;
    }
    let mut diagnostics = Diagnostics::default();
    let Ok(method) = syn::parse2::<Method>(item.clone()) else {
        let found = keyword(item.clone());
        diagnostics.push(Diagnostic::at(
            &found,
            format!("a {} is an async method of a saga", kind.noun()),
        ));
        let errors = diagnostics.into_errors();
        return quote!(#item #errors);
    };
    diagnostics.push(
        Diagnostic::new(
            &method.sig.ident,
            format!("{} `{}` is not in a saga", kind.noun(), method.name()),
        )
        .help("put `#[saga]` on the impl block around it"),
    );
    let errors = diagnostics.into_errors();
    // Inside of the body: next to a method of a trait or an impl, a macro call would be an item of it.
    method.with_errors(&errors.unwrap_or_default())
}
