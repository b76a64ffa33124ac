//! One function for each method of ours: it takes its inputs from the slots, calls the method, and keeps what it gives.
//!
//! A function of its own for each, so that no stack frame holds the futures of all steps at once.

use super::{
    emits::{Emission, Of},
    inputs::{Taker, literal},
    types::{self, Names, local},
};
use crate::{
    check::graph::Graph,
    model::{Compensation, Recovery, Reference, Saga, Step},
    print::{self, second_argument},
    syntax::{Method, RoleKind},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Type, spanned::Spanned};

pub(super) fn step_name(step: &Step<'_>) -> Ident {
    named("step", &step.name)
}

pub(super) fn compensation_name(compensation: &Compensation<'_>) -> Ident {
    named("compensate", &compensation.name)
}

pub(super) fn recovery_name(recovery: &Recovery<'_>) -> Ident {
    named("recover", &recovery.method.name())
}

fn named(prefix: &str, name: &str) -> Ident {
    format_ident!("{prefix}_{name}", span = Span::call_site())
}

pub(super) fn calls(names: &Names, saga: &Saga<'_>, graph: &Graph) -> TokenStream {
    let mut calls = TokenStream::new();
    for &index in &graph.order {
        let step = &saga.steps[index];
        let event = &step.settings.event;
        let emission = Emission::of(names, saga, graph, event, step, Of::Step);
        calls.extend(emission.iter().filter_map(Emission::item).cloned());
        calls.extend(self::step(names, saga, step, emission.as_ref()));
        if let Some(&undo) = step.compensations.first() {
            let undo = &saga.compensations[undo];
            let event = &undo.settings.event;
            let emission = Emission::of(names, saga, graph, event, step, Of::Compensation);
            calls.extend(emission.iter().filter_map(Emission::item).cloned());
            calls.extend(compensation(names, saga, step, undo, emission.as_ref()));
        }
        if let Some(&recovery) = step.recoveries.first() {
            calls.extend(self::recovery(
                names,
                saga,
                step,
                &saga.recoveries[recovery],
                emission.as_ref(),
            ));
        }
    }
    calls
}

fn step(
    names: &Names,
    saga: &Saga<'_>,
    step: &Step<'_>,
    emission: Option<&Emission<'_>>,
) -> TokenStream {
    let Names { krate, this, .. } = names;
    let name = step_name(step);
    let taker = Taker {
        names,
        saga,
        method: step.method,
        kind: RoleKind::Step,
        own: None,
    };
    let (items, arguments) = taker.take(&step.inputs);
    let mentions = mentions(saga, this, step.depends_on.iter());
    let (result, span, field) = (
        types::result(step, types::output_span(step)),
        types::output_span(step),
        types::field(step),
    );
    let call = call(names, step.method, &arguments);
    let error_span = error_span(step.method);
    let convert = converted(krate, &types::result(step, error_span), error_span);
    let (slots, error) = (local("slots"), local("error"));
    let (tx, value) = (local("tx"), local("result"));
    let attempt = if let Some(ty) = names
        .transaction
        .as_ref()
        .filter(|_| step.is_transactional())
    {
        let prepared = match emission {
            None => {
                quote_spanned!(span=> #krate::prepared::<#result>(#tx, #value, |#error| #convert))
            }
            Some(emission) => {
                let (output, scene) = (local("output"), local("scene"));
                let emitter = emission.emitter(&quote!(#scene.slots), Some(&output));
                quote_spanned! {span=>
                    #krate::prepared_publishing::<#result>(#tx, #value, |#output| #emitter.prepared(#output), |#error| #convert)
                }
            }
        };
        in_transaction(names, step.method, ty, &call, &prepared)
    } else {
        let end = match emission {
            None => quote_spanned! {span=>
                |#slots, result| #krate::ended::<#result>(result, &#slots.#field, |#error| #convert)
            },
            Some(emission) => {
                let emitter = emission.emitter(&quote!(#slots), None);
                quote_spanned! {span=>
                    move |#slots, result| #krate::ended_publishing::<#result>(
                        result, &#slots.#field, || #emitter.kept(), |#error| #convert)
                }
            }
        };
        boxed(krate, step.settings.timeout.is_some(), &call, &end)
    };
    quote! {
        fn #name<'a>(saga: &'a #this, scene: #krate::Scene<'a, #this>) -> #krate::StepFuture<'a> {
            #mentions
            #items
            #attempt
        }
    }
}

/// Boxes the future of an attempt. One without a timeout has no code for it.
fn boxed(krate: &Ident, has_timeout: bool, call: &TokenStream, end: &TokenStream) -> TokenStream {
    if has_timeout {
        quote!(#krate::attempt_within(scene, #call, #end))
    } else {
        quote!(#krate::attempt(scene, #call, #end))
    }
}

/// Boxes the future of an attempt that writes in a transaction: it takes that, and hands it over with what it gives.
fn in_transaction(
    names: &Names,
    method: &Method,
    ty: &TokenStream,
    call: &TokenStream,
    end: &TokenStream,
) -> TokenStream {
    let (krate, this) = (&names.krate, &names.this);
    let (tx, result, scene) = (local("tx"), local("result"), local("scene"));
    // What has to be `Send`, so it stands under the name of the method.
    let future = quote_spanned! {method.sig.ident.span()=>
        async move {
            let mut #tx = #krate::transaction::<#ty, #this>(#scene);
            let #result = #call.await;
            (#tx, #result)
        }
    };
    // The call, too: rustc points at it as a whole.
    let library = Ident::new(&krate.to_string(), method.sig.ident.span());
    quote_spanned!(method.sig.ident.span()=> #library::attempt_in(#scene, #future, move |(#tx, #result)| #end))
}

fn compensation(
    names: &Names,
    saga: &Saga<'_>,
    step: &Step<'_>,
    undo: &Compensation<'_>,
    emission: Option<&Emission<'_>>,
) -> TokenStream {
    let Names { krate, this, .. } = names;
    let name = compensation_name(undo);
    let taker = Taker {
        names,
        saga,
        method: undo.method,
        kind: RoleKind::Compensation,
        own: Some(step),
    };
    let (items, arguments) = taker.take(&undo.inputs);
    let mentions = mentions(saga, this, undo.step.iter().chain(&undo.after));
    let returns = names.returns(undo.method);
    let span = span_or_name(undo.method, undo.method.returns());
    let call = call(names, undo.method, &arguments);
    let convert = converted(krate, &returns, error_span(undo.method));
    let (tx, result, error) = (local("tx"), local("result"), local("error"));
    let end = |completed: TokenStream| {
        quote_spanned! {span=>
            match <#returns as #krate::StepResult>::split(#result) {
                ::core::result::Result::Ok(_) => #completed,
                ::core::result::Result::Err(#error) => #convert,
            }
        }
    };
    let attempt = if let Some(ty) = names
        .transaction
        .as_ref()
        .filter(|_| undo.is_transactional())
    {
        let prepared = match emission {
            None => end(quote!(#krate::prepared_undo(#tx))),
            Some(emission) => {
                let emitter = emission.emitter(&quote!(scene.slots), None);
                end(quote!(#krate::prepared_undo_publishing(#tx, #emitter.undone(scene.known))))
            }
        };
        in_transaction(names, undo.method, ty, &call, &prepared)
    } else {
        let end = match emission {
            None => {
                let end = end(quote!(#krate::AttemptEnd::Completed));
                quote_spanned!(span=> |_, #result| #end)
            }
            Some(emission) => {
                let slots = local("slots");
                let emitter = emission.emitter(&quote!(#slots), None);
                let end = end(quote!(#krate::published(#emitter.undone(scene.known))));
                quote_spanned!(span=> move |#slots, #result| #end)
            }
        };
        boxed(krate, undo.settings.timeout.is_some(), &call, &end)
    };
    quote! {
        fn #name<'a>(saga: &'a #this, scene: #krate::Scene<'a, #this>) -> #krate::StepFuture<'a> {
            #mentions
            #items
            #attempt
        }
    }
}

fn recovery(
    names: &Names,
    saga: &Saga<'_>,
    step: &Step<'_>,
    recovery: &Recovery<'_>,
    emission: Option<&Emission<'_>>,
) -> TokenStream {
    let Names { krate, this, .. } = names;
    let name = recovery_name(recovery);
    let taker = Taker {
        names,
        saga,
        method: recovery.method,
        kind: RoleKind::Recovery,
        own: None,
    };
    let (items, arguments) = taker.take(&recovery.inputs);
    let mentions = mentions(saga, this, recovery.step.iter());
    let returns = names.returns(recovery.method);
    let span = span_or_name(recovery.method, recovery.method.returns());
    let given = recovery
        .method
        .returns()
        .map_or_else(String::new, |returns| {
            print::tokens(print::first_argument(returns).unwrap_or(returns))
        });
    let message = literal(&format!(
        "the recovery of `{}` gives `{given}`, and `{}` returns `{}`",
        step.name, step.name, step.output_text
    ));
    let label = literal(&format!("not what `{}` returns", step.name));
    let (output, field) = (types::output(step), types::field(step));
    let call = call(names, recovery.method, &arguments);
    let check = quote_spanned! {span=>
            #[diagnostic::on_unimplemented(message = #message, label = #label, note = "a recovery returns `Recover` of what its step returns")]
            trait SagazRecovery<T> {
                fn end(self, slot: &#krate::OnceLock<T>) -> #krate::RecoverEnd;
            }
            #[diagnostic::do_not_recommend]
            impl<T> SagazRecovery<T> for #krate::Recover<T> {
                fn end(self, slot: &#krate::OnceLock<T>) -> #krate::RecoverEnd {
                    #krate::recovered(self, slot)
                }
            }
    };
    let (scene, result, error) = (local("scene"), local("result"), local("error"));
    let mut end = quote_spanned!(span=> <#returns as SagazRecovery<#output>>::end(#result, &#scene.slots.#field));
    if let Some(emission) = emission {
        let emitter = emission.emitter(&quote!(#scene.slots), None);
        end = quote!(#krate::recovered_publishing(#end, || #emitter.kept()));
    }
    // What has to be `Send`, so it stands under the name of the method.
    let future = quote_spanned! {recovery.method.sig.ident.span()=>
        async move {
            let #error = #error;
            let #result = #call.await;
            #end
        }
    };
    quote! {
        fn #name<'a>(
            saga: &'a #this,
            scene: #krate::Scene<'a, #this>,
            error: #krate::Arc<#krate::StepError>,
        ) -> #krate::RecoverFuture<'a> {
            #mentions
            #items
            #check
            #krate::recovery(#future)
        }
    }
}

/// The call itself. Its future is what has to be `Send`, so it stands under the name of the method.
fn call(names: &Names, method: &Method, arguments: &[TokenStream]) -> TokenStream {
    let (this, ident) = (&names.this, &method.sig.ident);
    let saga = local("saga");
    quote_spanned!(ident.span()=> <#this>::#ident(#saga #(, #arguments)*))
}

/// Every step that is named, as a mention of its method, so that go-to-definition and rename work on it.
fn mentions<'a>(
    saga: &Saga<'_>,
    this: &TokenStream,
    references: impl Iterator<Item = &'a Reference>,
) -> TokenStream {
    let mut mentions = TokenStream::new();
    for reference in references {
        // By the method's own name, which may be raw, at the place where it is named.
        let (mut name, span) = (
            saga.steps[reference.step].ident().clone(),
            reference.name.span,
        );
        name.set_span(span);
        mentions.extend(quote_spanned!(span=> let _ = <#this>::#name;));
    }
    mentions
}

/// Where the error type of a method is written.
fn error_span(method: &Method) -> Span {
    let returns = method.returns();
    span_or_name(method, returns.and_then(second_argument).or(returns))
}

/// Where the type is written, or the method's name if there is none.
fn span_or_name(method: &Method, ty: Option<&Type>) -> Span {
    ty.map_or_else(|| method.sig.ident.span(), Spanned::span)
}

/// The end of an attempt with this error. It needs the concrete type, so it is written out for each method.
fn converted(krate: &Ident, result: &impl ToTokens, span: Span) -> TokenStream {
    let ty = quote_spanned!(span=> <#result as #krate::StepResult>::Error);
    let error = local("error");
    quote_spanned! {span=>
        <_ as #krate::Converted<#ty>>::failed((&&&&#krate::Kind::of(&#error)).sagaz_convert(#error))
    }
}
