//! Sending a member what it lacks: from memory, from the store, or as a snapshot.

use super::{
    config::limits,
    core::Core,
    entry::Entry,
    fetches::Purpose,
    ids::{LogIndex, Member, Position},
    input::Outputs,
    leader::Cx,
    log::ENTRY_OVERHEAD,
    message::Body,
    progress::{Mode, Progress},
};

/// Sends a member what it can take.
pub(super) fn replicate_to(
    member: Member,
    progress: &mut Progress,
    cx: &mut Cx<'_>,
    out: &mut Outputs,
) {
    loop {
        let probing = match progress.mode {
            Mode::Probe { waiting: false } => true,
            Mode::Replicate => false,
            _ => return,
        };
        let prev = progress.next.prev();
        let caught_up = progress.next > cx.log.last_index();
        if !probing
            && (progress.is_full(cx.config) || caught_up && progress.commit_sent >= cx.commit)
        {
            return;
        }
        let in_memory = caught_up || progress.next >= cx.log.first_cached();
        let (Some(prev_term), true) = (cx.log.term(prev), in_memory) else {
            reach_back(member, progress, probing, cx, out);
            return;
        };
        let entries = cx.log.slice(
            progress.next,
            cx.config.append_bytes,
            limits::APPEND_ENTRIES,
        );
        let last = entries.last().map(|entry| entry.index);
        let bytes = entries
            .iter()
            .map(|entry| entry.body.len() + ENTRY_OVERHEAD)
            .sum();
        let prev = Position::new(prev_term, prev);
        progress.commit_sent = cx.commit;
        cx.storing.send(
            member,
            Body::Append {
                prev,
                commit: cx.commit,
                entries,
            },
            out,
        );
        if probing {
            progress.mode = Mode::Probe { waiting: true };
        } else if let Some(last) = last {
            progress.sent(last, bytes);
        }
    }
}

/// Gets what the member needs from the store, or has it fetch a snapshot.
fn reach_back(
    member: Member,
    progress: &mut Progress,
    probing: bool,
    cx: &mut Cx<'_>,
    out: &mut Outputs,
) {
    let base = cx.log.base().at.index;
    if progress.next > base {
        // The entry before is read along, for its term.
        let from = progress.next.prev().max(base.next());
        progress.mode = Mode::Fetch {
            from,
            prev: None,
            probing,
        };
        read_for(member, from, progress, cx, out);
    } else {
        offer_snapshot(member, progress, cx, out);
    }
}

/// Has entries read for a member, if not at once then when it answers the next heartbeat.
fn read_for(
    member: Member,
    from: LogIndex,
    progress: &mut Progress,
    cx: &mut Cx<'_>,
    out: &mut Outputs,
) {
    let purpose = Purpose::Peer(member);
    if !cx.fetches.ask(from, purpose, cx.log, cx.config, out) {
        progress.mode = Mode::Probe { waiting: true };
    }
}

fn offer_snapshot(member: Member, progress: &mut Progress, cx: &mut Cx<'_>, out: &mut Outputs) {
    if let Some(meta) = cx.snapshot {
        progress.mode = Mode::Snapshot {
            last: meta.last.index,
            since: cx.now,
        };
        cx.storing
            .send(member, Body::Snapshot(Box::new(meta.clone())), out);
    }
}

impl Core {
    /// Entries for a member that lags have been read.
    pub(super) fn on_fetched_for_peer(
        &mut self,
        member: Member,
        from: LogIndex,
        entries: &[Entry],
        out: &mut Outputs,
    ) {
        let Some((leader, mut cx)) = self.leading() else {
            return;
        };
        let Some(progress) = leader.peers.get_mut(&member) else {
            return;
        };
        let (read, probing) = match progress.mode {
            Mode::Fetch {
                from: wanted,
                prev,
                probing,
            } if wanted == from => (prev, probing),
            _ => return,
        };
        progress.probe(progress.next);
        let next = progress.next;
        let cached = next >= cx.log.first_cached();
        let known = [Some(cx.log.base().at), read].into_iter().flatten();
        let prev = known
            .chain(entries.iter().map(Entry::position))
            .find(|at| at.index == next.prev());
        let short = entries.last().is_some_and(|last| last.index < next);
        if prev.is_some() && short && !cached {
            // What may be read at once holds the entry before and nothing else.
            progress.mode = Mode::Fetch {
                from: next,
                prev,
                probing,
            };
            read_for(member, next, progress, &mut cx, out);
            return;
        }
        let wanted = entries.iter().filter(|entry| entry.index >= next);
        // A store bounds what it reads by bytes alone.
        let entries: Vec<_> = wanted.take(limits::APPEND_ENTRIES).cloned().collect();
        let (Some(prev), Some(last)) = (prev, entries.last().map(|entry| entry.index)) else {
            // The store has cut its log meanwhile: a snapshot will do.
            if entries.is_empty() && cx.snapshot.is_some_and(|meta| meta.last.index >= next) {
                offer_snapshot(member, progress, &mut cx, out);
            } else if !cached {
                // Nothing was sent, but the next heartbeat that is answered has it tried again.
                progress.mode = Mode::Probe { waiting: true };
            }
            return;
        };
        let size = |entry: &Entry| entry.body.len() + ENTRY_OVERHEAD;
        let bytes = entries.iter().map(size).sum();
        let commit = cx.commit;
        let append = Body::Append {
            prev,
            commit,
            entries,
        };
        cx.storing.send(member, append, out);
        progress.commit_sent = commit;
        if probing {
            progress.mode = Mode::Probe { waiting: true };
        } else {
            progress.mode = Mode::Replicate;
            progress.sent(last, bytes);
        }
    }
}
