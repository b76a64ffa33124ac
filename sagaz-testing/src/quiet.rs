//! Panics that are asked for: an assertion of a check that does not hold is told once, in the story of its run, and not also by the
//! hook of the process, once for each run.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`. A panic in it is given back in words, with its place, and printed nowhere.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = take_hook();
        set_hook(Box::new(move |panic| {
            if IS_QUIET.get() {
                PLACE.set(panic.location().map(ToString::to_string));
            } else {
                former(panic);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(false);
    result.map_err(|panic| {
        let words = words_of(&*panic);
        match PLACE.take() {
            Some(place) => format!("{words}\n  at {place}"),
            None => words,
        }
    })
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_given_back_with_its_words_and_its_place() {
        assert_eq!(caught(|| 7), Ok(7));
        let words = caught(|| panic!("the books do not balance")).unwrap_err();
        assert!(
            words.starts_with("the books do not balance\n  at "),
            "{words}"
        );
        assert!(words.contains("quiet.rs:"), "{words}");
    }
}
