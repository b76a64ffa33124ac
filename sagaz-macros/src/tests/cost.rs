//! What an expansion costs, for `cargo xtask macro-cost`. Not a test: no test asserts a time.

use super::saga_of;
use crate::expand_saga;
use proc_macro2::TokenStream;
use std::time::Instant;

/// Medians of several runs, with the floor of the same run: to take the impl apart and put it together again.
#[test]
#[ignore = "a measurement"]
fn expansion_time() {
    const RUNS: usize = 15;
    let median = |mut work: Box<dyn FnMut() -> usize>| {
        let mut times: Vec<_> = (0..RUNS)
            .map(|_| {
                let began = Instant::now();
                assert!(work() > 0, "there is an output");
                began.elapsed()
            })
            .collect();
        times.sort();
        times[RUNS / 2].as_secs_f64() * 1e3
    };
    println!(
        "{:>7} {:>12} {:>14} {:>8}",
        "steps", "expand, ms", "parse only, ms", "ratio"
    );
    for count in [10, 100, 1_000] {
        let item = saga_of(count);
        let expand = {
            let item = item.clone();
            median(Box::new(move || {
                let expansion = expand_saga(TokenStream::new(), item.clone());
                expansion.into_iter().count()
            }))
        };
        let parse = median(Box::new(move || {
            let parsed: syn::ItemImpl = syn::parse2(item.clone()).expect("an impl block");
            quote::quote!(#parsed).into_iter().count()
        }));
        println!(
            "{count:>7} {expand:>12.2} {parse:>14.2} {:>8.1}",
            expand / parse
        );
    }
}
