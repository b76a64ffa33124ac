//! What methods publish.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::Saga,
    settings::EventSettings,
};

/// A key is the key of an event.
pub(crate) fn check(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    let steps = saga
        .steps
        .iter()
        .map(|step| (&step.name, &step.settings.event));
    let compensations = saga
        .compensations
        .iter()
        .map(|undo| (&undo.name, &undo.settings.event));
    for (name, event) in steps.chain(compensations) {
        let EventSettings {
            is_there: false,
            key: Some(key),
            ..
        } = event
        else {
            continue;
        };
        let message = format!("`{name}` has the key of an event and emits none");
        diagnostics.push(
            Diagnostic::new(key.span, message)
                .help("add `emits = \"..\"` with the type of the event, or remove `key`"),
        );
    }
}
