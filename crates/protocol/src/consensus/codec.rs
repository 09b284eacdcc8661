//! The bytes of a [`Message`]. Version 1; bounded when read; payloads are not copied.

use {
    super::{
        config::limits,
        entry::{Entry, get_runs, put_runs},
        ids::{GroupKeyId, Index, Lineage, LogIndex, Term},
        membership::Preference,
        message::{Body, Forward, ForwardAnswer, Hello, Message, Resubmit, Verdict},
        state::SnapshotMeta,
        wire::{
            Reader, WireError, put_bool, put_bytes, put_member, put_option_member, put_position,
            put_varint,
        },
    },
    bytes::{BufMut, Bytes, BytesMut},
};

/// Version of messages written, and the only one read.
pub const MESSAGE_VERSION: u8 = 1;

mod tag {
    pub(super) const HELLO: u8 = 0;
    pub(super) const GENESIS: u8 = 1;
    pub(super) const GENESIS_ANSWER: u8 = 2;
    pub(super) const JOIN: u8 = 3;
    pub(super) const LEAVE: u8 = 4;
    pub(super) const REMOVED: u8 = 5;
    pub(super) const PRE_VOTE: u8 = 6;
    pub(super) const PRE_VOTE_ANSWER: u8 = 7;
    pub(super) const VOTE: u8 = 8;
    pub(super) const VOTE_ANSWER: u8 = 9;
    pub(super) const APPEND: u8 = 10;
    pub(super) const APPEND_ACK: u8 = 11;
    pub(super) const APPEND_REJECT: u8 = 12;
    pub(super) const HEARTBEAT: u8 = 13;
    pub(super) const HEARTBEAT_ACK: u8 = 14;
    pub(super) const SNAPSHOT: u8 = 15;
    pub(super) const FORWARD: u8 = 16;
    pub(super) const FORWARD_ANSWER: u8 = 17;
    pub(super) const READ_INDEX: u8 = 18;
    pub(super) const READ_INDEX_ANSWER: u8 = 19;
    pub(super) const TIMEOUT_NOW: u8 = 20;
    pub(super) const PING: u8 = 21;
    pub(super) const PONG: u8 = 22;
    pub(super) const RESUBMIT: u8 = 23;
    pub(super) const RESUBMIT_ANSWER: u8 = 24;
    pub(super) const FOREIGN: u8 = 25;
}

impl Message {
    /// The bytes of this message.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(192);
        buf.put_u8(MESSAGE_VERSION);
        buf.extend_from_slice(&self.lineage.0);
        put_member(&mut buf, &self.from);
        put_member(&mut buf, &self.to);
        put_varint(&mut buf, self.term.0);
        put_body(&mut buf, &self.body);
        buf.freeze()
    }

    /// Reads what [`Message::encode`] wrote, at most [`limits::MESSAGE_BYTES`]. Entries and
    /// commands share the memory of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        if bytes.len() > limits::MESSAGE_BYTES {
            let (len, max) = (bytes.len() as u64, limits::MESSAGE_BYTES as u64);
            return Err(WireError::TooLarge {
                what: "message",
                len,
                max,
            });
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            MESSAGE_VERSION => {}
            version => return Err(WireError::UnknownVersion(version)),
        }
        let message = Self {
            lineage: Lineage(reader.array()?),
            from: reader.member()?,
            to: reader.member()?,
            term: Term(reader.varint()?),
            body: get_body(&mut reader)?,
        };
        reader.finish()?;
        Ok(message)
    }
}

fn put_body(buf: &mut BytesMut, body: &Body) {
    match body {
        Body::Hello(hello) => {
            buf.put_u8(tag::HELLO);
            put_hello(buf, hello);
        }
        Body::Genesis(entry) => {
            buf.put_u8(tag::GENESIS);
            put_bytes(buf, entry);
        }
        Body::GenesisAnswer { granted } => put_tagged_bool(buf, tag::GENESIS_ANSWER, *granted),
        Body::Join { member, preference } => {
            buf.put_u8(tag::JOIN);
            put_member(buf, member);
            put_preference(buf, *preference);
        }
        Body::Leave { member } => {
            buf.put_u8(tag::LEAVE);
            put_member(buf, member);
        }
        Body::Removed => buf.put_u8(tag::REMOVED),
        Body::PreVote { last } => {
            buf.put_u8(tag::PRE_VOTE);
            put_position(buf, *last);
        }
        Body::PreVoteAnswer { term, granted } => {
            put_tagged_bool(buf, tag::PRE_VOTE_ANSWER, *granted);
            put_varint(buf, term.0);
        }
        Body::Vote { last, transfer } => {
            put_tagged_bool(buf, tag::VOTE, *transfer);
            put_position(buf, *last);
        }
        Body::VoteAnswer { granted } => put_tagged_bool(buf, tag::VOTE_ANSWER, *granted),
        Body::Forward(_) | Body::ForwardAnswer(_) | Body::Resubmit(_) => put_commands(buf, body),
        Body::ReadIndex { seq } => {
            buf.put_u8(tag::READ_INDEX);
            put_varint(buf, *seq);
        }
        Body::ReadIndexAnswer { seq, index } => {
            put_tagged_bool(buf, tag::READ_INDEX_ANSWER, index.is_some());
            put_varint(buf, *seq);
            put_varint(buf, index.unwrap_or_default().0);
        }
        Body::TimeoutNow => buf.put_u8(tag::TIMEOUT_NOW),
        Body::Ping => buf.put_u8(tag::PING),
        Body::Pong => buf.put_u8(tag::PONG),
        Body::ResubmitAnswer {
            lineage,
            leading,
            leader,
            upto,
            taken,
            committed,
        } => {
            put_tagged_bool(buf, tag::RESUBMIT_ANSWER, *leading);
            buf.extend_from_slice(&lineage.0);
            put_option_member(buf, leader.as_ref());
            put_varint(buf, upto.0);
            put_bool(buf, *taken);
            put_bool(buf, *committed);
        }
        Body::Foreign {
            member,
            lineage,
            hello,
        } => {
            buf.put_u8(tag::FOREIGN);
            put_member(buf, member);
            buf.extend_from_slice(&lineage.0);
            put_hello(buf, hello);
        }
        _ => put_replication(buf, body),
    }
}

fn put_replication(buf: &mut BytesMut, body: &Body) {
    match body {
        Body::Append {
            prev,
            commit,
            entries,
        } => {
            buf.reserve(
                48 + entries
                    .iter()
                    .map(|entry| entry.body.len() + 12)
                    .sum::<usize>(),
            );
            buf.put_u8(tag::APPEND);
            put_position(buf, *prev);
            put_varint(buf, commit.0);
            put_varint(buf, entries.len() as u64);
            for entry in entries {
                put_varint(buf, entry.term.0);
                put_bytes(buf, &entry.body);
            }
        }
        Body::AppendAck { matched } => {
            buf.put_u8(tag::APPEND_ACK);
            put_varint(buf, matched.0);
        }
        Body::AppendReject { prev, hint } => {
            buf.put_u8(tag::APPEND_REJECT);
            put_varint(buf, prev.0);
            put_position(buf, *hint);
        }
        Body::Heartbeat {
            commit,
            round,
            quiesce,
        } => {
            put_tagged_bool(buf, tag::HEARTBEAT, *quiesce);
            put_varint(buf, commit.0);
            put_varint(buf, *round);
        }
        Body::HeartbeatAck {
            round,
            matched,
            stored,
            quiesced,
        } => {
            put_tagged_bool(buf, tag::HEARTBEAT_ACK, *quiesced);
            put_varint(buf, *round);
            put_varint(buf, matched.0);
            put_varint(buf, stored.0);
        }
        Body::Snapshot(meta) => {
            buf.put_u8(tag::SNAPSHOT);
            put_bytes(buf, &meta.encode());
        }
        other => unreachable!("{other:?} is encoded elsewhere"),
    }
}

fn put_commands(buf: &mut BytesMut, body: &Body) {
    match body {
        Body::Forward(Forward {
            after,
            first,
            commands,
        }) => {
            buf.put_u8(tag::FORWARD);
            put_varint(buf, *after);
            put_varint(buf, *first);
            put_many(buf, commands);
        }
        Body::ForwardAnswer(ForwardAnswer {
            first,
            count,
            verdict,
        }) => {
            buf.put_u8(tag::FORWARD_ANSWER);
            put_varint(buf, *first);
            put_varint(buf, u64::from(*count));
            put_verdict(buf, verdict);
        }
        Body::Resubmit(Resubmit {
            upto,
            runs,
            commands,
        }) => {
            buf.put_u8(tag::RESUBMIT);
            put_varint(buf, upto.0);
            put_runs(buf, runs);
            put_many(buf, commands);
        }
        other => unreachable!("{other:?} is encoded elsewhere"),
    }
}

fn put_many(buf: &mut BytesMut, commands: &[Bytes]) {
    buf.reserve(commands.iter().map(|command| command.len() + 4).sum());
    put_varint(buf, commands.len() as u64);
    for command in commands {
        put_bytes(buf, command);
    }
}

fn put_tagged_bool(buf: &mut BytesMut, tag: u8, value: bool) {
    buf.put_u8(tag);
    put_bool(buf, value);
}

fn put_preference(buf: &mut BytesMut, preference: Preference) {
    match preference {
        Preference::Normal => buf.put_u8(0),
        Preference::Reluctant { factor } => {
            buf.put_u8(1);
            put_varint(buf, u64::from(factor));
        }
        Preference::Observer => buf.put_u8(2),
    }
}

fn put_hello(buf: &mut BytesMut, hello: &Hello) {
    buf.extend_from_slice(&hello.group.0);
    put_varint(buf, hello.age_ms);
    put_preference(buf, hello.preference);
    put_bool(buf, hello.formed);
    put_option_member(buf, hello.leader.as_ref());
    put_varint(buf, hello.committed.0);
    put_varint(buf, u64::from(hello.voters));
    put_bool(buf, hello.sealed);
    put_bool(buf, hello.cut);
    put_varint(buf, hello.sees.len() as u64);
    for member in &hello.sees {
        put_member(buf, member);
    }
    put_bool(buf, hello.answer);
}

fn put_verdict(buf: &mut BytesMut, verdict: &Verdict) {
    match verdict {
        Verdict::At(index) => {
            buf.put_u8(0);
            put_varint(buf, index.0);
        }
        Verdict::Missing { last } => {
            buf.put_u8(1);
            put_varint(buf, *last);
        }
        Verdict::Skipped => buf.put_u8(2),
        Verdict::Forgotten => buf.put_u8(3),
        Verdict::Busy => buf.put_u8(4),
        Verdict::NotLeader { leader } => {
            buf.put_u8(5);
            put_option_member(buf, leader.as_ref());
        }
    }
}

fn get_body(reader: &mut Reader) -> Result<Body, WireError> {
    Ok(match reader.u8()? {
        tag::HELLO => Body::Hello(Box::new(get_hello(reader)?)),
        tag::GENESIS => Body::Genesis(reader.bytes("genesis", limits::ENTRY_BYTES)?),
        tag::GENESIS_ANSWER => Body::GenesisAnswer {
            granted: reader.bool()?,
        },
        tag::JOIN => Body::Join {
            member: reader.member()?,
            preference: get_preference(reader)?,
        },
        tag::LEAVE => Body::Leave {
            member: reader.member()?,
        },
        tag::REMOVED => Body::Removed,
        tag::PRE_VOTE => Body::PreVote {
            last: reader.position()?,
        },
        tag::PRE_VOTE_ANSWER => {
            let granted = reader.bool()?;
            Body::PreVoteAnswer {
                term: Term(reader.varint()?),
                granted,
            }
        }
        tag::VOTE => {
            let transfer = reader.bool()?;
            Body::Vote {
                last: reader.position()?,
                transfer,
            }
        }
        tag::VOTE_ANSWER => Body::VoteAnswer {
            granted: reader.bool()?,
        },
        tag::READ_INDEX => Body::ReadIndex {
            seq: reader.varint()?,
        },
        tag::READ_INDEX_ANSWER => {
            let known = reader.bool()?;
            let seq = reader.varint()?;
            let index = LogIndex(reader.varint()?);
            Body::ReadIndexAnswer {
                seq,
                index: known.then_some(index),
            }
        }
        tag::TIMEOUT_NOW => Body::TimeoutNow,
        tag::PING => Body::Ping,
        tag::PONG => Body::Pong,
        tag::RESUBMIT_ANSWER => Body::ResubmitAnswer {
            leading: reader.bool()?,
            lineage: Lineage(reader.array()?),
            leader: reader.option_member()?,
            upto: Index(reader.varint()?),
            taken: reader.bool()?,
            committed: reader.bool()?,
        },
        tag::FOREIGN => Body::Foreign {
            member: reader.member()?,
            lineage: Lineage(reader.array()?),
            hello: Box::new(get_hello(reader)?),
        },
        other => return get_commands_or_replication(reader, other),
    })
}

fn get_commands_or_replication(reader: &mut Reader, tag: u8) -> Result<Body, WireError> {
    Ok(match tag {
        tag::APPEND => get_append(reader)?,
        tag::APPEND_ACK => Body::AppendAck {
            matched: LogIndex(reader.varint()?),
        },
        tag::APPEND_REJECT => Body::AppendReject {
            prev: LogIndex(reader.varint()?),
            hint: reader.position()?,
        },
        tag::HEARTBEAT => {
            let quiesce = reader.bool()?;
            Body::Heartbeat {
                commit: LogIndex(reader.varint()?),
                round: reader.varint()?,
                quiesce,
            }
        }
        tag::HEARTBEAT_ACK => {
            let quiesced = reader.bool()?;
            let round = reader.varint()?;
            Body::HeartbeatAck {
                round,
                matched: LogIndex(reader.varint()?),
                stored: LogIndex(reader.varint()?),
                quiesced,
            }
        }
        tag::SNAPSHOT => {
            let bytes = reader.bytes("snapshot", limits::MESSAGE_BYTES)?;
            Body::Snapshot(Box::new(SnapshotMeta::decode(bytes)?))
        }
        tag::FORWARD => Body::Forward(Forward {
            after: reader.varint()?,
            first: reader.varint()?,
            commands: get_many(reader)?,
        }),
        tag::FORWARD_ANSWER => Body::ForwardAnswer(ForwardAnswer {
            first: reader.varint()?,
            count: get_u32(reader, "commands", limits::ENTRY_COMMANDS as u32)?,
            verdict: get_verdict(reader)?,
        }),
        tag::RESUBMIT => Body::Resubmit(Resubmit {
            upto: Index(reader.varint()?),
            runs: get_runs(reader)?,
            commands: get_many(reader)?,
        }),
        tag => {
            return Err(WireError::UnknownTag {
                what: "message",
                tag,
            });
        }
    })
}

fn get_append(reader: &mut Reader) -> Result<Body, WireError> {
    let prev = reader.position()?;
    let commit = LogIndex(reader.varint()?);
    let count = reader.count("entries", limits::APPEND_ENTRIES, 4)?;
    if prev.index.0.checked_add(count as u64).is_none() {
        return Err(WireError::Invalid("log indices do not wrap"));
    }
    let entries = (0..count as u64)
        .map(|at| {
            Ok(Entry {
                index: prev.index.plus(at + 1),
                term: Term(reader.varint()?),
                body: reader.bytes("entry", limits::ENTRY_BYTES)?,
            })
        })
        .collect::<Result<_, WireError>>()?;
    Ok(Body::Append {
        prev,
        commit,
        entries,
    })
}

fn get_many(reader: &mut Reader) -> Result<Vec<Bytes>, WireError> {
    let count = reader.count("commands", limits::ENTRY_COMMANDS, 1)?;
    (0..count)
        .map(|_| reader.bytes("command", limits::ENTRY_BYTES))
        .collect()
}

fn get_u32(reader: &mut Reader, what: &'static str, max: u32) -> Result<u32, WireError> {
    match reader.varint()? {
        len if len > u64::from(max) => Err(WireError::TooLarge {
            what,
            len,
            max: u64::from(max),
        }),
        value => Ok(value as u32),
    }
}

fn get_preference(reader: &mut Reader) -> Result<Preference, WireError> {
    Ok(match reader.u8()? {
        0 => Preference::Normal,
        1 => Preference::Reluctant {
            factor: get_u32(reader, "factor", u32::MAX)?,
        },
        2 => Preference::Observer,
        tag => {
            return Err(WireError::UnknownTag {
                what: "preference",
                tag,
            });
        }
    })
}

fn get_hello(reader: &mut Reader) -> Result<Hello, WireError> {
    Ok(Hello {
        group: GroupKeyId(reader.array()?),
        age_ms: reader.varint()?,
        preference: get_preference(reader)?,
        formed: reader.bool()?,
        leader: reader.option_member()?,
        committed: Index(reader.varint()?),
        voters: get_u32(reader, "voters", limits::MEMBERS as u32)?,
        sealed: reader.bool()?,
        cut: reader.bool()?,
        sees: reader.members("fresh members", limits::FRESH_MEMBERS)?,
        answer: reader.bool()?,
    })
}

fn get_verdict(reader: &mut Reader) -> Result<Verdict, WireError> {
    Ok(match reader.u8()? {
        0 => Verdict::At(Index(reader.varint()?)),
        1 => Verdict::Missing {
            last: reader.varint()?,
        },
        2 => Verdict::Skipped,
        3 => Verdict::Forgotten,
        4 => Verdict::Busy,
        5 => Verdict::NotLeader {
            leader: reader.option_member()?,
        },
        tag => {
            return Err(WireError::UnknownTag {
                what: "verdict",
                tag,
            });
        }
    })
}
