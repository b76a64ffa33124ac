//! Mutated sagas: the [property] holds of every one.
//!
//! `SAGAZ_FUZZ_SECONDS=600 cargo test -p sagaz-macros mutated` goes on for as long; a failure names the seed, and
//! `SAGAZ_FUZZ_SEED` begins with it.

use super::{property, sagas};
use crate::expand_saga;
use fastrand::Rng;
use proc_macro2::{Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use std::{
    env,
    time::{Duration, Instant},
};

/// Without a time.
const MUTANTS: u64 = 1_500;

#[test]
fn mutated_sagas_never_make_it_panic_nor_lose_a_method() {
    let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("SAGAZ_FUZZ_SEED").unwrap_or(0);
    let until = number("SAGAZ_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    for seed in first.. {
        match until {
            Some(until) if Instant::now() >= until => break,
            None if seed - first >= MUTANTS => break,
            _ => {}
        }
        check(seed);
    }
}

fn check(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let sagas = sagas::all();
    let (mut arguments, mut item) = sagas[rng.usize(..sagas.len())].clone();
    let mut words = Vec::new();
    collect(&arguments, &mut words);
    collect(&item, &mut words);
    for _ in 0..rng.usize(1..6) {
        if rng.u8(..8) == 0 {
            arguments = mutated(arguments, &words, &mut rng);
        } else {
            item = mutated(item, &words, &mut rng);
        }
    }
    let case = format!("seed {seed}: #[saga({arguments})] {item}");
    if let Err(why) = property::holds(expand_saga, arguments, item) {
        panic!("{why}: {case}");
    }
}

/// All tokens, at whatever depth, groups before what is in them.
fn collect(tokens: &TokenStream, found: &mut Vec<TokenTree>) {
    for token in tokens.clone() {
        found.push(token.clone());
        if let TokenTree::Group(group) = token {
            collect(&group.stream(), found);
        }
    }
}

/// One change, somewhere.
fn mutated(tokens: TokenStream, words: &[TokenTree], rng: &mut Rng) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let groups: Vec<usize> = (0..tokens.len())
        .filter(|&at| matches!(tokens[at], TokenTree::Group(_)))
        .collect();
    if !groups.is_empty() && rng.u8(..5) > 0 {
        let at = groups[rng.usize(..groups.len())];
        if let TokenTree::Group(group) = &tokens[at] {
            let inner = mutated(group.stream(), words, rng);
            tokens[at] = Group::new(group.delimiter(), inner).into();
        }
        return tokens.into_iter().collect();
    }
    if tokens.is_empty() {
        return word(words, rng).into();
    }
    let at = rng.usize(..tokens.len());
    match rng.u8(..7) {
        0 => drop(tokens.remove(at)),
        1 => tokens.insert(at, tokens[at].clone()),
        2 => {
            let other = rng.usize(..tokens.len());
            tokens.swap(at, other);
        }
        3 => tokens[at] = word(words, rng),
        4 => tokens.insert(at, word(words, rng)),
        5 => tokens.truncate(at),
        _ => {
            let end = rng.usize(at..tokens.len());
            let copy: Vec<_> = tokens[at..=end].to_vec();
            let to = rng.usize(..=tokens.len());
            tokens.splice(to..to, copy);
        }
    }
    tokens.into_iter().collect()
}

/// A token of a saga, or one that no saga has.
fn word(words: &[TokenTree], rng: &mut Rng) -> TokenTree {
    let strange: [TokenTree; 10] = [
        Punct::new('#', Spacing::Alone).into(),
        Punct::new('\'', Spacing::Joint).into(),
        Punct::new('<', Spacing::Alone).into(),
        Punct::new('=', Spacing::Alone).into(),
        Ident::new("r", Span::call_site()).into(),
        Ident::new("Self", Span::call_site()).into(),
        Ident::new("_", Span::call_site()).into(),
        Literal::string("99999999999999999999d").into(),
        Literal::string("a b").into(),
        Literal::u64_unsuffixed(u64::MAX).into(),
    ];
    if rng.u8(..3) == 0 {
        strange[rng.usize(..strange.len())].clone()
    } else {
        words[rng.usize(..words.len())].clone()
    }
}
