//! What five sagas become. `UPDATE_EXPECT=1 cargo test -p sagaz-macros` writes the files anew; read the difference.

use super::sagas;
use crate::{debug, expand_saga};
use expect_test::{ExpectFile, expect_file};
use proc_macro2::{TokenStream, TokenTree};

#[expect(clippy::needless_pass_by_value, reason = "as the macro makes it")]
fn check((arguments, item): (TokenStream, TokenStream), expected: ExpectFile) {
    let expansion = expand_saga(arguments, item);
    let file = syn::parse2(expansion).expect("an expansion parses");
    expected.assert_eq(&prettyplease::unparse(&file));
}

#[test]
fn chain() {
    check(sagas::chain(), expect_file!["../../snapshots/chain.rs"]);
}

#[test]
fn diamond_with_pivot() {
    check(
        sagas::diamond_with_pivot(),
        expect_file!["../../snapshots/diamond_with_pivot.rs"],
    );
}

#[test]
fn transactional() {
    check(
        sagas::transactional(),
        expect_file!["../../snapshots/transactional.rs"],
    );
}

#[test]
fn everything() {
    check(
        sagas::everything(),
        expect_file!["../../snapshots/everything.rs"],
    );
}

#[test]
fn past_the_pivot() {
    check(
        sagas::past_the_pivot(),
        expect_file!["../../snapshots/past_the_pivot.rs"],
    );
}

/// With `crate = ::sagas`, generated code reaches the library by that path alone.
#[test]
fn no_name_of_the_library_leaks_where_it_is_renamed() {
    fn idents(tokens: TokenStream) -> Vec<String> {
        tokens
            .into_iter()
            .flat_map(|token| match token {
                TokenTree::Group(group) => idents(group.stream()),
                TokenTree::Ident(ident) => vec![ident.to_string()],
                _ => Vec::new(),
            })
            .collect()
    }
    let (arguments, item) = sagas::everything();
    let names = idents(expand_saga(arguments, item));
    assert!(names.iter().any(|name| name == "sagas"));
    assert!(!names.iter().any(|name| name == "sagaz"), "{names:?}");
}

/// What `SAGAZ_DEBUG_MACRO` prints is the expansion, with nothing lost.
#[test]
fn a_printed_expansion_is_the_expansion() {
    for (arguments, item) in sagas::all() {
        let expansion = expand_saga(arguments, item);
        let printed = debug::lines(&expansion);
        let read: TokenStream = printed.parse().expect("it is Rust");
        let dense = |tokens: &TokenStream| tokens.to_string().replace(' ', "");
        assert_eq!(dense(&read), dense(&expansion));
        assert!(printed.lines().count() > 50, "{printed}");
    }
}
