//! Writes a workload until it is killed, for the crash test: `crash_writer DIRECTORY SEED GROUPS`.
//!
//! Every line on standard output is `GROUP NUMBER`: that batch was acknowledged.

use {
    mosaik_storage::{
        Completion, DiskStore, GroupId, LogStore, MemoryStore, conformance::Workload,
    },
    std::{
        collections::{BTreeMap, VecDeque},
        env,
        error::Error,
        io::{self, Write},
        sync::Arc,
        task::{Wake, Waker},
        thread::{self, Thread},
    },
};

/// Batches that one group has in flight.
const IN_FLIGHT: usize = 8;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// One group: what it would hold when all that is in flight were stored.
struct Series {
    name: u64,
    workload: Workload,
    ahead: MemoryStore,
    in_flight: VecDeque<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, seed, groups] = &arguments[..] else {
        return Err("usage: crash_writer DIRECTORY SEED GROUPS".into());
    };
    let mut store = DiskStore::open(directory)?;
    let mut series = BTreeMap::new();
    for name in 0..groups.parse()? {
        let workload = Workload {
            seed: seed.parse()?,
            group: GroupId::from_u64(name),
        };
        let mut ahead = MemoryStore::new();
        workload.check(&mut store, &mut ahead, 0, u64::MAX)?;
        series.insert(
            workload.group,
            Series {
                name,
                workload,
                ahead,
                in_flight: VecDeque::new(),
            },
        );
    }
    store.wake_on_completion(&Waker::from(Arc::new(Unpark(thread::current()))));
    let mut completions: Vec<Completion> = Vec::new();
    let mut out = io::stdout().lock();
    loop {
        for Series {
            workload,
            ahead,
            in_flight,
            ..
        } in series.values_mut()
        {
            while in_flight.len() < IN_FLIGHT {
                let state = ahead.load(workload.group)?;
                let number = Workload::number(state.as_ref()) + 1;
                let batch = workload.batch(number, state.as_ref());
                ahead.write(batch.clone())?;
                store.submit(batch)?;
                in_flight.push_back(number);
            }
        }
        store.completed(&mut completions);
        if completions.is_empty() {
            thread::park();
        }
        for completion in completions.drain(..) {
            completion.result?;
            let series = series.get_mut(&completion.group).ok_or("a group of ours")?;
            let number = series.in_flight.pop_front().ok_or("something in flight")?;
            writeln!(out, "{} {number}", series.name)?;
        }
        out.flush()?;
    }
}
