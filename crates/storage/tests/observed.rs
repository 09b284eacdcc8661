//! What an observer of a store's syncs is told.

mod common;

use {
    common::{GROUP, TemporaryDirectory, batch, entry},
    mosaik_storage::{DiskStore, Incarnation, LogStore, SyncObserver},
    std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

#[test]
fn every_write_that_is_acknowledged_was_preceded_by_a_sync_that_was_observed() {
    let directory = TemporaryDirectory::new("observed");
    let syncs = Arc::new(AtomicU64::new(0));
    let observer: SyncObserver = {
        let syncs = Arc::clone(&syncs);
        Arc::new(move |_| {
            syncs.fetch_add(1, Ordering::SeqCst);
        })
    };
    let mut store = DiskStore::open_observed(directory.path(), &observer).expect("opens");
    store.open(GROUP, Incarnation(1)).expect("opens");
    for index in 1..=5 {
        let before = syncs.load(Ordering::SeqCst);
        store.write(batch().append([entry(index)])).expect("writes");
        assert!(syncs.load(Ordering::SeqCst) > before, "write {index}");
    }
    let held = store.entries(GROUP, 0..=u64::MAX, usize::MAX);
    assert_eq!(held.expect("read").len(), 5);
}
