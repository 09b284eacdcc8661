//! What can go wrong with a group, its commands and its queries.

use {
    super::{cursor::Cursor, index::Index, link::Link, machine::StateMachine},
    crate::{discovery, network::LinkError, primitives::encoding::EncodeError},
    core::fmt,
    std::sync::Arc,
};

/// Why a group, or a bond of it, could not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This node has left the group, or the network is closed.
    #[error("Group has been terminated")]
    GroupTerminated,
    /// The peer did not show that it has the group's key.
    #[error("Invalid group secret key proof provided")]
    InvalidGroupKeyProof,
    /// The peer's tickets do not let it in.
    #[error("Unauthorized")]
    Unauthorized,
    /// The peer could not be reached, or broke off.
    #[error("Link error: {0}")]
    Link(#[source] LinkError),
    /// There is a bond with this peer already.
    #[error("An active bond already exists with this peer")]
    AlreadyBonded(Box<Link>),
    /// Discovery refused to advertise the group.
    #[error("Discovery error: {0}")]
    Discovery(#[source] discovery::Error),
}

/// Why a group has stopped on this node, while others may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Halted {
    /// The state machine panicked while it applied this command.
    #[error("state machine panicked at command {index}: {message}")]
    Panicked {
        /// The command's index.
        index: Index,
        /// What the panic said.
        message: Arc<str>,
    },
    /// A committed command cannot be decoded as the machine's command type.
    #[error("command {index} cannot be decoded: {message}")]
    Undecodable {
        /// The command's index.
        index: Index,
        /// Why not.
        message: Arc<str>,
    },
    /// The store of this member has failed.
    #[error("storage failed: {0}")]
    Storage(Arc<str>),
    /// The other members have cut their logs beyond what this one has, and it cannot put the
    /// state on its disk that it would have to go on from.
    #[error(
        "the others have cut their logs, and this state machine cannot be saved to catch up: \
         implement `StateMachine::save` and `StateMachine::restore`"
    )]
    CannotSave,
    /// Anything else.
    #[error("{0}")]
    Other(Arc<str>),
}

/// Why commands were not taken, or what is known of them instead.
///
/// Every variant that hands commands back, except [`CommandError::Unknown`], means that they
/// were not and will not be executed: trying again executes them once.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CommandError<M: StateMachine> {
    /// No leader took the commands in time. They were not and will not be executed.
    #[error("Group is temporarily offline and cannot process commands")]
    Offline(Vec<M::Command>),
    /// There was nothing to execute.
    #[error("No commands provided")]
    NoCommands,
    /// This node has left the group, or the network is closed. Where commands had been sent
    /// already, whether they are executed is not known.
    #[error("Group is terminated")]
    GroupTerminated,
    /// A command does not encode. None of them was or will be executed.
    #[error("Command encoding error: {1}")]
    Encoding(Vec<M::Command>, #[source] EncodeError),
    /// The outcome was not known in time: the commands may have been executed, all of them or
    /// none, and may still be. Trying again may execute them a second time.
    #[error("The outcome of the commands is not known")]
    Unknown {
        /// The commands.
        commands: Vec<M::Command>,
        /// Where a leader had put the first of them, if it said so: when another command is
        /// there once the group has committed that far, they were not executed at this place.
        accepted: Option<Cursor>,
    },
    /// More than the group takes at once. The commands were not and will not be executed.
    #[error("Commands of {bytes} bytes exceed the limit of {max}")]
    TooLarge {
        /// The commands.
        commands: Vec<M::Command>,
        /// Their encoded size, bytes.
        bytes: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// More commands than the group takes at once. They were not and will not be executed.
    #[error("Too many commands at once, at most {max} are taken")]
    TooMany {
        /// The commands.
        commands: Vec<M::Command>,
        /// The limit.
        max: usize,
    },
    /// Too much is waiting already. The commands were not and will not be executed.
    #[error("Too many commands are waiting")]
    Overloaded(Vec<M::Command>),
    /// The group has stopped on this node. The commands were not and will not be executed.
    #[error("Group has stopped on this node: {1}")]
    Halted(Vec<M::Command>, #[source] Halted),
}

impl<M: StateMachine> CommandError<M> {
    /// The commands, where they are handed back.
    pub fn into_commands(self) -> Vec<M::Command> {
        match self {
            Self::Offline(commands)
            | Self::Encoding(commands, _)
            | Self::Unknown { commands, .. }
            | Self::TooLarge { commands, .. }
            | Self::TooMany { commands, .. }
            | Self::Overloaded(commands)
            | Self::Halted(commands, _) => commands,
            Self::NoCommands | Self::GroupTerminated => Vec::new(),
        }
    }

    /// Whether the commands surely were not and will not be executed.
    pub const fn is_surely_not_done(&self) -> bool {
        !matches!(self, Self::Unknown { .. } | Self::GroupTerminated)
    }
}

impl<M: StateMachine> fmt::Debug for CommandError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Offline(_) => "Offline",
            Self::NoCommands => "NoCommands",
            Self::GroupTerminated => "GroupTerminated",
            Self::Encoding(..) => "Encoding",
            Self::Unknown { .. } => "Unknown",
            Self::TooLarge { .. } => "TooLarge",
            Self::TooMany { .. } => "TooMany",
            Self::Overloaded(_) => "Overloaded",
            Self::Halted(..) => "Halted",
        };
        write!(f, "{name}({self})")
    }
}

/// Why a query was not answered. The query is handed back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum QueryError<M: StateMachine> {
    /// No leader confirmed in time what the answer has to reflect, or the state is being replaced
    /// by that of other members.
    #[error("Group is temporarily offline and cannot answer queries")]
    Offline(M::Query),
    /// This node has left the group, or the network is closed.
    #[error("Group is terminated")]
    GroupTerminated,
    /// The query does not encode.
    #[error("Query encoding error: {1}")]
    Encoding(M::Query, #[source] EncodeError),
    /// Too many queries are waiting already.
    #[error("Too many queries are waiting")]
    Overloaded(M::Query),
    /// The state machine panicked while it answered. What the panic said.
    #[error("State machine panicked at a query: {0}")]
    Panicked(Arc<str>),
    /// The group has stopped on this node.
    #[error("Group has stopped on this node: {1}")]
    Halted(M::Query, #[source] Halted),
}

impl<M: StateMachine> fmt::Debug for QueryError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Offline(_) => "Offline",
            Self::GroupTerminated => "GroupTerminated",
            Self::Encoding(..) => "Encoding",
            Self::Overloaded(_) => "Overloaded",
            Self::Panicked(_) => "Panicked",
            Self::Halted(..) => "Halted",
        };
        write!(f, "{name}({self})")
    }
}

#[cfg(test)]
mod tests {
    use {super::*, crate::groups::NoOp};

    #[test]
    fn texts_are_those_that_programs_match_on() {
        let texts = [
            CommandError::<NoOp>::Offline(vec![()]).to_string(),
            CommandError::<NoOp>::NoCommands.to_string(),
            CommandError::<NoOp>::GroupTerminated.to_string(),
            Error::GroupTerminated.to_string(),
            Error::InvalidGroupKeyProof.to_string(),
            Error::Unauthorized.to_string(),
            Error::Link(LinkError::Timeout).to_string(),
        ];
        let expected = [
            "Group is temporarily offline and cannot process commands",
            "No commands provided",
            "Group is terminated",
            "Group has been terminated",
            "Invalid group secret key proof provided",
            "Unauthorized",
            "Link error: peer did not answer in time",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn commands_come_back_and_only_an_unknown_outcome_may_have_run() {
        let unknown = CommandError::<NoOp>::Unknown {
            commands: vec![(), ()],
            accepted: None,
        };
        assert!(!unknown.is_surely_not_done());
        assert_eq!(unknown.into_commands().len(), 2);
        assert!(CommandError::<NoOp>::Overloaded(vec![()]).is_surely_not_done());
    }
}
