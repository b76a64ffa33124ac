//! Durations as attributes have them: `timeout = "30s"`.
//!
//! They are read as a model of them reads them, letter by letter and in numbers that cannot overflow; and what is none is one
//! mistake, told with what would be right.

use crate::{
    diagnostic::Diagnostics,
    settings::{
        self, COMPENSATION, CompensationSettings, OnFailure, SAGA, STEP, SagaSettings, StepSettings,
    },
};
use quote::quote;
use std::str;

/// Each line is one: the text of a string, or, after a `#`, any tokens.
pub(crate) fn durations(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    text.split('\n').for_each(line);
}

fn line(line: &str) {
    let (value, expected) = match line.strip_prefix('#') {
        Some(tokens) => match tokens.parse() {
            Ok(tokens) => (tokens, None),
            Err(_) => return,
        },
        None => (quote!(#line), Some(model(line))),
    };
    let mut diagnostics = Diagnostics::default();
    let mut step = StepSettings::default();
    settings::read(
        STEP,
        "a step",
        &[quote!(timeout = #value)],
        &mut step,
        &mut diagnostics,
    );
    let mut undo = CompensationSettings::default();
    let parts = [quote!(retry(initial = #value, max = #value))];
    settings::read(
        COMPENSATION,
        "a compensation",
        &parts,
        &mut undo,
        &mut diagnostics,
    );
    let mut saga = SagaSettings::default();
    settings::read(
        SAGA,
        "a saga",
        &[
            quote!(deadline = #value),
            quote!(on_failure = grace(#value)),
        ],
        &mut saga,
        &mut diagnostics,
    );

    let timeout = step.timeout.map(|it| it.value);
    let retry = undo.retry.as_ref();
    let initial = retry.and_then(|retry| retry.initial).map(|it| it.value);
    let max = retry.and_then(|retry| retry.max).map(|it| it.value);
    let deadline = saga.deadline.map(|it| it.value);
    let grace = match saga.on_failure {
        OnFailure::Grace(bound) => bound.map(|it| it.value),
        _ => None,
    };
    let errors = diagnostics.into_errors().unwrap_or_default().to_string();
    if let Some(expected) = expected {
        // A wait may be none, and nothing else.
        let positive = expected.filter(|millis| *millis > 0);
        assert_eq!(timeout, positive, "timeout {line:?}: {errors}");
        assert_eq!(deadline, positive, "deadline {line:?}: {errors}");
        assert_eq!(initial, expected, "initial {line:?}: {errors}");
        assert_eq!(max, expected, "max {line:?}: {errors}");
        assert_eq!(grace, expected, "grace {line:?}: {errors}");
    }
    let given = [timeout, deadline, initial, max, grace];
    let mistakes = given.iter().filter(|it| it.is_none()).count();
    let told = errors.matches("compile_error").count();
    // Of tokens with commas, each part is a mistake.
    let is_told = if expected.is_some() {
        told == mistakes
    } else {
        told >= mistakes
    };
    assert!(is_told, "{line:?} is read as {given:?}, and {errors}");
    syn::parse_str::<syn::File>(&errors).unwrap();
}

/// A whole number and a unit, in milliseconds.
fn model(text: &str) -> Option<u64> {
    let mut rest = text.trim().chars().peekable();
    let mut number: Option<u128> = None;
    while let Some(digit) = rest.peek().and_then(|it| it.to_digit(10)) {
        rest.next();
        // Beyond what is allowed it need not be right.
        let grown = number.unwrap_or(0).saturating_mul(10) + u128::from(digit);
        number = Some(grown.min(u128::from(u64::MAX) + 1));
    }
    let unit: String = rest.collect();
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 60 * 60 * 1_000,
        "d" => 24 * 60 * 60 * 1_000,
        _ => return None,
    };
    u64::try_from(number? * factor).ok()
}
