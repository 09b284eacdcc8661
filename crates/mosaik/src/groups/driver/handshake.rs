//! How two nodes agree that both have a group's key: three hellos, see [`Hello`].
//!
//! Pure: proofs, tickets and lanes are the caller's.

use crate::groups::lanes::Hello;

/// What is known of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Theirs {
    slot: u32,
    nonce: u64,
}

/// One side's view of the handshake with one peer for one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handshake {
    /// Our attempt; 0 when none was said on the present lanes.
    nonce: u64,
    theirs: Option<Theirs>,
    /// They have accepted our hello.
    heard: bool,
}

/// What follows from a hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// A bond that was up is another one now.
    pub(super) renewed: bool,
    /// Say hello (again).
    pub(super) reply: bool,
}

impl Handshake {
    /// Both sides have accepted each other's hello.
    pub(super) const fn is_up(&self) -> bool {
        self.heard && self.theirs.is_some()
    }

    /// Whether a hello was said on the present lanes.
    pub(super) const fn has_spoken(&self) -> bool {
        self.nonce != 0
    }

    /// Our attempt.
    pub(super) const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The peer's name for the group.
    pub(super) fn their_slot(&self) -> Option<u32> {
        self.theirs.map(|theirs| theirs.slot)
    }

    /// Forgets everything: the lanes are others, or the attempt has failed.
    pub(super) const fn reset(&mut self) {
        *self = Self {
            nonce: 0,
            theirs: None,
            heard: false,
        };
    }

    /// The nonce and the nonce heard of the hello to be said now; `fresh` is taken where this
    /// is the first of an attempt.
    pub(super) fn say(&mut self, fresh: u64) -> (u64, u64) {
        if self.nonce == 0 {
            self.nonce = fresh.max(1);
        }
        (self.nonce, self.theirs.map_or(0, |theirs| theirs.nonce))
    }

    /// A hello that is accepted has come.
    pub(super) fn hear(&mut self, hello: &Hello) -> Heard {
        let theirs = Theirs {
            slot: hello.slot,
            nonce: hello.nonce,
        };
        let news = self.theirs != Some(theirs);
        let renewed = news && self.is_up();
        let knows_us = self.nonce != 0 && hello.heard == self.nonce;
        self.heard = knows_us || self.heard && !news;
        self.theirs = Some(theirs);
        Heard {
            renewed,
            reply: news || !knows_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use {super::*, mosaik_primitives::Digest, proptest::prelude::*, std::collections::VecDeque};

    #[derive(Default)]
    struct Side {
        handshake: Handshake,
        /// On the way to this side.
        arriving: VecDeque<Hello>,
        attempts: u64,
    }

    fn say(sides: &mut [Side; 2], from: usize) {
        sides[from].attempts += 1;
        let fresh = sides[from].attempts * 10 + from as u64;
        let (nonce, heard) = sides[from].handshake.say(fresh);
        sides[1 - from].arriving.push_back(Hello {
            group: Digest::zero(),
            slot: from as u32,
            nonce,
            heard,
            proof: Digest::zero(),
        });
    }

    fn deliver(sides: &mut [Side; 2], to: usize) -> bool {
        let Some(hello) = sides[to].arriving.pop_front() else {
            return false;
        };
        if sides[to].handshake.hear(&hello).reply {
            say(sides, to);
        }
        true
    }

    fn settle(sides: &mut [Side; 2]) {
        let mut steps = 0;
        while deliver(sides, 0) || deliver(sides, 1) {
            steps += 1;
            assert!(steps < 100, "hellos end");
        }
    }

    #[test]
    fn one_side_may_start() {
        let mut sides = <[Side; 2]>::default();
        say(&mut sides, 0);
        settle(&mut sides);
        assert!(sides.iter().all(|side| side.handshake.is_up()));
        assert_eq!(sides[0].handshake.their_slot(), Some(1));
    }

    #[test]
    fn a_side_that_starts_again_renews_the_others_bond() {
        let mut sides = <[Side; 2]>::default();
        say(&mut sides, 0);
        settle(&mut sides);
        sides[0].handshake.reset();
        say(&mut sides, 0);
        let hello = sides[1].arriving.pop_front().expect("it was said");
        let heard = sides[1].handshake.hear(&hello);
        assert!(heard.renewed && heard.reply && !sides[1].handshake.is_up());
        say(&mut sides, 1);
        settle(&mut sides);
        assert!(sides.iter().all(|side| side.handshake.is_up()));
    }

    proptest! {
        /// Whoever starts, starts again and when: at the end both are up and name the same pair.
        #[test]
        fn every_order_ends_with_both_up(steps in proptest::collection::vec(0u8..6, 0..40)) {
            let mut sides = <[Side; 2]>::default();
            for step in steps {
                let side = usize::from(step % 2);
                match step / 2 {
                    0 => say(&mut sides, side),
                    1 => drop(deliver(&mut sides, side)),
                    _ => sides[side].handshake.reset(),
                }
            }
            settle(&mut sides);
            // What a timeout does to a side that has waited for too long.
            for side in 0..2 {
                if !sides[side].handshake.is_up() {
                    sides[side].handshake.reset();
                    say(&mut sides, side);
                    settle(&mut sides);
                }
            }
            let [one, two] = &sides;
            prop_assert!(one.handshake.is_up() && two.handshake.is_up());
            prop_assert_eq!(one.handshake.theirs.unwrap().nonce, two.handshake.nonce());
            prop_assert_eq!(two.handshake.theirs.unwrap().nonce, one.handshake.nonce());
        }
    }
}
