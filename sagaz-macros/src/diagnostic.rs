//! What the macro has to say, collected so that all mistakes are reported at once.
//!
//! Wording: the error states a fact, `note` says why, `help` says what to write. A second place is a second error that
//! begins with "...". Not here: which mistakes there are (`check`, `model`, `settings`).

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;

/// From where to where a mistake reaches: `Span::join` gives nothing on stable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    start: Span,
    end: Span,
}

impl Place {
    pub(crate) fn of(tokens: &impl ToTokens) -> Self {
        let mut tokens = tokens
            .to_token_stream()
            .into_iter()
            .map(|token| token.span());
        let start = tokens.next().unwrap_or_else(Span::call_site);
        Self {
            start,
            end: tokens.last().unwrap_or(start),
        }
    }

    /// Line and column. Known to the compiler only; elsewhere the order of the checks is good enough.
    pub(crate) fn position(self) -> (usize, usize) {
        if proc_macro::is_available() {
            let start = self.start.unwrap().start();
            (start.line(), start.column())
        } else {
            (0, 0)
        }
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self {
            start: span,
            end: span,
        }
    }
}

/// One mistake.
#[derive(Debug)]
#[must_use]
pub(crate) struct Diagnostic {
    place: Place,
    message: String,
    note: Option<String>,
    help: Option<String>,
    related: Vec<(Place, String)>,
}

impl Diagnostic {
    pub(crate) fn new(place: impl Into<Place>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
            note: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// At the tokens, from the first to the last.
    pub(crate) fn at(tokens: &impl ToTokens, message: impl Into<String>) -> Self {
        Self::new(Place::of(tokens), message)
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A second place; `message` goes on after "... ".
    pub(crate) fn and(mut self, place: impl Into<Place>, message: impl AsRef<str>) -> Self {
        self.related
            .push((place.into(), format!("... {}", message.as_ref())));
        self
    }

    /// As an error.
    pub(crate) fn into_error(self) -> TokenStream {
        let mut error = compile_error(self.place, &self.text());
        for (place, message) in self.related {
            error.extend(compile_error(place, &message));
        }
        error
    }

    fn text(&self) -> String {
        let mut text = self.message.clone();
        // rustc prints a line of this form in a message as it prints a note or help of its own.
        for (kind, line) in [("note", &self.note), ("help", &self.help)] {
            if let Some(line) = line {
                text.push_str("\n= ");
                text.push_str(kind);
                text.push_str(": ");
                text.push_str(line);
            }
        }
        text
    }
}

/// All mistakes of one saga.
///
/// Invariant: it is read before it is dropped, so that no mistake is found and then forgotten.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    found: Vec<Diagnostic>,
    left_to_rustc: bool,
    read: bool,
}

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    pub(crate) fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        self.found.extend(diagnostics);
    }

    /// Keeps the value, or the mistake.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.push(diagnostic)).ok()
    }

    /// There is a mistake that rustc reports better; nothing can be generated from it.
    pub(crate) fn leave_to_rustc(&mut self) {
        self.left_to_rustc = true;
    }

    /// The errors in source order, or `None` if there is no mistake.
    pub(crate) fn into_errors(mut self) -> Option<TokenStream> {
        self.read = true;
        if self.found.is_empty() && !self.left_to_rustc {
            return None;
        }
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|diagnostic| diagnostic.place.position());
        Some(found.into_iter().map(Diagnostic::into_error).collect())
    }
}

impl Drop for Diagnostics {
    fn drop(&mut self) {
        assert!(
            self.read || std::thread::panicking(),
            "mistakes were found and not reported"
        );
    }
}

/// `::core::compile_error! { message }`. rustc underlines from the first token's span to the last's.
fn compile_error(place: Place, message: &str) -> TokenStream {
    let Place { start, end } = place;
    let punct = |character, spacing| {
        let mut punct = Punct::new(character, spacing);
        punct.set_span(start);
        TokenTree::Punct(punct)
    };
    let mut message = Literal::string(message);
    message.set_span(end);
    let mut group = Group::new(Delimiter::Brace, TokenTree::Literal(message).into());
    group.set_span(end);
    TokenStream::from_iter([
        punct(':', Spacing::Joint),
        punct(':', Spacing::Alone),
        TokenTree::Ident(Ident::new("core", start)),
        punct(':', Spacing::Joint),
        punct(':', Spacing::Alone),
        TokenTree::Ident(Ident::new("compile_error", start)),
        punct('!', Spacing::Alone),
        TokenTree::Group(group),
    ])
}
