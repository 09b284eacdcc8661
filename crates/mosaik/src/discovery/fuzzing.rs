//! Discovery's decoders, for `crate::fuzzing`.

use {
    super::wire::{Datagram, Greeting},
    bytes::Bytes,
};

pub(crate) fn greeting(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let Some(greeting) = Greeting::decode(&bytes) else {
        return false;
    };
    assert_eq!(greeting.encode(), bytes, "encoding changed it");
    true
}

pub(crate) fn datagram(bytes: &[u8]) -> bool {
    let Some(datagram) = Datagram::decode(bytes) else {
        return false;
    };
    assert_eq!(datagram.encode(), bytes, "encoding changed it");
    true
}

/// What lies in the rendezvous directory.
#[cfg(unix)]
pub(crate) fn note(bytes: &[u8]) -> bool {
    super::rendezvous::fuzz_note(bytes)
}

#[cfg(not(unix))]
pub(crate) fn note(_: &[u8]) -> bool {
    false
}
