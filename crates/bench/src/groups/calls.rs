//! Calls: one after another and many at once.

use {
    super::members::{COMMAND, Count, Members},
    crate::{
        measure::{Counter, Rate, ended, median},
        raw::{Pair, RAW_BYTES_AT_GOAL},
        report::Outcome,
    },
    core::time::Duration,
    mosaik::{
        groups::{Consistency, Group},
        primitives::Digest,
    },
    std::{
        fs::File,
        io::{Seek, Write},
        path::Path,
        time::Instant,
    },
    tokio::task::JoinHandle,
};

/// Calls that wait at the same time.
const WAITING: usize = 64;
/// Commands of one `execute_many`.
pub(super) const MANY: usize = 1_000;

pub(super) async fn execute(group: Group<Count>) {
    group.execute(COMMAND).await.expect("executed");
}

pub(super) async fn execute_many(group: Group<Count>) {
    let commands = std::iter::repeat_n(COMMAND, MANY);
    group.execute_many(commands).await.expect("executed");
}

pub(super) async fn read(group: Group<Count>) {
    group
        .query((), Consistency::Strong)
        .await
        .expect("answered");
}

/// The median of one call after another, next to the raw round trip.
pub(super) async fn one_by_one<F>(
    window: Duration,
    at_leader: bool,
    call: fn(Group<Count>) -> F,
) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    let pair = Pair::connect(None).await;
    let raw = pair.round_trip(window).await;
    pair.close().await;
    let members = Members::form(3).await;
    let group = members.at(at_leader).clone();
    for _ in 0..200 {
        call(group.clone()).await;
    }
    let (started, mut samples) = (Instant::now(), Vec::new());
    while started.elapsed() < window {
        let before = Instant::now();
        call(group.clone()).await;
        samples.push(before.elapsed());
    }
    drop(group);
    members.close().await;
    Outcome::against(median(&mut samples), raw)
}

/// The rate of many calls at once, of so many members, at the leader or not, each for so many
/// commands; next to the goal at what the raw stream reaches.
pub(super) async fn waiting<F>(
    (count, at_leader, each): (usize, bool, usize),
    goal: f64,
    window: Duration,
    call: fn(Group<Count>) -> F,
) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    let pair = Pair::connect(None).await;
    let raw = pair.byte_rate(window).await;
    pair.close().await;
    let members = Members::form(count).await;
    let group = members.at(at_leader).clone();
    let tasks = if each > 1 { 4 } else { WAITING };
    let rate = calls(&group, tasks, window, call, each).await;
    drop(group);
    members.close().await;
    Outcome::rates(rate, raw.per(RAW_BYTES_AT_GOAL / goal))
}

async fn calls<F>(
    group: &Group<Count>,
    tasks: usize,
    window: Duration,
    call: fn(Group<Count>) -> F,
    each: usize,
) -> Rate
where
    F: Future<Output = ()> + Send + 'static,
{
    let running = Running::start(group, tasks, call, each);
    let rate = running.counter.rate(window).await;
    running.stop().await;
    rate
}

/// Calls that are made until they are stopped.
pub(super) struct Running {
    /// Commands executed.
    pub(super) counter: Counter,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start<F>(
        group: &Group<Count>,
        tasks: usize,
        call: fn(Group<Count>) -> F,
        each: usize,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let counter = Counter::default();
        let tasks = (0..tasks).map(|_| {
            let (group, counter) = (group.clone(), counter.clone());
            tokio::spawn(async move {
                loop {
                    call(group.clone()).await;
                    counter.add(each);
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            counter,
        }
    }

    pub(super) async fn stop(self) {
        for task in self.tasks {
            task.abort();
            ended(task).await;
        }
    }
}

/// Commands a second of a durable group, next to what its disk can sync.
pub(super) async fn durable(window: Duration) -> Outcome {
    let directory = std::env::temp_dir().join(format!("mosaik-bench-{}", Digest::random()));
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    let syncs = fsyncs(&directory, window);
    let members = Members::form_in(3, Some(directory)).await;
    let group = members.leader().clone();
    let rate = calls(&group, WAITING, window, execute, 1).await;
    drop(group);
    members.close().await;
    Outcome::against(rate.a_second, syncs * WAITING as f64)
}

/// How often a second a small write can be made durable.
fn fsyncs(directory: &Path, window: Duration) -> f64 {
    let mut file = File::create(directory.join("fsyncs")).expect("a file can be made");
    file.write_all(&vec![0; 1 << 20]).expect("written");
    file.sync_all().expect("synced");
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < window {
        file.seek(std::io::SeekFrom::Start(u64::from(count % 200) * 4_096))
            .expect("found");
        file.write_all(&[1; 4_096]).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}
