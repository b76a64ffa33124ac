//! The macro in process: what it says of tokens that are no saga, and that it never panics.

mod cost;
mod fuzz;
mod property;
mod sagas;
mod snapshots;

use super::{expand_saga, settings};
use proc_macro2::TokenStream;
use quote::quote;

fn expand(item: TokenStream) -> String {
    expand_saga(TokenStream::new(), item).to_string()
}

#[test]
fn the_impl_goes_out_first_on_every_path() {
    let body = quote!({ self. + });
    let broken = quote! {
        impl Shop {
            #[step(depends_on = ["nothing"])]
            async fn reserve(&self, x: &X) -> Result<(), E> #body
        }
    };
    let text = expand(broken);
    assert!(text.starts_with("impl Shop {"), "{text}");
    assert!(text.contains("self . +"), "{text}");
    assert!(text.contains("no step is named `nothing`"), "{text}");
    assert!(text.contains(":: Saga for Shop"), "{text}");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = expand(quote! {
        impl Shop {
            #[step(timout = "1s", no_compensation)]
            async fn reserve(&self) -> Result<(), E> {}
            #[step(depends_on = ["resrve"], no_compensation)]
            fn charge(&mut self) {}
        }
    });
    for message in [
        "`timout` is not a setting",
        "no step is named `resrve`",
        "not async",
        "takes `&mut self`",
        "returns nothing",
    ] {
        assert!(text.contains(message), "{message}: {text}");
    }
}

#[test]
fn no_tokens_make_it_panic() {
    let items = [
        quote!(),
        quote!(;),
        quote!(
            struct S;
        ),
        quote!(
            struct S {}
        ),
        quote!(impl),
        quote!(impl {}),
        quote!(impl X { garbage }),
        quote!(impl X { #[step] }),
        quote!(impl X { #[step] fn }),
        quote!(impl X { #[step] async fn f(); }),
        quote!(impl X { #[step(=)] async fn f(&self) -> _ {} }),
        quote!(impl X { #[step(depends_on = )] async fn f(&self) -> () {} }),
        quote!(impl X { #[step(depends_on = [f, f, "", "a b", 3, [g]])] async fn f(&self) -> Result<(), ()> {} }),
        quote!(impl X { #[step(retry, retry(), retry(forever, attempts = 0), timeout("1s"), timeout = "")] async fn f() {} }),
        quote!(impl X { #[step(limit = -1, name = "", timeout = "99999999999999999999d")] async fn f(&self) -> Result<&T, E> {} }),
        quote!(impl X { #[compensate] #[recover] #[step] async fn f(self) -> impl T {} }),
        quote!(impl X { #[compensate(1)] async fn f(self: Box<Self>, ..) {} }),
        quote!(impl X { #[recover("f", x)] async fn f(&self, #[from] a: A, #[from()] b: B, #[from(f)] c: C, _: D) {} }),
        quote!(
            impl<'a> X<'a> {
                #[step]
                async fn f(&self) -> Result<(), E> {}
            }
        ),
    ];
    for item in items {
        for arguments in [
            quote!(),
            quote!(,),
            quote!(input),
            quote!(input = , name = 3, on_failure = maybe, crate = 3, accepts = 1),
        ] {
            let text = expand_saga(arguments.clone(), item.clone()).to_string();
            assert!(!text.contains("panicked"), "#[saga({arguments})] {item}");
            assert!(
                text.contains("compile_error") || text.contains("DEFINITION"),
                "#[saga({arguments})] {item}"
            );
        }
    }
}

#[test]
fn an_impl_that_no_type_can_have_is_left_to_rustc() {
    let printed = |this: &TokenStream| {
        expand(quote! {
            impl #this {
                #[step(atomic)]
                async fn reserve(&self) -> Result<[u8; { Self::SIZE }], E> {}
            }
        })
    };
    for this in [
        quote!((A, B)),
        quote!(&Shop),
        quote!(impl Shop),
        quote!([Shop]),
        quote!(_),
    ] {
        let text = printed(&this);
        assert!(
            text.ends_with("Result < [u8 ; { Self :: SIZE }] , E > { } }"),
            "{text}"
        );
    }
    for this in [quote!(Shop), quote!((Shop)), quote!(crate::Shop)] {
        let text = printed(&this);
        assert!(text.contains(":: Saga for"), "{text}");
    }
}

/// `count` steps, each after the ones before it, as many as it has inputs.
fn saga_of(count: usize, inputs: usize) -> TokenStream {
    let steps = (0..count).map(|at| {
        let name = quote::format_ident!("step{at}");
        let before: Vec<_> = (at.saturating_sub(inputs)..at)
            .map(|at| quote::format_ident!("step{at}"))
            .collect();
        quote! {
            #[step(no_compensation, depends_on = [#(#before),*])]
            async fn #name(&self #(, #before: &u8)*) -> Result<u8, E> {}
        }
    });
    quote!(impl Shop { #(#steps)* })
}

#[test]
fn a_saga_of_1024_steps_is_expanded_and_one_more_is_not() {
    assert!(!expand(saga_of(1_024, 3)).contains("compile_error"));
    let too_many = "a saga has at most 1,024 steps, and this one has 1,025";
    assert!(expand(saga_of(1_025, 3)).contains(too_many));
}

#[test]
fn every_setting_is_documented() {
    fn check<T>(table: &[settings::Setting<T>], page: &str) {
        for setting in table {
            assert!(
                page.contains(&format!("`{}", setting.key)),
                "{}",
                setting.key
            );
            assert!(!setting.synonyms.contains(&setting.key), "{}", setting.key);
        }
    }
    check(settings::SAGA, include_str!("docs/saga.md"));
    check(settings::STEP, include_str!("docs/step.md"));
    check(settings::COMPENSATION, include_str!("docs/compensate.md"));
}
