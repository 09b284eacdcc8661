//! A network of the test's own: a network namespace a member, and a router between them that
//! drops what it is told to drop.
//!
//! It needs no privilege where the kernel lets users make namespaces; elsewhere [`Router::new`] says
//! why there is none. Nothing of it has a name: the namespaces are held by processes that end
//! with their standard input, so a test that is killed leaves nothing behind. Packets are dropped
//! on their way and not where they are sent, so nobody is told. Nothing leaves the namespaces.
//!
//! Not here: loss by chance, delay and reordering, for which many kernels lack what it takes.

use {
    crate::namespace::Namespace,
    std::{
        collections::BTreeSet,
        fmt::Write as _,
        net::{Ipv4Addr, SocketAddr},
        process::Command,
    },
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
            let pid = host.id();
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
