//! What the disk store makes of the disk: `cargo bench -p mosaik-storage`.
//!
//! Prints the fsyncs a second of the disk, the acknowledged writes a second with 64 writers that each
//! wait for their own, and the time to reopen a log of 1,000,000 entries. The directory is
//! `MOSAIK_BENCH_DIR`, or the one for temporary files: make sure that it is on the disk in question.
//! Rounds of fsyncs and of writes take turns, because other work on the disk shifts both.

use {
    core::time::Duration,
    mosaik_storage::{Completion, DiskStore, Entry, GroupId, Incarnation, LogStore, WriteBatch},
    std::{
        env,
        fs::{self, File},
        io::{self, Seek, SeekFrom, Write},
        path::{Path, PathBuf},
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        task::{Wake, Waker},
        thread::{self, Thread},
        time::Instant,
    },
};

const WRITERS: usize = 64;
const PAYLOAD_LEN: usize = 256;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);
const RECOVERED: u64 = 1_000_000;
const RECOVERED_PAYLOAD_LEN: usize = 64;

fn main() {
    // `cargo test --benches` calls with this argument and wants no measurement.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let root = env::var_os("MOSAIK_BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let root = root.join(format!("mosaik-storage-bench-{}", std::process::id()));
    fs::create_dir_all(&root).expect("the directory for measurements is writable");
    throughput(&root);
    recovery(&root);
    fs::remove_dir_all(&root).expect("the directory for measurements is ours");
}

fn throughput(root: &Path) {
    println!("round | fsyncs/s | writes/s, 64 threads | ratio | writes/s, 64 in flight | ratio");
    let mut many = DiskStore::open(root.join("many")).expect("opens");
    let mut one = DiskStore::open(root.join("one")).expect("opens");
    let mut next = vec![1; WRITERS];
    for number in 0..WRITERS {
        many.open(group(number), Incarnation(1)).expect("creates");
    }
    one.open(group(0), Incarnation(1)).expect("creates");
    let mut last = 0;
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let before = fsyncs_per_second(root).expect("the disk syncs");
        let threads = threads_round(&many, &mut next);
        let pipelined = pipelined_round(&mut one, &mut last);
        let fsyncs = before.max(fsyncs_per_second(root).expect("the disk syncs"));
        let [a, b] = [threads, pipelined].map(|writes| writes / (WRITERS as f64 * fsyncs));
        println!("{round} | {fsyncs:.0} | {threads:.0} | {a:.2} | {pipelined:.0} | {b:.2}");
        ratios.push((a, b));
    }
    let median = |mut ratios: Vec<f64>| {
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    let a = median(ratios.iter().map(|ratio| ratio.0).collect());
    let b = median(ratios.iter().map(|ratio| ratio.1).collect());
    println!("median of writes/s per 64 x fsyncs/s: 64 threads {a:.2}, 64 in flight {b:.2}");
    println!("goal: 0.70; an fsync covers as many bytes as 64 writes, in a file of final size");
}

/// The fastest honest baseline: the bytes of 64 writes, in place, then `fdatasync`.
fn fsyncs_per_second(root: &Path) -> io::Result<f64> {
    let path = root.join("baseline");
    let mut file = File::create(&path)?;
    let block = vec![7; WRITERS * PAYLOAD_LEN];
    let blocks = 64;
    for _ in 0..blocks {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < ROUND / 3 {
        file.seek(SeekFrom::Start(count % blocks * block.len() as u64))?;
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

fn group(number: usize) -> GroupId {
    GroupId::hash(&number.to_le_bytes())
}

fn append(number: usize, index: u64) -> WriteBatch {
    let payload = vec![index as u8; PAYLOAD_LEN].into();
    WriteBatch::new(group(number)).append([Entry {
        index,
        term: 1,
        payload,
    }])
}

/// Threads that each write to their group and wait for it.
fn threads_round(store: &DiskStore, next: &mut [u64]) -> f64 {
    let stop = AtomicBool::new(false);
    let total = AtomicU64::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for (number, next) in next.iter_mut().enumerate() {
            let mut store = store.clone();
            let (stop, total) = (&stop, &total);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    store.write(append(number, *next)).expect("writes");
                    *next += 1;
                    total.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(ROUND);
        stop.store(true, Ordering::Relaxed);
    });
    total.into_inner() as f64 / began.elapsed().as_secs_f64()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// One driver of one group that keeps 64 writes in flight.
fn pipelined_round(store: &mut DiskStore, last: &mut u64) -> f64 {
    store.wake_on_completion(&Waker::from(Arc::new(Unpark(thread::current()))));
    let mut completions: Vec<Completion> = Vec::new();
    let (mut in_flight, mut done) = (0, 0);
    let began = Instant::now();
    loop {
        let running = began.elapsed() < ROUND;
        while running && in_flight < WRITERS {
            *last += 1;
            store.submit(append(0, *last)).expect("the queue has room");
            in_flight += 1;
        }
        store.completed(&mut completions);
        if completions.is_empty() {
            if in_flight == 0 {
                break;
            }
            thread::park();
        }
        for completion in completions.drain(..) {
            completion.result.expect("writes");
            in_flight -= 1;
            done += 1;
        }
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

fn recovery(root: &Path) {
    let directory = root.join("recovery");
    let killed = root.join("killed");
    fs::create_dir_all(&killed).expect("creates");
    {
        let mut store = DiskStore::open(&directory).expect("opens");
        store.open(group(0), Incarnation(1)).expect("creates");
        let mut index = 0;
        while index < RECOVERED {
            let entries = (index + 1..=index + 10_000).map(|index| Entry {
                index,
                term: 1,
                payload: vec![index as u8; RECOVERED_PAYLOAD_LEN].into(),
            });
            store
                .write(WriteBatch::new(group(0)).append(entries))
                .expect("writes");
            index += 10_000;
        }
        // The file of a process that ended without closing it.
        fs::copy(directory.join("groups.redb"), killed.join("groups.redb")).expect("copies");
    }
    for (name, directory) in [
        ("after a clean end", &directory),
        ("after a crash", &killed),
    ] {
        let began = Instant::now();
        let mut store = DiskStore::open(directory).expect("opens");
        let opened = began.elapsed();
        let state = store.load(group(0)).expect("is whole").expect("exists");
        let verified = began.elapsed();
        assert_eq!(state.last.index, RECOVERED);
        let (mut next, mut count) = (1, 0);
        while next <= RECOVERED {
            let entries = store
                .entries(group(0), next..=RECOVERED, 4 << 20)
                .expect("reads");
            next += entries.len() as u64;
            count += entries.len() as u64;
        }
        assert_eq!(count, RECOVERED);
        let [opened, verified, read] =
            [opened, verified, began.elapsed()].map(|time| time.as_secs_f64());
        println!(
            "1,000,000 entries {name}: open {opened:.2} s, verified {verified:.2} s, all read \
             {read:.2} s (goal: 2 s)"
        );
    }
}
