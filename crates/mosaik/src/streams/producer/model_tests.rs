//! Random operations on the queue, against a model in which every subscription has its own list.

use {
    super::fanout::{Batch, Capacity, Fanout, FrameSource, LARGE_FRAME_BYTES},
    crate::streams::frame::{self, Frame, Parsed},
    bytes::{Bytes, BytesMut},
    proptest::prelude::*,
    std::collections::{BTreeMap, VecDeque},
};

const ITEMS: usize = 16;
const BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
enum Op {
    Subscribe {
        selects: bool,
        history: usize,
    },
    Unsubscribe(usize),
    Push {
        len: usize,
        selected: u8,
    },
    Take {
        who: usize,
        max_bytes: usize,
        completes: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let lens = prop_oneof![8 => 4..64usize, 1 => LARGE_FRAME_BYTES..2 * LARGE_FRAME_BYTES];
    prop_oneof![
        1 => (any::<bool>(), 0..4usize).prop_map(|(selects, history)| Op::Subscribe { selects, history }),
        1 => any::<usize>().prop_map(Op::Unsubscribe),
        8 => (lens, any::<u8>()).prop_map(|(len, selected)| Op::Push { len, selected }),
        5 => (any::<usize>(), 1..40_000usize, any::<bool>())
            .prop_map(|(who, max_bytes, completes)| Op::Take { who, max_bytes, completes }),
    ]
}

#[derive(Default)]
struct Expected {
    selects: bool,
    items: VecDeque<u32>,
    offered: u64,
}

fn framed(number: u32, len: usize, buffer: &mut BytesMut) -> usize {
    frame::begin_item(buffer);
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.resize(frame::MAX_PREFIX + len.max(4), 0);
    frame::finish_item(buffer)
}

fn numbers(chunks: &[Bytes]) -> Vec<u32> {
    let bytes = chunks.concat();
    let mut rest = bytes.as_slice();
    let mut numbers = Vec::new();
    while !rest.is_empty() {
        let Ok(Parsed::Frame(Frame::Item(item), len)) = frame::parse(rest, usize::MAX) else {
            panic!("a batch ends within a frame");
        };
        numbers.push(u32::from_le_bytes(item[..4].try_into().unwrap()));
        rest = &rest[len..];
    }
    numbers
}

struct Run {
    fanout: Fanout,
    model: BTreeMap<u64, Expected>,
    next: u32,
}

impl Run {
    fn pick(&self, at: usize) -> Option<u64> {
        let count = self.model.len();
        if count == 0 {
            None
        } else {
            self.model.keys().nth(at % count).copied()
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Subscribe { selects, history } => self.subscribe(selects, history),
            Op::Unsubscribe(at) => {
                if let Some(id) = self.pick(at) {
                    let expected = self.model.remove(&id).unwrap();
                    assert_eq!(self.fanout.unsubscribe(id), Some(expected.offered));
                }
            }
            Op::Push { len, selected } => self.push(len, selected),
            Op::Take {
                who,
                max_bytes,
                completes,
            } => {
                if let Some(id) = self.pick(who) {
                    self.take(id, max_bytes, completes);
                }
            }
        }
    }

    fn subscribe(&mut self, selects: bool, history: usize) {
        let mut expected = Expected {
            selects,
            ..Expected::default()
        };
        let mut frames = VecDeque::new();
        for _ in 0..history {
            let mut buffer = BytesMut::new();
            let start = framed(self.next, 4, &mut buffer);
            frames.push_back(buffer.freeze().slice(start..));
            expected.items.push_back(self.next);
            expected.offered += 1;
            self.next += 1;
        }
        let (id, _) = self.fanout.subscribe(selects, frames);
        self.model.insert(id, expected);
    }

    fn push(&mut self, len: usize, selected: u8) {
        if !self.fanout.has_room() {
            let longest = self
                .model
                .values()
                .map(|one| one.items.len())
                .max()
                .unwrap_or(0);
            assert!(longest > 0, "no room although nobody waits for anything");
            return;
        }
        let number = self.next;
        self.next += 1;
        let mut buffer = BytesMut::new();
        let start = framed(number, len, &mut buffer);
        let mut source = FrameSource::new(&mut buffer, start);
        let mut wake = Vec::new();
        for (id, expected) in &mut self.model {
            let wanted = !expected.selects || selected >> (id % 8) & 1 == 1;
            if expected.selects && wanted {
                self.fanout.push_selected(*id, source.shared(), &mut wake);
            }
            if wanted {
                expected.items.push_back(number);
                expected.offered += 1;
            }
        }
        self.fanout.push(&mut source, &mut wake);
        assert!(wake.is_empty(), "nobody parked");
    }

    fn take(&mut self, id: u64, max_bytes: usize, completes: bool) {
        let expected = self.model.get_mut(&id).unwrap();
        let mut chunks = Vec::new();
        let batch: Batch = self.fanout.collect(id, max_bytes, &mut chunks);
        let got = numbers(&chunks);
        assert_eq!(got.len() as u64, batch.items());
        assert!(
            got.iter().eq(expected.items.iter().take(got.len())),
            "order or content"
        );
        assert_eq!(
            got.is_empty(),
            expected.items.is_empty(),
            "everything offered can be had"
        );
        if completes {
            self.fanout.taken(id, &batch);
            expected.items.drain(..got.len());
        }
    }

    fn check(&self) {
        for standing in self.fanout.standings() {
            let expected = &self.model[&standing.id];
            assert_eq!(standing.lag, expected.items.len());
            // One item more than the bound: the ring counts from the slowest.
            assert!(standing.lag <= ITEMS + 4, "bounded, history aside");
        }
        let drained = self.model.values().all(|one| one.items.is_empty());
        assert_eq!(self.fanout.is_drained(), drained);
        if drained {
            assert!(self.fanout.room());
        }
    }
}

proptest! {
    #[test]
    fn every_subscription_gets_its_items_in_order_and_nothing_else(
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let capacity = Capacity { items: ITEMS, bytes: BYTES };
        let mut run = Run { fanout: Fanout::new(capacity), model: BTreeMap::new(), next: 0 };
        for op in &ops {
            run.apply(op);
            run.check();
        }
    }
}
