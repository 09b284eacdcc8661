//! After a network closed, nothing of it is left. Alone in its process: it counts the process'
//! tasks and file descriptors.

mod support;

use {
    futures::SinkExt,
    support::{network_id, node, node_knowing, until, within},
};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_networks_leave_no_task_and_no_file_descriptor() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let mut before = 0;
    for round in 0..6 {
        let id = network_id();
        let a = node(id).await;
        let b = node_knowing(id, &a).await;
        let mut producer = a.streams().produce::<u32>();
        let mut consumer = b.streams().consume::<u32>();
        within("send", producer.send(round)).await.unwrap();
        assert_eq!(within("recv", consumer.recv()).await, Some(round));
        within("close", async { tokio::join!(a.close(), b.close()) }).await;
        // The transport's last tasks, and what they hold, end at once, but in their own time.
        until("no task is left", || metrics.num_alive_tasks() == 0).await;
        // The first round opens what the process keeps for good.
        if round == 0 {
            before = open_files();
        }
        until("no file is left", || open_files() <= before).await;
        // The handles outlived their networks, and held nothing of them.
        drop((producer, consumer));
    }
}
