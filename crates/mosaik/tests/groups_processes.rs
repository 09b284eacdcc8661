//! Groups of processes that are killed without a word: nothing that was acknowledged is lost.
//! Each process is this test's own binary, started again to run one member.

mod support;

use {
    mosaik::{
        Digest, Network,
        groups::{ConsensusConfig, Consistency, Group},
        iroh::EndpointAddr,
    },
    std::{
        io::{BufRead, BufReader, Write},
        path::Path,
        process::{Child, ChildStdin, Command, Stdio},
        time::{Duration, Instant},
    },
    support::{
        groups::{Counter, Directory, join_with, quick, sum},
        isolated, network_id, node, node_knowing, nodes, until, within,
    },
    tokio::sync::mpsc,
};

const NETWORK: &str = "MOSAIK_TEST_GROUP_NETWORK";
const PEERS: &str = "MOSAIK_TEST_GROUP_PEERS";
const DATA: &str = "MOSAIK_TEST_GROUP_DATA";

/// Members that are silent are not replaced during a test, so that who counts stays the same.
fn patient() -> ConsensusConfig {
    ConsensusConfig {
        max_missed_heartbeats: 10_000,
        ..quick()
    }
}

/// A member in another process, and what it reports.
struct Process {
    child: Child,
    input: ChildStdin,
    reports: mpsc::UnboundedReceiver<String>,
    /// The number of its last command that was acknowledged.
    acknowledged: u64,
}

impl Process {
    fn start(network: Digest, peers: &[EndpointAddr], data: Option<&Path>) -> Self {
        let peers = serde_json::to_string(peers).expect("addresses can be written");
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command
            .args(["--exact", "member", "--nocapture"])
            .env(NETWORK, network.to_string())
            .env(PEERS, peers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(data) = data {
            command.env(DATA, data);
        }
        let mut child = command.spawn().expect("a process");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, reports) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(at) = line.find("member: ")
                    && sender.send(line[at + 8..].to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take().expect("its input"),
            child,
            reports,
            acknowledged: 0,
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
    }

    /// Waits for a report that begins so; answers the rest of it.
    async fn report(&mut self, beginning: &str) -> String {
        within(beginning, async {
            loop {
                let report = self.reports.recv().await.expect("it lives");
                self.note(&report);
                if let Some(rest) = report.strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
        })
        .await
    }

    fn note(&mut self, report: &str) {
        if let Some(number) = report.strip_prefix("acknowledged ") {
            self.acknowledged = number.parse().expect("a number");
        }
    }

    /// Ends it as the system does: at once, whatever it is doing.
    async fn kill(mut self) -> u64 {
        self.child.kill().expect("it lived");
        self.child.wait().expect("it ended");
        while let Some(report) = self.reports.recv().await {
            self.note(&report);
        }
        self.acknowledged
    }
}

/// One member, where this process was started to be one: it does what it is told on its input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member() {
    let Ok(network) = std::env::var(NETWORK) else {
        return;
    };
    let peers = std::env::var(PEERS).expect("peers are given");
    let peers: Vec<EndpointAddr> = serde_json::from_str(&peers).expect("addresses");
    let discovery = mosaik::discovery::Config::builder().with_bootstrap(peers);
    let mut builder = isolated(Digest::from(network.as_str())).with_discovery(discovery);
    if let Ok(data) = std::env::var(DATA) {
        builder = builder.with_data_dir(data);
    }
    let node: Network = builder.build().await.expect("a node");
    let address = serde_json::to_string(&node.local().addr()).expect("an address");
    println!("member: address {address}");
    let group = join_with(&node, patient());
    let (lines, mut told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = told.recv().await {
        match line.as_str() {
            "online" => {
                group.when().online().await;
                println!("member: online {}", group.is_leader());
            }
            "sum" => println!("member: sum {}", sum(&group).await.0),
            "work" => {
                let group = group.clone();
                tokio::spawn(async move { work(&group).await });
            }
            other => panic!("not a thing to do: {other}"),
        }
    }
    // The one who started it is gone.
}

/// Executes one command after another, and says how many are acknowledged.
async fn work(group: &Group<Counter>) {
    let mut acknowledged = 0;
    loop {
        if group.execute(1).await.is_ok() {
            acknowledged += 1;
            println!("member: acknowledged {acknowledged}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_when_the_leader_is_killed() {
    let network = network_id();
    let nodes = nodes(network, 2).await;
    let groups: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, patient()))
        .collect();
    let peers = [nodes[0].local().addr(), nodes[1].local().addr()];
    let mut third = Process::start(network, &peers, None);
    let address: EndpointAddr =
        serde_json::from_str(&third.report("address ").await).expect("an address");
    third.tell("online");
    third.report("online ").await;
    until("three voters", || {
        groups
            .iter()
            .all(|group| group.status().voters().count() == 3)
    })
    .await;
    within("leadership", async {
        while groups[0].leader() != Some(address.id) {
            for group in &groups {
                group.transfer_leadership(Some(address.id));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    third.tell("work");
    third.report("acknowledged 20").await;
    within("a command", groups[1].execute(1))
        .await
        .expect("executed");

    let acknowledged = third.kill().await;
    let killed = Instant::now();
    within("the next command", async {
        while groups[0].execute(1).await.is_err() {}
    })
    .await;
    println!(
        "next commit {:?} after the leader was killed",
        killed.elapsed()
    );
    // One command of the killed one may have been committed without its having said so.
    let seen = sum(&groups[1]).await.0 as u64;
    assert!(
        (acknowledged + 2..=acknowledged + 3).contains(&seen),
        "{acknowledged} were acknowledged there and two here, {seen} are there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_group_that_is_killed_whole_has_all_it_acknowledged() {
    let network = network_id();
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    // Stays outside the group, and introduces those who start to each other.
    let broker = node(network).await;
    let mut acknowledged = 0;
    for round in 0..3 {
        let mut members: Vec<_> = directories
            .iter()
            .map(|data| Process::start(network, &[broker.local().addr()], Some(&data.0)))
            .collect();
        for member in &mut members {
            member.tell("online");
            member.report("online ").await;
            member.tell("sum");
            let sum: u64 = member.report("sum ").await.parse().expect("a number");
            // What was under way when they were killed may have been committed.
            assert!(
                (acknowledged..=acknowledged + 3 * round).contains(&sum),
                "{acknowledged} acknowledged, {sum} there"
            );
        }
        for member in &mut members {
            member.tell("work");
        }
        for member in &mut members {
            member.report("acknowledged 15").await;
        }
        for member in members {
            acknowledged += member.kill().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_data_comes_back_as_another() {
    let network = network_id();
    let nodes = nodes(network, 2).await;
    let groups: Vec<_> = nodes.iter().map(|node| join_with(node, quick())).collect();
    for group in &groups {
        within("online", group.when().online()).await;
    }
    let third = node_knowing(network, &nodes[0]).await;
    let first_life = join_with(&third, quick());
    within("online", first_life.when().online()).await;
    within("commands", groups[0].execute_many(1..=100))
        .await
        .expect("executed");
    drop(first_life);
    within("close", third.close()).await;
    let third = node_knowing(network, &nodes[0]).await;
    let second_life = join_with(&third, quick());
    within("online", second_life.when().online()).await;
    let answer = within("an answer", second_life.query((), Consistency::Strong)).await;
    assert_eq!(answer.expect("an answer").result, (5_050, 100));
}
