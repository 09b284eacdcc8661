//! What a failing disk, a damaged file and a second process get.

mod common;

use {
    common::{GROUP, OnDisk, TemporaryDirectory, batch, entry, open},
    mosaik_storage::{
        DiskOptions, DiskStore, Entry, Incarnation, LogStore, Medium, OpenError, StoreError,
        conformance::Fixture,
        faulty::{FaultPlan, FaultyStore, SimulatedDisk, SplitMix},
    },
    std::{fs, sync::Arc},
};

/// A simulated disk with a closed store of a log of `count` entries.
fn written(count: u64) -> Arc<SimulatedDisk> {
    let disk = Arc::new(SimulatedDisk::new(1));
    let mut store = open(&disk);
    store.open(GROUP, Incarnation(1)).expect("opens");
    store
        .write(batch().append((1..=count).map(entry)))
        .expect("writes");
    store
        .write(batch().stage(0, "chunk").hard_state("vote"))
        .expect("writes");
    disk
}

fn log(store: &mut DiskStore) -> Result<Vec<Entry>, StoreError> {
    store.entries(GROUP, 0..=u64::MAX, usize::MAX)
}

fn try_open(disk: &Arc<SimulatedDisk>) -> Result<DiskStore, OpenError> {
    DiskStore::open_medium(disk.clone(), "disk", DiskOptions::DEFAULT)
}

#[test]
fn a_failed_fsync_stops_the_store_and_is_never_tried_again() {
    let disk = written(3);
    let mut store = open(&disk);
    disk.fail_next_sync();
    let error = store
        .write(batch().append([entry(4)]))
        .expect_err("the fsync failed");
    assert!(
        matches!(
            &error,
            StoreError::Io {
                operation: "fsync",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.may_be_applied() && error.is_fatal());
    let (image, syncs) = (disk.image(), disk.syncs());
    let stopped = store
        .write(batch().append([entry(4)]))
        .expect_err("the store stopped");
    assert!(matches!(stopped, StoreError::Stopped { .. }), "{stopped}");
    assert!(matches!(store.load(GROUP), Err(StoreError::Stopped { .. })));
    drop(store);
    assert_eq!(disk.syncs(), syncs, "no later fsync could tell the truth");
    assert!(disk.image() == image, "not even closing wrote to the file");
    disk.restore_power();
    let mut store = open(&disk);
    assert_eq!(log(&mut store), Ok((1..=3).map(entry).collect()));
}

#[test]
fn a_failed_write_stops_the_store_and_loses_nothing_acknowledged() {
    let disk = written(3);
    let mut store = open(&disk);
    disk.fail_next_write();
    let error = store
        .write(batch().append([entry(4)]))
        .expect_err("the write failed");
    assert!(
        matches!(
            &error,
            StoreError::Io {
                operation: "write",
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(store.groups(), Err(StoreError::Stopped { .. })));
    drop(store);
    let log = log(&mut open(&disk)).expect("reads");
    assert!(
        log.len() == 3 || log.len() == 4,
        "the doubtful batch is there whole or not"
    );
}

#[test]
fn a_full_disk_fails_the_batch_and_takes_later_ones_when_there_is_room() {
    let disk = written(3);
    let mut store = open(&disk);
    let len = disk.len().expect("the disk works");
    // Room for a small batch, which may want some pages more.
    disk.set_capacity(2 * len);
    let large = |index| Entry {
        index,
        term: 9,
        payload: vec![7; 32 << 20].into(),
    };
    let error = store
        .write(batch().append([large(4)]))
        .expect_err("the disk is full");
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert!(!error.may_be_applied() && !error.is_fatal());
    assert_eq!(
        log(&mut store),
        Ok((1..=3).map(entry).collect()),
        "reads go on"
    );
    store
        .write(batch().append([entry(4)]))
        .expect("what fits is taken");
    disk.set_capacity(u64::MAX);
    store
        .write(batch().append([large(5)]))
        .expect("there is room again");
    drop(store);
    let log = log(&mut open(&disk)).expect("reads");
    assert_eq!(log.len(), 5);
    assert_eq!(log[4], large(5));
}

/// Opens a damaged file and reads everything. Whatever is read must be what was written.
fn read_damaged(disk: &Arc<SimulatedDisk>, count: u64) -> Result<(), String> {
    let mut store = match try_open(disk) {
        Ok(store) => store,
        Err(OpenError::Store(StoreError::Corrupt {
            file,
            position,
            what,
        })) => {
            assert!(file == "disk" && !position.is_empty() && !what.is_empty());
            return Err(position);
        }
        Err(other) => panic!("damage is named as such: {other}"),
    };
    let state = match store.load(GROUP) {
        Ok(state) => state.expect("a group does not vanish"),
        Err(StoreError::Corrupt {
            file,
            position,
            what,
        }) => {
            assert!(file == "disk" && !position.is_empty() && !what.is_empty());
            let again = store.write(batch().hard_state("new vote"));
            assert!(
                again.is_err_and(|error| error.is_fatal()),
                "a damaged group takes nothing"
            );
            return Err(position);
        }
        Err(other) => panic!("damage is named as such: {other}"),
    };
    assert_eq!(state.last.index, count);
    assert_eq!(state.hard_state, Some("vote".into()));
    assert_eq!(log(&mut store), Ok((1..=count).map(entry).collect()));
    Ok(())
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let count = 400;
    let pristine = written(count);
    let len = pristine.len().expect("the disk works");
    let image = pristine.image();
    let used: Vec<u64> = (0..len)
        .filter(|&offset| image[offset as usize] != 0)
        .collect();
    let mut rng = SplitMix::new(3);
    let mut found = 0;
    for _ in 0..400 {
        let disk = Arc::new(SimulatedDisk::new(1));
        disk.set_len(len)
            .and_then(|()| disk.write(0, &image))
            .expect("the disk works");
        let offset = used[rng.below(used.len() as u64) as usize];
        disk.flip_bit(offset, rng.below(8) as u8);
        found += u64::from(read_damaged(&disk, count).is_err());
    }
    // The rest of the bytes are of earlier commits, or say which pages are free.
    assert!(found > 30, "many of the used bytes matter: {found}");
}

#[test]
fn damage_is_named_with_file_and_place_and_is_there_at_every_opening() {
    let disk = written(50);
    let image = disk.image();
    let needle = b"payload of 33";
    let place = image
        .windows(needle.len())
        .position(|window| window == needle);
    disk.flip_bit(place.expect("the entry is in the file") as u64 + 4, 2);
    for _ in 0..2 {
        let position = read_damaged(&disk, 50).expect_err("the damage is found");
        assert!(
            position.contains("33") && position.contains(&GROUP.to_string()),
            "{position}"
        );
    }
}

#[test]
fn an_emptied_or_shortened_file_is_refused_not_started_over() {
    let directory = TemporaryDirectory::new("shortened");
    let mut store = DiskStore::open(directory.path()).expect("opens");
    store.open(GROUP, Incarnation(1)).expect("creates");
    store
        .write(batch().append((1..=2_000).map(entry)))
        .expect("writes");
    drop(store);
    let whole = fs::read(directory.file()).expect("reads");
    for len in [0, 100, 4_096, whole.len() / 4] {
        fs::write(directory.file(), &whole[..len]).expect("writes");
        let opened = DiskStore::open(directory.path());
        let refused = match opened {
            Ok(mut store) => store.load(GROUP).map(|_| ()).map_err(OpenError::Store),
            Err(error) => Err(error),
        };
        let error = refused.expect_err("a part of a file is no store");
        let named = matches!(&error, OpenError::Store(StoreError::Corrupt { file, .. })
            if file.ends_with("groups.redb"));
        assert!(named, "{len} bytes: {error}");
    }
    fs::write(directory.file(), &whole).expect("writes");
    let mut store = DiskStore::open(directory.path()).expect("the whole file is a store again");
    assert_eq!(log(&mut store).expect("reads").len(), 2_000);
}

#[test]
fn a_directory_is_open_once_at_a_time() {
    let directory = TemporaryDirectory::new("locked");
    let store = DiskStore::open(directory.path()).expect("opens");
    let handle = store.clone();
    drop(store);
    let second = DiskStore::open(directory.path());
    assert!(
        matches!(second, Err(OpenError::Locked { .. })),
        "a handle is left"
    );
    drop(handle);
    DiskStore::open(directory.path()).expect("the last handle is gone");
}

#[test]
fn dropping_the_last_handle_writes_what_was_submitted() {
    let mut fixture = OnDisk::new("dropped");
    let mut store = fixture.fresh();
    store.open(GROUP, Incarnation(1)).expect("creates");
    for index in 1..=50 {
        store
            .submit(batch().append([entry(index)]))
            .expect("there is room");
    }
    let mut store = fixture.reopen(store);
    assert_eq!(log(&mut store), Ok((1..=50).map(entry).collect()));
}

#[test]
fn what_a_faulty_store_does_follows_from_its_seed() {
    let run = |seed| {
        let plan = FaultPlan {
            auto_sync: false,
            no_space_permille: 100,
            sync_error_permille: 50,
            damage_permille: 20,
        };
        let mut store = FaultyStore::new(mosaik_storage::MemoryStore::new(), seed, FaultPlan::NONE);
        store.open(GROUP, Incarnation(1)).expect("creates");
        store.set_plan(plan);
        let mut trace = Vec::new();
        for index in 1..=300 {
            // Gaps behind a failed batch are refused, which is part of the trace.
            store
                .submit(batch().append([entry(index)]))
                .expect("there is room");
            if index % 3 == 0 {
                store.sync(2);
            }
            let mut completions = Vec::new();
            store.completed(&mut completions);
            trace.push(format!("{completions:?}"));
            if index % 50 == 0 {
                trace.push(format!("{:?}", store.crash()));
            }
        }
        trace
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
