//! What bad input gets on the lanes of groups: the lane is cut, and the group goes on.

mod support;

use {
    mosaik::{
        Digest, Network,
        groups::{self, Event, Group, GroupKey, Side},
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

    /// Becomes a member of the group, as far as the first node can tell: it has the key, and is known.
    /// Gives the lanes to and from the node, and the node's name for the group.
    async fn is_bonded(&self) -> (SendStream, RecvStream, u32) {
        let group = &self.groups[0];
        let secret = self.endpoint.secret_key();
        // Entries are made by nodes: another one lends it its own.
        let lender = isolated(self.network).with_secret_key(secret.clone());
        let lender = lender.build().await.expect("a node");
        let entry = lender.discovery().me().into_unsigned();
        let entry = entry.update_address(self.endpoint.addr());
        let entry = entry.expect("its own address").add_groups(*group.id());
        let entry = entry.sign(secret).expect("its own entry");
        within("close", lender.close()).await;
        assert!(self.nodes[0].discovery().feed(entry));
        let mut shared = [0; 32];
        self.connection
            .export_keying_material(
                &mut shared,
                b"EXPERIMENTAL mosaik groups",
                group.id().as_bytes(),
            )
            .expect("exported");
        let key = GroupKey::from("the key");
        let me = self.endpoint.id();
        let proof = key.secret().derive(Digest::from_bytes(shared));
        let proof = proof.derive(me.as_bytes());
        let mut lane = self.lane().await;
        lane.write_all(&hello_with(group.id(), 1, 0, &proof))
            .await
            .expect("written");
        let (from, slot, nonce) = self.hello_of(group.id()).await;
        lane.write_all(&hello_with(group.id(), 1, nonce, &proof))
            .await
            .expect("written");
        let bonds = group.bonds();
        within("bonded", async {
            while !bonds.contains_peer(&me) {
                bonds.changed().await;
            }
        })
        .await;
        (lane, from, slot)
    }

    /// The lane that the node opens, and the name for a group and the nonce in its hello.
    async fn hello_of(&self, group: &Digest) -> (RecvStream, u32, u64) {
        loop {
            let accepted = within("a sub-stream", self.connection.accept_bi()).await;
            let (mut answer, mut theirs) = accepted.expect("a sub-stream");
            let mut head = [0; 8];
            let header = within("its header", theirs.read_exact(&mut head)).await;
            header.expect("a header");
            if head[7] != GROUPS {
                continue;
            }
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let mut rest = vec![0; len - 4];
            theirs
                .read_exact(&mut rest)
                .await
                .expect("the header's rest");
            answer.write_all(&[0, 0, 0, 1, 0]).await.expect("written");
            loop {
                let mut prefix = [0; 5];
                let read = within("a frame", theirs.read_exact(&mut prefix)).await;
                read.expect("a frame");
                let len = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
                let mut body = vec![0; len as usize - 1];
                theirs.read_exact(&mut body).await.expect("its body");
                if prefix[4] == HELLO && body.starts_with(group.as_bytes()) {
                    let (slot, nonce) = (&body[32..36], &body[36..44]);
                    let slot = u32::from_be_bytes(slot.try_into().expect("four bytes"));
                    let nonce = u64::from_be_bytes(nonce.try_into().expect("eight bytes"));
                    return (theirs, slot, nonce);
                }
            }
        }
    }

    async fn group_goes_on(self, before: i64) {
        for group in &self.groups {
            within("a command", group.execute(1))
                .await
                .expect("executed");
        }
        let executed = i64::try_from(self.groups.len()).expect("a few");
        let after = before + executed;
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
    hello_with(group, nonce, 0, &Digest::random())
}

fn hello_with(group: &Digest, nonce: u64, heard: u64, proof: &Digest) -> Vec<u8> {
    let mut body = group.as_bytes().to_vec();
    body.extend_from_slice(&0u32.to_be_bytes());
    body.extend_from_slice(&nonce.to_be_bytes());
    body.extend_from_slice(&heard.to_be_bytes());
    body.extend_from_slice(proof.as_bytes());
    frame(HELLO, &body)
}

/// Whoever has the key and sends nonsense is cut off, and programs are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_sends_nonsense_is_cut_off_and_reported() {
    let stranger = Stranger::meets_a_group().await;
    let mut events = stranger.groups[0].events();
    let (mut lane, _from, slot) = stranger.is_bonded().await;
    let nonsense = [&slot.to_be_bytes()[..], b"no message of any version"].concat();
    lane.write_all(&frame(CORE, &nonsense))
        .await
        .expect("written");
    let told = event(&mut events, |event| match event {
        Event::Violation { peer, what } => Some((peer, what)),
        _ => None,
    });
    let (peer, what) = told.await;
    assert_eq!(peer, stranger.endpoint.id());
    assert!(what.contains("cannot be read"), "{what}");
    let stopped = within("the lane's end", lane.stopped()).await;
    assert_eq!(
        stopped.expect("the link lives"),
        Some(VarInt::from_u32(400))
    );
    let bonds = stranger.groups[0].bonds();
    within("the bond's end", async {
        while bonds.contains_peer(&peer) {
            bonds.changed().await;
        }
    })
    .await;
    stranger.group_goes_on(0).await;
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
