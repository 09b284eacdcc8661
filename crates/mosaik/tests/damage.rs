//! Data directories whose files are damaged: never used, never reset unasked, never removed.

mod support;

use {
    mosaik::{
        Digest, Network, UniqueId,
        groups::{ApplyContext, ConsensusConfig, Consistency, Group, LogReplaySync, StateMachine},
        network::{DamagedData, Error},
    },
    std::{
        fs,
        path::{Path, PathBuf},
    },
    support::{
        groups::{Directory, quick, together},
        isolated, network_id, until, within,
    },
};

const TABLES: &str = "groups.redb";
const FILES: [&str; 4] = [TABLES, "journal-0", "journal-1", "identity"];
/// What commands begin with, to be found in a file.
const WORD: &str = "a word that stands in no other place ";

/// Keeps what it is told.
#[derive(Default)]
struct Words(Vec<String>);

impl StateMachine for Words {
    type Command = String;
    type Query = ();
    type QueryResult = Vec<String>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("words")
    }

    fn apply(&mut self, command: String, _: &dyn ApplyContext) {
        self.0.push(command);
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.0.clone()
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

async fn start(
    network: Digest,
    directory: &Path,
    damaged: DamagedData,
    peer: Option<&Network>,
) -> Result<Network, Error> {
    let mut discovery = mosaik::discovery::Config::builder();
    if let Some(peer) = peer {
        discovery = discovery.with_bootstrap(peer.local().addr());
    }
    let builder = isolated(network).with_data_dir(directory);
    let building = builder
        .with_damaged_data(damaged)
        .with_discovery(discovery)
        .build();
    Box::pin(within("a start", building)).await
}

fn join(node: &Network) -> Group<Words> {
    join_with(node, quick())
}

fn join_with(node: &Network, consensus: ConsensusConfig) -> Group<Words> {
    node.groups()
        .with_key("words")
        .with_state_machine(Words::default())
        .with_consensus_config(consensus)
        .join()
}

async fn write(group: &Group<Words>, numbers: std::ops::Range<u32>) {
    within("online", group.when().online()).await;
    let words = numbers.map(|number| format!("{WORD}{number}"));
    let written = within("commands", group.execute_many(words)).await;
    written.expect("executed");
}

async fn count(group: &Group<Words>) -> usize {
    let answer = within("an answer", group.query((), Consistency::Strong)).await;
    let words: Vec<String> = answer.expect("an answer").into();
    words.len()
}

/// A directory of one node that has left ten commands in it.
async fn used(network: Digest) -> Directory {
    let directory = Directory::new();
    let node = start(network, &directory.0, DamagedData::Refuse, None).await;
    let node = node.expect("a node starts");
    let group = join(&node);
    write(&group, 0..10).await;
    drop(group);
    within("closed", node.close()).await;
    directory
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for name in FILES {
        fs::copy(from.join(name), to.join(name)).expect("copied");
    }
}

/// Changes a bit of each place of a word in these files.
fn spoil(directory: &Path, files: &[&str]) {
    let word = format!("{WORD}3");
    let mut places = 0;
    for name in files {
        let mut bytes = fs::read(directory.join(name)).expect("read");
        for at in 0..bytes.len() - word.len() {
            if bytes[at..].starts_with(word.as_bytes()) {
                bytes[at] ^= 1;
                places += 1;
            }
        }
        fs::write(directory.join(name), bytes).expect("written");
    }
    assert_ne!(places, 0, "it is stored somewhere");
}

/// What is stored. The first page of the tables says who has them open.
fn contents(directory: &Path) -> Vec<Option<Vec<u8>>> {
    let read = |name: &&str| {
        let mut bytes = fs::read(directory.join(name)).ok()?;
        bytes.drain(..if *name == TABLES { 4_096 } else { 0 });
        Some(bytes)
    };
    FILES.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_data_is_refused_by_name_and_left_as_it_is() {
    let network = network_id();
    let good = used(network).await;
    let cut = |path: PathBuf| {
        let bytes = fs::read(&path).expect("read");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    };
    for damage in 0..4 {
        let bad = Directory::new();
        copy(&good.0, &bad.0);
        let file = match damage {
            0 => {
                spoil(&bad.0, &[TABLES]);
                TABLES
            }
            1 => {
                cut(bad.0.join(TABLES));
                TABLES
            }
            2 => {
                fs::remove_file(bad.0.join(TABLES)).expect("removed");
                TABLES
            }
            _ => {
                cut(bad.0.join("journal-1"));
                "journal-1"
            }
        };
        let before = contents(&bad.0);
        for _ in 0..2 {
            let refused = start(network, &bad.0, DamagedData::Refuse, None).await;
            let Err(Error::DamagedData { directory, damage }) = refused else {
                panic!("damage of {file} is refused, not {refused:?}");
            };
            assert_eq!(directory, bad.0);
            let path = bad.0.join(file).display().to_string();
            assert!(damage.starts_with(&path), "{damage}");
            assert!(damage.contains("damaged at"), "{damage}");
            assert!(before == contents(&bad.0), "nothing is changed");
        }
    }
    // What is not damaged is not set aside.
    let node = start(network, &good.0, DamagedData::SetAside, None).await;
    let node = node.expect("a node starts");
    assert_eq!(node.set_aside(), None);
    let group = join(&node);
    within("online", group.when().online()).await;
    assert_eq!(count(&group).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_sets_its_damaged_data_aside_and_comes_back_as_its_next_life() {
    let network = network_id();
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    let mut nodes: Vec<Network> = Vec::new();
    for directory in &directories {
        let node = start(network, &directory.0, DamagedData::Refuse, nodes.first()).await;
        nodes.push(node.expect("a node starts"));
    }
    let join = |node: &Network| join_with(node, together(3));
    let mut groups: Vec<_> = nodes.iter().map(join).collect();
    write(&groups[2], 0..10).await;
    let id = nodes[2].local().id();
    let life = groups[2].status().incarnation;
    drop(groups.pop());
    within("closed", nodes.pop().expect("three").close()).await;
    write(&groups[0], 10..20).await;

    let place = &directories[2].0;
    spoil(place, &[TABLES]);
    let bad = contents(place);
    let node = start(network, place, DamagedData::SetAside, nodes.first()).await;
    let node = node.expect("a node starts without its data");
    let kept = node.set_aside().expect("its data was set aside");
    assert!(kept.starts_with(place));
    // The identity is not moved.
    assert!(contents(kept)[..3] == bad[..3], "as it was");
    assert_eq!(node.local().id(), id, "it is the same node");
    let group = join(&node);
    within("online", group.when().online()).await;
    assert_eq!(count(&group).await, 20);
    let next = group.status().incarnation;
    assert_ne!(next, life, "another life");
    until("it votes again", || {
        let status = group.status();
        let mut voters = status.voters();
        voters.any(|voter| (voter.peer, voter.incarnation) == (id, next))
    })
    .await;
    drop(group);
    within("closed", node.close()).await;

    let node = start(network, place, DamagedData::SetAside, nodes.first()).await;
    let node = node.expect("a node starts");
    assert_eq!(node.set_aside(), None, "there is nothing damaged any more");
    let group = join(&node);
    within("online", group.when().online()).await;
    assert_eq!(
        (count(&group).await, group.status().incarnation),
        (20, next)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_below_what_a_crash_cut_short_is_refused_and_can_be_set_aside() {
    let network = network_id();
    let (alive, crashed) = (Directory::new(), Directory::new());
    let node = start(network, &alive.0, DamagedData::Refuse, None).await;
    let node = node.expect("a node starts");
    let group = join(&node);
    // More than the last commit, which may be taken for one that the crash cut short.
    for number in 0..10 {
        write(&group, number..number + 1).await;
    }
    // What is on disk while it runs is what a crash would leave.
    copy(&alive.0, &crashed.0);
    drop(group);
    within("closed", node.close()).await;
    spoil(&crashed.0, &FILES[..3]);
    for _ in 0..2 {
        let refused = start(network, &crashed.0, DamagedData::Refuse, None).await;
        assert!(
            matches!(refused, Err(Error::DamagedData { .. })),
            "{refused:?}"
        );
    }
    let node = start(network, &crashed.0, DamagedData::SetAside, None).await;
    let node = node.expect("a node starts without its data");
    assert!(node.set_aside().is_some());
    let group = join(&node);
    write(&group, 0..1).await;
    assert_eq!(count(&group).await, 1, "it was the only member");
}
