//! A strong read sees everything that was acknowledged before it began, in its lineage.

use super::{Fact, Invariant, Scene, Subject};

#[derive(Default)]
pub(super) struct StaleReads;

impl Invariant for StaleReads {
    fn name(&self) -> &'static str {
        "no stale strong read"
    }

    fn see(&mut self, subject: &Subject<'_>, fact: &Fact<'_>, _: &Scene<'_>) -> Result<(), String> {
        match fact {
            Fact::Reads {
                floor: (lineage, floor),
                index,
            } if *lineage == subject.lineage && index < floor => Err(format!(
                "reads at {index}, though {floor} was acknowledged before"
            )),
            _ => Ok(()),
        }
    }
}
