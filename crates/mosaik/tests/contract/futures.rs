//! Futures that borrow nothing: they may outlive what they were asked of, and be spawned.

#![allow(
    clippy::needless_pass_by_value,
    reason = "what the futures were asked of is dropped before them"
)]

use {
    core::pin::Pin,
    mosaik::{
        Network, PeerId,
        discovery::Discovery,
        groups::{Group, NoOp},
        iroh::EndpointAddr,
        streams::{Consumer, Producer},
    },
};

type Free = Pin<Box<dyn Future<Output = ()> + Send + Sync + 'static>>;

fn free<T>(future: impl Future<Output = T> + Send + Sync + 'static) -> Free {
    Box::pin(async move { drop(future.await) })
}

/// Each is made of something that is dropped here.
fn of_a_group(group: Group<NoOp>, local: PeerId) -> Vec<Free> {
    let when = group.when().clone();
    let (log, committed) = (when.log(), when.committed());
    vec![
        free(when.leader_elected()),
        free(when.leader_changed()),
        free(when.leader_is(local)),
        free(when.is_leader()),
        free(when.is_follower()),
        free(when.online()),
        free(when.offline()),
        free(log.changed()),
        free(log.advanced()),
        free(log.reverted()),
        free(committed.reaches(1)),
        free(group.execute(())),
        free(group.execute_many([(); 2].iter().copied())),
        free(group.feed(())),
        free(group.feed_many([(); 2].iter().copied())),
        free(group.query((), mosaik::Strong)),
        free(group.ended()),
    ]
}

fn of_streams(producer: Producer<u64>, consumer: Consumer<u64>) -> Vec<Free> {
    let channels = producer.when().subscribed();
    vec![
        free(producer.when().online()),
        free(producer.when().offline()),
        free(consumer.when().online()),
        free(consumer.when().offline()),
        free(channels),
    ]
}

fn of_discovery(discovery: Discovery, peer: EndpointAddr) -> Free {
    free(discovery.sync_with(peer))
}

#[tokio::test]
async fn futures_outlive_what_they_were_asked_of() {
    let network = Network::builder(mosaik::Digest::random())
        .with_preset(mosaik::network::Preset::Isolated)
        .build()
        .await
        .expect("a node");
    let group = network.groups().with_key("k").with_state_machine(NoOp);
    assert_eq!(of_a_group(group.join(), network.local().id()).len(), 17);
    let streams = network.streams();
    assert_eq!(of_streams(streams.produce(), streams.consume()).len(), 5);
    drop(of_discovery(
        network.discovery().clone(),
        network.local().addr(),
    ));
    network.close().await;
}
