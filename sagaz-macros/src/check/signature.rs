//! What the signature of a method of ours looks like: `async fn name(&self, ..) -> Result<Output, Error>`.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::Saga,
    print, settings,
    syntax::{Item, Method, RoleKind},
};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::HashSet;
use syn::{FnArg, ReceiverKind, Type};

pub(crate) fn check(saga: &Saga<'_>, diagnostics: &mut Diagnostics) {
    let steps = saga.steps.iter().map(|step| (step.method, RoleKind::Step));
    let compensations = saga
        .compensations
        .iter()
        .map(|undo| (undo.method, RoleKind::Compensation));
    let recoveries = saga
        .recoveries
        .iter()
        .map(|recovery| (recovery.method, RoleKind::Recovery));
    let values = Values::of(saga);
    for (method, kind) in steps.chain(compensations).chain(recoveries) {
        let subject = format!("{} `{}`", kind.noun(), method.name());
        check_async(method, &subject, diagnostics);
        check_receiver(method, &subject, diagnostics);
        check_generics(method, &subject, diagnostics);
        check_conditions(method, &subject, diagnostics);
        check_return(method, kind, &subject, &values, diagnostics);
    }
}

fn check_async(method: &Method, subject: &str, diagnostics: &mut Diagnostics) {
    let sig = &method.sig;
    if sig.asyncness.is_none() {
        let help = format!("write `async fn {}`", sig.ident);
        diagnostics
            .push(Diagnostic::at(&sig.fn_token, format!("{subject} is not async")).help(help));
    }
    if let syn::Safety::Unsafe(token) = &sig.safety {
        let note = "nobody could keep its promise: the saga calls it";
        diagnostics.push(Diagnostic::at(token, format!("{subject} is unsafe")).note(note));
    }
}

/// Steps share the saga.
fn check_receiver(method: &Method, subject: &str, diagnostics: &mut Diagnostics) {
    let note = "steps of one saga run at the same time and share it";
    let Some(FnArg::Receiver(receiver)) = method.sig.inputs.first() else {
        diagnostics.push(
            Diagnostic::new(
                &method.sig.ident,
                format!("{subject} does not take `&self`"),
            )
            .note(note),
        );
        return;
    };
    let shared = match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_none(),
        _ => print::tokens(receiver) == "self:&Self",
    };
    if !shared {
        let message = format!("{subject} takes `{}`, not `&self`", print::tokens(receiver));
        diagnostics.push(Diagnostic::at(receiver, message).note(note));
    }
}

/// One name means one type: a method of ours has no type parameters, not even as `impl Trait`.
fn check_generics(method: &Method, subject: &str, diagnostics: &mut Diagnostics) {
    let generics = &method.sig.generics;
    let note = "one name must mean one type";
    if generics
        .params
        .iter()
        .any(|parameter| !matches!(parameter, syn::GenericParam::Lifetime(_)))
    {
        diagnostics
            .push(Diagnostic::at(generics, format!("{subject} cannot be generic")).note(note));
    }
    let types = method
        .sig
        .inputs
        .iter()
        .filter_map(|parameter| match parameter {
            FnArg::Typed(typed) => Some(&*typed.ty),
            FnArg::Receiver(_) => None,
        });
    for ty in types {
        match print::referent(ty) {
            Type::ImplTrait(_) => {
                diagnostics
                    .push(Diagnostic::at(ty, format!("{subject} cannot be generic")).note(note));
            }
            ty if mentions_infer(ty.to_token_stream()) => diagnostics.leave_to_rustc(),
            _ => {}
        }
    }
}

/// The graph does not depend on how the program is built.
fn check_conditions(method: &Method, subject: &str, diagnostics: &mut Diagnostics) {
    let note = "a saga that was started by one build may be finished by another";
    for attribute in method.attrs() {
        let hides_ours = || {
            let syn::Meta::List(list) = &attribute.meta else {
                return false;
            };
            // After the condition.
            let attributes = settings::split(list.tokens.clone()).into_iter().skip(1);
            let is_ours = |attribute: TokenStream| {
                syn::parse2::<syn::Meta>(attribute)
                    .is_ok_and(|attribute| RoleKind::of(attribute.path()).is_some())
            };
            attribute.path().is_ident("cfg_attr") && attributes.into_iter().any(is_ours)
        };
        if attribute.path().is_ident("cfg") || hides_ours() {
            diagnostics.push(
                Diagnostic::at(attribute, format!("{subject} cannot be conditional")).note(note),
            );
        }
    }
    for parameter in &method.sig.inputs {
        let (FnArg::Typed(syn::PatType { attrs, .. })
        | FnArg::Receiver(syn::Receiver { attrs, .. })) = parameter;
        for attribute in attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("cfg"))
        {
            diagnostics.push(
                Diagnostic::at(
                    attribute,
                    format!("an input of {subject} cannot be conditional"),
                )
                .note(note),
            );
        }
    }
}

/// A step gives a `Result` with an owned output.
fn check_return(
    method: &Method,
    kind: RoleKind,
    subject: &str,
    values: &Values,
    diagnostics: &mut Diagnostics,
) {
    let Some(returns) = method.returns() else {
        let example = if kind == RoleKind::Recovery {
            "Recover<..>"
        } else {
            "Result<(), E>"
        };
        diagnostics.push(
            Diagnostic::new(
                method.sig.paren_token.span.close(),
                format!("{subject} returns nothing"),
            )
            .help(format!("write `-> {example}`")),
        );
        return;
    };
    if mentions_infer(returns.to_token_stream()) {
        // Not allowed in a signature: rustc says so.
        diagnostics.leave_to_rustc();
        return;
    }
    if let Type::ImplTrait(_) = returns {
        let note = "what it gives is stored under the name of its type";
        diagnostics.push(
            Diagnostic::at(returns, format!("{subject} returns a type without a name")).note(note),
        );
        return;
    }
    if kind != RoleKind::Recovery && !values.can_be_result(returns) {
        let message = format!(
            "a {} returns a `Result`, not `{}`",
            kind.noun(),
            print::tokens(returns)
        );
        let note = match kind {
            RoleKind::Compensation => "a compensation that fails is tried again",
            _ => "a step that fails is retried or undone",
        };
        diagnostics.push(Diagnostic::at(returns, message).note(note));
        return;
    }
    let output = print::output(returns).unwrap_or(returns);
    if let Some(error @ Type::ImplTrait(_)) = print::second_argument(returns) {
        let note = "an error says by its type whether it may be tried again";
        diagnostics
            .push(Diagnostic::at(error, format!("the error of {subject} has no name")).note(note));
    }
    if let Type::ImplTrait(_) = output {
        let note = "an output is stored, and read again by its type";
        diagnostics.push(
            Diagnostic::at(output, format!("the output of {subject} has no name")).note(note),
        );
    } else if kind == RoleKind::Compensation {
        // What it gives is nobody's.
    } else if let Some((borrow, owned)) = borrowed(output) {
        let diagnostic = Diagnostic::at(&borrow, format!("the output of {subject} is borrowed"));
        diagnostics.push(match owned {
            Some(owned) => diagnostic.help(format!("return an owned `{owned}`")),
            None => diagnostic.note("an output is stored, and outlives the step"),
        });
    }
}

/// What the impl block shows to be a value, and so no alias of `Result`, which may have any name.
///
/// Types are rustc's, and the generated call does ask; but the output of a step is also the type of a field, so rustc would
/// say it again and again. It is left what cannot be told here.
struct Values(HashSet<String>);

impl Values {
    /// Types of the standard library that people return when they forget the `Result`.
    const STD: [&str; 24] = [
        "bool", "char", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64",
        "i128", "isize", "f32", "f64", "String", "Vec", "Option", "Box", "Arc", "HashMap",
        "BTreeMap", "Duration",
    ];

    /// The saga and its input, what a method takes, and what a `Result` holds.
    fn of(saga: &Saga<'_>) -> Self {
        let mut values = Self(HashSet::new());
        values.add(&saga.block.parsed.self_ty);
        values.0.insert("Self".to_owned());
        if let Some(input) = &saga.settings.input {
            values.add(input);
        }
        for item in &saga.block.items {
            let Item::Method(method) = item else { continue };
            if method.roles.is_empty() {
                continue;
            }
            for parameter in &method.sig.inputs {
                if let FnArg::Typed(typed) = parameter {
                    let taken = print::referent(&typed.ty);
                    values.add(print::referent(print::option(taken).unwrap_or(taken)));
                }
            }
            if let Some(output) = method.returns().and_then(print::output) {
                values.add(output);
            }
        }
        values
    }

    fn add(&mut self, ty: &Type) {
        self.0.insert(print::tokens(ty));
    }

    fn can_be_result(&self, ty: &Type) -> bool {
        let Some(name) = print::last_segment(ty) else {
            return matches!(ty, Type::Macro(_));
        };
        name.ends_with("Result")
            || !Self::STD.contains(&name.as_str()) && !self.0.contains(&print::tokens(ty))
    }
}

/// The borrow in a type, and what to own in its place if that can be told.
fn borrowed(ty: &Type) -> Option<(TokenStream, Option<String>)> {
    if let Type::Reference(reference) = ty {
        let text = print::tokens(&*reference.elem);
        let owned = match &*reference.elem {
            Type::Slice(slice) => format!("Vec<{}>", print::tokens(&*slice.elem)),
            _ if text == "str" => "String".to_owned(),
            _ if text == "Path" => "PathBuf".to_owned(),
            _ => text,
        };
        return Some((reference.to_token_stream(), Some(owned)));
    }
    print::lifetime(ty.to_token_stream()).map(|lifetime| (lifetime, None))
}

fn mentions_infer(tokens: TokenStream) -> bool {
    let mut after_tick = false;
    tokens.into_iter().any(|token| {
        let tick = std::mem::replace(
            &mut after_tick,
            matches!(&token, TokenTree::Punct(p) if p.as_char() == '\''),
        );
        match token {
            TokenTree::Group(group) => mentions_infer(group.stream()),
            TokenTree::Ident(ident) => !tick && ident == "_",
            TokenTree::Punct(punct) => punct.as_char() == '_',
            TokenTree::Literal(_) => false,
        }
    })
}
