//! Members that come and go.

use {
    super::{
        calls::{MANY, Running, execute, execute_many},
        members::{
            COMMAND, Count, Members, PATIENCE, join, node, nodes_that_know_each_other, online,
        },
    },
    crate::{nodes, report::Outcome},
    core::time::Duration,
    iroh::EndpointAddr,
    mosaik::{
        Network,
        groups::{Group, Index},
    },
    std::{process::Stdio, time::Instant},
    tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, BufReader},
        process::Command,
    },
};

/// The argument that makes this program lead a group and do nothing else.
pub(crate) const LEADER: &str = "--lead-with";
/// Callers that leave some of the machine to others.
const FEW: usize = 16;

/// Commands that a late joiner has to catch up with.
const REPLAY: usize = 1_000_000;

pub(super) async fn forming() -> f64 {
    let nodes = nodes_that_know_each_other(3, None).await;
    let started = Instant::now();
    let groups: Vec<_> = nodes.iter().map(|node| join(node, "bench")).collect();
    for group in &groups {
        online(group).await;
    }
    let took = started.elapsed();
    drop(groups);
    nodes::close(nodes).await;
    took.as_secs_f64()
}

pub(super) async fn joining() -> f64 {
    let mut nodes = nodes_that_know_each_other(4, None).await;
    let last = nodes.pop().expect("four were made");
    let groups: Vec<_> = nodes.iter().map(|node| join(node, "bench")).collect();
    for group in &groups {
        online(group).await;
    }
    groups[0].execute(COMMAND).await.expect("executed");
    let started = Instant::now();
    let late = join(&last, "bench");
    online(&late).await;
    let took = started.elapsed();
    drop((groups, late));
    nodes.push(last);
    nodes::close(nodes).await;
    took.as_secs_f64()
}

pub(super) async fn leaving() -> f64 {
    let mut members = Members::form(3).await;
    members.leader().execute(COMMAND).await.expect("executed");
    let leader = members.groups.iter().position(Group::is_leader);
    let leader = members.groups.remove(leader.expect("one leads"));
    let started = Instant::now();
    drop(leader);
    let other = members.groups[0].clone();
    other.execute(COMMAND).await.expect("executed");
    let took = started.elapsed();
    drop(other);
    members.close().await;
    took.as_secs_f64()
}

/// Seconds from the death of the leader's process to the next commit.
pub(super) async fn killed() -> f64 {
    let nodes = nodes_that_know_each_other(2, None).await;
    let address = serde_json::to_string(&nodes[0].local().addr()).expect("an address is JSON");
    let program = std::env::current_exe().expect("a program knows where it is");
    let mut leader = Command::new(program)
        .args([LEADER, &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it can be run again");
    let stdout = leader.stdout.take().expect("it was asked for");
    let leads = BufReader::new(stdout).read_line(&mut String::new()).await;
    assert_ne!(leads.expect("the leader tells"), 0, "the leader has ended");
    let mut members = Members {
        groups: nodes.iter().map(|node| join(node, "bench")).collect(),
        nodes,
        directory: None,
    };
    for group in &members.groups {
        online(group).await;
    }
    members.settle(3).await;
    let group = members.groups.pop().expect("there are two");
    execute(group.clone()).await;
    leader.kill().await.expect("killed");
    let started = Instant::now();
    execute(group.clone()).await;
    let took = started.elapsed();
    drop(group);
    members.close().await;
    took.as_secs_f64()
}

/// Leads the group in a process of its own, until it is killed or nobody listens.
pub(crate) async fn lead_until_killed(peer: &str) {
    let peer: EndpointAddr = serde_json::from_str(peer).expect("an address of a node");
    let node = node(Some(peer), None).await;
    let group = join(&node, "bench");
    group.when().is_leader().await;
    println!("leads");
    // Ends when whoever started this one does.
    let end = tokio::io::stdin().read(&mut [0]).await;
    assert!(matches!(end, Ok(0)), "nothing is ever written");
    drop(group);
    node.close().await;
}

/// Three members, one of which leads, and a node that is none.
async fn long_log() -> (Members, Network) {
    let mut members = Members::of(nodes_that_know_each_other(4, None).await, 3).await;
    let last = members.nodes.pop().expect("four were made");
    let leader = members.leader().clone();
    for _ in 0..REPLAY / MANY {
        execute_many(leader.clone()).await;
    }
    (members, last)
}

async fn caught_up(node: &Network, upto: Index) -> Group<Count> {
    let late = join(node, "bench");
    let caught_up = late.when().committed().reaches(upto);
    tokio::time::timeout(PATIENCE, caught_up)
        .await
        .expect("caught up in time");
    late
}

/// Seconds that a member which joins late needs to catch up.
pub(super) async fn late() -> f64 {
    let (mut members, last) = long_log().await;
    let upto = members.leader().committed();
    let started = Instant::now();
    let late = caught_up(&last, upto).await;
    let took = started.elapsed();
    drop(late);
    members.nodes.push(last);
    members.close().await;
    took.as_secs_f64()
}

/// Seconds that a member which joins late needs to catch up while others commit, and what they
/// commit meanwhile, next to before.
pub(super) async fn late_beside_others(window: Duration) -> (f64, Outcome) {
    let (mut members, last) = long_log().await;
    let leader = members.leader().clone();
    let running = Running::start(&leader, FEW, execute, 1);
    let before = running.counter.rate(window).await;
    let (upto, started, committed) = (leader.committed(), Instant::now(), running.counter.get());
    let late = caught_up(&last, upto).await;
    let committed = running.counter.get() - committed;
    let took = started.elapsed().as_secs_f64();
    let meanwhile = committed as f64 / took;
    running.stop().await;
    drop((leader, late));
    members.nodes.push(last);
    members.close().await;
    (took, Outcome::against(meanwhile, before.a_second))
}
