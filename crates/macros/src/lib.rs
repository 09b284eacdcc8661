//! The procedural half of mosaik's declaration macros.
//!
//! Each macro here is hidden and takes `$crate ;` in front of its input; the facade wraps it in a
//! `macro_rules!` of the public name that passes its own `$crate`. So the expansion finds the
//! facade under whatever name a program depends on it or re-exports it.
//!
//! Absent on purpose: any knowledge of what streams do. The expansion only calls the builders.

use proc_macro2::TokenStream;

mod generics;
mod id;
mod input;
mod stream;

/// A 32-byte identifier from a string literal, computed at compile time.
#[doc(hidden)]
#[proc_macro]
pub fn __unique_id_impl(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    run(input, id::expand)
}

/// A stream definition: a type that opens producers and consumers of one stream.
#[doc(hidden)]
#[proc_macro]
pub fn __stream_impl(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    run(input, stream::expand)
}

fn run(
    input: proc_macro::TokenStream,
    expand: fn(TokenStream) -> syn::Result<TokenStream>,
) -> proc_macro::TokenStream {
    expand(input.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
