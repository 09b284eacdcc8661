//! Plays a scenario: what its sentences do.

use {
    super::{
        ALL,
        checks::CHECKS,
        pattern::{self, Holes},
        sentences,
    },
    crate::{
        failure::Failure,
        finale,
        history::{Call, OperationId, Reply},
        mutants,
        nemesis::{Fault, Unsynced},
        node::Node,
        queue::{MILLI, Nanos, SECOND},
        run::Options,
        setup::GROUP,
        trace::Trace,
        world::{Ended, Filter, Habits, World},
    },
    core::time::Duration,
    mosaik_protocol::consensus::{Config, Input, MergePolicy, Preference},
};

/// How long `Soon` waits, virtual time.
const SOON: Nanos = 30 * SECOND;

/// A world with what a scenario remembers.
pub(super) struct Stage {
    pub(super) world: World,
    /// The operation that "the write" and "the read" mean.
    pub(super) asked: Option<OperationId>,
    pub(super) ended: Vec<(OperationId, Ended)>,
    pub(super) remembered: u64,
    pub(super) divided: bool,
    policy: MergePolicy,
    end_here: bool,
}

type Action = (&'static str, fn(&mut Stage, &Holes) -> Result<(), Failure>);

/// Sentences about the world before it starts.
type Premise = (&'static str, fn(&mut World, &Holes));

const PREMISES: &[Premise] = &[
    ("at most {number} vote", |world, holes| {
        world
            .nodes
            .iter_mut()
            .for_each(|node| node.config.max_voters = holes.numbers[0] as u32);
    }),
    ("at least {number} found", |world, holes| {
        world
            .nodes
            .iter_mut()
            .for_each(|node| node.config.min_voters = holes.numbers[0] as u32);
    }),
    ("{nodes} only read|reads", |world, holes| {
        for node in &holes.nodes[0] {
            world.nodes[*node].config.preference = Preference::Observer;
        }
    }),
    ("{nodes} is|are reluctant", |world, holes| {
        for node in &holes.nodes[0] {
            world.nodes[*node].config.preference = Preference::Reluctant { factor: 3 };
        }
    }),
    ("appends carry {number} bytes", |world, holes| {
        let bytes = holes.numbers[0] as usize;
        world
            .nodes
            .iter_mut()
            .for_each(|node| node.config.append_bytes = bytes);
    }),
    ("the memory keeps {number} bytes", |world, holes| {
        let bytes = holes.numbers[0] as usize;
        world
            .nodes
            .iter_mut()
            .for_each(|node| node.config.cache_bytes = bytes);
    }),
    ("nothing is stored on disk", |world, _| {
        world.nodes.iter_mut().for_each(|node| node.durable = false);
    }),
    ("a merge refuses", |world, _| {
        world
            .nodes
            .iter_mut()
            .for_each(|node| node.config.merge = MergePolicy::Refuse);
    }),
    ("a merge discards", |world, _| {
        world
            .nodes
            .iter_mut()
            .for_each(|node| node.config.merge = MergePolicy::Discard);
    }),
    (
        "snapshots are taken every {number} entries",
        |world, holes| {
            world.habits.snapshot_every = Some(holes.numbers[0]);
        },
    ),
];

fn each(
    stage: &mut Stage,
    holes: &Holes,
    act: impl Fn(&mut World, usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    holes.nodes[0]
        .iter()
        .try_for_each(|node| act(&mut stage.world, *node))
}

fn cut(stage: &mut Stage, one: &[usize], other: &[usize]) {
    for from in one {
        for to in other.iter().filter(|to| !one.contains(to)) {
            stage.world.network.set_cut(*from, *to, true);
            stage.world.network.set_cut(*to, *from, true);
        }
    }
    stage.divided = true;
    stage.world.refresh_links();
}

fn filter(stage: &mut Stage, holes: &Holes, hold: bool) {
    let kind = holes.words.first().cloned();
    let (from, to) = (holes.nodes[0].clone(), holes.nodes[1].clone());
    stage.world.filters.push(Filter {
        from,
        to,
        kind,
        hold,
    });
}

const ACTIONS: &[Action] = &[
    ("{nodes} start|starts", |stage, holes| {
        each(stage, holes, World::start)
    }),
    ("{nodes} restart|restarts", |stage, holes| {
        each(stage, holes, World::start)
    }),
    ("{nodes} form|forms a group", Stage::form),
    ("{nodes} crash|crashes", |stage, holes| {
        each(stage, holes, |world, node| {
            world.crash(node, Unsynced::Lost);
            Ok(())
        })
    }),
    ("{nodes} crash|crashes with torn writes", |stage, holes| {
        each(stage, holes, |world, node| {
            world.crash(node, Unsynced::Torn);
            Ok(())
        })
    }),
    ("{nodes} lose|loses everything", |stage, holes| {
        each(stage, holes, |world, node| {
            world.wipe(node);
            Ok(())
        })
    }),
    ("{nodes} pause|pauses", |stage, holes| {
        each(stage, holes, |world, node| {
            world.pause(node, None);
            Ok(())
        })
    }),
    ("{nodes} go|goes on", |stage, holes| {
        each(stage, holes, World::resume)
    }),
    ("{nodes} leave|leaves", |stage, holes| {
        each(stage, holes, |world, node| {
            world.nodes[node].leaving = true;
            world.input(node, Input::Leave)
        })
    }),
    ("{nodes} is|are told to go on alone", |stage, holes| {
        each(stage, holes, |world, node| {
            world.input(node, Input::Recover)
        })
    }),
    ("{nodes} compact|compacts", |stage, holes| {
        each(stage, holes, |world, node| {
            world.take_snapshot(node);
            Ok(())
        })
    }),
    ("{nodes} disk stalls", |stage, holes| {
        each(stage, holes, |world, node| {
            world.set_sync_time(node, None);
            Ok(())
        })
    }),
    ("{nodes} disk recovers", |stage, holes| {
        each(stage, holes, |world, node| {
            world.set_sync_time(node, Some(MILLI));
            Ok(())
        })
    }),
    ("{nodes} disk fails", |stage, holes| {
        each(stage, holes, |world, node| {
            world.suffer(Fault::DiskError(node)).map(drop)
        })
    }),
    ("{nodes} clock jumps {time}", |stage, holes| {
        let by = holes.numbers[0];
        each(stage, holes, |world, node| {
            world.suffer(Fault::Jump(node, by)).map(drop)
        })
    }),
    (
        "{nodes} clock runs {number} times too slow",
        |stage, holes| {
            let rate = 1_000 / holes.numbers[0] as u32;
            each(stage, holes, |world, node| {
                world.suffer(Fault::Rate(node, rate)).map(drop)
            })
        },
    ),
    (
        "{nodes} clock runs {number} times too fast",
        |stage, holes| {
            let rate = 1_000 * holes.numbers[0] as u32;
            each(stage, holes, |world, node| {
                world.suffer(Fault::Rate(node, rate)).map(drop)
            })
        },
    ),
    ("{nodes} stand|stands for election", |stage, holes| {
        // Its clock shows that the leader has been silent for long.
        each(stage, holes, |world, node| {
            world.suffer(Fault::Jump(node, SECOND)).map(drop)
        })
    }),
    ("{node} is asked to hand over to {node}", |stage, holes| {
        let to = stage.world.nodes[holes.node(1)].member;
        stage.world.input(holes.node(0), Input::Transfer(Some(to)))
    }),
    ("cut {nodes} off", |stage, holes| {
        let all: Vec<usize> = (0..stage.world.nodes.len()).collect();
        cut(stage, &holes.nodes[0], &all);
        Ok(())
    }),
    ("cut {nodes} off from {nodes}", |stage, holes| {
        cut(stage, &holes.nodes[0], &holes.nodes[1]);
        Ok(())
    }),
    ("the network heals", |stage, _| {
        stage.divided = false;
        stage.world.suffer(Fault::Heal).map(drop)
    }),
    (
        "messages from {nodes} to {nodes} are lost",
        |stage, holes| {
            filter(stage, holes, false);
            Ok(())
        },
    ),
    (
        "messages from {nodes} to {nodes} are held",
        |stage, holes| {
            filter(stage, holes, true);
            Ok(())
        },
    ),
    (
        "{word} messages from {nodes} to {nodes} are lost",
        |stage, holes| {
            filter(stage, holes, false);
            Ok(())
        },
    ),
    (
        "{word} messages from {nodes} to {nodes} are held",
        |stage, holes| {
            filter(stage, holes, true);
            Ok(())
        },
    ),
    ("the messages flow", |stage, _| {
        stage.world.filters.clear();
        Ok(())
    }),
    ("held messages arrive", |stage, _| {
        let held = core::mem::take(&mut stage.world.held);
        stage.world.release(held);
        finale::pass(&mut stage.world, 5 * MILLI)
    }),
    ("held messages arrive in reverse", |stage, _| {
        // They are kept, so that they may arrive once more.
        let held: Vec<_> = stage.world.held.iter().rev().cloned().collect();
        stage.world.release(held);
        finale::pass(&mut stage.world, 5 * MILLI)
    }),
    ("held messages arrive twice", |stage, _| {
        let held = stage.world.held.clone();
        stage.world.release(held.clone());
        finale::pass(&mut stage.world, MILLI)?;
        stage.world.release(held);
        finale::pass(&mut stage.world, 5 * MILLI)
    }),
    ("held messages are lost", |stage, _| {
        stage.world.held.clear();
        Ok(())
    }),
    ("write {number} to {key} through {node}", |stage, holes| {
        let call = Call::Swap(holes.numbers[0]);
        let asked = stage
            .world
            .propose(holes.node(0), &[(holes.keys[0], call)], None)?;
        stage.asked = asked.first().copied();
        Ok(())
    }),
    ("read {key} through {node}", |stage, holes| {
        stage.asked = Some(stage.world.read(holes.node(0), holes.keys[0], None)?);
        Ok(())
    }),
    ("{node} writes {number} to {key}", |stage, holes| {
        let call = Call::Swap(holes.numbers[0]);
        stage.insist(|stage| {
            let asked = stage
                .world
                .propose(holes.node(0), &[(holes.keys[0], call)], None)?;
            Ok(asked[0])
        })?;
        Ok(())
    }),
    ("{node} reads {number} from {key}", |stage, holes| {
        let ended = stage.insist(|stage| stage.world.read(holes.node(0), holes.keys[0], None))?;
        let wanted = Ended::Answered(Some(Reply::Value(holes.numbers[0])));
        if ended == wanted {
            return Ok(());
        }
        Err(stage
            .world
            .failure("reads give what was written", format!("{ended:?}")))
    }),
    ("{time} pass|passes", |stage, holes| {
        finale::pass(&mut stage.world, holes.numbers[0])
    }),
    ("remember the term", |stage, _| {
        stage.remembered = stage.term();
        Ok(())
    }),
    ("nothing more is expected", |stage, _| {
        stage.end_here = true;
        Ok(())
    }),
];

fn config(node: usize) -> Config {
    Config {
        heartbeat_interval: Duration::from_millis(50),
        heartbeat_jitter: Duration::from_millis(10),
        max_missed_heartbeats: 20,
        election_timeout: Duration::from_millis(300),
        election_timeout_jitter: Duration::from_millis(150),
        bootstrap_delay: Duration::from_millis(300),
        settle_delay: Duration::from_millis(50),
        quiesce: false,
        ..Config::new(GROUP, Node::key(node), 0, 0)
    }
}

impl Stage {
    fn new(nodes: usize, seed: u64, trace: Trace) -> Self {
        let nodes = (0..nodes)
            .map(|id| {
                let mut node = Node::new(id, config(id), id as Nanos * SECOND);
                node.sync_time = Some(MILLI);
                node
            })
            .collect();
        Self {
            world: World::new(
                seed,
                nodes,
                Habits {
                    link_loss: SECOND,
                    ..Habits::default()
                },
                trace,
            ),
            asked: None,
            ended: Vec::new(),
            remembered: 0,
            divided: false,
            policy: MergePolicy::Resubmit,
            end_here: false,
        }
    }

    /// The highest term that any running node is in.
    pub(super) fn term(&self) -> u64 {
        let up = self.world.nodes.iter().filter(|node| node.is_up());
        up.map(|node| node.view.term.0).max().unwrap_or_default()
    }

    fn collect(&mut self) {
        let ended = self.world.ended.drain(..);
        self.ended
            .extend(ended.map(|(operation, _, ended)| (operation, ended)));
    }

    /// Asks until there is an answer.
    fn insist(
        &mut self,
        ask: impl Fn(&mut Self) -> Result<OperationId, Failure>,
    ) -> Result<Ended, Failure> {
        let until = self.world.now() + SOON;
        let mut asked = ask(self)?;
        loop {
            self.collect();
            let ended = self
                .ended
                .iter()
                .find(|(id, _)| *id == asked)
                .map(|(_, ended)| *ended);
            match ended {
                Some(ended @ Ended::Answered(_)) => return Ok(ended),
                _ if self.world.now() >= until => {
                    let facts = format!("asking ends as {ended:?}");
                    return Err(self.world.failure("the group answers", facts));
                }
                Some(_) => {
                    finale::pass(&mut self.world, 20 * MILLI)?;
                    asked = ask(self)?;
                }
                None => finale::pass(&mut self.world, MILLI)?,
            }
        }
    }

    /// Starts nodes and waits until they are one group, led by the first of them that may lead.
    fn form(&mut self, holes: &Holes) -> Result<(), Failure> {
        let nodes = holes.nodes[0].clone();
        for node in &nodes {
            self.world.start(*node)?;
        }
        let votes = |world: &World, node: &usize| {
            world.nodes[*node].config.preference != Preference::Observer
        };
        let candidates: Vec<usize> = nodes
            .iter()
            .copied()
            .filter(|node| votes(&self.world, node))
            .collect();
        let max = self.world.nodes[0].config.max_voters as usize;
        let wanted = candidates.len().min(max);
        let until = self.world.now() + SOON;
        finale::until_holds(&mut self.world, until, "a group forms", |world| {
            world.agreement(&nodes, false)?;
            let image = world.nodes[nodes[0]].disk.written();
            let voters = image
                .memberships
                .last()
                .map_or(0, |(_, members)| members.voters().len());
            if voters == wanted {
                Ok(())
            } else {
                Err(format!("{voters} voters"))
            }
        })?;
        let first = candidates[0];
        if !self.world.nodes[first].leads() {
            let to = self.world.nodes[first].member;
            for node in &nodes {
                self.world.input(*node, Input::Transfer(Some(to)))?;
            }
        }
        finale::until_holds(&mut self.world, until, "a group forms", |world| {
            if world.nodes[first].leads() {
                Ok(())
            } else {
                Err("its first does not lead".into())
            }
        })?;
        finale::pass(&mut self.world, 50 * MILLI)
    }

    fn play(&mut self, sentence: &str) -> Result<(), Failure> {
        let words = pattern::words(sentence);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let everybody = self.world.nodes.len();
        let (soon, body) = match words.split_first() {
            Some((&"soon", rest)) => (true, rest),
            _ => (false, words.as_slice()),
        };
        self.collect();
        for (pattern, holds) in CHECKS {
            let Some(holes) = pattern::matches(pattern, body, everybody) else {
                continue;
            };
            let until = self.world.now() + if soon { SOON } else { 0 };
            loop {
                let Err(why) = holds(self, &holes) else {
                    return Ok(());
                };
                if self.world.now() >= until {
                    return Err(self.world.failure("the story", why));
                }
                finale::pass(&mut self.world, 10 * MILLI)?;
                self.collect();
            }
        }
        for (pattern, act) in ACTIONS {
            if let Some(holes) = pattern::matches(pattern, body, everybody) {
                return act(self, &holes);
            }
        }
        for (pattern, set) in PREMISES {
            if let Some(holes) = pattern::matches(pattern, body, everybody) {
                set(&mut self.world, &holes);
                self.policy = self.world.nodes[0].config.merge;
                return Ok(());
            }
        }
        Err(Failure::new("sentences are understood", sentence))
    }
}

/// The number of nodes that a sentence says there are.
fn node_count(sentence: &str) -> Option<u64> {
    let words = pattern::words(sentence);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let holes = pattern::matches("there is|are {number} node|nodes", &words, 0)?;
    holes.numbers.first().copied()
}

/// Whether some pattern matches a sentence.
#[cfg(test)]
pub(super) fn is_understood(sentence: &str) -> bool {
    let words = pattern::words(sentence);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rest = words.strip_prefix(&["soon"]).unwrap_or(&words);
    let known = |pattern: &str| pattern::matches(pattern, rest, 9).is_some();
    node_count(sentence).is_some()
        || CHECKS.iter().any(|(pattern, _)| known(pattern))
        || ACTIONS.iter().any(|(pattern, _)| known(pattern))
        || PREMISES.iter().any(|(pattern, _)| known(pattern))
}

/// Runs the script of that name.
pub fn run_named(name: &str, options: &Options, trace: fn() -> Trace) -> Result<(), Failure> {
    let script = ALL
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, script)| *script);
    let script = script.ok_or_else(|| Failure::new("scenarios are known", name))?;
    mutants::with(options.mutant, || run_script(script, trace()))
}

fn run_script(script: &str, trace: Trace) -> Result<(), Failure> {
    let mut sentences = sentences(script).into_iter();
    let count = sentences
        .next()
        .and_then(|(_, sentence)| node_count(&sentence));
    let count = count.ok_or_else(|| Failure::new("a story begins", "with its nodes"))?;
    let mut stage = Stage::new(count as usize, 1, trace);
    for (line, sentence) in sentences {
        stage.world.tell(line as u64, || format!("=== {sentence}"));
        stage.play(&sentence).map_err(|mut failure| {
            failure.facts = format!("line {line} ({sentence}): {}", failure.facts);
            failure
        })?;
    }
    if stage.end_here {
        return Ok(());
    }
    stage.world.ended.clear();
    if finale::play(&mut stage.world, stage.policy)? {
        Ok(())
    } else {
        Err(stage
            .world
            .failure("the group comes together", "a majority is lost"))
    }
}
