//! The store in a node's data directory: opened, refused where it is damaged, or set aside.
//!
//! Nothing is repaired here: what is damaged is left as it is, or moved as it is.

use {
    super::{NetworkId, error::Error},
    mosaik_primitives::ShortFmtExt,
    mosaik_storage::{DiskStore, LogStore, OpenError, StoreError, SyncObserver},
    std::{
        io,
        path::{Path, PathBuf},
        sync::Arc,
    },
};

/// What becomes of a data directory whose store is damaged.
///
/// Starting reads and checks every record of every group. What is damaged later shows when it is
/// read: the group stops on this node with [`Halted::Storage`](crate::groups::Halted::Storage),
/// the others go on, and the next start finds it.
///
/// A commit that a crash cut short is no damage: nobody was told of it, and it is cut off.
/// Neither is a disk that fails to read or write, which is [`Error::DataDir`] in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamagedData {
    /// The network does not start: [`Error::DamagedData`] names the file and the position, each
    /// time. Nothing that is stored is changed.
    #[default]
    Refuse,
    /// The store's files are moved, as they are, into a directory `damaged-N` within the data directory, an
    /// error is logged, and the network starts with an empty store and the same identity.
    /// [`Network::set_aside`](crate::Network::set_aside) tells where the files are.
    ///
    /// To its groups the node has then lost its disk. It is no voter any more, catches up from
    /// the others, and becomes a voter as its next life. What it had acknowledged is safe as long
    /// as a majority of each group keeps its data: **set aside one member's data at a time**,
    /// and wait until it votes again. Where it was the only member, its group is gone, and what
    /// can be saved of it is in the files.
    SetAside,
}

/// An open store.
pub(super) struct Opened {
    pub(super) store: DiskStore,
    /// Where another one was put that had stood in its place.
    pub(super) set_aside: Option<PathBuf>,
}

/// Opens the store of a data directory, in a thread that may wait for the disk.
pub(super) async fn open(
    directory: PathBuf,
    damaged: DamagedData,
    network: NetworkId,
) -> Result<Opened, Error> {
    let network = network.short().to_string();
    let syncs = metrics::histogram!("mosaik.groups.store.sync.seconds", "network" => network);
    let observer: SyncObserver = Arc::new(move |took| syncs.record(took));
    let opening = tokio::task::spawn_blocking(move || open_now(directory, damaged, &observer));
    let opened = opening.await.map_err(io::Error::other);
    opened.map_err(Error::DataDir)?
}

fn open_now(
    directory: PathBuf,
    damaged: DamagedData,
    observer: &SyncObserver,
) -> Result<Opened, Error> {
    let failed = |error: OpenError| Error::DataDir(io::Error::other(error));
    let damage = match checked(&directory, observer) {
        Ok(store) => {
            let set_aside = None;
            return Ok(Opened { store, set_aside });
        }
        Err(OpenError::Store(damage @ StoreError::Corrupt { .. })) => damage,
        Err(error) => return Err(failed(error)),
    };
    if damaged == DamagedData::Refuse {
        let damage = damage.to_string();
        return Err(Error::DamagedData { directory, damage });
    }
    let set_aside = DiskStore::set_aside(&directory).map_err(failed)?;
    tracing::error!(
        %damage,
        kept = %set_aside.display(),
        "the store is damaged and was set aside: this node's groups begin a new life on it"
    );
    let store = DiskStore::open_observed(&directory, observer).map_err(failed)?;
    let set_aside = Some(set_aside);
    Ok(Opened { store, set_aside })
}

/// The store, with every group checked: what a crash left behind is not at opening.
fn checked(directory: &Path, observer: &SyncObserver) -> Result<DiskStore, OpenError> {
    let mut store = DiskStore::open_observed(directory, observer)?;
    for group in store.groups()? {
        store.load(group)?;
    }
    Ok(store)
}
