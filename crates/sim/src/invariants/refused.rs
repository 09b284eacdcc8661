//! A command that was refused as surely not done is never applied, before or after.

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::machine::Command,
    mosaik_protocol::consensus::EntryBody,
    std::collections::HashSet,
};

#[derive(Default)]
pub(super) struct Refused {
    tags: HashSet<u64>,
}

impl Invariant for Refused {
    fn name(&self) -> &'static str {
        "refused commands never applied"
    }

    fn see(&mut self, _: &Subject<'_>, fact: &Fact<'_>, scene: &Scene<'_>) -> Result<(), String> {
        match fact {
            Fact::Refuses { tag } => {
                self.tags.insert(*tag);
                let mut lines = scene.chronicle.lineages.values();
                let applied = lines.any(|line| {
                    line.commands
                        .iter()
                        .any(|(.., command)| command.tag == *tag)
                });
                if applied {
                    Err(format!("refuses command {tag}, which is committed"))
                } else {
                    Ok(())
                }
            }
            Fact::Applies(applied) if !self.tags.is_empty() => {
                let Ok(EntryBody::Commands(commands)) = applied.entry.decode() else {
                    return Ok(());
                };
                match commands
                    .iter()
                    .map(Command::decode)
                    .find(|c| self.tags.contains(&c.tag))
                {
                    Some(command) => Err(format!("applies {command:?}, which was refused")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
