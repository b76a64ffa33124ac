//! What `emits` adds to the end of an attempt: the event, and the function that makes its key.

use super::types::{self, Names, local};
use crate::{
    check::graph::Graph,
    model::{Saga, Step},
    settings::{EventSettings, Key},
};
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use std::collections::HashSet;

/// The event of one method.
pub(super) struct Emission<'a> {
    names: &'a Names,
    event_type: &'a str,
    /// The function that makes the key, its name and what it takes.
    key: Option<(TokenStream, Ident, Vec<Argument<'a>>)>,
    step: &'a Step<'a>,
}

/// Whose event it is, and so what is known of the step's output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Step,
    Compensation,
}

/// What a key can be made of.
#[derive(Clone, Copy)]
enum Argument<'a> {
    /// The output of the step itself.
    Output(Of),
    SagaInput,
    Saga,
    /// The output of a step that has ended before.
    Step(&'a Step<'a>),
}

impl<'a> Emission<'a> {
    /// `None` if the method emits nothing.
    pub(super) fn of(
        names: &'a Names,
        saga: &'a Saga<'a>,
        graph: &Graph,
        event: &'a EventSettings,
        step: &'a Step<'a>,
        of: Of,
    ) -> Option<Self> {
        let event_type = &event.emits.as_ref()?.text;
        let key = event.key.as_ref().map(|key| {
            let taken = named(saga, graph, key, step, of);
            let (function, name) = function(names, saga, key, step, of, &taken);
            let arguments = taken.into_iter().map(|(_, argument)| argument);
            (function, name, arguments.collect())
        });
        Some(Self {
            names,
            event_type,
            key,
            step,
        })
    }

    /// The function that makes the key. It stands once, whoever calls it: a mistake in it is one.
    pub(super) fn item(&self) -> Option<&TokenStream> {
        self.key.as_ref().map(|(function, ..)| function)
    }

    /// What publishes it, where the slots are called so. `output` is what the step gave, if that is not in its slot.
    pub(super) fn emitter(&self, slots: &TokenStream, output: Option<&Ident>) -> TokenStream {
        let (krate, event_type) = (&self.names.krate, self.event_type);
        let (saga, scene) = (local("saga"), local("scene"));
        let key = match &self.key {
            None => quote!(::core::option::Option::None),
            Some((_, name, arguments)) => {
                let arguments = arguments
                    .iter()
                    .map(|argument| self.argument(*argument, slots, output));
                quote!(::core::option::Option::Some(#name(#(#arguments),*)))
            }
        };
        quote! {
            #krate::Emitter { saga: #saga, slots: #slots, context: #scene.context, event_type: #event_type, key: #key }
        }
    }

    fn argument(
        &self,
        argument: Argument<'_>,
        slots: &TokenStream,
        output: Option<&Ident>,
    ) -> TokenStream {
        let krate = &self.names.krate;
        let (saga, scene) = (local("saga"), local("scene"));
        let place = |step: &Step<'_>| {
            let (span, field) = (types::output_span(step), types::field(step));
            quote_spanned!(span=> &#slots.#field)
        };
        match (argument, output) {
            (Argument::Output(Of::Step), Some(output)) => quote!(#output),
            (Argument::Output(Of::Step), None) => {
                let place = place(self.step);
                quote!(#krate::stored(#place))
            }
            (Argument::Output(Of::Compensation), _) => {
                let place = place(self.step);
                quote!(#krate::undone(#scene.known, #place))
            }
            (Argument::SagaInput, _) => quote!(#scene.input),
            (Argument::Saga, _) => quote!(#saga),
            (Argument::Step(step), _) => {
                let place = place(step);
                quote!(#krate::stored(#place))
            }
        }
    }
}

/// What the key's expression may name, each once. A name that only seems to be named is one parameter more.
fn named<'a>(
    saga: &'a Saga<'a>,
    graph: &Graph,
    key: &Key,
    step: &'a Step<'a>,
    of: Of,
) -> Vec<(Ident, Argument<'a>)> {
    let (text, span) = (key.value.to_string(), first_span(&key.value));
    let ident = |name: &str| Ident::new(name, span);
    let mut all = vec![
        (ident("output"), Argument::Output(of)),
        (ident(SAGA), Argument::Saga),
    ];
    if let Some(name) = saga.settings.input_name() {
        all.push((ident("input"), Argument::SagaInput));
        if syn::parse_str::<Ident>(&name).is_ok() {
            all.push((ident(&name), Argument::SagaInput));
        }
    }
    if of == Of::Compensation {
        all.push((step.ident().clone(), Argument::Output(of)));
    }
    let before = saga
        .steps
        .iter()
        .filter(|other| graph.is_after(step.at, other.at));
    all.extend(before.map(|other| (other.ident().clone(), Argument::Step(other))));
    let mut taken = HashSet::new();
    all.retain_mut(|(ident, _)| {
        ident.set_span(span);
        let name = ident.to_string();
        let word = if name == SAGA { "self" } else { &name };
        text.contains(word) && taken.insert(name)
    });
    all
}

/// What `self` is called in the function.
const SAGA: &str = "__saga";

/// A function of its own, so that the expression sees what it may name and nothing else of the generated code.
fn function(
    names: &Names,
    saga: &Saga<'_>,
    key: &Key,
    step: &Step<'_>,
    of: Of,
    taken: &[(Ident, Argument<'_>)],
) -> (TokenStream, Ident) {
    let Names { krate, this, .. } = names;
    let parameters = taken.iter().map(|(ident, argument)| {
        let (output, span) = (types::output(step), types::output_span(step));
        match argument {
            Argument::Output(Of::Step) => quote_spanned!(span=> #ident: &#output),
            Argument::Output(Of::Compensation) => {
                quote_spanned!(span=> #ident: ::core::option::Option<&#output>)
            }
            Argument::SagaInput => {
                let input = names.input(saga);
                quote!(#ident: &#input)
            }
            Argument::Saga => quote!(#ident: &#this),
            Argument::Step(other) => {
                let output = types::output(other);
                quote_spanned!(types::output_span(other)=> #ident: &#output)
            }
        }
    });
    let used = taken.iter().map(|(ident, _)| ident);
    let value = with_saga(names.detached_tokens(&key.value));
    let text = quote_spanned!(first_span(&key.value)=> <_ as #krate::EventKey>::text(&(#value)));
    let name = match of {
        Of::Step => format_ident!("__key_of_{}", step.name, span = Span::call_site()),
        Of::Compensation => {
            format_ident!("__key_of_undone_{}", step.name, span = Span::call_site())
        }
    };
    let function = quote! {
        fn #name(#(#parameters),*) -> #krate::String {
            let _ = (#(#used,)*);
            #text
        }
    };
    (function, name)
}

/// `self` by the name of a parameter.
fn with_saga(tokens: TokenStream) -> TokenStream {
    let renamed = |token| match token {
        TokenTree::Ident(ident) if ident == "self" => Ident::new(SAGA, ident.span()).into(),
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), with_saga(group.stream()));
            inner.set_span(group.span());
            inner.into()
        }
        token => token,
    };
    tokens.into_iter().map(renamed).collect()
}

/// Where the expression begins: what it names is found under its own span.
fn first_span(tokens: &TokenStream) -> Span {
    match tokens.clone().into_iter().next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::None => {
            first_span(&group.stream())
        }
        Some(token) => token.span(),
        None => Span::call_site(),
    }
}
