//! What an expansion costs, for `cargo xtask macro-cost`. Not a test: no test asserts a time.

use super::saga_of;
use crate::expand_saga;
use proc_macro2::TokenStream;
use std::time::Instant;

/// Medians of several runs, with the floor of the same run: to take the impl block apart and put it together again.
#[test]
#[ignore = "a measurement"]
fn expansion_time() {
    println!(
        "{:>6} {:>13} {:>12} {:>14} {:>7}",
        "steps", "inputs a step", "expand, ms", "parse only, ms", "ratio"
    );
    for (count, inputs) in [(10, 1), (100, 1), (1_000, 1), (10, 3), (100, 3), (1_000, 3)] {
        let item = saga_of(count, inputs);
        let expand = median_ms(|| expand_saga(TokenStream::new(), item.clone()));
        let parse = median_ms(|| {
            let parsed: syn::ItemImpl = syn::parse2(item.clone()).expect("an impl block");
            quote::quote!(#parsed)
        });
        let ratio = expand / parse;
        println!("{count:>6} {inputs:>13} {expand:>12.2} {parse:>14.2} {ratio:>7.1}");
    }
}

fn median_ms(work: impl Fn() -> TokenStream) -> f64 {
    const RUNS: usize = 15;
    let mut times: Vec<_> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            assert!(!work().is_empty(), "there is an output");
            began.elapsed()
        })
        .collect();
    times.sort();
    times[RUNS / 2].as_secs_f64() * 1e3
}
