//! An operation is applied once, and in the order in which its origin numbered it: by its id within a lineage, and by the command itself even when
//! it came over from a lineage that gave way.

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::machine::Command,
    mosaik_protocol::consensus::{EntryBody, Lineage, LogIndex, Origin},
    std::collections::HashMap,
};

#[derive(Default)]
pub(super) struct Once {
    operations: HashMap<(Lineage, Origin, u64), LogIndex>,
    latest: HashMap<(Lineage, Origin), u64>,
    tags: HashMap<(Lineage, u64), (LogIndex, usize)>,
}

impl Once {
    /// The past of `from`, up to `applied`, is that of `into` too.
    fn share(&mut self, from: Lineage, into: Lineage, applied: LogIndex) {
        let shared = |(lineage, index): (Lineage, LogIndex)| lineage == from && index <= applied;
        let operations = self.operations.iter();
        let operations: Vec<_> = operations
            .filter(|((lineage, ..), index)| shared((*lineage, **index)))
            .map(|((_, origin, seq), index)| ((into, *origin, *seq), *index))
            .collect();
        for ((_, origin, seq), _) in &operations {
            let latest = self.latest.entry((into, *origin)).or_default();
            *latest = (*latest).max(*seq);
        }
        self.operations.extend(operations);
        let tags = self.tags.iter();
        let tags: Vec<_> = tags
            .filter(|((lineage, _), (index, _))| shared((*lineage, *index)))
            .map(|((_, tag), place)| ((into, *tag), *place))
            .collect();
        self.tags.extend(tags);
    }
}

impl Invariant for Once {
    fn name(&self) -> &'static str {
        "operations applied once"
    }

    fn see(&mut self, subject: &Subject<'_>, fact: &Fact<'_>, _: &Scene<'_>) -> Result<(), String> {
        if let Fact::Continues { from, applied } = fact {
            self.share(*from, subject.lineage, *applied);
        }
        let Fact::Applies(applied) = fact else {
            return Ok(());
        };
        let Ok(EntryBody::Commands(commands)) = applied.entry.decode() else {
            return Ok(());
        };
        let index = applied.entry.index;
        let lineage = subject.lineage;
        for (at, ((origin, seq), bytes)) in commands.ops().zip(commands.iter()).enumerate() {
            let known = self.operations.get(&(lineage, origin, seq)).copied();
            let first = known.unwrap_or(index);
            self.operations.insert((lineage, origin, seq), first);

            if first != index {
                return Err(format!(
                    "applies {seq} of {origin:?} at {first} and at {index}"
                ));
            }
            let latest = self.latest.entry((lineage, origin)).or_default();
            if known.is_none() && seq < *latest {
                return Err(format!("applies {seq} of {origin:?} after {latest}"));
            }
            *latest = seq.max(*latest);
            let command = Command::decode(bytes);
            let first = *self
                .tags
                .entry((lineage, command.tag))
                .or_insert((index, at));
            if first != (index, at) {
                return Err(format!(
                    "applies {command:?} at {first:?} and at {:?}",
                    (index, at)
                ));
            }
        }
        Ok(())
    }
}
