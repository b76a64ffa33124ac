//! The attributes of `sagaz`: [`macro@saga`], [`macro@step`], [`macro@compensate`], [`macro@recover`].
//!
//! Invariant: the user's impl goes out on every path, also when there are mistakes, so that an editor keeps working.

mod check;
mod debug;
mod diagnostic;
mod expand;
mod item;
mod member;
mod model;
mod print;
mod settings;
mod similar;
mod syntax;
#[cfg(test)]
mod tests;

use item::expand_saga;
use syntax::RoleKind;

#[doc = include_str!("docs/saga.md")]
#[proc_macro_attribute]
pub fn saga(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    expand_saga(arguments.into(), item.into()).into()
}

#[doc = include_str!("docs/step.md")]
#[proc_macro_attribute]
pub fn step(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    member::expand(RoleKind::Step, &arguments.into(), item.into()).into()
}

#[doc = include_str!("docs/compensate.md")]
#[proc_macro_attribute]
pub fn compensate(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    member::expand(RoleKind::Compensation, &arguments.into(), item.into()).into()
}

#[doc = include_str!("docs/recover.md")]
#[proc_macro_attribute]
pub fn recover(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    member::expand(RoleKind::Recovery, &arguments.into(), item.into()).into()
}
