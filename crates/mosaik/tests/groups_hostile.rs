//! What bad input gets on the lanes of groups: the lane is cut, and the group goes on.

mod support;

use {
    mosaik::{
        Digest, Network,
        groups::{self, Event, Group, Side},
        iroh::{
            Endpoint, RelayMode,
            endpoint::{Connection, RecvStream, SendStream, VarInt, presets},
        },
    },
    std::time::Duration,
    support::{
        groups::{Counter, event, formed, sum},
        isolated, network_id, nodes, within,
    },
};

const ALPN: &[u8] = b"/mosaik/1";
const GROUPS: u8 = 3;
/// A greeting for the lane of all groups, in its first version.
const MAIN_LANE: &[u8] = &[1, 0, 0];

const CORE: u8 = 0;
const HELLO: u8 = 1;
const BYE: u8 = 3;

/// A node of nobody that is linked to the first of two members.
struct Stranger {
    endpoint: Endpoint,
    connection: Connection,
    network: Digest,
    nodes: Vec<Network>,
    groups: Vec<Group<Counter>>,
}

impl Stranger {
    async fn meets_a_group() -> Self {
        let network = network_id();
        let nodes = nodes(network, 2).await;
        Self::meets(network, nodes).await
    }

    async fn meets(network: Digest, nodes: Vec<Network>) -> Self {
        let groups = formed(&nodes).await;
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .expect("a loopback address")
            .alpns(vec![ALPN.to_vec()])
            .bind()
            .await
            .expect("an endpoint");
        let connecting = endpoint.connect(nodes[0].local().addr(), ALPN);
        let connection = within("connect", connecting).await.expect("a connection");
        Self {
            endpoint,
            connection,
            network,
            nodes,
            groups,
        }
    }

    /// Opens a sub-stream for groups with a greeting; its answer comes first.
    async fn open(&self, greeting: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.connection.open_bi().await.expect("a sub-stream");
        let mut body = b"mk\x01".to_vec();
        body.push(GROUPS);
        body.extend_from_slice(self.network.as_bytes());
        body.extend_from_slice(Digest::zero().as_bytes());
        body.extend_from_slice(greeting);
        let len = (body.len() as u32).to_be_bytes();
        send.write_all(&len).await.expect("written");
        send.write_all(&body).await.expect("written");
        (send, recv)
    }

    async fn lane(&self) -> SendStream {
        let (send, mut recv) = self.open(MAIN_LANE).await;
        let answer = within("an answer", recv.read_to_end(64)).await;
        assert_eq!(answer.expect("an answer"), [0, 0, 0, 1, 0], "accepted");
        send
    }

    /// The code with which the node stops reading what is written to a new lane.
    async fn cut_for(&self, bytes: &[u8]) -> Option<u64> {
        let mut lane = self.lane().await;
        lane.write_all(bytes).await.expect("written");
        let stopped = within("the lane's end", lane.stopped()).await;
        stopped.expect("the link lives").map(VarInt::into_inner)
    }

    /// What the node says on the first lane that it opens itself.
    async fn told(&self) -> Vec<u8> {
        loop {
            let accepted = within("a sub-stream", self.connection.accept_bi()).await;
            let (mut answer, mut theirs) = accepted.expect("a sub-stream");
            let mut head = [0; 8];
            within("its header", theirs.read_exact(&mut head))
                .await
                .expect("a header");
            // Discovery would like to know the stranger, too.
            if head[7] == GROUPS {
                answer.write_all(&[0, 0, 0, 1, 0]).await.expect("written");
                let all = within("what it says", theirs.read_to_end(4_096)).await;
                return all.expect("it ends when all is said");
            }
        }
    }

    async fn group_goes_on(self, before: i64) {
        for group in &self.groups {
            within("a command", group.execute(1))
                .await
                .expect("executed");
        }
        let after = before + self.groups.len() as i64;
        assert_eq!(sum(&self.groups[0]).await.0, after);
        assert!(
            self.connection.close_reason().is_none(),
            "the link is another matter"
        );
        self.endpoint.close().await;
        for node in self.nodes {
            within("close", node.close()).await;
        }
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (1 + body.len() as u32).to_be_bytes();
    [&len[..], &[kind], body].concat()
}

fn hello(group: &Digest, nonce: u64) -> Vec<u8> {
    let mut body = group.as_bytes().to_vec();
    body.extend_from_slice(&0u32.to_be_bytes());
    body.extend_from_slice(&nonce.to_be_bytes());
    body.extend_from_slice(&0u64.to_be_bytes());
    body.extend_from_slice(Digest::random().as_bytes());
    frame(HELLO, &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_with_nonsense_are_cut_and_the_group_goes_on() {
    let stranger = Stranger::meets_a_group().await;
    let huge = [&(60u32 << 20).to_be_bytes()[..], &[CORE]].concat();
    let early = [&(1u32 << 20).to_be_bytes()[..], &[CORE]].concat();
    let nobody = frame(CORE, &9_999u32.to_be_bytes());
    let cases: [(&str, Vec<u8>); 6] = [
        ("not frames at all", vec![0xff; 64]),
        ("a frame beyond any limit", huge),
        ("a large frame before any proof", early),
        ("a frame of no known kind", frame(77, &[1, 2, 3])),
        ("a control frame of another length", frame(BYE, &[1, 2, 3])),
        ("a frame for a group there never was", nobody),
    ];
    for (what, bytes) in cases {
        assert_eq!(stranger.cut_for(&bytes).await, Some(400), "{what}");
    }
    // A message for a real group, without a bond: it may have been under way when one ended.
    let mut lane = stranger.lane().await;
    let unbonded = frame(CORE, &[&0u32.to_be_bytes()[..], b"nonsense"].concat());
    lane.write_all(&unbonded).await.expect("written");
    stranger.group_goes_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_that_is_none_is_refused() {
    let stranger = Stranger::meets_a_group().await;
    for greeting in [&b""[..], &[9, 9, 9], &[1, 0, 200], &[0; 100]] {
        let (_send, mut recv) = stranger.open(greeting).await;
        let answer = within("an answer", recv.read_to_end(64)).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer[..5], [0, 0, 0, 5, 1], "a refusal");
        assert_eq!(answer[5..], 400u32.to_be_bytes());
    }
    stranger.group_goes_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_prove_the_key_is_refused_and_told_so() {
    let stranger = Stranger::meets_a_group().await;
    let group = &stranger.groups[0];
    let mut events = group.events();
    let mut lane = stranger.lane().await;
    let nonce = 77;
    lane.write_all(&hello(group.id(), nonce))
        .await
        .expect("written");
    let all = stranger.told().await;
    let mut refused = group.id().as_bytes().to_vec();
    refused.extend_from_slice(&u64::to_be_bytes(nonce));
    refused.extend_from_slice(&30_405u32.to_be_bytes());
    assert!(all.ends_with(&frame(2, &refused)), "InvalidProof: {all:?}");
    let told = event(&mut events, |event| match event {
        Event::Refused { peer, reason, by } => Some((peer, reason.to_string(), by)),
        _ => None,
    });
    let (peer, reason, by) = told.await;
    assert_eq!((peer, by), (stranger.endpoint.id(), Side::Local));
    assert!(reason.contains("InvalidProof"), "{reason}");
    assert!(!group.bonds().contains_peer(&peer));
    stranger.group_goes_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_hellos_costs_nobody_else_anything() {
    let stranger = Stranger::meets_a_group().await;
    let mut lane = stranger.lane().await;
    let id = *stranger.groups[0].id();
    let flood: Vec<u8> = (1..2_000).flat_map(|nonce| hello(&id, nonce)).collect();
    // It reads nothing of what it is answered.
    lane.write_all(&flood).await.expect("written");
    stranger.group_goes_on(0).await;
}

/// A lane on which nothing was said was kept, and its link in use, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_on_which_nobody_proves_anything_is_closed() {
    let network = network_id();
    let config = groups::Config::builder().with_handshake_timeout(Duration::from_millis(100));
    let node = isolated(network).with_groups(config).build().await;
    let stranger = Stranger::meets(network, vec![node.expect("a node")]).await;
    let (mut silent, mut talking) = (stranger.lane().await, None);
    for lane in [&mut silent, talking.insert(stranger.lane().await)] {
        // Whether it is closed for its silence or in favour of the next one.
        let stopped = within("the end of a silent lane", lane.stopped()).await;
        assert!(stopped.expect("the link lives").is_some());
    }
    assert_eq!(
        stranger.cut_for(&[0, 0, 0]).await,
        Some(400),
        "half a frame"
    );
    stranger.group_goes_on(0).await;
}
