//! `stream!`: a definition of a stream becomes a type that opens its producers and consumers.
//!
//! A side in front of `require` and `require_ticket` says who must satisfy the requirement. The
//! other side enforces it, so the call goes to the opposite builder. Without a side, both do.

use {
    crate::{
        generics,
        input::{Entry, IdExpr, facade, id_and_entries},
    },
    proc_macro2::{Span, TokenStream, TokenTree},
    quote::{format_ident, quote},
    syn::{
        Attribute, Generics, Ident, Token, Type, Visibility,
        parse::{Parse, ParseStream},
    },
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Producer,
    Consumer,
}

impl Side {
    fn parse(ident: &Ident) -> Option<Self> {
        match ident.to_string().as_str() {
            "producer" => Some(Self::Producer),
            "consumer" => Some(Self::Consumer),
            _ => None,
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Producer => Self::Consumer,
            Self::Consumer => Self::Producer,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// One call on the builder of one side, or of both.
struct Call {
    side: Option<Side>,
    method: Ident,
    value: syn::Expr,
}

struct Definition {
    facade: TokenTree,
    attrs: Vec<Attribute>,
    vis: Visibility,
    /// The only side to generate, if not both.
    only: Option<Side>,
    name: Ident,
    generics: Generics,
    datum: Type,
    id: Option<IdExpr>,
    calls: Vec<Call>,
}

impl Parse for Definition {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let facade = facade(input)?;
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let first: Ident = input.parse()?;
        let (only, name) = if input.peek(Ident) {
            let Some(side) = Side::parse(&first) else {
                return Err(syn::Error::new(
                    first.span(),
                    "expected `producer` or `consumer`",
                ));
            };
            (Some(side), input.parse()?)
        } else {
            (None, first)
        };
        let generics = input.parse()?;
        input.parse::<Token![=]>()?;
        let datum = input.parse()?;
        let (id, entries) = id_and_entries(input)?;
        let calls = entries.into_iter().map(call).collect::<syn::Result<_>>()?;
        Ok(Self {
            facade,
            attrs,
            vis,
            only,
            name,
            generics,
            datum,
            id,
            calls,
        })
    }
}

/// Which builder method an entry calls, and on which side's builder.
fn call(Entry { side, key, value }: Entry) -> syn::Result<Call> {
    let named =
        match &side {
            None => None,
            Some(ident) => Some(Side::parse(ident).ok_or_else(|| {
                syn::Error::new(ident.span(), "expected `producer` or `consumer`")
            })?),
        };
    let one_side = |owner: Side| match named {
        Some(named) if named != owner => Err(syn::Error::new(
            key.span(),
            format!("`{key}` is a {}-side config key", owner.name()),
        )),
        _ => Ok(Some(owner)),
    };
    let (side, method) = match key.to_string().as_str() {
        "require" | "require_ticket" => (named.map(Side::opposite), key.to_string()),
        "online_when" => (named, key.to_string()),
        "max_consumers" => (one_side(Side::Producer)?, "with_max_consumers".into()),
        "buffer_size" => (one_side(Side::Producer)?, "with_buffer_size".into()),
        "disconnect_lagging" => (one_side(Side::Producer)?, key.to_string()),
        "criteria" => (one_side(Side::Consumer)?, "with_criteria".into()),
        "backoff" => (one_side(Side::Consumer)?, "with_backoff".into()),
        unknown => {
            let message = format!("unknown stream config key `{unknown}`");
            return Err(syn::Error::new(key.span(), message));
        }
    };
    Ok(Call {
        side,
        method: Ident::new(&method, key.span()),
        value,
    })
}

impl Definition {
    fn expand(&self) -> TokenStream {
        let definition = generics::definition(&self.attrs, &self.vis, &self.name, &self.generics);
        let sides = [Side::Producer, Side::Consumer];
        let impls = sides
            .into_iter()
            .filter(|side| self.only.is_none_or(|only| only == *side))
            .map(|side| self.implementation(side));
        quote!(#definition #(#impls)*)
    }

    fn implementation(&self, side: Side) -> TokenStream {
        let Self {
            facade,
            name,
            datum,
            ..
        } = self;
        let cfgs = generics::cfgs(&self.attrs);
        let (impl_generics, type_generics, where_clause) = self.generics.split_for_impl();
        let (trait_name, handle) = match side {
            Side::Producer => (format_ident!("StreamProducer"), format_ident!("Producer")),
            Side::Consumer => (format_ident!("StreamConsumer"), format_ident!("Consumer")),
        };
        let open = format_ident!("{}", side.name());
        let online = format_ident!("online_{}", side.name());
        let body = self.open(side);
        // Hygienic, so that the expressions of the definition cannot name them.
        let network = Ident::new("network", Span::mixed_site());
        let opened = Ident::new("opened", Span::mixed_site());
        let when = Ident::new("when", Span::mixed_site());
        // The mutex is never locked: it makes the future `Sync` for datums that are only `Send`.
        let whole = quote!(<Self as #facade::streams::#trait_name>);
        quote! {
            #(#cfgs)*
            #[automatically_derived]
            impl #impl_generics #facade::streams::#trait_name for #name #type_generics #where_clause {
                type #handle = #facade::streams::#handle<#datum>;

                fn #open(#network: &#facade::Network) -> Self::#handle {
                    #body
                }

                fn #online(
                    #network: &#facade::Network,
                ) -> impl ::core::future::Future<Output = Self::#handle>
                    + ::core::marker::Send
                    + ::core::marker::Sync
                    + 'static {
                    let #opened = #whole::#open(#network);
                    let #when = ::core::clone::Clone::clone(#opened.when());
                    let #opened = ::std::sync::Mutex::new(#opened);
                    async move {
                        #when.online().await;
                        ::std::sync::Mutex::into_inner(#opened)
                            .expect("nothing has locked it")
                    }
                }
            }
        }
    }

    /// The expression that opens one side.
    fn open(&self, side: Side) -> TokenStream {
        let Self { facade, datum, .. } = self;
        let network = Ident::new("network", Span::mixed_site());
        let stream_def = if let Some(id) = &self.id {
            let id = id.tokens(facade);
            quote!(#facade::streams::StreamDef::<#datum>::with_stream_id(#id))
        } else {
            quote!(#facade::streams::StreamDef::<#datum>::new())
        };
        let open = format_ident!("{}_of", side.name());
        let calls = self
            .calls
            .iter()
            .filter(|call| call.side.is_none_or(|called| called == side))
            .map(|Call { method, value, .. }| quote!(.#method(#value)));
        let build = quote!(#network.streams().#open(#stream_def) #(#calls)* .build());
        match side {
            Side::Consumer => build,
            Side::Producer => {
                let opened = Ident::new("opened", Span::mixed_site());
                quote! {
                    match #build {
                        ::core::result::Result::Ok(#opened) => #opened,
                        ::core::result::Result::Err(
                            #facade::streams::producer::BuilderError::AlreadyExists(#opened),
                        ) => #opened,
                    }
                }
            }
        }
    }
}

/// Expands `$crate ; definition`.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    syn::parse2::<Definition>(input).map(|definition| definition.expand())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input: &TokenStream) -> String {
        expand(quote!(krate; #input))
            .expect_err("the definition is refused")
            .to_string()
    }

    #[test]
    fn unknown_keys_are_named() {
        assert_eq!(
            error(&quote!(S = u8, colour: 1)),
            "unknown stream config key `colour`"
        );
        assert_eq!(
            error(&quote!(S = u8, "id", timeout: 1)),
            "unknown stream config key `timeout`"
        );
    }

    #[test]
    fn keys_of_one_side_are_refused_on_the_other() {
        for (input, text) in [
            (
                quote!(S = u8, consumer max_consumers: 1),
                "`max_consumers` is a producer-side config key",
            ),
            (
                quote!(S = u8, consumer buffer_size: 1),
                "`buffer_size` is a producer-side config key",
            ),
            (
                quote!(S = u8, consumer disconnect_lagging: true),
                "`disconnect_lagging` is a producer-side config key",
            ),
            (
                quote!(S = u8, producer criteria: c),
                "`criteria` is a consumer-side config key",
            ),
            (
                quote!(S = u8, producer backoff: b),
                "`backoff` is a consumer-side config key",
            ),
        ] {
            assert_eq!(error(&input), text);
        }
    }

    #[test]
    fn sides_are_producer_and_consumer() {
        let text = "expected `producer` or `consumer`";
        assert_eq!(error(&quote!(pub reader S = u8)), text);
        assert_eq!(error(&quote!(S = u8, caller require: |_| true)), text);
    }

    #[test]
    fn an_id_stands_before_the_keys_and_once() {
        assert!(!error(&quote!(S = u8, buffer_size: 1, "id")).is_empty());
        assert!(!error(&quote!(S = u8, "id", "again")).is_empty());
        assert!(!error(&quote!(S = u8 "id")).is_empty());
    }
}
