//! Observers are counted for nothing: they neither lead nor vote nor stand nor are made voters.

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::chronicle::membership_of,
    mosaik_protocol::consensus::{Body, Preference, Write},
};

#[derive(Default)]
pub(super) struct Observers;

impl Invariant for Observers {
    fn name(&self) -> &'static str {
        "observers never counted"
    }

    fn see(&mut self, subject: &Subject<'_>, fact: &Fact<'_>, _: &Scene<'_>) -> Result<(), String> {
        if subject.preference != Preference::Observer {
            return Ok(());
        }
        match fact {
            Fact::Leads => Err("leads, though it is an observer".to_owned()),
            Fact::Sends(message) => match &message.body {
                Body::Vote { .. }
                | Body::PreVote { .. }
                | Body::VoteAnswer { granted: true }
                | Body::PreVoteAnswer { granted: true, .. }
                | Body::GenesisAnswer { granted: true }
                | Body::Genesis(_) => Err(format!(
                    "sends {:?}, though it is an observer",
                    message.body
                )),
                _ => Ok(()),
            },
            Fact::Writes {
                write: Write::Append(entries),
                ..
            } => {
                let voter = entries
                    .iter()
                    .filter_map(membership_of)
                    .any(|members| members.is_voter(&subject.member));
                if voter {
                    Err("is a voter, though it is an observer".to_owned())
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }
}
