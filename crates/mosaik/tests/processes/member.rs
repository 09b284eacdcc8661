//! The process that is killed: a member with clients of its own.
//!
//! It is this test program, started with [`ROLE`] in its environment. It obeys lines on its
//! standard input, and says what happens in lines that begin with [`MARK`].

use {
    super::{
        history::{Call, Id, Note},
        machine::{Answer, Command, HandedOver, Query, Replayed, Served},
        router,
    },
    core::{
        sync::atomic::{AtomicBool, AtomicU64, Ordering},
        time::Duration,
    },
    mosaik::{
        Group, GroupKey, Network, SecretKey, Strong, Weak, discovery,
        groups::{ConsensusConfig, Role},
        iroh::EndpointAddr,
        network::{DamagedData, Preset},
    },
    serde::{Deserialize, Serialize},
    std::{
        io::BufRead,
        path::PathBuf,
        sync::Arc,
        time::{SystemTime, UNIX_EPOCH},
    },
    tokio::{sync::mpsc, task::JoinHandle},
};

/// Set in the environment of a member.
pub(crate) const ROLE: &str = "MOSAIK_TEST_MEMBER";
/// A directory for the members' logs, of their last lives if there are several tests.
const LOG: &str = "MOSAIK_TEST_LOG";
/// What begins the lines that are meant for the test.
pub(crate) const MARK: &str = "@ ";

const CLIENTS: u64 = 4;
const KEYS: u64 = 5;

/// Who a member is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) network: String,
    pub(crate) number: u8,
    /// How many members there are.
    pub(crate) members: u32,
    /// How often it was started before.
    pub(crate) life: u64,
    /// Where it keeps its data, if it does.
    pub(crate) data: Option<PathBuf>,
    /// Whether that was damaged on purpose. Else damage is a defect, and it does not start.
    pub(crate) damaged: bool,
    /// Whether there is a router between the members: they know each other's addresses then.
    pub(crate) routed: bool,
    /// Whether logs are cut, and the state handed over to whoever lacks what was cut off.
    pub(crate) cuts: bool,
}

/// What a member says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// Whether it can be expected to take commands has changed.
    Online(bool),
    /// Whether it counts for majorities has changed.
    Votes(bool),
    /// It has set its damaged data aside.
    SetAside,
    /// Its log is cut for the first time.
    Cut,
    /// Its role has changed.
    Leads(bool),
    Noted(Note),
    /// A client was told that its operation failed, or may have.
    Failed,
    /// Its clients have ended.
    Stopped,
    /// Some of the group's commands, in their order; none after the last.
    Held(Vec<Id>),
}

/// What a member is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// To end its clients.
    Stop,
    /// To say what the group holds.
    Show,
    /// To hand leadership over to the member with this number.
    HandOver(u8),
    /// To go on without the majority.
    Recover,
    /// To leave as a program does that ends well.
    Quit,
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).expect("it encodes");
    println!("{MARK}{line}");
}

fn consensus(members: u32) -> ConsensusConfig {
    ConsensusConfig::builder()
        .with_heartbeat_interval(Duration::from_millis(100))
        .with_heartbeat_jitter(Duration::from_millis(30))
        .with_max_missed_heartbeats(15)
        .with_election_timeout(Duration::from_millis(500))
        .with_election_timeout_jitter(Duration::from_millis(300))
        .with_bootstrap_delay(Duration::from_secs(1))
        .with_forward_timeout(Duration::from_secs(2))
        .with_query_timeout(Duration::from_secs(2))
        // So that it cannot form twice, however slow the machine is.
        .with_min_voters(members / 2 + 1)
        .build()
        .expect("a configuration that works")
}

/// Where a test program's process is a member, it lives here; elsewhere this passes.
#[test]
fn member() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let identity: Identity = serde_json::from_str(&role).expect("an identity");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // Paused or not, it ends with the test.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .expect("it is asked for");
    log(&identity);
    if identity.cuts {
        runtime.block_on(live::<HandedOver>(identity));
    } else {
        runtime.block_on(live::<Replayed>(identity));
    }
}

/// Writes its log to a file, where one is asked for.
fn log(identity: &Identity) {
    let Ok(directory) = std::env::var(LOG) else {
        return;
    };
    let Identity { number, life, .. } = identity;
    let name = PathBuf::from(directory).join(format!("member-{}-{life}.log", number - 1));
    let file = std::fs::File::create(name).expect("a file");
    tracing_subscriber::fmt()
        .with_env_filter("mosaik=debug")
        .with_ansi(false)
        .with_writer(std::sync::Mutex::new(file))
        .init();
}

/// The key of the member with this number.
fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32])
}

async fn live<M: Served>(identity: Identity) {
    let mut builder = Network::builder(identity.network.as_str())
        .with_preset(Preset::Local)
        .with_secret_key(key(identity.number));
    if identity.routed {
        let all = (1..).take(identity.members as usize);
        let others = all.filter(|number| *number != identity.number);
        let known = others.map(|number| {
            let address = router::address(usize::from(number) - 1);
            EndpointAddr::new(key(number).public()).with_ip_addr(address)
        });
        let own = router::address(usize::from(identity.number) - 1);
        builder = builder
            .with_preset(Preset::Isolated)
            .with_addresses([own])
            .with_discovery(discovery::Config::builder().with_bootstrap(known.collect::<Vec<_>>()));
    }
    if let Some(data) = &identity.data {
        builder = builder.with_data_dir(data);
        if identity.damaged {
            builder = builder.with_damaged_data(DamagedData::SetAside);
        }
    }
    let network = builder.build().await.expect("a node starts");
    if network.set_aside().is_some() {
        say(&Said::SetAside);
    }
    let group = network
        .groups()
        .with_key(GroupKey::from_secret(identity.network.as_str()))
        .with_state_machine(M::default())
        .with_consensus_config(consensus(identity.members))
        .join();
    let watching = [
        tokio::spawn(watch(group.clone(), network.local().id())),
        tokio::spawn(watch_online(group.clone())),
    ];
    work(&identity, &group, &mut orders()).await;
    for task in watching {
        task.abort();
    }
    drop(group);
    network.close().await;
}

/// Has clients as soon as it is online, and obeys until it is told to leave. An order may come
/// before it has noticed here that it is online: another task tells the test.
async fn work<M: Served>(identity: &Identity, group: &Group<M>, orders: &mut mpsc::Receiver<Told>) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = None;
    loop {
        let order = tokio::select! {
            () = group.when().online(), if clients.is_none() => {
                clients = Some(start_clients(identity, group, &stop));
                continue;
            }
            order = orders.recv() => order,
        };
        match order {
            Some(Told::Stop) => {
                stop.store(true, Ordering::Relaxed);
                for client in clients.replace(Vec::new()).unwrap_or_default() {
                    client.await.expect("a client ends");
                }
                say(&Said::Stopped);
            }
            Some(Told::Show) => show(group).await,
            Some(Told::HandOver(number)) => {
                group.transfer_leadership(Some(key(number).public()));
            }
            Some(Told::Recover) => group.recover(),
            Some(Told::Quit) | None => break,
        }
    }
    stop.store(true, Ordering::Relaxed);
}

/// What stands on standard input, for as long as somebody holds its other end.
fn orders() -> mpsc::Receiver<Told> {
    let (sender, orders) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let order = serde_json::from_str(&line.expect("a line")).expect("an order");
            if sender.blocking_send(order).is_err() {
                return;
            }
        }
    });
    orders
}

/// Says when it begins to count, and whether it leads.
async fn watch<M: Served>(group: Group<M>, id: mosaik::PeerId) {
    let (mut leads, mut votes, mut cut) = (false, false, false);
    loop {
        let status = group.status();
        let led = std::mem::replace(&mut leads, status.role == Role::Leader);
        if led != leads {
            say(&Said::Leads(leads));
        }
        if !cut && !status.snapshot.is_zero() {
            cut = true;
            say(&Said::Cut);
        }
        let me = (id, status.incarnation);
        let mut voters = status.voters();
        let voted = std::mem::replace(
            &mut votes,
            voters.any(|voter| (voter.peer, voter.incarnation) == me),
        );
        if votes != voted {
            say(&Said::Votes(votes));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says when it comes online, and when it is not any more.
async fn watch_online<M: Served>(group: Group<M>) {
    loop {
        group.when().online().await;
        say(&Said::Online(true));
        group.when().offline().await;
        say(&Said::Online(false));
    }
}

/// Says all that the group holds.
async fn show<M: Served>(group: &Group<M>) {
    let mut shown = 0;
    loop {
        let answer = group.query(Query::Held(shown), Strong).await;
        match answer.map(mosaik::groups::QueryResultAt::into) {
            Ok(Answer::Held(held)) => {
                shown += held.len();
                let last = held.is_empty();
                say(&Said::Held(held));
                if last {
                    return;
                }
            }
            Ok(Answer::Value(_)) => unreachable!("it was not asked for"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn start_clients<M: Served>(
    identity: &Identity,
    group: &Group<M>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let next = Arc::new(AtomicU64::new(1));
    let first = (u64::from(identity.number) << 56) | (identity.life << 40);
    (0..CLIENTS)
        .map(|client| {
            let (group, stop, next) = (group.clone(), Arc::clone(stop), Arc::clone(&next));
            tokio::spawn(async move {
                let mut random = first ^ (client << 32) ^ now();
                while !stop.load(Ordering::Relaxed) {
                    let id = first + next.fetch_add(1, Ordering::Relaxed);
                    operate(&group, id, &mut random).await;
                }
            })
        })
        .collect()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_nanos() as u64
}

/// The next of a sequence that looks random (`SplitMix64`).
pub(crate) const fn draw(random: &mut u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *random;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One operation of a client, written down before and after.
async fn operate<M: Served>(group: &Group<M>, id: Id, random: &mut u64) {
    let key = (draw(random) % KEYS) as usize;
    let call = match draw(random) % 5 {
        0 | 1 => Call::Read,
        2 | 3 => Call::Swap(draw(random) % 10),
        _ => Call::Replace(draw(random) % 10, draw(random) % 10),
    };
    let command = |id, key, call| Command {
        id,
        key,
        call,
        padding: vec![7; M::PADDING],
    };
    let at = now();
    say(&Said::Noted(Note::Asked { id, at, key, call }));
    let told = match call {
        Call::Read => match group.query(Query::Value(key), Strong).await {
            Ok(answer) => Some((Some(value(&answer)), answer.state_position())),
            Err(_) => None,
        },
        _ => match group.execute(command(id, key, call)).await {
            Ok(index) => {
                let answer = group.query(Query::Before(id), Weak).await;
                // It is applied here, unless the group is being left.
                Some((answer.ok().map(|answer| value(&answer)), index))
            }
            Err(error) => {
                if error.is_surely_not_done() {
                    say(&Said::Noted(Note::Refused { id }));
                }
                None
            }
        },
    };
    if let Some((value, index)) = told {
        say(&Said::Noted(Note::Told {
            id,
            at: now(),
            value,
            index: index.as_u64(),
        }));
    } else {
        say(&Said::Failed);
        // A group that is offline is not asked all the time.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As a program with something else to do: the histories stay of a size that can be kept.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn value(answer: &Answer) -> u64 {
    match answer {
        Answer::Value(value) => *value,
        Answer::Held(_) => unreachable!("it was not asked for"),
    }
}
