//! Votes and entries are on disk before a message that rests on them leaves.

use {
    super::{Fact, Invariant, Scene, Subject},
    mosaik_protocol::consensus::{Body, Message},
};

#[derive(Default)]
pub(super) struct DurableFirst;

fn vote_is_stored(message: &Message, scene: &Scene<'_>) -> bool {
    let candidate = match message.body {
        Body::Vote { .. } => message.from,
        _ => message.to,
    };
    let place = (message.from, message.lineage, message.term);
    scene.chronicle.votes.get(&place) == Some(&candidate)
}

impl Invariant for DurableFirst {
    fn name(&self) -> &'static str {
        "durable before the message"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let Fact::Sends(message) = fact else {
            return Ok(());
        };
        if message.from.peer != subject.member.peer {
            return Err(format!("sends in the name of {}", message.from));
        }
        match &message.body {
            Body::Vote { .. }
            | Body::VoteAnswer { granted: true }
            | Body::GenesisAnswer { granted: true }
                if !vote_is_stored(message, scene) =>
            {
                Err(format!(
                    "sends {:?} of term {} without having stored the vote",
                    message.body, message.term
                ))
            }
            Body::AppendAck { matched } => {
                let durable = subject.durable;
                let stored = durable.covers();
                if durable.hard.lineage == message.lineage && *matched > stored {
                    return Err(format!(
                        "confirms {matched}, but has stored its log up to {stored} only"
                    ));
                }
                let leader = scene.stored(&message.to).filter(|image| {
                    image.hard.lineage == message.lineage && image.hard.term == message.term
                });
                // A leader's disk may be behind its log; where it is not, the logs must agree.
                let theirs = leader.and_then(|image| image.term(*matched));
                let ours = durable.term(*matched);
                let snapshot = durable.snapshot.as_ref();
                let compacted = durable.base.index > *matched
                    || ours.is_none()
                    || snapshot.is_some_and(|s| s.meta.last.index >= *matched);
                if durable.hard.lineage == message.lineage
                    && !compacted
                    && theirs.is_some()
                    && ours != theirs
                    && scene
                        .chronicle
                        .leaders
                        .get(&(message.lineage, message.term))
                        == Some(&message.to)
                {
                    return Err(format!(
                        "confirms {matched} of term {theirs:?}, but has stored term {ours:?} there"
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
