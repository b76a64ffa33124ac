//! Tokens of an impl block, taken apart as far as its methods' signatures. No rules here.
//!
//! Invariant: a body stays one raw token tree, so that a half-typed one is rustc's to report, and completion in it keeps
//! working.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, FnArg, Ident, ImplItem, ItemImpl, Path, PathArguments, Signature, Token, Type,
    Visibility,
    parse::{Parse, ParseStream, discouraged::Speculative},
    parse_quote_spanned,
};

/// Says to `#[step]` and its like that a saga has read them.
pub(crate) const MARKER: &str = "__in_a_saga";

/// An impl block.
pub(crate) struct ImplBlock {
    /// All before the braces, as it was written.
    header: TokenStream,
    /// The same, taken apart, with no items.
    pub(crate) parsed: ItemImpl,
    pub(crate) items: Vec<Item>,
    /// Methods that are not whole yet, by name; `None` if all of the block could be taken apart. What rustc's own parser
    /// makes of the rest of such a block, nobody knows.
    pub(crate) half_typed: Option<Vec<String>>,
    braces: Span,
}

/// An item of the block.
pub(crate) enum Item {
    Method(Box<Method>),
    /// Anything else, as it was written.
    Other(TokenStream),
    /// A token of something that is no item, or not yet.
    Token(TokenTree),
}

/// A method.
pub(crate) struct Method {
    /// Attributes that are not ours, as they were written.
    attrs: Vec<Attribute>,
    /// Ours, in source order.
    pub(crate) roles: Vec<Role>,
    vis: Visibility,
    pub(crate) sig: Signature,
    /// What `#[from(..)]` says of each parameter; `sig` no longer has it.
    pub(crate) from: Vec<Option<Attribute>>,
    body: TokenTree,
}

/// `#[step]`, `#[compensate]` or `#[recover]`.
pub(crate) struct Role {
    pub(crate) kind: RoleKind,
    pub(crate) path: Path,
    pub(crate) attribute: Attribute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoleKind {
    Step,
    Compensation,
    Recovery,
}

impl RoleKind {
    /// What a method with this attribute is.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Compensation => "compensation",
            Self::Recovery => "recovery",
        }
    }

    /// By the name of the attribute. One that was renamed where it was imported is told by a word of its new name:
    /// `use sagaz::step as saga_step`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = plain(&path.segments.last()?.ident);
        name.split('_').find_map(|word| match word {
            "step" => Some(Self::Step),
            "compensate" => Some(Self::Compensation),
            "recover" => Some(Self::Recovery),
            _ => None,
        })
    }
}

impl Role {
    /// The tokens between the parentheses, or after `=`, where nothing belongs.
    pub(crate) fn arguments(&self) -> TokenStream {
        match &self.attribute.meta {
            syn::Meta::List(list) => list.tokens.clone(),
            syn::Meta::NameValue(value) => value.value.to_token_stream(),
            syn::Meta::Path(_) => TokenStream::new(),
        }
    }
}

impl Method {
    pub(crate) fn attrs(&self) -> &[Attribute] {
        &self.attrs
    }

    pub(crate) fn name(&self) -> String {
        plain(&self.sig.ident)
    }

    /// The method with the error as the first item of its body.
    pub(crate) fn with_error(mut self, error: &TokenStream) -> TokenStream {
        if let TokenTree::Group(body) = &self.body {
            let rest = body.stream();
            let mut group = Group::new(Delimiter::Brace, quote!(#error #rest));
            group.set_span(body.span());
            self.body = group.into();
            return self.into_token_stream();
        }
        quote!(#self #error)
    }

    /// The type in the signature, if the method returns one.
    pub(crate) fn returns(&self) -> Option<&Type> {
        match &self.sig.output {
            syn::ReturnType::Default => None,
            syn::ReturnType::Type(_, ty) => Some(ungrouped(ty)),
        }
    }
}

/// An identifier without `r#`.
pub(crate) fn plain(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#")
        .map_or_else(|| text.clone(), str::to_owned)
}

/// The type without parentheses, and without the invisible group that a `macro_rules!` puts around it.
pub(crate) fn ungrouped(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            ty => return ty,
        };
    }
}

impl ImplBlock {
    /// `Err` gives the token that says what it is instead.
    pub(crate) fn parse(tokens: &TokenStream) -> Result<Self, TokenTree> {
        let mut header: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let body = match header.pop() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group,
            other => return Err(keyword(header.into_iter().chain(other))),
        };
        let header_tokens: TokenStream = header.iter().cloned().collect();
        let parsed =
            syn::parse2::<ItemImpl>(quote!(#header_tokens {})).map_err(|_| keyword(header))?;
        let items = items(body.stream());
        let half_typed = half_typed(&items);
        Ok(Self {
            header: header_tokens,
            parsed,
            items,
            half_typed,
            braces: body.span(),
        })
    }
}

/// The first token that is not of an attribute or a visibility.
pub(crate) fn keyword(tokens: impl IntoIterator<Item = TokenTree>) -> TokenTree {
    let mut tokens = tokens.into_iter();
    let mut last = TokenTree::Group(Group::new(Delimiter::None, TokenStream::new()));
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                tokens.next();
            }
            TokenTree::Ident(ident) if ident == "pub" => {}
            TokenTree::Group(_) => {}
            _ => return token,
        }
        last = token;
    }
    last
}

fn items(tokens: TokenStream) -> Vec<Item> {
    let mut items = Vec::new();
    let parser = |input: ParseStream<'_>| {
        while !input.is_empty() {
            items.push(item(input)?);
        }
        Ok(())
    };
    let rest = tokens.clone();
    if syn::parse::Parser::parse2(parser, tokens).is_err() {
        // Only where rustc's own parser is ahead of syn: `item` takes whatever tokens there are.
        return rest.into_iter().map(Item::Token).collect();
    }
    items
}

fn item(input: ParseStream<'_>) -> syn::Result<Item> {
    let ahead = input.fork();
    if let Ok(method) = ahead.parse::<Method>() {
        input.advance_to(&ahead);
        return Ok(Item::Method(Box::new(method)));
    }
    let ahead = input.fork();
    if let Ok(item) = ahead.parse::<ImplItem>() {
        input.advance_to(&ahead);
        return Ok(Item::Other(item.to_token_stream()));
    }
    // An attribute of ours on a method that is not whole yet has nothing to say, and is not to be asked.
    let ahead = input.fork();
    if let Ok(attribute) = ahead.call(one_attribute)
        && RoleKind::of(attribute.path()).is_some()
    {
        input.advance_to(&ahead);
        return Ok(Item::Other(marked(&attribute).into_token_stream()));
    }
    input.parse().map(Item::Token)
}

/// The attribute as one that has been read, in its own place.
fn marked(attribute: &Attribute) -> Attribute {
    let (mut attribute, path) = (attribute.clone(), attribute.path());
    let marker = Ident::new(MARKER, Span::call_site());
    attribute.meta = syn::parse_quote!(#path(#marker));
    attribute
}

/// `#[..]`.
fn one_attribute(input: ParseStream<'_>) -> syn::Result<Attribute> {
    let hash: Token![#] = input.parse()?;
    let brackets: Group = input.parse()?;
    let attribute = quote!(#hash #brackets);
    let mut attributes = syn::parse::Parser::parse2(Attribute::parse_outer, attribute)?;
    attributes
        .pop()
        .ok_or_else(|| input.error("expected an attribute"))
}

/// The names of the methods among the tokens that are no items.
fn half_typed(items: &[Item]) -> Option<Vec<String>> {
    let tokens: Vec<&TokenTree> = items
        .iter()
        .filter_map(|item| match item {
            Item::Token(token) => Some(token),
            _ => None,
        })
        .collect();
    if tokens.is_empty() {
        return None;
    }
    let names = tokens.windows(2).filter_map(|pair| match pair {
        [TokenTree::Ident(keyword), TokenTree::Ident(name)] if *keyword == "fn" => {
            Some(plain(name))
        }
        _ => None,
    });
    Some(names.collect())
}

impl Parse for Method {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = Attribute::parse_outer(input)?;
        let vis = input.parse()?;
        let mut sig: Signature = input.parse()?;
        let body = if input.peek(Token![;]) || input.peek(syn::token::Brace) {
            input.parse()?
        } else {
            return Err(input.error("expected a body"));
        };
        let (mut attrs, mut roles) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match RoleKind::of(attribute.path()) {
                Some(kind) => roles.push(Role {
                    kind,
                    path: attribute.path().clone(),
                    attribute,
                }),
                None => attrs.push(attribute),
            }
        }
        let from = sig.inputs.iter_mut().map(take_from).collect();
        Ok(Self {
            attrs,
            roles,
            vis,
            sig,
            from,
            body,
        })
    }
}

/// Takes `#[from(..)]` off a parameter: it is ours, and rustc does not know it.
fn take_from(parameter: &mut FnArg) -> Option<Attribute> {
    let attrs = match parameter {
        FnArg::Receiver(receiver) => &mut receiver.attrs,
        FnArg::Typed(typed) => &mut typed.attrs,
    };
    let at = attrs
        .iter()
        .position(|attribute| attribute.path().is_ident("from"))?;
    Some(attrs.remove(at))
}

impl ToTokens for ImplBlock {
    /// As it was written, with our attributes marked as read.
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.header.to_tokens(tokens);
        let mut body = TokenStream::new();
        for item in &self.items {
            match item {
                Item::Method(method) => method.to_tokens(&mut body),
                Item::Other(other) => other.to_tokens(&mut body),
                Item::Token(token) => token.to_tokens(&mut body),
            }
        }
        let mut braces = Group::new(Delimiter::Brace, body);
        braces.set_span(self.braces);
        braces.to_tokens(tokens);
    }
}

impl ToTokens for Method {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
            attrs,
            roles,
            vis,
            sig,
            body,
            ..
        } = self;
        if roles.is_empty() {
            return quote!(#(#attrs)* #vis #sig #body).to_tokens(tokens);
        }
        let roles = roles.iter().map(|role| marked(&role.attribute));
        let sig = with_context_lifetime(sig.clone());
        let allowed = quote! {
            #[allow(
                clippy::borrowed_box,
                clippy::needless_pass_by_value,
                clippy::ptr_arg,
                clippy::ref_option,
                clippy::too_many_arguments,
                clippy::trivially_copy_pass_by_ref,
                clippy::unnecessary_wraps,
                clippy::unused_async,
                clippy::unused_self,
                reason = "the saga asks for this signature"
            )]
        };
        // Ours first, where they stand: what rustc says of a token, it says twice if it has another place here.
        quote!(#(#attrs)* #(#roles)* #allowed #vis #sig #body).to_tokens(tokens);
    }
}

/// `ctx: &StepContext` as `&StepContext<'_>`: an `async fn` wants the lifetime written, and nobody wants to read it.
fn with_context_lifetime(mut sig: Signature) -> Signature {
    for input in &mut sig.inputs {
        let FnArg::Typed(parameter) = input else {
            continue;
        };
        write_context_lifetime(&mut parameter.ty);
    }
    sig
}

/// In the type of one parameter.
pub(crate) fn write_context_lifetime(mut ty: &mut Type) {
    while let Type::Group(group) = ty {
        ty = &mut group.elem;
    }
    if let Type::Reference(reference) = ty
        && let Type::Path(path) = &mut *reference.elem
        && let Some(last) = path.path.segments.last_mut()
        && last.ident == "StepContext"
        && last.arguments.is_none()
    {
        let span = last.ident.span();
        last.arguments = PathArguments::AngleBracketed(parse_quote_spanned!(span=> <'_>));
    }
}
