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
    std::{
        collections::{BTreeMap, HashMap},
        sync::LazyLock,
    },
};

static BOOK: LazyLock<Mutex<Book>> = LazyLock::new(Mutex::default);

/// Where each id listens, by listing: one that starts again with its key may overlap with what it
/// was before.
#[derive(Default)]
struct Book {
    listings: u64,
    addresses: HashMap<PeerId, BTreeMap<u64, EndpointAddr>>,
}

/// Resolves the ids of this process' own networks.
#[derive(Debug)]
pub(crate) struct AddressBook;

/// An address stays in the book as long as its listing; of several, the latest is used.
#[derive(Debug)]
pub(crate) struct Listing {
    id: PeerId,
    number: u64,
}

impl Listing {
    pub(crate) fn new(addr: EndpointAddr) -> Self {
        let id = addr.id;
        let mut book = BOOK.lock();
        let number = book.listings;
        book.listings += 1;
        book.addresses.entry(id).or_default().insert(number, addr);
        drop(book);
        Self { id, number }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        let mut book = BOOK.lock();
        let Some(addresses) = book.addresses.get_mut(&self.id) else {
            return;
        };
        addresses.remove(&self.number);
        if addresses.is_empty() {
            book.addresses.remove(&self.id);
        }
    }
}

impl AddressLookup for AddressBook {
    fn resolve(&self, id: PeerId) -> Option<BoxStream<'static, Result<Item, Error>>> {
        let addr = BOOK
            .lock()
            .addresses
            .get(&id)?
            .values()
            .next_back()
            .cloned()?;
        let item = Item::new(EndpointInfo::from(addr), "mosaik-process", None);
        Some(stream::iter([Ok(item)]).boxed())
    }
}
