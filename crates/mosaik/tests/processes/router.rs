//! A network of the test's own: a network namespace a member, and a router between them that
//! drops what it is told to drop.
//!
//! It needs no privilege where the kernel lets users make namespaces; elsewhere [`Router::new`] says
//! why there is none. Nothing of it has a name: the namespaces are held by processes that end
//! with their standard input, so a test that is killed leaves nothing behind. Packets are dropped
//! on their way and not where they are sent, so nobody is told. Nothing leaves the namespaces.
//!
//! Not here: loss by chance, delay and reordering, for which many kernels lack what it takes.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, ChildStdin, Command, Stdio},
};

/// The port that every member binds: each has an address of its own.
const PORT: u16 = 4_000;

/// Where a member is reached.
pub(crate) fn address(member: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 77, member as u8, 2), PORT))
}

/// A direction between two members, in which packets can be dropped.
pub(crate) type Way = (usize, usize);

/// Two or more network namespaces, and one that routes between them.
#[derive(Debug)]
pub(crate) struct Router {
    /// Before the router: a link goes with its first end.
    hosts: Vec<Namespace>,
    hub: Namespace,
    cut: BTreeSet<Way>,
}

impl Router {
    /// A router for so many members, or why it cannot be made here.
    pub(crate) fn new(members: usize) -> Result<Self, String> {
        let hub = Namespace::hub()?;
        let forward = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
        hub.run(&forward, "")?;
        let mut hosts = Vec::new();
        for member in 0..members {
            let host = hub.inner()?;
            let pid = host.holder.id();
            let link = format!(
                "link add n{member} type veth peer name eth0 netns {pid}\n\
                 addr add 10.77.{member}.1/24 dev n{member}\n\
                 link set n{member} up\n"
            );
            hub.run(&["ip", "-batch", "-"], &link)?;
            let inside = format!(
                "link set lo up\n\
                 addr add 10.77.{member}.2/24 dev eth0\n\
                 link set eth0 up\n\
                 route add default via 10.77.{member}.1\n"
            );
            host.run(&["ip", "-batch", "-"], &inside)?;
            hosts.push(host);
        }
        let cut = BTreeSet::new();
        Ok(Self { hosts, hub, cut })
    }

    /// The beginning of a command that runs where the member is.
    pub(crate) fn enter(&self, member: usize) -> Command {
        self.hosts[member].enter()
    }

    /// From now on these ways are cut, and no others.
    pub(crate) fn cut(&mut self, ways: &BTreeSet<Way>) {
        let mut orders = String::new();
        for way in self.cut.symmetric_difference(ways) {
            let (from, to) = way;
            let verb = if ways.contains(way) { "add" } else { "del" };
            writeln!(
                orders,
                "rule {verb} pref 1{from:02}{to:02} from {} to {} blackhole",
                address(*from).ip(),
                address(*to).ip()
            )
            .expect("a string takes everything");
        }
        let done = self.hub.run(&["ip", "-batch", "-"], &orders);
        done.expect("what could be made can be changed");
        self.cut.clone_from(ways);
    }

    /// Takes a member's cable out, or puts it in: other than by [`cut`](Self::cut), the member
    /// can tell.
    pub(crate) fn plug(&self, member: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        let order = format!("link set n{member} {state}\n");
        let done = self.hub.run(&["ip", "-batch", "-"], &order);
        done.expect("what could be made can be changed");
    }
}

/// A network namespace, and perhaps one of users that owns it, which live as long as a process.
#[derive(Debug)]
struct Namespace {
    holder: Child,
    /// What it waits for.
    _input: ChildStdin,
    users: bool,
}

impl Namespace {
    /// One in which this test may do everything: of a user namespace, or with the privileges
    /// that it has.
    fn hub() -> Result<Self, String> {
        let mut own = Command::new("unshare");
        own.args(["--user", "--map-root-user", "--net"]);
        Self::held_by(own, true).or_else(|first| {
            let mut privileged = Command::new("unshare");
            privileged.arg("--net");
            Self::held_by(privileged, false).map_err(|second| format!("{first}; {second}"))
        })
    }

    /// Another, with the same owner.
    fn inner(&self) -> Result<Self, String> {
        let mut command = self.enter();
        command.args(["unshare", "--net"]);
        Self::held_by(command, self.users)
    }

    /// What `command` is put before runs in the new namespace.
    fn held_by(mut command: Command, users: bool) -> Result<Self, String> {
        let mut holder = command
            .args(["sh", "-c", "echo there; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let input = holder.stdin.take().expect("it is piped");
        let output = holder.stdout.take().expect("it is piped");
        let mut line = String::new();
        let heard = BufReader::new(output).read_line(&mut line);
        if heard.is_ok() && line == "there\n" {
            return Ok(Self {
                holder,
                _input: input,
                users,
            });
        }
        drop(input);
        let output = holder
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?}: {}", complaint.trim()))
    }

    /// The beginning of a command that runs in it.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net"]);
        if self.users {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    /// Runs a command in it to its end.
    fn run(&self, words: &[&str], input: &str) -> Result<(), String> {
        let mut command = self.enter();
        let mut child = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let mut pipe = child.stdin.take().expect("it is piped");
        let written = pipe.write_all(input.as_bytes());
        drop(pipe);
        let output = child
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        if output.status.success() && written.is_ok() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?}: {}", complaint.trim()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A holder that has ended by itself needs no more.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
