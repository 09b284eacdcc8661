//! A machine whose state is handed over, so that logs can be cut; and how tests join groups of it.

use {
    super::{
        hand_over::{HandOver, Whole},
        support::{
            groups::{late, quick, together},
            isolated, until, within,
        },
    },
    mosaik::{
        Digest, Network, UniqueId,
        groups::{ApplyContext, ConsensusConfig, Consistency, Group, StateMachine},
    },
    serde::{Deserialize, Serialize},
    std::{
        io,
        path::Path,
        sync::{Arc, Mutex},
    },
};

/// Bytes of padding in a command: so many fill a log quickly.
pub const PADDING: usize = 128 << 10;
/// Commands after which a log has been cut, with a margin.
pub const MANY: u64 = 48;

/// What the machine of a node was asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    pub applied: u64,
    pub sessions: u64,
    pub saved: u64,
    pub restored: u64,
}

pub type Traced = Arc<Mutex<Trace>>;

/// The state: what it adds up to, and what came in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub sum: u64,
    pub entries: u64,
    pub order: u64,
}

impl Ledger {
    /// After these, in this order.
    pub fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut ledger = Self::default();
        values.into_iter().for_each(|value| ledger.enter(value));
        ledger
    }

    fn enter(&mut self, value: u64) {
        self.sum += value;
        self.entries += 1;
        self.order = self.order.wrapping_mul(31).wrapping_add(value + 1);
    }
}

/// Keeps a ledger.
#[derive(Clone)]
pub struct Bookkeeper {
    pub ledger: Ledger,
    /// Whether it saves its state.
    pub saves: bool,
    /// Bytes that its state has besides.
    pub filler: usize,
    /// Called when it saves its state, not counting the one before the first command.
    pub on_save: fn() -> io::Result<()>,
    /// Whether it does not restore what it saved.
    pub forgets: bool,
    pub trace: Traced,
}

impl Default for Bookkeeper {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            saves: false,
            filler: 0,
            on_save: || Ok(()),
            forgets: false,
            trace: Traced::default(),
        }
    }
}

impl Bookkeeper {
    fn note(&self, note: impl FnOnce(&mut Trace)) {
        note(&mut self.trace.lock().expect("not poisoned"));
    }
}

/// A value, and something that takes room.
pub type Command = (u64, Vec<u8>);

impl StateMachine for Bookkeeper {
    type Command = Command;
    type Query = ();
    type QueryResult = Ledger;
    type StateSync = HandOver<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("bookkeeper")
    }

    fn apply(&mut self, (value, _): Command, _: &dyn ApplyContext) {
        self.ledger.enter(value);
        self.note(|trace| trace.applied += 1);
    }

    fn query(&self, (): ()) -> Ledger {
        self.ledger
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<bool> {
        if !self.saves {
            return Ok(false);
        }
        self.note(|trace| trace.saved += 1);
        if self.ledger.entries > 0 {
            (self.on_save)()?;
        }
        let Ledger {
            sum,
            entries,
            order,
        } = self.ledger;
        out.write_all(&sum.to_le_bytes())?;
        out.write_all(&entries.to_le_bytes())?;
        out.write_all(&order.to_le_bytes())?;
        out.write_all(&vec![0; self.filler])?;
        Ok(true)
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<bool> {
        if self.forgets {
            return Ok(false);
        }
        let mut number = [0; 8];
        from.read_exact(&mut number)?;
        self.ledger.sum = u64::from_le_bytes(number);
        from.read_exact(&mut number)?;
        self.ledger.entries = u64::from_le_bytes(number);
        from.read_exact(&mut number)?;
        self.ledger.order = u64::from_le_bytes(number);
        self.note(|trace| trace.restored += 1);
        Ok(true)
    }

    fn state_sync(&self) -> HandOver<Self> {
        HandOver::default()
    }
}

impl Whole for Bookkeeper {
    type State = Ledger;

    fn state(&self) -> Ledger {
        self.ledger
    }

    fn become_like(&mut self, ledger: Ledger) {
        self.ledger = ledger;
    }

    fn note_session(&self) {
        self.note(|trace| trace.sessions += 1);
    }
}

/// A member, and what its machine was asked to do.
pub struct Member {
    pub group: Group<Bookkeeper>,
    pub trace: Traced,
}

impl Member {
    pub fn trace(&self) -> Trace {
        *self.trace.lock().expect("not poisoned")
    }

    /// The ledger as of everything that was committed anywhere.
    pub async fn ledger(&self) -> Ledger {
        let answer = within("an answer", self.group.query((), Consistency::Strong)).await;
        answer.expect("an answer").into()
    }

    /// Enters these values, each with its padding.
    pub async fn enter(&self, values: impl IntoIterator<Item = u64>) {
        for value in values {
            let entered = within("a command", self.group.execute((value, vec![7; PADDING])));
            entered.await.expect("executed");
        }
    }

    /// Waits until the log is cut.
    pub async fn is_cut(&self) {
        until("the log is cut", || {
            let status = self.group.status();
            !status.snapshot.is_zero() && status.log_entries < u64::from(status.committed)
        })
        .await;
    }
}

/// Joins the group; `saves` says whether the machine saves its state.
pub fn join(node: &Network, saves: bool) -> Member {
    join_group_of(1, node, saves)
}

/// Joins the group that takes so many voters to be founded, as one of them or later.
pub fn join_group_of(voters: usize, node: &Network, saves: bool) -> Member {
    let machine = Bookkeeper {
        saves,
        ..Bookkeeper::default()
    };
    join_as(node, machine, together(voters))
}

/// Joins a group that is there, with a machine that saves its state, and takes commands.
pub async fn join_late(node: &Network) -> Member {
    let machine = Bookkeeper {
        saves: true,
        ..Bookkeeper::default()
    };
    let member = join_as(node, machine, late());
    within("online", member.group.when().online()).await;
    member
}

/// Joins the group with a state of so many bytes, to be told when it is saved.
pub fn join_saving(node: &Network, filler: usize, on_save: fn() -> io::Result<()>) -> Member {
    let machine = Bookkeeper {
        saves: true,
        filler,
        on_save,
        ..Bookkeeper::default()
    };
    join_with(node, machine)
}

/// Joins the group with this machine.
pub fn join_with(node: &Network, machine: Bookkeeper) -> Member {
    join_as(node, machine, quick())
}

/// Joins the group with this machine and configuration.
pub fn join_as(node: &Network, machine: Bookkeeper, consensus: ConsensusConfig) -> Member {
    let trace = Arc::clone(&machine.trace);
    let group = node
        .groups()
        .with_key("the key")
        .with_state_machine(machine)
        .with_consensus_config(consensus)
        .join();
    Member { group, trace }
}

/// Members on these nodes that take commands. They found the group all together.
pub async fn formed(nodes: &[Network], saves: bool) -> Vec<Member> {
    let join = |node| join_group_of(nodes.len(), node, saves);
    let members: Vec<_> = nodes.iter().map(join).collect();
    for member in &members {
        within("online", member.group.when().online()).await;
    }
    members
}

/// A node that keeps its groups in a directory.
pub async fn on_disk(network: Digest, directory: &Path, peer: Option<&Network>) -> Network {
    let mut discovery = mosaik::discovery::Config::builder();
    if let Some(peer) = peer {
        discovery = discovery.with_bootstrap(peer.local().addr());
    }
    isolated(network)
        .with_discovery(discovery)
        .with_data_dir(directory)
        .build()
        .await
        .expect("a node starts on loopback")
}
