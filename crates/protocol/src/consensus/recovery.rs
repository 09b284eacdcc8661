//! Going on alone, in a new lineage that starts where this member's log ends.
//!
//! For a majority that is lost for good, when somebody says so, and for a sealed lineage that
//! nobody takes in. The new lineage shares the old one's past, the numbering of its commands and
//! the operations known to be applied, and treats whatever is in this member's log as committed.
//! It has one voter; whoever else is there joins it, or gives way to it.

use super::{
    core::{Core, Role},
    entry::{Entry, EntryBody, Recovery},
    ids::Lineage,
    input::{Event, Output, Outputs},
};

impl Core {
    /// The majority is lost for good.
    pub(super) fn recover(&mut self, out: &mut Outputs) {
        let able = matches!(
            self.role,
            Role::Follower | Role::Candidate(_) | Role::Retired(_)
        );
        if able && !self.is_observer() {
            self.go_on_alone(out);
        }
    }

    pub(super) fn go_on_alone(&mut self, out: &mut Outputs) {
        if self.lineage().is_none() || self.log.last_index().is_zero() {
            return;
        }
        let (parent, survivor) = (self.lineage(), self.me());
        let last = self.log.last();
        let nonce = self.rng.next().to_le_bytes();
        let parts: [&[u8]; 5] = [
            b"mosaik consensus recovery",
            &parent.0,
            &survivor.peer.0,
            &survivor.incarnation.to_le_bytes(),
            &nonce,
        ];
        let lineage = Lineage(*mosaik_primitives::Digest::from_parts(&parts).as_bytes());
        let hard = self.storing.change();
        hard.lineage = lineage;
        hard.term = hard.term.next();
        hard.vote = Some(survivor);
        hard.continued = Some((last.index.next(), parent));
        self.storing.drop_held();
        self.append_recovery();
        self.foreign.clear();
        self.fetches.give_up(|_| true);
        self.role = Role::Follower;
        out.push(Output::Event(Event::Continued {
            from: parent,
            into: lineage,
        }));
        out.push(Output::Event(Event::Lineage(lineage)));
        self.announce_membership(out);
        self.stand(false, out);
    }

    /// The first entry of the new lineage, unless the log has it.
    pub(super) fn append_recovery(&mut self) {
        let hard = self.storing.hard();
        let Some((index, parent)) = hard.continued else {
            return;
        };
        if self.log.last_index() >= index {
            return;
        }
        let body = EntryBody::Recovery(Recovery {
            parent,
            lineage: hard.lineage,
            survivor: hard.member,
        });
        let entry = Entry {
            index: self.log.last_index().next(),
            term: hard.term,
            body: body.encode(),
        };
        self.log.append(entry.clone(), &body);
        self.storing.append(entry);
    }
}
