//! The process-wide address book: where the networks of this process listen.
//!
//! It lets a peer id be dialled within one process without relay, DNS or multicast. It only
//! resolves ids that are dialled; it never introduces nodes to each other.

use {
    crate::PeerId,
    futures::{StreamExt, stream, stream::BoxStream},
    iroh::{
        EndpointAddr,
        address_lookup::{AddressLookup, EndpointInfo, Error, Item},
    },
    parking_lot::Mutex,
    std::{collections::HashMap, sync::LazyLock},
};

static BOOK: LazyLock<Mutex<HashMap<PeerId, EndpointAddr>>> = LazyLock::new(Mutex::default);

/// Resolves the ids of this process' own networks.
#[derive(Debug)]
pub(crate) struct AddressBook;

/// An address stays in the book as long as its listing.
#[derive(Debug)]
pub(crate) struct Listing(PeerId);

impl Listing {
    pub(crate) fn new(addr: EndpointAddr) -> Self {
        let id = addr.id;
        BOOK.lock().insert(id, addr);
        Self(id)
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        BOOK.lock().remove(&self.0);
    }
}

impl AddressLookup for AddressBook {
    fn resolve(&self, id: PeerId) -> Option<BoxStream<'static, Result<Item, Error>>> {
        let addr = BOOK.lock().get(&id).cloned()?;
        let item = Item::new(EndpointInfo::from(addr), "mosaik-process", None);
        Some(stream::iter([Ok(item)]).boxed())
    }
}
