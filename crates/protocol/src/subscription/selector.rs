//! [`Selector`]: the criteria of one subscription, item by item.

use {super::criteria::Criteria, mosaik_primitives::Datum};

/// Decides, for one subscription, which items in turn are sent.
///
/// The history a subscriber asks for is what it would have been sent had it been there: ask about
/// the retained items from the oldest to the newest, send the last [`Criteria::history`] of those
/// that are wanted, and go on with the live items with the same selector.
#[derive(Clone, Debug)]
pub struct Selector {
    criteria: Criteria,
    /// Position in the sampling pattern, below `of`.
    phase: u64,
}

impl Selector {
    /// A selector that has seen no item.
    pub const fn new(criteria: Criteria) -> Self {
        Self { criteria, phase: 0 }
    }

    /// The criteria.
    pub const fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// Whether to send `item`, the next one of the stream.
    pub fn wants<D: Datum>(&mut self, item: &D) -> bool {
        self.criteria.matches(item) && self.keeps()
    }

    /// Whether to send the next item that matches. For callers that have the outcome of
    /// [`Criteria::matches`] from elsewhere, such as another subscription with equal criteria.
    pub fn keeps(&mut self) -> bool {
        let sampling = self.criteria.sampling();
        let (keep, of) = (u64::from(sampling.keep), u64::from(sampling.of.max(1)));
        // Every step adds `keep` modulo `of`; the steps that begin below `keep` are those at
        // which the running fraction keep/of gained a whole item.
        let kept = self.phase < keep;
        self.phase = (self.phase + keep) % of;
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(keep: u32, of: u32, items: u32) -> Vec<u32> {
        let mut selector = Selector::new(Criteria::default().sample(keep, of));
        (0..items).filter(|item| selector.wants(item)).collect()
    }

    #[test]
    fn a_sample_is_even_and_begins_with_the_first_item() {
        assert_eq!(sample(1, 1, 4), [0, 1, 2, 3]);
        assert_eq!(sample(0, 3, 9), []);
        assert_eq!(sample(1, 4, 12), [0, 4, 8]);
        assert_eq!(sample(2, 5, 10), [0, 3, 5, 8]);
        for (keep, of) in [(3, 7), (7, 7), (1, 1000), (999, 1000)] {
            assert_eq!(
                sample(keep, of, of * 5).len() as u32,
                keep * 5,
                "{keep} of {of}"
            );
        }
    }

    #[test]
    fn only_matching_items_count_for_the_sample() {
        let criteria = Criteria::field("").ge(100).one_in(2);
        let mut selector = Selector::new(criteria);
        let sent: Vec<u32> = [1, 100, 2, 3, 101, 102, 4, 103]
            .into_iter()
            .filter(|item| selector.wants(item))
            .collect();
        assert_eq!(sent, [100, 102]);
    }
}
