//! The arguments of a call: each parameter by its name's source, and each type asked for once, in words about that
//! parameter.

use super::{
    tables::is_optional,
    types::{self, Names, local},
};
use crate::{
    model::{Input, Saga, Source, Step},
    print::{self, option, referent},
    syntax::{Method, RoleKind, ungrouped, write_context_lifetime},
};
use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Type, spanned::Spanned};

/// Takes the inputs of one method.
pub(super) struct Taker<'a> {
    pub(super) names: &'a Names,
    pub(super) saga: &'a Saga<'a>,
    pub(super) method: &'a Method,
    pub(super) kind: RoleKind,
    /// The step that is undone.
    pub(super) own: Option<&'a Step<'a>>,
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
    matches!(ungrouped(ty), Type::Reference(_))
}

/// Whether the output is written in the signature: an alias of `Result` may have other arguments.
fn output_is_told(step: &Step<'_>) -> bool {
    let name = step.method.returns().and_then(print::last_segment);
    name.is_some_and(|name| name == "Result")
}

/// Whether the type is written as the one that the step returns, borrowed or not.
fn is_alike(step: &Step<'_>, ty: &Type) -> bool {
    output_is_told(step) && print::tokens(referent(ty)) == step.output_text
}

/// What a wrong type is told.
struct Wrong {
    /// The type is written as the one that is there: only another type of the same name can be wrong.
    is_unlikely: bool,
    message: String,
    label: String,
    notes: Vec<String>,
}

impl Taker<'_> {
    /// Items that the arguments need, and the arguments.
    pub(super) fn take(&self, inputs: &[Input<'_>]) -> (TokenStream, Vec<TokenStream>) {
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
        let (scene, error) = (local("scene"), local("error"));
        match input.source {
            Source::Context => {
                let mut ty = input.ty.clone();
                write_context_lifetime(&mut ty);
                let ty = self.names.detached(&ty);
                quote_spanned!(span=> <#ty as #krate::Context<'_>>::from_context(#scene.context))
            }
            Source::Transaction => {
                let tx = local("tx");
                quote_spanned!(span=> &mut #tx)
            }
            Source::Error => {
                quote_spanned!(span=> <#ty as #krate::ErrorInput<'_>>::from_error(&*#error))
            }
            Source::SagaInput => {
                let wanted = self.names.input(self.saga);
                let value = quote_spanned!(span=> #scene.input);
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
        let (wanted, field, scene) = (
            types::output(step).into_token_stream(),
            types::field(step),
            local("scene"),
        );
        let place = quote_spanned!(types::output_span(step)=> &#scene.slots.#field);
        let undone = quote!(#krate::undone(#scene.known, #place));
        let is_own = self.own.is_some_and(|own| own.name == step.name);
        let is_optional = is_own && is_optional(step, input.ty);
        let way = Way::of(input.ty, is_optional);
        let (way, wrong, value) = match self.saga.doubt(step).filter(|_| is_own && !is_optional) {
            Some(doubt) => (
                Way::MaybeBorrowed,
                self.uncertain(input, step, doubt),
                undone,
            ),
            None if is_optional => (way, self.wrong_output(input, step), undone),
            None if is_own => (
                way,
                self.wrong_output(input, step),
                quote!(#krate::certain(#undone)),
            ),
            None if way == Way::Borrowed && is_alike(step, input.ty) => {
                // The most frequent of all, in fewer words.
                let (ty, span) = (self.names.detached(input.ty), input.ty.span());
                return quote_spanned!(span=> <#ty as #krate::Taken<'_, #wanted>>::stored(#place));
            }
            None => (
                way,
                self.wrong_output(input, step),
                quote!(#krate::stored(#place)),
            ),
        };
        self.typed(at, input, way, &wrong, &wanted, &value, items)
    }

    /// The value as the type that is written. If that is another one than is there, there is one trait for this input alone,
    /// so that it is told in words about this input. Most often the two are written alike, and then they are compared by a
    /// trait for all inputs, which is much less code to compile.
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
        if wrong.is_unlikely {
            return match way {
                Way::Borrowed => {
                    quote_spanned!(span=> <#ty as #krate::Taken<'_, #wanted>>::taken(#value))
                }
                Way::MaybeBorrowed => {
                    quote_spanned!(span=> <#ty as #krate::MaybeTaken<'_, #wanted>>::taken(#value))
                }
                Way::Owned => quote_spanned!(span=> <#ty as #krate::Owned>::owned(#value)),
                Way::MaybeOwned => {
                    let inner = option(input.ty).map(|inner| self.names.detached(inner));
                    quote_spanned!(span=> #value.map(<#inner as #krate::Owned>::owned))
                }
            };
        }
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
            // In two steps, so that a type that is right and cannot be cloned is told just that. The trait is named once: of a
            // type of several tokens, a second mention would be a second error.
            Way::Owned => (
                quote_spanned! {span=>
                    trait #name<T> { fn of(value: T) -> Self; }
                    #[diagnostic::do_not_recommend]
                    impl<T> #name<T> for T { fn of(value: T) -> T { value } }
                },
                quote_spanned!(span=> <#ty as #name<#wanted>>::of(<#wanted as #krate::Owned>::owned(#value))),
            ),
            Way::MaybeOwned => (
                quote_spanned! {span=>
                    trait #name<T> { fn of(value: #optional<T>) -> Self; }
                    #[diagnostic::do_not_recommend]
                    impl<T> #name<T> for #optional<T> { fn of(value: Self) -> Self { value } }
                },
                quote_spanned!(span=> <#ty as #name<#wanted>>::of(#value.map(<#wanted as #krate::Owned>::owned))),
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
            .map_or_else(|| "()".to_owned(), print::tokens);
        let taken = print::tokens(referent(input.ty));
        Wrong {
            is_unlikely: taken == wanted,
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
        let is_unlikely = is_alike(step, taken);
        let (taken, output) = (print::tokens(referent(taken)), &step.output_text);
        Wrong {
            is_unlikely,
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
        let output = if output_is_told(step) {
            step.output_text.clone()
        } else {
            print::tokens(referent(input.ty))
        };
        let optional = if is_reference(input.ty) {
            format!("Option<&{output}>")
        } else {
            format!("Option<{output}>")
        };
        let mut help = format!("take `{}: {optional}`", input.name.text);
        if step.settings.atomic.is_none() {
            help.push_str(", or write `#[step(atomic)]` if an error of `");
            help.push_str(&step.name);
            help.push_str("` means that nothing happened");
        }
        Wrong {
            is_unlikely: false,
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
pub(super) fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}
