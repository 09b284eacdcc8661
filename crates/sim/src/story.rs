//! Messages in words: what traces print and what scenarios filter by.

use mosaik_protocol::consensus::{Body, Message};

/// The kind of a message, as scenarios name it.
pub fn kind(body: &Body) -> &'static str {
    match body {
        Body::Hello(_) => "hello",
        Body::Genesis(_) => "genesis",
        Body::GenesisAnswer { .. } => "genesis-answer",
        Body::Join { .. } => "join",
        Body::Leave { .. } => "leave",
        Body::Removed => "removed",
        Body::PreVote { .. } => "pre-vote",
        Body::PreVoteAnswer { .. } => "pre-vote-answer",
        Body::Vote { .. } => "vote",
        Body::VoteAnswer { .. } => "vote-answer",
        Body::Append { .. } => "append",
        Body::AppendAck { .. } => "ack",
        Body::AppendReject { .. } => "reject",
        Body::Heartbeat { .. } => "heartbeat",
        Body::HeartbeatAck { .. } => "heartbeat-ack",
        Body::Snapshot(_) => "snapshot",
        Body::Forward(_) => "forward",
        Body::ForwardAnswer(_) => "forward-answer",
        Body::ReadIndex { .. } => "read-index",
        Body::ReadIndexAnswer { .. } => "read-index-answer",
        Body::TimeoutNow => "timeout-now",
        Body::Ping => "ping",
        Body::Pong => "pong",
        Body::Resubmit(_) => "resubmit",
        Body::ResubmitAnswer { .. } => "resubmit-answer",
        Body::Foreign { .. } => "foreign",
        _ => "other",
    }
}

/// A message in a line.
pub fn tell(message: &Message) -> String {
    let what = match &message.body {
        Body::Append {
            prev,
            commit,
            entries,
        } => {
            let last = entries
                .last()
                .map(|entry| format!(" to {}", entry.position()));
            format!(
                "append after {prev}{}, commit {commit}",
                last.unwrap_or_default()
            )
        }
        Body::Hello(hello) => format!(
            "hello formed={} committed={} sealed={} sees={:?} leader={:?}",
            hello.formed, hello.committed, hello.sealed, hello.sees, hello.leader
        ),
        Body::Genesis(_) => "genesis".to_owned(),
        Body::Snapshot(meta) => format!("snapshot to {}", meta.last),
        Body::Forward(forward) => {
            format!("forward {} from {}", forward.commands.len(), forward.first)
        }
        Body::Resubmit(resubmit) => format!(
            "resubmit {} up to {}",
            resubmit.commands.len(),
            resubmit.upto
        ),
        other => format!("{other:?}"),
    };
    format!("[{} t{}] {what}", message.lineage, message.term)
}
