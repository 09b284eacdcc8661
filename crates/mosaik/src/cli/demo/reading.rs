//! What the demo streams, and the check that every consumer got all of it in order.

use {
    core::fmt,
    serde::{Deserialize, Serialize},
};

/// One reading of a sensor. All of it follows from the sequence number, so a consumer can tell a
/// damaged reading from a right one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) sequence: u64,
    sensor: u16,
    celsius: f32,
    site: String,
    checksum: u64,
}

impl Reading {
    /// The reading with this sequence number.
    pub(crate) fn nth(sequence: u64) -> Self {
        const SITES: [&str; 4] = ["roof", "cellar", "north", "south"];
        // A multiplication by a large odd number spreads neighbouring numbers over all bits.
        let checksum = sequence.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            sequence,
            sensor: (checksum >> 48) as u16,
            celsius: (checksum >> 40 & 0xff) as f32 / 8.0,
            site: SITES[(sequence % 4) as usize].to_owned(),
            checksum,
        }
    }
}

/// What one consumer got, held against what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Readings received.
    pub(crate) received: u64,
    /// The sequence number that must come next.
    next: u64,
    /// The first deviation.
    fault: Option<Fault>,
}

/// How a consumer's readings deviate from what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another reading came than the one that was due.
    OutOfOrder { due: u64, came: u64 },
    /// A reading came with other content than was sent.
    Damaged { sequence: u64 },
    /// The stream ended before the last reading.
    Incomplete { received: u64, sent: u64 },
}

impl Audit {
    /// Takes the next reading.
    pub(crate) fn observe(&mut self, reading: &Reading) {
        let (due, came) = (self.next, reading.sequence);
        self.received += 1;
        self.next = came + 1;
        if due != came {
            self.fault.get_or_insert(Fault::OutOfOrder { due, came });
        } else if *reading != Reading::nth(came) {
            self.fault.get_or_insert(Fault::Damaged { sequence: came });
        }
    }

    /// Whether nothing deviated so far.
    pub(crate) const fn is_clean(&self) -> bool {
        self.fault.is_none()
    }

    /// What is wrong once `sent` readings were sent and everything has arrived that will.
    pub(crate) fn verdict(&self, sent: u64) -> Result<(), Fault> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None if self.received < sent => Err(Fault::Incomplete {
                received: self.received,
                sent,
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { due, came } => write!(f, "reading {came} came where {due} was due"),
            Self::Damaged { sequence } => write!(f, "reading {sequence} is not what was sent"),
            Self::Incomplete { received, sent } => write!(f, "{received} of {sent} readings came"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(readings: impl IntoIterator<Item = Reading>) -> Audit {
        let mut audit = Audit::default();
        readings
            .into_iter()
            .for_each(|reading| audit.observe(&reading));
        audit
    }

    #[test]
    fn all_in_order_is_the_only_thing_that_passes() {
        assert_eq!(audit((0..100).map(Reading::nth)).verdict(100), Ok(()));
        assert_eq!(
            audit((0..99).map(Reading::nth)).verdict(100),
            Err(Fault::Incomplete {
                received: 99,
                sent: 100
            })
        );
        for (sequences, due, came) in [
            (vec![0, 1, 3], 2, 3),
            (vec![0, 1, 1, 2], 2, 1),
            (vec![1, 0, 2], 0, 1),
            (vec![0, 1, 2, 0], 3, 0),
        ] {
            let sent = 3;
            let fault = Err(Fault::OutOfOrder { due, came });
            assert_eq!(
                audit(sequences.iter().copied().map(Reading::nth)).verdict(sent),
                fault
            );
        }
        let mut damaged = Reading::nth(1);
        damaged.site = "attic".into();
        assert_eq!(
            audit([Reading::nth(0), damaged]).verdict(2),
            Err(Fault::Damaged { sequence: 1 })
        );
    }
}
