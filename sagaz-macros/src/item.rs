//! `#[saga]` on an item: the item as it was, and what is added to it.
//!
//! Invariant: the user's impl goes out first on every path, also when there are mistakes.

use crate::{
    check, debug,
    diagnostic::{Diagnostic, Diagnostics},
    expand, model, print,
    syntax::ImplBlock,
};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `#[saga(arguments)] item`.
#[expect(clippy::needless_pass_by_value, reason = "as the compiler gives them")]
pub(crate) fn expand_saga(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let block = match ImplBlock::parse(&item) {
        Ok(block) => block,
        Err(found) => {
            let error = Diagnostic::at(
                &found,
                format!("`#[saga]` is on `{found}`, and a saga is an impl block"),
            )
            .help("put `#[saga]` on the `impl` block that has the steps")
            .into_error();
            return quote!(#item #error);
        }
    };
    let generated = catch_unwind(AssertUnwindSafe(|| expand_block(&block, arguments)))
        .unwrap_or_else(|_| {
            Diagnostic::at(&block.parsed.impl_token, "the macro panicked at this saga")
                .note("this is a mistake in `sagaz`, not in the saga")
                .into_error()
        });
    let name = print::last_segment(&block.parsed.self_ty);
    let block = block.into_token_stream();
    let expansion = quote!(#block #generated);
    debug::print(name.as_deref(), &expansion);
    expansion
}

/// What comes after the user's impl: the generated code, or a stub and the errors.
fn expand_block(block: &ImplBlock, arguments: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    if !check::is_saga(block, &mut diagnostics) {
        return diagnostics.into_errors().unwrap_or_default();
    }
    let saga = model::Saga::build(block, arguments, &mut diagnostics);
    let graph = if block.half_typed.is_some() {
        // rustc says what is missing; whether the rest makes a saga is asked when it is there.
        diagnostics.leave_to_rustc();
        None
    } else {
        check::check(&saga, &mut diagnostics)
    };
    match (diagnostics.into_errors(), graph) {
        (None, Some(graph)) => expand::saga(&saga, &graph),
        (errors, _) => {
            let stub = expand::stub(&saga);
            quote!(#errors #stub)
        }
    }
}
