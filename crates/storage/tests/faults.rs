//! What a failing disk, a damaged file and a second process get.

mod common;

use {
    common::{GROUP, OnDisk, TemporaryDirectory, batch, entry, open, try_open},
    mosaik_storage::{
        DiskStore, Entry, Incarnation, LogStore, OpenError, StoreError,
        conformance::Fixture,
        faulty::{FaultPlan, FaultyStore, SimulatedDisk, SplitMix},
    },
    std::{
        fs,
        sync::Arc,
        thread,
        time::{Duration, Instant},
    },
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
    // Room for some pages more of the tables.
    disk.set_capacity(disk.used() + (4 << 20));
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
            assert!(file.starts_with("disk") && !position.is_empty() && !what.is_empty());
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
            assert!(file.starts_with("disk") && !position.is_empty() && !what.is_empty());
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
    let mut rng = SplitMix::new(3);
    for crashed in [false, true] {
        let image = image_of(count, crashed);
        let used: Vec<(usize, usize)> = (0..image.len())
            .flat_map(|file| (0..image[file].len()).map(move |offset| (file, offset)))
            .filter(|&(file, offset)| image[file][offset] != 0)
            .collect();
        let mut found = 0;
        for _ in 0..300 {
            let (file, offset) = used[rng.below(used.len() as u64) as usize];
            let mut damaged = image.clone();
            damaged[file][offset] ^= 1 << rng.below(8);
            let disk = Arc::new(SimulatedDisk::with_image(1, &damaged));
            found += u64::from(read_damaged(&disk, count).is_err());
        }
        // The rest of the bytes are of earlier commits, or say which pages are free.
        assert!(found > 15, "many of the used bytes matter: {found}");
    }
}

/// What [`written`] leaves when it is closed, or what a crash leaves of it.
fn image_of(count: u64, crashed: bool) -> Vec<Vec<u8>> {
    let disk = written(count);
    if crashed {
        let mut store = open(&disk);
        // Damage of the last commit cannot be told from a torn one: that one changes nothing here.
        for _ in 0..2 {
            store.write(batch().hard_state("vote")).expect("writes");
        }
        store.load(GROUP).expect("loads");
        return disk.image();
    }
    disk.image()
}

#[test]
fn damage_is_named_with_file_and_place_and_is_there_at_every_opening() {
    let mut image = written(50).image();
    // Older versions of its page hold the entry as well.
    let needle = b"payload of 33";
    for place in 0..image[0].len() - needle.len() {
        if image[0][place..].starts_with(needle) {
            image[0][place + 4] ^= 4;
        }
    }
    let disk = Arc::new(SimulatedDisk::with_image(1, &image));
    for _ in 0..2 {
        let position = read_damaged(&disk, 50).expect_err("the damage is found");
        assert!(
            position.contains("33") && position.contains(&GROUP.to_string()),
            "{position}"
        );
    }
}

fn place_of(needle: &[u8], file: &[u8]) -> usize {
    let place = file
        .windows(needle.len())
        .position(|window| window == needle);
    place.expect("it is in the file")
}

/// The files as a crash leaves them while the journal is ahead of the durable tables.
fn journal_ahead(count: u64) -> Vec<Vec<u8>> {
    let disk = written(0);
    let mut store = open(&disk);
    for index in 1..=count {
        store.write(batch().append([entry(index)])).expect("writes");
    }
    disk.cut_power_after(0);
    drop(store);
    disk.restore_power();
    disk.image()
}

#[test]
fn a_torn_last_commit_of_the_journal_is_cut_off() {
    let mut image = journal_ahead(20);
    let place = place_of(b"payload of 20", &image[1]);
    image[1][place] ^= 1;
    let disk = Arc::new(SimulatedDisk::with_image(1, &image));
    let mut store = open(&disk);
    assert_eq!(log(&mut store), Ok((1..=19).map(entry).collect()));
    store
        .write(batch().append([entry(20)]))
        .expect("the store goes on");
    drop(store);
    assert_eq!(log(&mut open(&disk)), Ok((1..=20).map(entry).collect()));
}

#[test]
fn a_damaged_commit_inside_the_journal_is_refused_with_its_place() {
    let mut image = journal_ahead(20);
    let place = place_of(b"payload of 12", &image[1]);
    image[1][place] ^= 1;
    let disk = Arc::new(SimulatedDisk::with_image(1, &image));
    for _ in 0..2 {
        match try_open(&disk) {
            Err(OpenError::Store(StoreError::Corrupt { file, position, .. })) => {
                assert!(file.ends_with("journal-0"), "{file}");
                let byte: usize = position
                    .strip_prefix("byte ")
                    .expect("a byte")
                    .parse()
                    .unwrap();
                assert!(
                    (place - 200..place).contains(&byte),
                    "{position}, damage at {place}"
                );
            }
            other => panic!("a damaged journal is refused, not {other:?}"),
        }
    }
}

#[test]
fn an_emptied_shortened_or_missing_file_is_refused_not_started_over() {
    let directory = TemporaryDirectory::new("shortened");
    let mut store = DiskStore::open(directory.path()).expect("opens");
    store.open(GROUP, Incarnation(1)).expect("creates");
    store
        .write(batch().append((1..=2_000).map(entry)))
        .expect("writes");
    drop(store);
    for name in ["groups.redb", "journal-0", "journal-1"] {
        let file = directory.file(name);
        let whole = fs::read(&file).expect("reads");
        for len in [Some(0), Some(100), Some(4_096), Some(whole.len() / 4), None] {
            match len {
                Some(len) => fs::write(&file, &whole[..len]).expect("writes"),
                None => fs::remove_file(&file).expect("removes"),
            }
            let opened = DiskStore::open(directory.path());
            let refused = match opened {
                Ok(mut store) => store.load(GROUP).map(|_| ()).map_err(OpenError::Store),
                Err(error) => Err(error),
            };
            let error = refused.expect_err("a part of a store is no store");
            let named = matches!(&error, OpenError::Store(StoreError::Corrupt { file, .. })
                if file.ends_with(name));
            assert!(named, "{len:?} bytes: {error}");
        }
        fs::write(&file, &whole).expect("writes");
    }
    let mut store = DiskStore::open(directory.path()).expect("the whole files are a store again");
    assert_eq!(log(&mut store).expect("reads").len(), 2_000);
}

#[test]
fn a_store_that_is_set_aside_is_kept_whole_and_makes_room_for_an_empty_one() {
    let directory = TemporaryDirectory::new("set-aside");
    let files = ["groups.redb", "journal-0", "journal-1"];
    for life in 1..=2 {
        let mut store = DiskStore::open(directory.path()).expect("opens");
        assert_eq!(store.load(GROUP), Ok(None), "it is empty");
        store.open(GROUP, Incarnation(life)).expect("creates");
        let locked = DiskStore::set_aside(directory.path());
        assert!(
            matches!(locked, Err(OpenError::Locked { .. })),
            "{locked:?}"
        );
        drop(store);
        let before = files.map(|name| fs::read(directory.file(name)).expect("reads"));
        let kept = DiskStore::set_aside(directory.path()).expect("it is set aside");
        assert!(
            kept.ends_with(format!("damaged-{life}")),
            "{}",
            kept.display()
        );
        let after = files.map(|name| fs::read(kept.join(name)).expect("it is there"));
        assert!(before == after, "nothing was changed");
        let mut store = DiskStore::open(&kept).expect("it is a store like any other");
        let state = store.load(GROUP).expect("loads").expect("it is there");
        assert_eq!(state.incarnation, Incarnation(life));
    }
}

#[test]
fn a_crash_while_a_store_is_set_aside_leaves_what_is_refused_and_can_be_set_aside_again() {
    let directory = TemporaryDirectory::new("set-aside-twice");
    drop(DiskStore::open(directory.path()).expect("opens"));
    let half = directory.file("damaged-1");
    fs::create_dir(&half).expect("creates");
    fs::rename(directory.file("journal-0"), half.join("journal-0")).expect("moves");
    let refused = DiskStore::open(directory.path());
    let corrupt = matches!(refused, Err(OpenError::Store(StoreError::Corrupt { .. })));
    assert!(corrupt, "{refused:?}");
    let kept = DiskStore::set_aside(directory.path()).expect("it is set aside");
    assert!(kept.ends_with("damaged-2"));
    assert!(kept.join("groups.redb").exists() && kept.join("journal-1").exists());
    DiskStore::open(directory.path()).expect("the next one opens");
}

#[test]
fn batches_beyond_a_full_disk_are_refused_and_those_acknowledged_are_kept() {
    let disk = written(0);
    let mut store = open(&disk);
    disk.set_capacity(disk.used());
    let large = |index| Entry {
        index,
        term: 1,
        payload: vec![index as u8; 3_000].into(),
    };
    let mut last = 0;
    let mut refused = 0;
    while refused < 3 {
        match store.write(batch().append([large(last + 1)])) {
            Ok(()) => last += 1,
            Err(error) => {
                assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
                refused += 1;
            }
        }
        assert!(last < 10_000, "a disk that does not grow is full some time");
    }
    disk.set_capacity(u64::MAX);
    let deadline = Instant::now() + Duration::from_mins(1);
    while let Err(error) = store.write(batch().append([large(last + 1)])) {
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
        assert!(
            Instant::now() < deadline,
            "the store notices that there is room"
        );
        // Each attempt waits for the tables or fails at once, while those retry by the clock.
        thread::yield_now();
    }
    let expected: Vec<Entry> = (1..=last + 1).map(large).collect();
    assert_eq!(log(&mut store), Ok(expected.clone()));
    drop(store);
    assert_eq!(log(&mut open(&disk)), Ok(expected));
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
