//! What the inputs of all macros have in common.

use {
    proc_macro2::TokenTree,
    quote::ToTokens,
    syn::{
        Expr, ExprLit, Lit, Token,
        parse::{Parse, ParseStream},
        token::{Comma, PathSep},
    },
};

/// The `$crate ;` that the facade passes in front, as one token that names the facade.
pub(crate) fn facade(input: ParseStream<'_>) -> syn::Result<TokenTree> {
    let facade = input.parse()?;
    input.parse::<Token![;]>()?;
    Ok(facade)
}

/// An identifier: a string literal whose bytes are computed here, or an expression of the
/// identifier's type.
pub(crate) struct IdExpr(Expr);

impl Parse for IdExpr {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.parse().map(Self)
    }
}

impl IdExpr {
    /// Tokens of an expression of type `UniqueId`.
    pub(crate) fn tokens(&self, facade: &TokenTree) -> proc_macro2::TokenStream {
        let mut expr = &self.0;
        // What a `macro_rules!` captured as an expression arrives in an invisible group.
        while let Expr::Group(group) = expr {
            expr = &group.expr;
        }
        match expr {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => crate::id::from_text(facade, &text.value()),
            other => other.to_token_stream(),
        }
    }
}

/// One `[side] key: value`.
pub(crate) struct Entry {
    pub(crate) side: Option<syn::Ident>,
    pub(crate) key: syn::Ident,
    pub(crate) value: Expr,
}

impl Entry {
    /// Whether `input` starts with `key:` or `side key:` rather than with an expression.
    pub(crate) fn is_next(input: ParseStream<'_>) -> bool {
        let colon = |is_colon: bool, is_path: bool| is_colon && !is_path;
        input.peek(syn::Ident)
            && (colon(input.peek2(Token![:]), input.peek2(PathSep))
                || input.peek2(syn::Ident) && colon(input.peek3(Token![:]), input.peek3(PathSep)))
    }
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let first = input.parse()?;
        let (side, key) = if input.peek(syn::Ident) {
            (Some(first), input.parse()?)
        } else {
            (None, first)
        };
        input.parse::<Token![:]>()?;
        Ok(Self {
            side,
            key,
            value: input.parse()?,
        })
    }
}

/// The rest of a definition: an optional identifier, then entries, each after a comma.
pub(crate) fn id_and_entries(input: ParseStream<'_>) -> syn::Result<(Option<IdExpr>, Vec<Entry>)> {
    let (mut id, mut entries) = (None, Vec::new());
    while !input.is_empty() {
        input.parse::<Comma>()?;
        if input.is_empty() {
            break;
        }
        if id.is_none() && entries.is_empty() && !Entry::is_next(input) {
            id = Some(input.parse()?);
        } else {
            entries.push(input.parse()?);
        }
    }
    Ok((id, entries))
}
