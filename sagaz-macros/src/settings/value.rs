//! What a setting's value can be, and what is said when it is something else.

use super::Entry;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    syntax::plain,
};
use proc_macro2::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};
use syn::{Expr, Ident, Lit, LitStr, Path, Type};

/// A name that the user wrote, as an identifier or as a string.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// An expression, and where its setting was written.
pub(crate) struct Key {
    pub(crate) value: TokenStream,
    pub(crate) span: Span,
}

/// A duration in whole milliseconds, and where it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Millis {
    pub(crate) value: u64,
    pub(crate) span: Span,
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl Entry {
    /// `key` alone.
    pub(super) fn flag(&self) -> Result<(), Diagnostic> {
        if self.value.is_none() && self.list.is_none() {
            return Ok(());
        }
        Err(
            Diagnostic::at(&self.tokens, format!("`{}` takes no value", self.key.text))
                .help(format!("write `{}`", self.key.text)),
        )
    }

    /// `key = value`.
    fn value(&self, example: &str) -> Result<&TokenStream, Diagnostic> {
        match &self.value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(self.no_value(example)),
        }
    }

    /// `key(..)`.
    pub(super) fn list(&self, example: &str) -> Result<&TokenStream, Diagnostic> {
        self.list.as_ref().ok_or_else(|| self.no_value(example))
    }

    fn no_value(&self, example: &str) -> Diagnostic {
        Diagnostic::new(self.key.span, format!("`{}` has no value", self.key.text))
            .help(format!("write `{example}`"))
    }

    /// The value, or a part of it, is not `what` the setting is.
    fn is_not(&self, value: &TokenStream, what: &str, example: &str) -> Diagnostic {
        Diagnostic::at(value, format!("`{}` is {what}", self.key.text))
            .help(format!("write `{example}`"))
    }

    pub(super) fn string(&self, example: &str) -> Result<Name, Diagnostic> {
        let value = self.value(example)?;
        let literal: LitStr =
            syn::parse2(value.clone()).map_err(|_| self.is_not(value, "a string", example))?;
        if literal.value().is_empty() {
            return Err(Diagnostic::at(
                value,
                format!("`{}` is empty", self.key.text),
            ));
        }
        Ok(Name {
            text: literal.value(),
            span: literal.span(),
        })
    }

    pub(super) fn ty(&self, example: &str) -> Result<Type, Diagnostic> {
        let value = self.value(example)?;
        syn::parse2(value.clone()).map_err(|_| self.is_not(value, "a type", example))
    }

    pub(super) fn path(&self, example: &str) -> Result<Path, Diagnostic> {
        let value = self.value(example)?;
        let parsed = match syn::parse2::<LitStr>(value.clone()) {
            Ok(literal) => literal.parse(),
            Err(_) => syn::parse::Parser::parse2(Path::parse_mod_style, value.clone()),
        };
        // `Self` is a type, and the path is imported.
        let imported = |path: &Path| !path.segments.iter().any(|segment| segment.ident == "Self");
        let path = parsed.ok().filter(imported);
        path.ok_or_else(|| self.is_not(value, "a path", example))
    }

    pub(super) fn expression(&self, example: &str) -> Result<Key, Diagnostic> {
        let value = self.value(example)?;
        syn::parse2::<Expr>(value.clone())
            .map_err(|_| self.is_not(value, "an expression", example))?;
        Ok(Key {
            value: value.clone(),
            span: self.key.span,
        })
    }

    pub(super) fn number(&self, example: &str) -> Result<u32, Diagnostic> {
        let value = self.value(example)?;
        number(value).ok_or_else(|| self.is_not(value, "a whole number", example))
    }

    /// A number that is at least 1; `zero` says what is wrong with none.
    pub(super) fn positive(&self, example: &str, zero: &str) -> Result<u32, Diagnostic> {
        match self.number(example)? {
            0 => Err(Diagnostic::at(self.value(example)?, zero)),
            number => Ok(number),
        }
    }

    pub(super) fn numbers(&self, example: &str) -> Result<Vec<u32>, Diagnostic> {
        let value = self.value(example)?;
        let wrong = || self.is_not(value, "a list of whole numbers", example);
        let list = bracketed(value).ok_or_else(wrong)?;
        super::split(list.stream())
            .iter()
            .map(|part| number(part).ok_or_else(wrong))
            .collect()
    }

    /// A share or a factor.
    pub(super) fn fraction(&self, example: &str) -> Result<f64, Diagnostic> {
        let value = self.value(example)?;
        let number = match syn::parse2::<Lit>(value.clone()) {
            Ok(Lit::Float(literal)) => literal.base10_parse::<f64>().ok(),
            Ok(Lit::Int(literal)) => literal.base10_parse::<u32>().ok().map(f64::from),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite());
        number.ok_or_else(|| self.is_not(value, "a number", example))
    }

    /// The tokens of the value, for those that read it themselves.
    pub(super) fn place(&self) -> Place {
        match (&self.value, &self.list) {
            (Some(value), _) if !value.is_empty() => Place::of(value),
            _ => self.key.span.into(),
        }
    }

    /// A name or a list of names, and whether each part of it is one.
    pub(super) fn names(
        &self,
        example: &str,
        diagnostics: &mut Diagnostics,
    ) -> Result<(Vec<Name>, bool), Diagnostic> {
        let value = self.value(example)?;
        let parts = bracketed(value)
            .map_or_else(|| vec![value.clone()], |list| super::split(list.stream()));
        let mut names = Vec::new();
        for part in &parts {
            let name = name(part).ok_or_else(|| self.is_not(part, "a list of steps", example));
            names.extend(diagnostics.keep(name));
        }
        let are_all = names.len() == parts.len();
        Ok((names, are_all))
    }

    /// A duration, which `zero` says cannot be none.
    pub(super) fn duration(&self, example: &str, zero: Option<&str>) -> Result<Millis, Diagnostic> {
        let value = self.value(example)?;
        let text = match syn::parse2::<Lit>(value.clone()) {
            Ok(Lit::Str(literal)) => literal.value(),
            Ok(Lit::Int(literal)) => {
                return Err(no_unit(value, &self.key.text, literal.base10_digits()));
            }
            _ => return Err(self.is_not(value, "a duration", example)),
        };
        let trimmed = text.trim();
        let digits = trimmed
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..digits], trimmed[digits..].trim());
        if unit.is_empty() && !number.is_empty() {
            return Err(no_unit(value, &self.key.text, number));
        }
        let units = "a whole number and a unit: `ms`, `s`, `m`, `h`, `d`";
        let Some((_, factor)) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .filter(|_| !number.is_empty())
        else {
            let why = if number.is_empty() {
                "it begins with no number".to_owned()
            } else {
                format!("`{unit}` is not a unit")
            };
            return Err(
                Diagnostic::at(value, format!("`{text}` is not a duration: {why}")).help(units),
            );
        };
        let millis = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor));
        match (millis, zero) {
            (None, _) => Err(Diagnostic::at(
                value,
                format!("`{text}` is not a duration: it is too long"),
            )
            .help(units)),
            (Some(0), Some(zero)) => Err(Diagnostic::at(value, zero)),
            (Some(millis), _) => Ok(Millis {
                value: millis,
                span: self.key.span,
            }),
        }
    }
}

fn no_unit(value: &TokenStream, key: &str, digits: &str) -> Diagnostic {
    let subject = match key {
        "timeout" => "a timeout",
        "deadline" => "a deadline",
        "grace" => "a grace period",
        _ => "a delay",
    };
    Diagnostic::at(value, format!("{subject} needs a unit")).help(format!("write \"{digits}s\""))
}

fn bracketed(value: &TokenStream) -> Option<Group> {
    match only(value)? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => Some(group),
        _ => None,
    }
}

fn only(tokens: &TokenStream) -> Option<TokenTree> {
    let mut tokens = tokens.clone().into_iter();
    let first = tokens.next()?;
    match first {
        // A fragment of a `macro_rules!`.
        TokenTree::Group(group)
            if group.delimiter() == Delimiter::None && tokens.clone().next().is_none() =>
        {
            only(&group.stream())
        }
        first => tokens.next().is_none().then_some(first),
    }
}

fn number(tokens: &TokenStream) -> Option<u32> {
    match syn::parse2(tokens.clone()) {
        Ok(Lit::Int(literal)) => literal.base10_parse().ok(),
        _ => None,
    }
}

/// A step's name, as an identifier or as a string.
pub(crate) fn name(tokens: &TokenStream) -> Option<Name> {
    match only(tokens)? {
        TokenTree::Ident(ident) => Some(Name::from_ident(&ident)),
        TokenTree::Literal(literal) => string(&literal),
        _ => None,
    }
}

fn string(literal: &Literal) -> Option<Name> {
    match Lit::new(literal.clone()) {
        Lit::Str(text) => {
            let text = text.value();
            let text = text.strip_prefix("r#").unwrap_or(&text).to_owned();
            Some(Name {
                text,
                span: literal.span(),
            })
        }
        _ => None,
    }
}

impl Name {
    /// The name without `r#`.
    pub(crate) fn from_ident(ident: &Ident) -> Self {
        Self {
            text: plain(ident),
            span: ident.span(),
        }
    }
}
