//! [`Gossip`]: broadcasts to the whole network, on iroh-gossip.
//!
//! Its task takes broadcasts and peers to join from the driver and hands on what arrives. It
//! decides nothing about content; what it loses, comparisons repair.

use {
    super::{authority::node_key, state::State, transport::Transport},
    crate::{
        PeerId,
        network::links::{AlpnServer, Links},
    },
    backon::{BackoffBuilder, ExponentialBuilder},
    bytes::Bytes,
    futures::StreamExt,
    iroh::Endpoint,
    iroh_gossip::{
        TopicId,
        api::{Event, GossipReceiver, GossipSender},
        net::Gossip as Layer,
    },
    mosaik_protocol::catalog::Input,
    parking_lot::Mutex,
    std::{collections::HashSet, sync::Arc, time::Duration},
    tokio::sync::{mpsc, oneshot},
};

/// What gossip's own framing adds to a message at most, bytes.
const FRAMING_BYTES: usize = 1_024;
/// Commands that wait for the gossip layer.
const COMMANDS: usize = 256;

/// News of the gossip overlay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Neighbor {
    Up(PeerId),
    Down(PeerId),
}

#[derive(Debug)]
enum Command {
    Broadcast(Bytes),
    Join(Vec<PeerId>),
    Acknowledge(oneshot::Sender<()>),
}

/// The handle to the gossip layer.
#[derive(Clone)]
pub(super) struct Gossip {
    layer: Layer,
    commands: mpsc::Sender<Command>,
    state: Arc<State>,
}

/// The task's side.
pub(super) struct Task {
    layer: Layer,
    topic: TopicId,
    bootstrap: Vec<PeerId>,
    commands: mpsc::Receiver<Command>,
    neighbors: mpsc::Sender<Neighbor>,
    talking: Talking,
    transport: Transport,
}

/// The present neighbours; as many as the overlay's active view holds at most.
type Talking = Arc<Mutex<HashSet<PeerId>>>;

/// Hands the layer its connections.
fn server(layer: &Layer, talking: &Talking) -> AlpnServer {
    let (layer, talking) = (layer.clone(), Arc::clone(talking));
    AlpnServer {
        take: Box::new(move |connection| {
            let layer = layer.clone();
            Box::pin(async move {
                // Fails only when the layer has been shut down, with the network.
                let _ = layer.handle_connection(connection).await;
            })
        }),
        knows: Box::new(move |peer| talking.lock().contains(peer)),
    }
}

impl Gossip {
    /// Starts the gossip layer and joins the network's topic through `bootstrap`.
    pub(super) fn start(
        links: &Links,
        endpoint: &Endpoint,
        transport: &Transport,
        state: Arc<State>,
        bootstrap: Vec<PeerId>,
    ) -> (Self, mpsc::Receiver<Neighbor>) {
        let layer = Layer::builder()
            .max_message_size(links.limits().gossip_bytes + FRAMING_BYTES)
            .spawn(endpoint.clone());
        let talking = Arc::default();
        links.serve_alpn(iroh_gossip::ALPN, server(&layer, &talking));
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (neighbors, news) = mpsc::channel(COMMANDS);
        let task = Task {
            layer: layer.clone(),
            topic: TopicId::from_bytes(*links.network_id().as_bytes()),
            bootstrap,
            commands: receiver,
            neighbors,
            talking,
            transport: transport.clone(),
        };
        links.tasks().spawn(task.run());
        (
            Self {
                layer,
                commands,
                state,
            },
            news,
        )
    }

    /// Broadcasts, unless too many broadcasts wait already.
    pub(super) fn broadcast(&self, bytes: Bytes) {
        self.command(Command::Broadcast(bytes));
    }

    /// Asks peers to become neighbours.
    pub(super) fn join(&self, peers: Vec<PeerId>) {
        self.command(Command::Join(peers));
    }

    /// Tells when the layer has every broadcast made so far.
    pub(super) fn acknowledge(&self, done: oneshot::Sender<()>) {
        self.command(Command::Acknowledge(done));
    }

    fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            self.state.metrics.overloaded();
        }
    }

    /// Takes leave of the neighbours and ends the layer.
    pub(super) async fn shutdown(&self) {
        // Fails only when it has ended before.
        let _ = self.layer.shutdown().await;
    }
}

impl Task {
    async fn run(mut self) {
        let patient = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(10))
            .without_max_times()
            .with_jitter();
        let mut delays = patient.build();
        loop {
            match self
                .layer
                .subscribe(self.topic, self.bootstrap.clone())
                .await
            {
                Ok(topic) => {
                    delays = patient.build();
                    self.talking.lock().clear();
                    let (sender, receiver) = topic.split();
                    if self.run_topic(&sender, receiver).await.is_break() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "gossip topic refused"),
            }
            if let Some(delay) = delays.next() {
                tokio::time::sleep(delay).await;
            }
        }
    }

    /// Serves one subscription until it ends (go on) or discovery does (break).
    async fn run_topic(
        &mut self,
        sender: &GossipSender,
        mut receiver: GossipReceiver,
    ) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        loop {
            tokio::select! {
                command = self.commands.recv() => {
                    let sent = match command {
                        Some(Command::Broadcast(bytes)) => sender.broadcast(bytes).await,
                        Some(Command::Join(peers)) => sender.join_peers(peers).await,
                        Some(Command::Acknowledge(done)) => {
                            // Whoever asked may have stopped waiting.
                            let _ = done.send(());
                            continue;
                        }
                        None => return Break(()),
                    };
                    if sent.is_err() {
                        return Continue(());
                    }
                }
                event = receiver.next() => match event {
                    Some(Ok(event)) => self.arrived(event).await,
                    Some(Err(_)) | None => return Continue(()),
                }
            }
        }
    }

    async fn arrived(&self, event: Event) {
        let neighbor = match event {
            Event::Received(message) => {
                let (from, bytes) = (message.delivered_from, message.content);
                let len = bytes.len();
                let input = Input::Gossip {
                    from: node_key(&from),
                    bytes,
                };
                return self.transport.received(from, len, input);
            }
            Event::NeighborUp(peer) => {
                self.talking.lock().insert(peer);
                Neighbor::Up(peer)
            }
            Event::NeighborDown(peer) => {
                self.talking.lock().remove(&peer);
                Neighbor::Down(peer)
            }
            Event::Lagged => {
                tracing::debug!("gossip messages were missed; comparisons will bring them");
                return;
            }
        };
        // Fails only when the driver has ended, with the network.
        let _ = self.neighbors.send(neighbor).await;
    }
}
