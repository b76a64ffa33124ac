//! One function for each method of ours: it takes its inputs from the slots, calls the method, and keeps what it gives.
//!
//! A function of its own for each, so that no stack frame holds the futures of all steps at once.

use super::{tables::is_optional, types::Names};
use crate::{
    check::graph::Graph,
    model::{Compensation, Input, Recovery, Saga, Source, Step},
    print::{self, option, referent, second_argument},
    syntax::{Method, RoleKind},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
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
        calls.extend(self::step(names, saga, step));
        if let Some(&undo) = step.compensations.first() {
            calls.extend(compensation(names, saga, step, &saga.compensations[undo]));
        }
        if let Some(&recovery) = step.recoveries.first() {
            calls.extend(self::recovery(
                names,
                saga,
                step,
                &saga.recoveries[recovery],
            ));
        }
    }
    calls
}

fn step(names: &Names, saga: &Saga<'_>, step: &Step<'_>) -> TokenStream {
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
    let mentions = mentions(this, step.depends_on.iter());
    let (returns, span, field) = (
        names.returns(step.method),
        names.output_span(step),
        names.field(step),
    );
    let call = call(names, step.method, &arguments);
    let error = converted(names, step.method);
    let end = quote_spanned! {span=>
        move |result| match <#returns as #krate::StepResult>::split(result) {
            ::core::result::Result::Ok(output) => {
                #krate::keep(&scene.slots.#field, output);
                #krate::AttemptEnd::Completed
            }
            ::core::result::Result::Err(error) => #krate::AttemptEnd::Failed(#error),
        }
    };
    quote! {
        fn #name<'a>(saga: &'a #this, scene: #krate::Scene<'a, #this>) -> #krate::StepFuture<'a> {
            #mentions
            #items
            #krate::attempt(scene.context, #call, #end)
        }
    }
}

fn compensation(
    names: &Names,
    saga: &Saga<'_>,
    step: &Step<'_>,
    undo: &Compensation<'_>,
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
    let mentions = mentions(this, undo.step.iter().chain(&undo.after));
    let returns = names.returns(undo.method);
    let span = undo
        .method
        .returns()
        .map_or_else(|| undo.method.sig.ident.span(), Spanned::span);
    let call = call(names, undo.method, &arguments);
    let error = converted(names, undo.method);
    let end = quote_spanned! {span=>
        move |result| match <#returns as #krate::StepResult>::split(result) {
            ::core::result::Result::Ok(_) => #krate::AttemptEnd::Completed,
            ::core::result::Result::Err(error) => #krate::AttemptEnd::Failed(#error),
        }
    };
    quote! {
        fn #name<'a>(saga: &'a #this, scene: #krate::Scene<'a, #this>) -> #krate::StepFuture<'a> {
            #mentions
            #items
            #krate::attempt(scene.context, #call, #end)
        }
    }
}

fn recovery(
    names: &Names,
    saga: &Saga<'_>,
    step: &Step<'_>,
    recovery: &Recovery<'_>,
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
    let mentions = mentions(this, recovery.step.iter());
    let returns = names.returns(recovery.method);
    let span = recovery
        .method
        .returns()
        .map_or_else(|| recovery.method.sig.ident.span(), Spanned::span);
    let given = recovery
        .method
        .returns()
        .map_or_else(String::new, |returns| {
            print::tokens(print::first_argument(returns).unwrap_or(returns))
        });
    let message = literal(&format!(
        "the recovery of `{}` gives `{given}`, and `{}` returns `{}`",
        step.name,
        step.name,
        step.output_text()
    ));
    let label = literal(&format!("not what `{}` returns", step.name));
    let (output, field) = (names.output(step), names.field(step));
    let call = call(names, recovery.method, &arguments);
    let end = quote_spanned!(span=> <#returns as SagazRecovery<#output>>::end(result, &scene.slots.#field));
    quote! {
        fn #name<'a>(
            saga: &'a #this,
            scene: #krate::Scene<'a, #this>,
            error: #krate::Arc<#krate::StepError>,
        ) -> #krate::RecoverFuture<'a> {
            #mentions
            #items
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
            #krate::recovery(async move {
                let error = error;
                let result = #call.await;
                #end
            })
        }
    }
}

/// The call itself. Its future is what has to be `Send`, so it stands under the name of the method.
fn call(names: &Names, method: &Method, arguments: &[TokenStream]) -> TokenStream {
    let (this, ident) = (&names.this, &method.sig.ident);
    quote_spanned!(ident.span()=> <#this>::#ident(saga #(, #arguments)*))
}

/// Every step that is named, as a mention of its method, so that go-to-definition and rename work on it.
fn mentions<'a>(
    this: &TokenStream,
    references: impl Iterator<Item = &'a crate::model::Reference>,
) -> TokenStream {
    let mentions = references.map(|reference| {
        let name = &reference.name;
        quote_spanned!(name.span=> let _ = <#this>::#name;)
    });
    quote!(#(#mentions)*)
}

/// The error as a `StepError`. It needs the concrete type, so it is written out for each method.
fn converted(names: &Names, method: &Method) -> TokenStream {
    let krate = &names.krate;
    let returns = method.returns();
    let place = returns.and_then(second_argument).or(returns);
    let span = place.map_or_else(|| method.sig.ident.span(), Spanned::span);
    quote_spanned!(span=> (&&&&#krate::Kind::of(&error)).sagaz_convert(error))
}

/// Takes the inputs of one method.
struct Taker<'a> {
    names: &'a Names,
    saga: &'a Saga<'a>,
    method: &'a Method,
    kind: RoleKind,
    /// The step that is undone.
    own: Option<&'a Step<'a>>,
}

/// How a parameter takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Borrowed,
    Owned,
    MaybeBorrowed,
    MaybeOwned,
}

impl Way {
    fn of(ty: &Type, optional: bool) -> Self {
        let inner = if optional { option(ty) } else { None };
        match (inner, is_reference(inner.unwrap_or(ty))) {
            (None, true) => Self::Borrowed,
            (None, false) => Self::Owned,
            (Some(_), true) => Self::MaybeBorrowed,
            (Some(_), false) => Self::MaybeOwned,
        }
    }
}

fn is_reference(ty: &Type) -> bool {
    matches!(crate::syntax::ungrouped(ty), Type::Reference(_))
}

/// What a wrong type is told.
struct Wrong {
    message: String,
    label: String,
    notes: Vec<String>,
}

impl Taker<'_> {
    /// Items that the arguments need, and the arguments.
    fn take(&self, inputs: &[Input<'_>]) -> (TokenStream, Vec<TokenStream>) {
        let mut items = TokenStream::new();
        let arguments = inputs
            .iter()
            .enumerate()
            .map(|(at, input)| self.argument(at, input, &mut items))
            .collect();
        (items, arguments)
    }

    fn argument(&self, at: usize, input: &Input<'_>, items: &mut TokenStream) -> TokenStream {
        let krate = &self.names.krate;
        let (ty, span) = (self.names.detached(input.ty), input.ty.span());
        match input.source {
            Source::Context => {
                quote_spanned!(span=> <#ty as #krate::Context<'_>>::from_context(scene.context))
            }
            Source::Error => {
                quote_spanned!(span=> <#ty as #krate::ErrorInput<'_>>::from_error(&*error))
            }
            Source::SagaInput => {
                let wanted = self.names.input(self.saga);
                let value = quote_spanned!(span=> scene.input);
                self.typed(
                    at,
                    input,
                    Way::of(input.ty, false),
                    &self.wrong_input(input),
                    &wanted,
                    &value,
                    items,
                )
            }
            Source::Step(step) => self.output(at, input, &self.saga.steps[step], items),
            // Only where there are errors, and then nothing is generated.
            Source::Unknown => TokenStream::new(),
        }
    }

    /// The output of a step.
    fn output(
        &self,
        at: usize,
        input: &Input<'_>,
        step: &Step<'_>,
        items: &mut TokenStream,
    ) -> TokenStream {
        let krate = &self.names.krate;
        let (wanted, field) = (self.names.output(step), self.names.field(step));
        let place = quote_spanned!(self.names.output_span(step)=> &scene.slots.#field);
        let is_own = self.own.is_some_and(|own| own.name == step.name);
        if !is_own {
            let value = quote!(#krate::stored(#place));
            return self.typed(
                at,
                input,
                Way::of(input.ty, false),
                &self.wrong_output(input, step),
                &wanted,
                &value,
                items,
            );
        }
        let optional = is_optional(step, input.ty);
        if optional {
            let value = quote!(#krate::undone(scene.known, #place));
            return self.typed(
                at,
                input,
                Way::of(input.ty, true),
                &self.wrong_output(input, step),
                &wanted,
                &value,
                items,
            );
        }
        match self.saga.doubt(step) {
            None => {
                let value = quote!(#krate::certain(#krate::undone(scene.known, #place)));
                self.typed(
                    at,
                    input,
                    Way::of(input.ty, false),
                    &self.wrong_output(input, step),
                    &wanted,
                    &value,
                    items,
                )
            }
            Some(doubt) => {
                let value = quote!(#krate::undone(scene.known, #place));
                self.typed(
                    at,
                    input,
                    Way::MaybeBorrowed,
                    &self.uncertain(input, step, doubt),
                    &wanted,
                    &value,
                    items,
                )
            }
        }
    }

    /// One trait for this input alone, so that a wrong type is told in words about this input.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part of one expression"
    )]
    fn typed(
        &self,
        at: usize,
        input: &Input<'_>,
        way: Way,
        wrong: &Wrong,
        wanted: &TokenStream,
        value: &TokenStream,
        items: &mut TokenStream,
    ) -> TokenStream {
        let krate = &self.names.krate;
        let (ty, span) = (self.names.detached(input.ty), input.ty.span());
        let name = format_ident!("SagazInput{at}", span = span);
        let (message, label) = (literal(&wrong.message), literal(&wrong.label));
        let notes = wrong.notes.iter().map(|note| literal(note));
        let says = quote_spanned!(span=> #[diagnostic::on_unimplemented(message = #message, label = #label, #(note = #notes),*)]);
        let optional = quote_spanned!(span=> ::core::option::Option);
        let (definition, argument) = match way {
            Way::Borrowed => (
                quote_spanned! {span=>
                    trait #name<'a, T> { fn of(value: &'a T) -> Self; }
                    #[diagnostic::do_not_recommend]
                    impl<'a, T> #name<'a, T> for &'a T { fn of(value: &'a T) -> Self { value } }
                },
                quote_spanned!(span=> <#ty as #name<'_, #wanted>>::of(#value)),
            ),
            Way::MaybeBorrowed => (
                quote_spanned! {span=>
                    trait #name<'a, T> { fn of(value: #optional<&'a T>) -> Self; }
                    #[diagnostic::do_not_recommend]
                    impl<'a, T> #name<'a, T> for #optional<&'a T> { fn of(value: Self) -> Self { value } }
                },
                quote_spanned!(span=> <#ty as #name<'_, #wanted>>::of(#value)),
            ),
            // In two steps, so that a type that is right and cannot be cloned is told just that.
            Way::Owned => (
                quote_spanned! {span=>
                    trait #name<T> { type Value; fn of(value: &T) -> &Self::Value; }
                    #[diagnostic::do_not_recommend]
                    impl<T> #name<T> for T { type Value = T; fn of(value: &T) -> &T { value } }
                },
                quote_spanned! {span=>
                    <<#ty as #name<#wanted>>::Value as #krate::Owned>::owned(<#ty as #name<#wanted>>::of(#value))
                },
            ),
            Way::MaybeOwned => (
                quote_spanned! {span=>
                    trait #name<T> { type Value; fn of(value: #optional<&T>) -> #optional<&Self::Value>; }
                    #[diagnostic::do_not_recommend]
                    impl<T> #name<T> for #optional<T> {
                        type Value = T;
                        fn of(value: #optional<&T>) -> #optional<&T> { value }
                    }
                },
                quote_spanned! {span=>
                    <#ty as #name<#wanted>>::of(#value).map(<<#ty as #name<#wanted>>::Value as #krate::Owned>::owned)
                },
            ),
        };
        items.extend(quote!(#says #definition));
        argument
    }

    fn subject(&self) -> String {
        format!("{} `{}`", self.kind.noun(), self.method.name())
    }

    fn wrong_input(&self, input: &Input<'_>) -> Wrong {
        let wanted = self
            .saga
            .settings
            .input
            .as_ref()
            .map_or_else(|| "()".to_owned(), |input| print::tokens(input));
        let taken = print::tokens(referent(input.ty));
        Wrong {
            message: format!(
                "{} takes `{taken}` as its input, and the saga's is `{wanted}`",
                self.subject()
            ),
            label: "not the saga's input".to_owned(),
            notes: vec!["`#[saga(input = ..)]` says what a saga is started with".to_owned()],
        }
    }

    fn wrong_output(&self, input: &Input<'_>, step: &Step<'_>) -> Wrong {
        let taken = option(input.ty)
            .filter(|_| self.own.is_some())
            .unwrap_or(input.ty);
        let (taken, output) = (print::tokens(referent(taken)), step.output_text());
        Wrong {
            message: format!(
                "{} takes `{taken}` from `{}`, which returns `{output}`",
                self.subject(),
                step.name
            ),
            label: format!("not what `{}` returns", step.name),
            notes: vec!["an input is the output of the step that it is named after".to_owned()],
        }
    }

    fn uncertain(&self, input: &Input<'_>, step: &Step<'_>, doubt: String) -> Wrong {
        let optional = match input.ty {
            Type::Reference(reference) => format!("Option<&{}>", print::tokens(&*reference.elem)),
            ty => format!("Option<{}>", print::tokens(ty)),
        };
        let mut help = format!("take `{}: {optional}`", input.name.text);
        if step.settings.atomic.is_none() {
            help.push_str(&format!(
                ", or write `#[step(atomic)]` if an error of `{}` means that nothing happened",
                step.name
            ));
        }
        Wrong {
            message: format!(
                "`{}` takes the output of `{}`, whose outcome can be unknown",
                self.method.name(),
                step.name
            ),
            label: "takes the output as certain".to_owned(),
            notes: vec![doubt, help],
        }
    }
}

/// In these messages, braces are placeholders.
fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}
