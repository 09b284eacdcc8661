//! A model of formation, election and one membership change, checked exhaustively in a small
//! scope: every order of deliveries, losses and timeouts of three nodes.
//!
//! It models the rules that the core follows, not the core's code: genesis accepted once and
//! counted as a vote in term 1, votes for logs that are not behind, the membership in force as
//! soon as it is in the log, a change only after an entry of the leader's term is committed, and
//! commits counted for entries of the leader's own term only. What the code does is the business
//! of the seeds and scenarios. Each rule can be left out, and the model then finds the run that
//! shows why it is there.

use {
    stateright::{Checker, Model, Property},
    std::collections::BTreeSet,
};

type Id = u8;

/// Nodes by bit: a set of up to eight.
type Set = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    /// The membership in force from here on.
    Members(Set),
    /// The first entry of a term.
    Noop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Entry {
    term: u8,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    /// `founder` offers its genesis, which names `members`.
    Genesis {
        from: Id,
        to: Id,
        members: Set,
    },
    GenesisTaken {
        from: Id,
        to: Id,
    },
    Vote {
        from: Id,
        to: Id,
        term: u8,
        last: (u8, usize),
    },
    Voted {
        from: Id,
        to: Id,
        term: u8,
    },
    /// The whole log: what matters here is which entries arrive, not how they are packed.
    Append {
        from: Id,
        to: Id,
        term: u8,
        log: Vec<Entry>,
        commit: usize,
    },
    Stored {
        from: Id,
        to: Id,
        term: u8,
        matched: usize,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    /// Who founded the lineage it belongs to; none while it is fresh.
    lineage: Option<Id>,
    term: u8,
    vote: Option<Id>,
    log: Vec<Entry>,
    commit: usize,
    leading: bool,
    standing: bool,
    votes: Set,
    matched: [usize; 3],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<Node>,
    /// In flight, or lost: a message that is never delivered is lost.
    messages: BTreeSet<Message>,
    /// What was committed, with the lineage: (founder, index, entry).
    committed: BTreeSet<(Id, usize, Entry)>,
    /// Who led which term of which lineage.
    leaders: BTreeSet<(Id, u8, Id)>,
    foundings: u8,
    timeouts: u8,
    changes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Found(Id),
    Timeout(Id),
    Deliver(Message),
    Change(Id, Set),
}

/// The rules, each of which can be left out.
#[derive(Clone, Copy)]
struct Group {
    votes_look_at_logs: bool,
    votes_once: bool,
    commits_own_term_only: bool,
    changes_after_own_term: bool,
    foundings: u8,
    timeouts: u8,
    changes: u8,
}

const SOUND: Group = Group {
    votes_look_at_logs: true,
    votes_once: true,
    commits_own_term_only: true,
    changes_after_own_term: true,
    foundings: 1,
    timeouts: 2,
    changes: 0,
};

const ALL: Set = 0b111;

fn is_in(set: Set, id: Id) -> bool {
    set & (1 << id) != 0
}

fn is_majority(part: Set, of: Set) -> bool {
    (part & of).count_ones() * 2 > of.count_ones()
}

impl Node {
    fn members(&self) -> Set {
        let latest = self.log.iter().rev().find_map(|entry| match entry.kind {
            Kind::Members(members) => Some(members),
            Kind::Noop => None,
        });
        latest.unwrap_or_default()
    }

    fn last(&self) -> (u8, usize) {
        (
            self.log.last().map_or(0, |entry| entry.term),
            self.log.len(),
        )
    }

    fn take_genesis(&mut self, founder: Id, members: Set) {
        let log = vec![Entry {
            term: 1,
            kind: Kind::Members(members),
        }];
        *self = Self {
            lineage: Some(founder),
            term: 1,
            vote: Some(founder),
            log,
            ..Self::default()
        };
    }

    fn see_term(&mut self, term: u8) {
        if term > self.term {
            (self.term, self.vote) = (term, None);
            (self.leading, self.standing, self.votes) = (false, false, 0);
        }
    }
}

impl World {
    fn lead(&mut self, id: Id) {
        let node = &mut self.nodes[usize::from(id)];
        let Some(lineage) = node.lineage else { return };
        if node.leading || !node.standing || !is_majority(node.votes, node.members()) {
            return;
        }
        (node.leading, node.standing) = (true, false);
        node.log.push(Entry {
            term: node.term,
            kind: Kind::Noop,
        });
        node.matched = [0; 3];
        self.leaders.insert((lineage, node.term, id));
        self.replicate(id);
    }

    fn replicate(&mut self, id: Id) {
        let node = &mut self.nodes[usize::from(id)];
        node.matched[usize::from(id)] = node.log.len();
        let (term, commit, log) = (node.term, node.commit, node.log.clone());
        // Whoever was a member before the change hears of it too.
        for to in (0..3).filter(|to| *to != id) {
            let log = log.clone();
            // What it said before in this term says nothing more: such messages count as lost.
            self.messages.retain(|message| {
                !matches!(message, Message::Append { from: f, to: t, term: when, .. }
                    if (*f, *t, *when) == (id, to, term))
            });
            self.messages.insert(Message::Append {
                from: id,
                to,
                term,
                log,
                commit,
            });
        }
    }

    fn advance(&mut self, id: Id, rules: Group) {
        let node = &self.nodes[usize::from(id)];
        let members = node.members();
        let stored = |index: usize| {
            let has = |other: &Id| node.matched[usize::from(*other)] >= index;
            is_majority(
                (0..3).filter(has).fold(0, |set, other| set | 1 << other),
                members,
            )
        };
        let own =
            |index: usize| !rules.commits_own_term_only || node.log[index - 1].term == node.term;
        let reached = (node.commit + 1..=node.log.len())
            .rev()
            .find(|at| stored(*at) && own(*at));
        if let Some(commit) = reached {
            self.nodes[usize::from(id)].commit = commit;
            self.note(id);
            self.replicate(id);
        }
    }

    /// Messages that their receiver would ignore whatever happens are as good as lost.
    fn forget_what_is_late(&mut self) {
        let nodes = &self.nodes;
        self.messages.retain(|message| match message {
            Message::Vote { to, term, .. } | Message::Append { to, term, .. } => {
                *term >= nodes[usize::from(*to)].term
            }
            Message::Voted { to, term, .. } => {
                *term == nodes[usize::from(*to)].term && nodes[usize::from(*to)].standing
            }
            Message::Stored { to, term, .. } => {
                *term == nodes[usize::from(*to)].term && nodes[usize::from(*to)].leading
            }
            Message::Genesis { .. } | Message::GenesisTaken { .. } => true,
        });
    }

    fn note(&mut self, id: Id) {
        let node = &self.nodes[usize::from(id)];
        let Some(lineage) = node.lineage else { return };
        for index in 0..node.commit.min(node.log.len()) {
            self.committed.insert((lineage, index, node.log[index]));
        }
    }

    fn append(&mut self, from: Id, to: Id, term: u8, log: Vec<Entry>, commit: usize) {
        let lineage = self.nodes[usize::from(from)].lineage;
        let node = &mut self.nodes[usize::from(to)];
        // A fresh node may be added by a leader whose log names it.
        if node.lineage.is_none() {
            *node = Node {
                lineage,
                ..Node::default()
            };
        }
        if node.lineage != lineage || term < node.term {
            return;
        }
        node.see_term(term);
        node.standing = false;
        let matched = log.len();
        let contradicts = node
            .log
            .iter()
            .zip(&log)
            .any(|(ours, theirs)| ours != theirs);
        if contradicts || node.log.len() < log.len() {
            node.log = log;
        }
        node.commit = node.commit.max(commit.min(matched));
        self.note(to);
        self.messages.retain(|message| {
            !matches!(message, Message::Stored { from: f, to: t, term: when, .. }
                if (*f, *t, *when) == (to, from, term))
        });
        self.messages.insert(Message::Stored {
            from: to,
            to: from,
            term,
            matched,
        });
    }

    fn deliver(&mut self, message: Message, rules: Group) {
        match message {
            Message::Genesis { from, to, members } => {
                let node = &mut self.nodes[usize::from(to)];
                if node.lineage.is_none() {
                    node.take_genesis(from, members);
                    self.messages
                        .insert(Message::GenesisTaken { from: to, to: from });
                }
            }
            Message::GenesisTaken { from, to } => {
                let node = &mut self.nodes[usize::from(to)];
                if node.term == 1 && node.standing && node.lineage == Some(to) {
                    node.votes |= 1 << from;
                }
                self.lead(to);
            }
            Message::Vote {
                from,
                to,
                term,
                last,
            } => {
                let lineage = self.nodes[usize::from(from)].lineage;
                let node = &mut self.nodes[usize::from(to)];
                if node.lineage != lineage || term < node.term {
                    return;
                }
                node.see_term(term);
                let free = node.vote.is_none_or(|vote| vote == from) || !rules.votes_once;
                let behind = rules.votes_look_at_logs && last < node.last();
                if free && !behind && !node.leading && !node.standing {
                    node.vote = Some(from);
                    self.messages.insert(Message::Voted {
                        from: to,
                        to: from,
                        term,
                    });
                }
            }
            Message::Voted { from, to, term } => {
                let node = &mut self.nodes[usize::from(to)];
                if node.term == term && node.standing {
                    node.votes |= 1 << from;
                }
                self.lead(to);
            }
            Message::Append {
                from,
                to,
                term,
                log,
                commit,
            } => self.append(from, to, term, log, commit),
            Message::Stored {
                from,
                to,
                term,
                matched,
            } => {
                let node = &mut self.nodes[usize::from(to)];
                if !node.leading || node.term != term {
                    return;
                }
                let known = &mut node.matched[usize::from(from)];
                *known = matched.max(*known);
                self.advance(to, rules);
            }
        }
    }
}

impl Model for Group {
    type Action = Action;
    type State = World;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            nodes: vec![Node::default(); 3],
            messages: BTreeSet::new(),
            committed: BTreeSet::new(),
            leaders: BTreeSet::new(),
            foundings: 0,
            timeouts: 0,
            changes: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for id in 0..3 {
            let node = &world.nodes[usize::from(id)];
            // The third node never founds: it is there to be added.
            if node.lineage.is_none() && id < 2 && world.foundings < self.foundings {
                actions.push(Action::Found(id));
            }
            if node.lineage.is_some()
                && is_in(node.members(), id)
                && !node.leading
                && world.timeouts < self.timeouts
            {
                actions.push(Action::Timeout(id));
            }
            let last_committed = node
                .commit
                .checked_sub(1)
                .and_then(|index| node.log.get(index));
            let settled = !self.changes_after_own_term
                || last_committed.is_some_and(|entry| entry.term == node.term);
            let pending = node
                .log
                .iter()
                .skip(node.commit)
                .any(|entry| matches!(entry.kind, Kind::Members(_)));
            if node.leading && settled && !pending && world.changes < self.changes {
                for other in (0..3).filter(|other| *other != id) {
                    actions.push(Action::Change(id, node.members() ^ (1 << other)));
                }
            }
        }
        actions.extend(world.messages.iter().cloned().map(Action::Deliver));
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Found(id) => {
                world.foundings += 1;
                // The first two see each other; one of them may also found with everybody.
                let members = if id == 0 { ALL } else { 0b011 };
                let node = &mut world.nodes[usize::from(id)];
                node.take_genesis(id, members);
                (node.standing, node.votes) = (true, 1 << id);
                for to in (0..3).filter(|to| *to != id && is_in(members, *to)) {
                    world.messages.insert(Message::Genesis {
                        from: id,
                        to,
                        members,
                    });
                }
                world.lead(id);
            }
            Action::Timeout(id) => {
                world.timeouts += 1;
                let node = &mut world.nodes[usize::from(id)];
                (node.term, node.vote) = (node.term + 1, Some(id));
                (node.standing, node.votes) = (true, 1 << id);
                let (term, last, members) = (node.term, node.last(), node.members());
                for to in (0..3).filter(|to| *to != id && is_in(members, *to)) {
                    world.messages.insert(Message::Vote {
                        from: id,
                        to,
                        term,
                        last,
                    });
                }
                world.lead(id);
            }
            Action::Deliver(message) => {
                world.messages.remove(&message);
                world.deliver(message, *self);
                world.forget_what_is_late();
            }
            Action::Change(id, members) => {
                world.changes += 1;
                let node = &mut world.nodes[usize::from(id)];
                node.log.push(Entry {
                    term: node.term,
                    kind: Kind::Members(members),
                });
                world.replicate(id);
                world.advance(id, *self);
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one leader a term and lineage", |_, world: &World| {
                let mut terms = BTreeSet::new();
                world
                    .leaders
                    .iter()
                    .all(|(lineage, term, _)| terms.insert((*lineage, *term)))
            }),
            Property::always("committed never changes", |_, world: &World| {
                let mut places = BTreeSet::new();
                world
                    .committed
                    .iter()
                    .all(|(lineage, index, _)| places.insert((*lineage, *index)))
            }),
            Property::always("leaders hold what is committed", |_, world: &World| {
                world.nodes.iter().filter(|node| node.leading).all(|node| {
                    world.committed.iter().all(|(lineage, index, entry)| {
                        Some(*lineage) != node.lineage
                            || entry.term > node.term
                            || node.log.get(*index) == Some(entry)
                    })
                })
            }),
            Property::sometimes("a group changes its membership", |_, world: &World| {
                let members = |(_, index, entry): &(Id, usize, Entry)| {
                    *index > 0 && matches!(entry.kind, Kind::Members(_))
                };
                world.committed.iter().any(members)
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world
            .nodes
            .iter()
            .all(|node| node.term <= 3 && node.log.len() <= 5)
    }
}

/// Bound on states, far above what the sound model has: a safeguard, not a part of the proof.
const STATES: usize = 6_000_000;

fn exhaust(rules: Group) {
    let checker = rules
        .checker()
        .threads(2)
        .target_state_count(STATES)
        .spawn_bfs()
        .join();
    println!(
        "{} states, {} of them unique",
        checker.state_count(),
        checker.unique_state_count()
    );
    assert!(
        checker.state_count() < STATES,
        "the scope was not exhausted"
    );
    for property in ["one leader a term and lineage", "committed never changes"] {
        checker.assert_no_discovery(property);
    }
    checker.assert_no_discovery("leaders hold what is committed");
    if rules.changes > 0 {
        let _found = checker.assert_any_discovery("a group changes its membership");
    }
}

#[test]
fn two_founders_at_once_never_share_a_lineage() {
    exhaust(Group {
        foundings: 2,
        timeouts: 0,
        ..SOUND
    });
}

#[test]
fn an_election_loses_nothing() {
    exhaust(Group {
        timeouts: 1,
        ..SOUND
    });
}

#[test]
fn a_membership_change_loses_nothing() {
    exhaust(Group {
        timeouts: 1,
        changes: 1,
        ..SOUND
    });
}

fn finds(rules: Group, property: &'static str) {
    let checker = rules
        .checker()
        .threads(2)
        .target_state_count(STATES)
        .spawn_bfs()
        .join();
    assert!(
        checker.discovery(property).is_some(),
        "nothing contradicts: {property}"
    );
}

#[test]
fn voting_twice_in_a_term_elects_two_leaders() {
    finds(
        Group {
            votes_once: false,
            ..SOUND
        },
        "one leader a term and lineage",
    );
}

#[test]
fn voting_for_old_logs_loses_what_is_committed() {
    finds(
        Group {
            votes_look_at_logs: false,
            ..SOUND
        },
        "leaders hold what is committed",
    );
}
