//! Programs as they are written against the public interface: what compiles here must go on
//! compiling. Signatures are pinned by giving them to something that takes nothing else.

#![allow(unreachable_pub, reason = "modules of one test binary")]

/// Refuses to compile unless the type has the bounds.
macro_rules! implements {
    ($type:ty: $($bound:tt)+) => {{
        fn check<T: $($bound)+>() {}
        check::<$type>();
    }};
}

mod datum;
mod declared;
mod defaults;
mod discovery;
mod discovery_entries;
mod errors;
mod futures;
mod groups_handles;
mod groups_machines;
mod groups_values;
mod network;
mod primitives;
mod streams;
mod streams_builders;
#[path = "../support/mod.rs"]
mod support;
