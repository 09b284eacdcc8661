//! The replicated state machine of the simulation: registers, and a memory of who wrote what.

use {
    crate::history::{Call, Register, Reply},
    bytes::{Buf, BufMut, Bytes, BytesMut},
    std::collections::BTreeMap,
};

/// A command as clients propose it. The tag is unique in a run, so that a command applied twice
/// shows wherever it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Unique in a run.
    pub tag: u64,
    /// The register.
    pub key: u8,
    /// What to do with it.
    pub call: Call,
}

impl Command {
    /// The command's bytes.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(32);
        buf.put_u64_le(self.tag);
        buf.put_u8(self.key);
        match self.call {
            Call::Swap(new) => {
                buf.put_u8(0);
                buf.put_u64_le(new);
            }
            Call::CompareAndSet { expected, new } => {
                buf.put_u8(1);
                buf.put_u64_le(expected);
                buf.put_u64_le(new);
            }
            Call::Read => buf.put_u8(2),
        }
        buf.freeze()
    }

    /// Reads what [`Command::encode`] wrote; commands reach the machine unchanged or not at all.
    pub fn decode(mut bytes: Bytes) -> Self {
        let tag = bytes.get_u64_le();
        let key = bytes.get_u8();
        let call = match bytes.get_u8() {
            0 => Call::Swap(bytes.get_u64_le()),
            1 => Call::CompareAndSet {
                expected: bytes.get_u64_le(),
                new: bytes.get_u64_le(),
            },
            2 => Call::Read,
            other => unreachable!("no command has kind {other}"),
        };
        Self { tag, key, call }
    }
}

/// The state after some prefix of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    registers: BTreeMap<u8, u64>,
    /// Commands applied.
    pub commands: u64,
    /// Running hash of the tags applied, in order: equal prefixes have equal hashes.
    pub digest: u64,
}

impl Machine {
    /// Applies a command and answers it.
    pub fn apply(&mut self, command: &Command) -> Reply {
        let value = self.registers.entry(command.key).or_default();
        let (after, reply) = Register::apply(*value, command.call);
        *value = after;
        self.commands += 1;
        self.digest = crate::rng::splitmix64(self.digest ^ command.tag);
        reply
    }

    /// The value of a register.
    pub fn read(&self, key: u8) -> u64 {
        self.registers.get(&key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_round_trip_and_answer() {
        let mut machine = Machine::default();
        for (tag, call, reply) in [
            (1, Call::Swap(5), Reply::Value(0)),
            (
                2,
                Call::CompareAndSet {
                    expected: 5,
                    new: 6,
                },
                Reply::Done(true),
            ),
            (
                3,
                Call::CompareAndSet {
                    expected: 5,
                    new: 7,
                },
                Reply::Done(false),
            ),
            (4, Call::Read, Reply::Value(6)),
        ] {
            let command = Command { tag, key: 3, call };
            assert_eq!(Command::decode(command.encode()), command);
            assert_eq!(machine.apply(&command), reply);
        }
        assert_eq!((machine.read(3), machine.commands), (6, 4));
    }
}
