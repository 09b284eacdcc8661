//! Names of things in a group: members, lineages, terms, positions, operations.
//!
//! Two numberings live side by side and are different types on purpose. [`LogIndex`] numbers
//! everything in the log; it is internal. [`Index`] numbers commands only, from 1, and is what
//! users see: elections and membership changes do not use it up.

use core::fmt;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Zero: before the first.
            pub const ZERO: Self = Self(0);

            /// The one after; saturates.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The one before; zero stays zero.
            #[must_use]
            pub const fn prev(self) -> Self {
                Self(self.0.saturating_sub(1))
            }

            /// `n` after this one; saturates.
            #[must_use]
            pub const fn plus(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// How far this one is after `earlier`; zero when it is not.
            pub const fn distance(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }

            /// Whether this is zero.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// A reign: at most one leader per term and lineage. The genesis is term 1.
    Term
}
counter! {
    /// Position in the log, counting every entry, from 1. Zero is "before the log".
    LogIndex
}
counter! {
    /// Number of a command, from 1, in the order commands are applied. Zero is "no command yet".
    Index
}
counter! {
    /// Order of what the core asks to be stored. Confirming one confirms all before it.
    Token
}

fn short(f: &mut fmt::Formatter<'_>, bytes: &[u8; 32]) -> fmt::Result {
    bytes[..5]
        .iter()
        .try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                short(f, &self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                short(f, &self.0)
            }
        }
    };
}

key! {
    /// Public key of a node, opaque here.
    PeerKey
}
key! {
    /// Identity of a group: what its key, configuration and machine have in common.
    GroupKeyId
}
key! {
    /// Identity of one genesis of a group. Members of different lineages never mix logs.
    /// All zeroes stands for "none" on the wire and is no lineage.
    Lineage
}

impl Lineage {
    /// No lineage: what a member that has none writes into its messages.
    pub const NONE: Self = Self([0; 32]);

    /// Whether this stands for "none".
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// A node with the log it had: a node that lost its log comes back as another member.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node.
    pub peer: PeerKey,
    /// New, and higher, whenever the node starts without its old log.
    pub incarnation: u64,
}

impl Member {
    /// The member `peer` is in its `incarnation`.
    pub const fn new(peer: PeerKey, incarnation: u64) -> Self {
        Self { peer, incarnation }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.peer, self.incarnation)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An entry's place in the log together with the term that wrote it: what identifies an entry
/// within a lineage (log matching, Raft §5.3).
///
/// Ordered as votes compare logs: by term, then by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Term of the leader that wrote the entry.
    pub term: Term,
    /// Where it stands.
    pub index: LogIndex,
}

impl Position {
    /// Before the first entry.
    pub const ZERO: Self = Self {
        term: Term::ZERO,
        index: LogIndex::ZERO,
    };

    /// The entry of `term` at `index`.
    pub const fn new(term: Term, index: LogIndex) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// Who numbered an operation. The number stays with the operation for ever, also when its command
/// comes into another lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A member; its sequence numbers only grow.
    Member(Member),
}

/// Operations `first .. first + count` of one origin: they were proposed together and stand
/// next to each other in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpRun {
    /// Who numbered them.
    pub origin: Origin,
    /// Sequence number of the first.
    pub first: u64,
    /// How many; at least 1.
    pub count: u32,
}

impl OpRun {
    /// Sequence number of the last.
    pub const fn last(&self) -> u64 {
        self.first.saturating_add(self.count as u64 - 1)
    }
}
