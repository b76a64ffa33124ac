//! What the compiler says of each mistake; `tests/accepted` has the sagas of which it says nothing.
//!
//! No case of these is built: were one to pass, trybuild would generate code for every dependency, and look at each case by itself.
//!
//! `TRYBUILD=overwrite cargo test --test ui` writes the expected messages anew; read them before they are committed.

#[test]
fn every_mistake_is_one_error_in_the_words_of_the_domain() {
    let cases = trybuild::TestCases::new();
    for theme in [
        "names",
        "graph",
        "inputs",
        "signatures",
        "compensations",
        "pivot",
        "settings",
        "place",
        "together",
        "transactions",
        "events",
    ] {
        cases.compile_fail(format!("tests/ui/{theme}/*.rs"));
    }
    // They name two stores.
    if cfg!(all(feature = "sqlite", feature = "postgres")) {
        cases.compile_fail("tests/ui/stores/*.rs");
    }
}
