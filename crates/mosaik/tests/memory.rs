//! After churn, memory is where it was. Alone in its process: it counts what the process holds.

mod support;

use {
    futures::SinkExt,
    mosaik::Network,
    std::{
        alloc::{GlobalAlloc, Layout, System},
        sync::atomic::{AtomicIsize, Ordering::Relaxed},
    },
    support::{network_id, node, node_knowing, until, within},
};

/// Bytes allocated and not freed.
static HELD: AtomicIsize = AtomicIsize::new(0);

struct Counting;

#[expect(
    unsafe_code,
    reason = "an allocator that counts can be made no other way"
)]
// SAFETY: everything is handed to the system's allocator as it came; counting touches no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds that fill whatever is filled once, and rounds that must add nothing.
const FIRST: u32 = 6;
const MORE: u32 = 12;
/// What the tables of the process and of the node that stays may differ by: tombstones of those
/// who left, capacity of tables. A node that is not let go of is 500 KiB, a subscription 40.
const SLACK: isize = 300 << 10;

/// Two nodes join the one that stays, stream with it and leave, one of them without a word.
async fn churn(staying: &Network) {
    let id = *staying.network_id();
    let producing = node_knowing(id, staying).await;
    let consuming = node_knowing(id, staying).await;
    let mut producer = producing.streams().produce::<Vec<u8>>();
    let mut here = staying.streams().consume::<Vec<u8>>();
    let mut there = consuming.streams().consume::<Vec<u8>>();
    within("subscriptions", producer.when().subscribed().minimum_of(2)).await;
    for _ in 0..8 {
        within("send", producer.send(vec![7; 10_000]))
            .await
            .unwrap();
        within("recv", here.recv()).await.unwrap();
        within("recv", there.recv()).await.unwrap();
    }
    within("close", producing.close()).await;
    drop((consuming, producer, here, there));
    until("they have left", || {
        staying.discovery().catalog().peers_count() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_returns_to_where_it_was_after_churn() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let staying = node(network_id()).await;
    for _ in 0..FIRST {
        churn(&staying).await;
    }
    let mut tasks = usize::MAX;
    // The tasks of the last round's connections end in their own time.
    until("the first rounds have ended", || {
        let before = std::mem::replace(&mut tasks, metrics.num_alive_tasks());
        tasks >= before
    })
    .await;
    let bound = HELD.load(Relaxed) + SLACK;
    for _ in 0..MORE {
        churn(&staying).await;
    }
    until(&format!("at most {bound} bytes are held"), || {
        HELD.load(Relaxed) <= bound
    })
    .await;
    within("close", staying.close()).await;
}
