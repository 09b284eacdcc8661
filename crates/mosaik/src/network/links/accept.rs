//! The accepting side: connections, then sub-streams, each bounded before it costs anything.

use {
    super::{
        conn::{Conn, LinkUse},
        header::{Answer, Header, ReadBodyError, read_body},
        table::{Links, close},
    },
    crate::{
        PeerId,
        network::{
            self,
            close::{
                DifferentNetwork, HandshakeTimeout, InvalidAlpn, ProtocolViolation, Reason,
                TooManyConnections,
            },
        },
    },
    bytes::Bytes,
    futures::future::BoxFuture,
    iroh::endpoint::{Connection, RecvStream, SendStream},
    mosaik_primitives::Digest,
    std::sync::Arc,
    tokio::sync::{OwnedSemaphorePermit, Semaphore},
};

pub(super) type Server = Arc<dyn Fn(Incoming) -> BoxFuture<'static, ()> + Send + Sync>;

/// A sub-stream that a peer wants to open; dropping it refuses it without a reason.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) peer: PeerId,
    pub(crate) resource: Digest,
    pub(crate) greeting: Bytes,
    send: SendStream,
    recv: RecvStream,
    link: LinkUse,
}

impl Incoming {
    /// Accepts with a reply of at most `Limits::reply_bytes`; `None` when the peer has gone.
    pub(crate) async fn accept(
        mut self,
        reply: Bytes,
    ) -> Option<(SendStream, RecvStream, LinkUse)> {
        self.send
            .write_chunk(Answer::Accepted(reply).encode())
            .await
            .ok()?;
        Some((self.send, self.recv, self.link))
    }

    /// Refuses, and waits until the peer has the reason or is gone.
    pub(crate) async fn refuse(mut self, reason: impl Into<Reason>) {
        let answer = Answer::Refused(reason.into()).encode();
        if self.send.write_chunk(answer).await.is_ok() && self.send.finish().is_ok() {
            // Dropping the stream before the peer has it would reset it; either end is fine.
            let _ = self.send.stopped().await;
        }
    }
}

impl Links {
    pub(super) async fn accept_loop(self) {
        let handshakes = Arc::new(Semaphore::new(self.0.limits.pending_handshakes));
        let Some(endpoint) = self.endpoint() else {
            return;
        };
        while let Some(incoming) = endpoint.accept().await {
            let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
                self.0.meter.refused("handshakes");
                incoming.refuse();
                continue;
            };
            let pending = self.0.limits.pending_handshakes - handshakes.available_permits();
            if pending > self.0.limits.retry_above && !incoming.remote_addr_validated() {
                // Cannot fail for an address that is not validated; if it does, the peer retries.
                let _ = incoming.retry();
                continue;
            }
            let links = self.clone();
            self.0
                .tasks
                .spawn(async move { links.handshake(incoming, permit).await });
        }
    }

    /// Completes one connection's handshake, and hands it to its protocol.
    async fn handshake(self, incoming: iroh::endpoint::Incoming, permit: OwnedSemaphorePermit) {
        let handshake = tokio::time::timeout(self.0.limits.handshake_timeout, incoming).await;
        let connection = match handshake {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::debug!(%error, "incoming handshake failed");
                self.0.meter.refused("handshake-failed");
                return;
            }
            Err(_) => {
                self.0.meter.refused("timeout");
                return;
            }
        };
        drop(permit);
        if connection.alpn() == network::ALPN {
            self.adopt(connection, false);
            return;
        }
        let server = self.0.alpns.read().get(connection.alpn()).cloned();
        if let Some(server) = server {
            self.host(connection, &server).await;
        } else {
            self.0.meter.refused("invalid-alpn");
            close(&connection, InvalidAlpn::REASON);
        }
    }

    /// Adds a connection to the table and starts serving it.
    pub(super) fn adopt(&self, connection: Connection, dialled: bool) -> Option<Arc<Conn>> {
        let conn = self.add(connection, dialled)?;
        let links = self.clone();
        let run = Arc::clone(&conn);
        self.0.tasks.spawn(async move { links.run(run).await });
        Some(conn)
    }

    /// Serves one connection until it ends.
    async fn run(self, conn: Arc<Conn>) {
        let connection = conn.connection.clone();
        let streams = Arc::new(Semaphore::new(self.0.limits.substreams_per_peer as usize));
        let silence = tokio::time::sleep(self.0.limits.handshake_timeout);
        tokio::pin!(silence);
        let error = loop {
            tokio::select! {
                biased;
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) => self.accept_stream(&conn, send, recv, &streams),
                    Err(error) => break error,
                },
                datagram = connection.read_datagram() => match datagram {
                    Ok(datagram) => self.datagram(conn.peer(), datagram),
                    Err(error) => break error,
                },
                () = &mut silence, if !conn.is_greeted() => {
                    // A second connection of a peer that speaks on another one may stay silent.
                    if self.speaks_elsewhere(&conn) {
                        conn.set_greeted();
                    } else {
                        self.0.meter.refused("silent");
                        close(&connection, HandshakeTimeout::REASON);
                    }
                }
            }
        };
        tracing::debug!(peer = %conn.peer().fmt_short(), %error, "link closed");
        self.remove(&conn, &error);
    }

    fn accept_stream(
        &self,
        conn: &Arc<Conn>,
        send: SendStream,
        recv: RecvStream,
        streams: &Arc<Semaphore>,
    ) {
        let Ok(permit) = Arc::clone(streams).try_acquire_owned() else {
            // The transport's own limit is the same number, so only a violation gets here.
            self.0
                .meter
                .refused_substream(TooManyConnections::REASON.text);
            close(&conn.connection, TooManyConnections::REASON);
            return;
        };
        let links = self.clone();
        let link = LinkUse::new(Arc::clone(conn));
        self.0.tasks.spawn(async move {
            links.substream(link, send, recv).await;
            drop(permit);
        });
    }

    /// Reads the header of one sub-stream and hands it to its protocol's server.
    async fn substream(self, link: LinkUse, mut send: SendStream, mut recv: RecvStream) {
        let limits = &self.0.limits;
        let body = read_body(&mut recv, Header::max_len(limits.greeting_bytes));
        let refusal = match tokio::time::timeout(limits.handshake_timeout, body).await {
            Ok(Ok(body)) => match Header::decode(&body) {
                Ok(header) if header.network == self.0.network_id => {
                    link.conn().set_greeted();
                    let Some(server) = self.server(header.protocol) else {
                        return;
                    };
                    let incoming = Incoming {
                        peer: link.peer(),
                        resource: header.resource,
                        greeting: header.greeting,
                        send,
                        recv,
                        link,
                    };
                    return server(incoming).await;
                }
                Ok(_) => DifferentNetwork::REASON,
                Err(error) => {
                    tracing::debug!(peer = %link.peer().fmt_short(), %error, "header refused");
                    ProtocolViolation::REASON
                }
            },
            Ok(Err(ReadBodyError::TooLarge { .. })) => ProtocolViolation::REASON,
            Ok(Err(ReadBodyError::Ended(_))) => return,
            Err(_) => HandshakeTimeout::REASON,
        };
        self.0.meter.refused_substream(refusal.text);
        let answer = Answer::Refused(refusal).encode();
        if send.write_chunk(answer).await.is_ok() && send.finish().is_ok() {
            let stopped = send.stopped();
            // The peer has it, or does not care.
            let _ = tokio::time::timeout(limits.handshake_timeout, stopped).await;
        }
    }
}
