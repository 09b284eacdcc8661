//! The type that a definition becomes.

use {
    proc_macro2::TokenStream,
    quote::quote,
    syn::{Attribute, GenericParam, Generics, Ident, Visibility},
};

/// `struct Name;`, or a struct around a `PhantomData` of its parameters.
pub(crate) fn definition(
    attrs: &[Attribute],
    vis: &Visibility,
    name: &Ident,
    generics: &Generics,
) -> TokenStream {
    let body = if generics.params.is_empty() {
        quote!(;)
    } else {
        let params = phantom_params(generics);
        quote!((::core::marker::PhantomData<fn() -> #params>);)
    };
    quote! {
        #(#attrs)*
        #[allow(non_camel_case_types)]
        #vis struct #name #generics #body
    }
}

/// The parameter when there is one, a tuple otherwise. Const parameters need no use.
fn phantom_params(generics: &Generics) -> TokenStream {
    let mut params: Vec<_> = generics
        .params
        .iter()
        .filter_map(|param| match param {
            GenericParam::Type(param) => {
                let ident = &param.ident;
                Some(quote!(#ident))
            }
            GenericParam::Lifetime(param) => {
                let lifetime = &param.lifetime;
                Some(quote!(&#lifetime ()))
            }
            GenericParam::Const(_) => None,
        })
        .collect();
    if params.len() == 1 {
        params.remove(0)
    } else {
        quote!((#(#params),*))
    }
}

/// The `#[cfg]`s among the attributes: the implementations must vanish together with the type.
pub(crate) fn cfgs(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg"))
        .collect()
}
