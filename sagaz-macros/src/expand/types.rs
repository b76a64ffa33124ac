//! The types of a saga, and the names under which the generated code speaks of the user's types.

use crate::{
    check::{graph::Graph, transaction},
    model::{Saga, Step},
    print::{self, last_segment, pascal_case},
    syntax::Item,
};
use proc_macro2::{Group, Ident, Spacing, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use std::collections::HashSet;
use syn::Type;

/// Names that the generated code uses throughout.
pub(super) struct Names {
    /// `::sagaz::__private`.
    path: TokenStream,
    /// The same in one word: what it is called in the generated code, which is full of it.
    pub(super) krate: Ident,
    /// The user's type.
    pub(super) this: TokenStream,
    pub(super) outputs: Ident,
    pub(super) slots: Ident,
    pub(super) step: Ident,
    /// What the stores are called whose transactions its steps take.
    pub(super) store: Ident,
    /// The type of the transactions that its steps write in, if they do.
    pub(super) transaction: Option<TokenStream>,
}

impl Names {
    pub(super) fn new(saga: &Saga<'_>) -> Self {
        let path = saga.settings.krate.as_ref();
        let path = path.map_or_else(
            || quote!(::sagaz::__private),
            |path| quote!(#path::__private),
        );
        let this = saga.block.parsed.self_ty.to_token_stream();
        // With the name of the saga before them: a bare `Step` would hide a type of the user's of that name.
        let base = last_segment(&saga.block.parsed.self_ty).unwrap_or_default();
        let taken = written(saga);
        let name = |suffix: &str| {
            let mut name = format!("{base}{suffix}");
            // In the hidden constant it would hide the user's.
            while taken.contains(&name) {
                name.push('_');
            }
            Ident::new(&name, Span::call_site())
        };
        Self {
            path,
            krate: local("__sagaz"),
            this,
            outputs: name("Outputs"),
            slots: name("Slots"),
            step: name("Step"),
            store: name("Store"),
            transaction: transaction::of(saga).map(transaction::owned),
        }
    }

    pub(super) fn input(&self, saga: &Saga<'_>) -> TokenStream {
        saga.settings
            .input
            .as_ref()
            .map_or_else(|| quote!(()), |input| self.detached(input))
    }

    pub(super) fn codec(&self, saga: &Saga<'_>) -> TokenStream {
        let krate = &self.krate;
        saga.settings
            .codec
            .as_ref()
            .map_or_else(|| quote!(#krate::Json), |codec| self.detached(codec))
    }

    /// `type Input`, in the place of the user's type: what rustc says of it, it says there.
    pub(super) fn input_item(&self, saga: &Saga<'_>) -> TokenStream {
        let (ty, span) = (
            self.input(saga),
            saga.settings.input.as_ref().map(print::last_span),
        );
        quote_spanned!(span.unwrap_or_else(Span::call_site)=> type Input = #ty;)
    }

    /// `type Codec`, likewise.
    pub(super) fn codec_item(&self, saga: &Saga<'_>) -> TokenStream {
        let (ty, span) = (
            self.codec(saga),
            saga.settings.codec.as_ref().map(print::last_span),
        );
        quote_spanned!(span.unwrap_or_else(Span::call_site)=> type Codec = #ty;)
    }

    /// A type of a signature, as it can be written outside of the impl block: without `Self` and without names of
    /// lifetimes.
    pub(super) fn detached(&self, ty: &Type) -> TokenStream {
        detached(ty.to_token_stream(), &self.this)
    }

    /// An expression in an attribute, likewise.
    pub(super) fn detached_tokens(&self, tokens: &TokenStream) -> TokenStream {
        detached(tokens.clone(), &self.this)
    }

    /// What a method returns. Only for methods that are known to return something.
    pub(super) fn returns(&self, method: &crate::syntax::Method) -> TokenStream {
        method
            .returns()
            .map_or_else(TokenStream::new, |returns| self.detached(returns))
    }

    /// The library in one word, and what the steps return by name, so that a user's type is written out once.
    pub(super) fn aliases<'a, 'b: 'a>(
        &self,
        steps: impl Iterator<Item = &'a Step<'b>>,
    ) -> TokenStream {
        let Self { path, krate, .. } = self;
        let mut aliases = quote!(use #path as #krate;);
        for step in steps {
            let span = output_span(step);
            let (output, result) = (output(step), result(step, span));
            let returns = self.returns(step.method);
            aliases.extend(quote_spanned! {span=>
                type #result = #returns;
                type #output = <#result as #krate::StepResult>::Output;
            });
        }
        aliases
    }
}

/// The one span under which all that contains the output of the step stands.
pub(super) fn output_span(step: &Step<'_>) -> Span {
    let Some(returns) = step.method.returns() else {
        return step.ident().span();
    };
    print::last_span(print::output(returns).unwrap_or(returns))
}

/// The type of the step's output: the name of an alias, under the span of the type itself.
pub(super) fn output(step: &Step<'_>) -> Ident {
    format_ident!("__Output{}", step.at, span = output_span(step))
}

/// The type that the step returns: likewise.
pub(super) fn result(step: &Step<'_>, span: Span) -> Ident {
    format_ident!("__Result{}", step.at, span = span)
}

/// Where the step's output is, in `Slots`.
pub(super) fn field(step: &Step<'_>) -> Ident {
    let mut ident = step.ident().clone();
    ident.set_span(output_span(step));
    ident
}

/// Every identifier in the signatures of the methods and in the settings of the saga.
fn written(saga: &Saga<'_>) -> HashSet<String> {
    fn collect(tokens: TokenStream, names: &mut HashSet<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => collect(group.stream(), names),
                TokenTree::Ident(ident) => {
                    names.insert(ident.to_string());
                }
                _ => {}
            }
        }
    }
    let mut names = HashSet::new();
    let types = [&saga.settings.input, &saga.settings.codec];
    for ty in types.into_iter().flatten() {
        collect(ty.to_token_stream(), &mut names);
    }
    for item in &saga.block.items {
        if let Item::Method(method) = item {
            collect(method.sig.to_token_stream(), &mut names);
        }
    }
    names
}

/// A variable of the generated functions. The user's tokens can come from a `macro_rules!`, and then a name under their span
/// is another name.
pub(super) fn local(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

fn detached(tokens: TokenStream, this: &TokenStream) -> TokenStream {
    let mut result = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        // `Self: Bound`, which is rustc's to refuse, and cannot be a path.
        let is_bound = matches!(
            tokens.peek(),
            Some(TokenTree::Punct(colon)) if colon.as_char() == ':' && colon.spacing() == Spacing::Alone
        );
        match token {
            TokenTree::Ident(ident) if ident == "Self" && !is_bound => {
                result.extend(respanned(this.clone(), ident.span()));
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), detached(group.stream(), this));
                inner.set_span(group.span());
                result.extend([TokenTree::Group(inner)]);
            }
            TokenTree::Punct(tick) if tick.as_char() == '\'' => {
                let name = match tokens.next() {
                    Some(TokenTree::Ident(name)) if name != "static" => {
                        Some(Ident::new("_", name.span()).into())
                    }
                    name => name,
                };
                result.extend([Some(TokenTree::Punct(tick)), name].into_iter().flatten());
            }
            token => result.extend([token]),
        }
    }
    result
}

/// The tokens under another span.
pub(super) fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let respan = |token: TokenTree| {
        let mut token = match token {
            TokenTree::Group(group) => TokenTree::Group(Group::new(
                group.delimiter(),
                respanned(group.stream(), span),
            )),
            token => token,
        };
        token.set_span(span);
        token
    };
    tokens.into_iter().map(respan).collect()
}

/// `Outputs`, `Slots` and `Step`.
pub(super) fn types(names: &Names, saga: &Saga<'_>, graph: &Graph) -> TokenStream {
    let Names { krate, slots, .. } = names;
    let steps = || graph.order.iter().map(|&step| &saga.steps[step]);
    let places = steps().map(|step| {
        let (output, field) = (output(step), field(step));
        quote_spanned!(output_span(step)=> #field: #krate::OnceLock<#output>,)
    });
    let aliases = names.aliases(steps());
    let outputs = outputs(names, steps());
    let step = step(names, steps());
    quote! {
        #aliases
        #outputs
        pub struct #slots { #(#places)* }
        #step
    }
}

/// The same as far as it can be told when there is a mistake.
pub(super) fn stub_types(names: &Names, saga: &Saga<'_>) -> TokenStream {
    let known = saga.steps.iter().filter(|step| {
        let returns = step.method.returns();
        let has_name = |ty: &Type| !print::tokens(ty).contains("impl ");
        returns.is_some_and(has_name) && returns.and_then(print::output).is_some_and(is_plain)
    });
    let known: Vec<_> = known.collect();
    let aliases = names.aliases(known.iter().copied());
    let outputs = outputs(names, known.iter().copied());
    let step = step(names, saga.steps.iter());
    quote!(#aliases #outputs #step)
}

/// Whether the type can stand in a struct.
fn is_plain(output: &Type) -> bool {
    let text = print::tokens(output);
    !text.contains(['&', '\'', '_'])
}

fn outputs<'a, 'b: 'a>(names: &Names, steps: impl Iterator<Item = &'a Step<'b>>) -> TokenStream {
    let outputs = &names.outputs;
    let fields = steps.map(|step| {
        let (ident, output) = (step.ident(), output(step));
        let doc = format!("The output of step `{}`.", step.name);
        quote_spanned!(output_span(step)=> #[doc = #doc] pub #ident: #output,)
    });
    quote! {
        /// The outputs of all steps.
        pub struct #outputs { #(#fields)* }

        /// Names the type alone: an output may be anything, and nobody's data belongs in a log.
        #[automatically_derived]
        impl ::core::fmt::Debug for #outputs {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(::core::stringify!(#outputs)).finish_non_exhaustive()
            }
        }
    }
}

fn step<'a, 'b: 'a>(names: &Names, steps: impl Iterator<Item = &'a Step<'b>>) -> TokenStream {
    let name = &names.step;
    let mut taken = HashSet::new();
    let (mut variants, mut arms) = (TokenStream::new(), TokenStream::new());
    for step in steps {
        let variant = variant(step, &mut taken);
        let stored = step.stored_name();
        let doc = format!("Step `{}`.", step.name);
        variants.extend(quote!(#[doc = #doc] #variant,));
        arms.extend(quote!(#name::#variant => #stored,));
    }
    quote! {
        /// The steps.
        #[derive(
            ::core::clone::Clone,
            ::core::marker::Copy,
            ::core::fmt::Debug,
            ::core::cmp::PartialEq,
            ::core::cmp::Eq,
        )]
        pub enum #name { #variants }

        #[automatically_derived]
        impl ::core::convert::From<#name> for &'static str {
            fn from(step: #name) -> Self {
                match step { #arms }
            }
        }
    }
}

/// The variant of a step, under the span of its method. Different methods have different variants: `a_b` and `a__b` would
/// share one.
fn variant(step: &Step<'_>, taken: &mut HashSet<String>) -> Ident {
    let mut name = pascal_case(&step.name);
    while ["", "_", "Self"].contains(&name.as_str())
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !taken.insert(name.clone())
    {
        name = if name.starts_with(|c: char| c.is_ascii_digit()) {
            format!("_{name}")
        } else {
            format!("{name}_")
        };
    }
    Ident::new(&name, step.ident().span())
}
