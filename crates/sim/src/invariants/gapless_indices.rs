//! Public indices number commands from 1 without gaps, whatever else is in the log.

use {
    super::{Fact, Invariant, Scene, Subject},
    mosaik_protocol::consensus::{EntryBody, Index},
};

#[derive(Default)]
pub(super) struct GaplessIndices;

impl Invariant for GaplessIndices {
    fn name(&self) -> &'static str {
        "public indices gapless"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let Fact::Applies(applied) = fact else {
            return Ok(());
        };
        let held = match applied.entry.decode() {
            Ok(EntryBody::Commands(commands)) => commands.count,
            _ => 0,
        };
        if held != applied.count {
            return Err(format!(
                "counts {} commands where there are {held}",
                applied.count
            ));
        }
        let before = match applied.entry.index.0 {
            1 => Some(Index::ZERO),
            index => scene
                .chronicle
                .line(subject.lineage)
                .and_then(|line| line.entry(mosaik_protocol::consensus::LogIndex(index - 1)))
                .map(|previous| previous.before.plus(u64::from(previous.count))),
        };
        if before.is_some_and(|before| before != applied.before) {
            return Err(format!(
                "numbers the commands of {} behind {}, not behind {before:?}",
                applied.entry.position(),
                applied.before
            ));
        }
        Ok(())
    }
}
