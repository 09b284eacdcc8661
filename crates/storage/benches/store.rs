//! What the disk store makes of the disk: `cargo bench -p mosaik-storage`.
//!
//! Prints the fsyncs a second of the disk, the acknowledged writes a second with 64 writers that each
//! wait for their own (as threads; as futures would, on one thread; as one driver with 64 in
//! flight), and the time to reopen a log of 1,000,000 entries. The directory is
//! `MOSAIK_BENCH_DIR`, or the one for temporary files: make sure that it is on the disk in question.

use {
    core::time::Duration,
    mosaik_storage::{
        Completion, DiskOptions, DiskStore, Entry, FileMedium, GroupId, Incarnation, LogStore,
        Media, Medium, WriteBatch,
    },
    std::{
        env,
        fs::{self, File},
        io::{self, Seek, SeekFrom, Write},
        path::{Path, PathBuf},
        sync::{
            Arc, Mutex,
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

/// A file that measures what its disk costs.
#[derive(Debug)]
struct Timed {
    file: FileMedium,
    spent: Arc<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    syncs: AtomicU64,
    nanos: AtomicU64,
}

impl Spent {
    /// Fsyncs a second that the disk gave, with the writes before them, since the last call.
    fn take_rate(&self) -> f64 {
        let syncs = self.syncs.swap(0, Ordering::Relaxed) as f64;
        syncs * 1e9 / self.nanos.swap(0, Ordering::Relaxed) as f64
    }
}

impl Timed {
    fn time(&self, run: impl FnOnce(&FileMedium) -> io::Result<()>) -> io::Result<()> {
        let began = Instant::now();
        run(&self.file)?;
        self.spent
            .nanos
            .fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Medium for Timed {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.time(|file| file.write(offset, data))
    }

    fn sync(&self) -> io::Result<()> {
        self.spent.syncs.fetch_add(1, Ordering::Relaxed);
        self.time(Medium::sync)
    }
}

fn timed_store(directory: &Path, spent: &Arc<Spent>) -> DiskStore {
    fs::create_dir_all(directory).expect("creates");
    let file = |name| FileMedium::open(&directory.join(name), true).expect("creates");
    let journal = |name| -> Arc<dyn Medium> {
        Arc::new(Timed {
            file: file(name),
            spent: Arc::clone(spent),
        })
    };
    let media = Media {
        name: directory.display().to_string(),
        tables: Arc::new(file("groups.redb")),
        journals: [journal("journal-0"), journal("journal-1")],
    };
    DiskStore::open_media(media, DiskOptions::DEFAULT).expect("opens")
}

/// Disks that are shared or throttled change their pace within a second, so what the store reaches
/// is compared with what the disk gave to the store itself in the same seconds.
fn throughput(root: &Path) {
    println!(
        "round | fsyncs/s alone | 64 threads: fsyncs/s, writes/s, ratio | 64 handles, one thread: \
         same | 64 in flight: same"
    );
    let spent = Arc::new(Spent::default());
    let mut many = timed_store(&root.join("many"), &spent);
    let mut one = timed_store(&root.join("one"), &spent);
    let mut next = vec![1; WRITERS];
    for number in 0..WRITERS {
        many.open(group(number), Incarnation(1)).expect("creates");
    }
    one.open(group(0), Incarnation(1)).expect("creates");
    let mut last = 0;
    let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        let alone = fsyncs_per_second(root).expect("the disk syncs");
        print!("{round} | {alone:.0}");
        for (number, ratios) in ratios.iter_mut().enumerate() {
            spent.take_rate();
            let writes = match number {
                0 => threads_round(&many, &mut next),
                1 => handles_round(&many, &mut next),
                _ => pipelined_round(&mut one, &mut last),
            };
            let fsyncs = spent.take_rate();
            let ratio = writes / (WRITERS as f64 * fsyncs);
            print!(" | {fsyncs:.0}, {writes:.0}, {ratio:.2}");
            ratios.push(ratio);
        }
        println!();
    }
    let [threads, handles, in_flight] = ratios.map(|mut ratios| {
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    });
    println!(
        "median of writes/s per 64 x fsyncs/s: threads {threads:.2}, handles {handles:.2}, in \
         flight {in_flight:.2}"
    );
    println!("goal: 0.70");
}

/// A file that is alone with the disk: the bytes of 64 writes, in place, then `fdatasync`.
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

/// What tells a thread which of its handles has something.
struct Ready {
    thread: Thread,
    handles: Mutex<Vec<usize>>,
}

struct WakeHandle(usize, Arc<Ready>);

impl Wake for WakeHandle {
    fn wake(self: Arc<Self>) {
        let Self(number, ready) = &*self;
        ready.handles.lock().expect("nobody panics").push(*number);
        ready.thread.unpark();
    }
}

/// Handles that each have one write under way and are told when it ends, as futures are: all on one
/// thread.
fn handles_round(store: &DiskStore, next: &mut [u64]) -> f64 {
    let ready = Arc::new(Ready {
        thread: thread::current(),
        handles: Mutex::default(),
    });
    let mut handles: Vec<DiskStore> = next.iter().map(|_| store.clone()).collect();
    let began = Instant::now();
    for (number, handle) in handles.iter_mut().enumerate() {
        let waker = Arc::new(WakeHandle(number, Arc::clone(&ready)));
        handle.wake_on_completion(&Waker::from(waker));
        handle
            .submit(append(number, next[number]))
            .expect("the queue has room");
    }
    let (mut waiting, mut done) = (handles.len(), 0);
    let mut completions: Vec<Completion> = Vec::new();
    while waiting > 0 {
        let woken = std::mem::take(&mut *ready.handles.lock().expect("nobody panics"));
        if woken.is_empty() {
            thread::park();
        }
        for number in woken {
            handles[number].completed(&mut completions);
            for completion in completions.drain(..) {
                completion.result.expect("writes");
                next[number] += 1;
                done += 1;
                if began.elapsed() < ROUND {
                    let batch = append(number, next[number]);
                    handles[number].submit(batch).expect("the queue has room");
                } else {
                    waiting -= 1;
                }
            }
        }
    }
    f64::from(done) / began.elapsed().as_secs_f64()
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
        for name in ["groups.redb", "journal-0", "journal-1"] {
            fs::copy(directory.join(name), killed.join(name)).expect("copies");
        }
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
