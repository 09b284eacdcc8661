//! `unique_id!`: text to identifier, in the one way the project has.

use {
    proc_macro2::{Literal, TokenStream, TokenTree},
    quote::quote,
    syn::{LitStr, parse::Parser},
};

/// The bytes of an identifier: exactly 64 hexadecimal characters are decoded, other text hashed.
fn bytes_of(text: &str) -> [u8; 32] {
    // `from_hex` also refuses what is not exactly 64 characters.
    match blake3::Hash::from_hex(text) {
        Ok(hash) => *hash.as_bytes(),
        Err(_) => *blake3::hash(text.as_bytes()).as_bytes(),
    }
}

/// Tokens of a constant expression of type `UniqueId`.
pub(crate) fn from_text(facade: &TokenTree, text: &str) -> TokenStream {
    let bytes = bytes_of(text).map(Literal::u8_suffixed);
    quote!(#facade::UniqueId::from_bytes([#(#bytes),*]))
}

/// Expands `$crate ; "text"`.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let parse = |input: syn::parse::ParseStream<'_>| {
        let facade = crate::input::facade(input)?;
        let text: LitStr = input.parse()?;
        input.parse::<Option<syn::token::Comma>>()?;
        Ok(from_text(&facade, &text.value()))
    };
    parse.parse2(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_a_literal_is_refused() {
        let error = expand(quote!(krate; some_constant)).unwrap_err();
        assert_eq!(error.to_string(), "expected string literal");
        assert!(expand(quote!(krate; "a", "b")).is_err());
    }

    #[test]
    fn only_64_hex_characters_are_decoded() {
        let hex = "0123456789abcdefABCDEF0123456789ffffffffffffffffffffffffffffffff";
        assert_eq!(bytes_of(hex)[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(
            bytes_of(&hex[2..]),
            *blake3::hash(&hex.as_bytes()[2..]).as_bytes()
        );
        let not_hex = "g".repeat(64);
        assert_eq!(
            bytes_of(&not_hex),
            *blake3::hash(not_hex.as_bytes()).as_bytes()
        );
    }
}
