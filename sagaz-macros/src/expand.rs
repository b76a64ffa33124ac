//! The generated code: tables, types, and one typed call for each method, in one hidden constant.
//!
//! Invariant: each question about a user's type is asked once, by the code that needs the answer, as
//! `<Type as Trait>::item` under the span of the user's type; and a projection, with every name whose type contains it,
//! stands under one span. Otherwise rustc reports a mistake twice, or at the macro.

mod calls;
mod emits;
mod inputs;
mod tables;
mod types;

use crate::{
    check::{graph::Graph, transaction},
    model::Saga,
    print,
};
use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use types::Names;

/// What a saga becomes.
pub(crate) fn saga(saga: &Saga<'_>, graph: &Graph) -> TokenStream {
    let names = Names::new(saga);
    let Names {
        krate,
        this,
        outputs,
        slots,
        step,
        ..
    } = &names;
    let definition = tables::definition(&names, saga, graph);
    let types = types::types(&names, saga, graph);
    let calls = calls::calls(&names, saga, graph);
    let members = members(&names, saga, graph);
    let runs_on = runs_on(&names, saga);
    let (input, codec) = (names.input_item(saga), names.codec_item(saga));
    let count = saga.steps.len();
    hidden(&quote! {
        use #krate::{ViaError as _, ViaIntoStepError as _, ViaItself as _, ViaNothing as _};

        static DEFINITION: #krate::Definition = #definition;
        const _: () = DEFINITION.check();

        #types
        #calls

        #[automatically_derived]
        #[diagnostic::do_not_recommend]
        impl #krate::Saga for #this {
            #input
            type Outputs = #outputs;
            type Step = #step;
            #codec
            const DEFINITION: &'static #krate::Definition = &DEFINITION;
            type Slots = #slots;
            type PerStep<T: ::core::marker::Send> = [T; #count];

            fn per_step<T: ::core::marker::Send>(&self, make: impl ::core::ops::FnMut(usize) -> T) -> [T; #count] {
                ::core::array::from_fn(make)
            }

            fn per_step_copied<T: ::core::marker::Copy + ::core::marker::Send>(&self, value: T) -> [T; #count] {
                [value; #count]
            }

            #members
        }

        #runs_on
    })
}

/// Where its steps can run: everywhere, or on the stores whose transactions they take.
fn runs_on(names: &Names, saga: &Saga<'_>) -> TokenStream {
    let Names {
        krate,
        this,
        store,
        transaction,
        ..
    } = names;
    let (Some(tx), Some(ty)) = (transaction, transaction::of(saga)) else {
        return quote! {
            #[automatically_derived]
            #[diagnostic::do_not_recommend]
            impl<__P: #krate::AnyPlace> #krate::RunsOn<__P> for #this {}
        };
    };
    let message = inputs::literal(&format!(
        "the steps of `{}` write in `{}`, and this engine's store is",
        print::tokens(this),
        transaction::words_of(ty)
    ));
    let message = format!("{message} `{{Self}}`");
    let stores = quote! {
        #[diagnostic::on_unimplemented(message = #message, label = "not the store of this saga")]
        pub trait #store: #krate::Transacts<#tx> {}

        #[diagnostic::do_not_recommend]
        impl<__S: #krate::Transacts<#tx>> #store for __S {}
    };
    // In the place of the user's type: what rustc adds to the message, it says there.
    let span = print::last_span(&saga.block.parsed.self_ty);
    let parameter = Ident::new("Store", span);
    quote_spanned! {span=>
        #stores

        #[automatically_derived]
        impl<#parameter: #store> #krate::RunsOn<#parameter> for #this {
            fn transactor() -> ::core::option::Option<&'static dyn #krate::Transactor<#parameter>> {
                ::core::option::Option::Some(&#krate::Via::<#tx>(#krate::PhantomData))
            }
        }
    }
}

/// The methods of `Saga` that go by the index of a step.
fn members(names: &Names, saga: &Saga<'_>, graph: &Graph) -> TokenStream {
    let Names {
        krate,
        this,
        outputs,
        slots,
        ..
    } = names;
    let count = saga.steps.len();
    let (all, request) = (types::local("slots"), types::local("request"));
    let (mut places, mut values, mut complete) =
        (TokenStream::new(), TokenStream::new(), TokenStream::new());
    let (mut steps, mut compensations, mut recoveries) =
        (TokenStream::new(), TokenStream::new(), TokenStream::new());
    let mut answers = TokenStream::new();
    for (at, &index) in graph.order.iter().enumerate() {
        let step = &saga.steps[index];
        let (span, ident) = (types::output_span(step), step.ident());
        let field = types::field(step);
        let output = types::output(step);
        let call = calls::step_name(step);
        places.extend(quote_spanned!(span=> #field: ::core::default::Default::default(),));
        values.extend(quote_spanned!(span=> #ident: #krate::take(&mut #all.#field),));
        complete.extend(quote_spanned!(span=> && #all.#field.get().is_some()));
        steps.extend(quote!(#call,));
        if let Some(&undo) = step.compensations.first() {
            let call = calls::compensation_name(&saga.compensations[undo]);
            compensations.extend(quote!(#at => #call(self, scene),));
        }
        if let Some(&recovery) = step.recoveries.first() {
            let call = calls::recovery_name(&saga.recoveries[recovery]);
            recoveries.extend(quote!(#at => #call(self, scene, error),));
        }
        answers.extend(quote_spanned! {span=>
            #at => <#output as #krate::StepOutput>::answer::<Self>(&#all.#field, #request),
        });
    }
    quote! {
        fn slots(&self) -> #slots {
            #slots { #places }
        }

        fn step<'a>(&'a self, step: usize, scene: #krate::Scene<'a, Self>) -> #krate::StepFuture<'a> {
            static STEPS: [for<'a> fn(&'a #this, #krate::Scene<'a, #this>) -> #krate::StepFuture<'a>; #count] = [#steps];
            STEPS[step](self, scene)
        }

        fn compensate<'a>(&'a self, step: usize, scene: #krate::Scene<'a, Self>) -> #krate::StepFuture<'a> {
            let _ = scene;
            match step { #compensations _ => #krate::no_such_step(step) }
        }

        fn recover<'a>(
            &'a self,
            step: usize,
            scene: #krate::Scene<'a, Self>,
            error: #krate::Arc<#krate::StepError>,
        ) -> #krate::RecoverFuture<'a> {
            let _ = (scene, &error);
            match step { #recoveries _ => #krate::no_such_step(step) }
        }

        fn output(
            &self,
            slots: &#slots,
            step: usize,
            request: #krate::OutputRequest<'_>,
        ) -> ::core::result::Result<(), #krate::CodecError> {
            match step { #answers _ => #krate::no_such_step(step) }
        }

        fn outputs(mut slots: #slots) -> ::core::option::Option<#outputs> {
            let complete = true #complete;
            if complete { ::core::option::Option::Some(#outputs { #values }) } else { ::core::option::Option::None }
        }
    }
}

/// When there is a mistake: still a saga, so that no second error follows wherever the type is used as one.
pub(crate) fn stub(saga: &Saga<'_>) -> TokenStream {
    let names = Names::new(saga);
    let Names {
        krate,
        this,
        outputs,
        step,
        ..
    } = &names;
    let types = types::stub_types(&names, saga);
    let (input, codec) = (names.input_item(saga), names.codec_item(saga));
    let name = saga.name();
    hidden(&quote! {
        #types

        #[automatically_derived]
        #[diagnostic::do_not_recommend]
        impl #krate::Saga for #this {
            #input
            type Outputs = #outputs;
            type Step = #step;
            #codec
            const DEFINITION: &'static #krate::Definition = &#krate::stub_definition(#name);
            type Slots = ();
            type PerStep<T: ::core::marker::Send> = [T; 0];
            fn per_step<T: ::core::marker::Send>(&self, _: impl ::core::ops::FnMut(usize) -> T) -> [T; 0] { [] }
            fn per_step_copied<T: ::core::marker::Copy + ::core::marker::Send>(&self, _: T) -> [T; 0] { [] }
            fn slots(&self) {}
            fn step<'a>(&'a self, step: usize, _: #krate::Scene<'a, Self>) -> #krate::StepFuture<'a> {
                #krate::no_such_step(step)
            }
            fn compensate<'a>(&'a self, step: usize, _: #krate::Scene<'a, Self>) -> #krate::StepFuture<'a> {
                #krate::no_such_step(step)
            }
            fn recover<'a>(
                &'a self,
                step: usize,
                _: #krate::Scene<'a, Self>,
                _: #krate::Arc<#krate::StepError>,
            ) -> #krate::RecoverFuture<'a> {
                #krate::no_such_step(step)
            }
            fn output(&self, (): &(), step: usize, _: #krate::OutputRequest<'_>) -> ::core::result::Result<(), #krate::CodecError> {
                #krate::no_such_step(step)
            }
            fn outputs((): ()) -> ::core::option::Option<#outputs> {
                ::core::option::Option::None
            }
        }

        #[automatically_derived]
        #[diagnostic::do_not_recommend]
        impl<__P: #krate::AnyPlace> #krate::RunsOn<__P> for #this {}
    })
}

/// Around all generated items: what their names could collide with, and which lints they would trip over.
fn hidden(items: &TokenStream) -> TokenStream {
    quote! {
        #[doc(hidden)]
        #[allow(
            clippy::all,
            clippy::pedantic,
            // Not every output is read.
            dead_code,
            // An output may be of a type that is, or of a private one.
            deprecated,
            private_interfaces,
            reason = "what a saga generates is not its author's to mend"
        )]
        const _: () = {
            #items
        };
    }
}
