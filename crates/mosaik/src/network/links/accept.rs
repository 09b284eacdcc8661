//! The accepting side: connections, then sub-streams, each bounded before it costs anything.

use {
    super::{
        conn::{Conn, LinkUse},
        header::{Answer, Header, ReadBodyError, ReadHeaderError, read_exact},
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
    core::time::Duration,
    futures::{FutureExt, future::BoxFuture},
    iroh::endpoint::{Connection, RecvStream, SendStream, VarInt},
    mosaik_primitives::Digest,
    std::sync::Arc,
    tokio::{
        sync::{OwnedSemaphorePermit, Semaphore},
        time::timeout,
    },
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
    /// How long the peer may take to take in the answer.
    patience: Duration,
    /// Its place among those that are not answered yet.
    _place: OwnedSemaphorePermit,
}

impl Incoming {
    /// Accepts with a reply of at most `Limits::reply_bytes`; `None` when the peer has gone, or
    /// does not take the reply in time.
    pub(crate) async fn accept(
        mut self,
        reply: Bytes,
    ) -> Option<(SendStream, RecvStream, LinkUse)> {
        let answer = Answer::Accepted(reply).encode();
        match timeout(self.patience, self.send.write_chunk(answer)).await {
            Ok(Ok(())) => Some((self.send, self.recv, self.link.with_window())),
            Ok(Err(_)) => None,
            Err(_) => {
                give_up(&mut self.send);
                None
            }
        }
    }

    /// Refuses, and waits until the peer has the reason, is gone, or has had its time.
    pub(crate) async fn refuse(self, reason: impl Into<Reason>) {
        let Self {
            greeting,
            send,
            recv,
            link,
            patience,
            _place: place,
            ..
        } = self;
        drop((greeting, place));
        refuse(send, recv, reason.into(), patience).await;
        drop(link);
    }
}

/// Answers with a reason, and holds nothing else meanwhile.
async fn refuse(mut send: SendStream, recv: RecvStream, reason: Reason, patience: Duration) {
    // What the peer has sent and goes on sending is thrown away.
    drop(recv);
    let told = async {
        if send
            .write_chunk(Answer::Refused(reason).encode())
            .await
            .is_ok()
            && send.finish().is_ok()
        {
            // The peer has it, or does not care; either end is fine.
            let _ = send.stopped().await;
        }
    };
    if timeout(patience, told).await.is_err() {
        give_up(&mut send);
    }
}

/// Lets go of an answer that the peer does not take.
fn give_up(send: &mut SendStream) {
    // Fails only where the stream has ended already.
    let _ = send.reset(VarInt::from_u32(HandshakeTimeout::REASON.code));
}

/// Why a sub-stream does not get as far as its protocol.
enum Unserved {
    Refused(Reason),
    /// The peer ended it, or is gone.
    Ended,
}

impl From<ReadBodyError> for Unserved {
    fn from(error: ReadBodyError) -> Self {
        match error {
            ReadBodyError::TooLarge { .. } => Self::Refused(ProtocolViolation::REASON),
            ReadBodyError::Ended(_) => Self::Ended,
        }
    }
}

impl From<ReadHeaderError> for Unserved {
    fn from(error: ReadHeaderError) -> Self {
        match error {
            ReadHeaderError::Body(error) => error.into(),
            ReadHeaderError::Header(error) => {
                tracing::debug!(%error, "header refused");
                Self::Refused(ProtocolViolation::REASON)
            }
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
        let silence = tokio::time::sleep(self.0.limits.handshake_timeout);
        tokio::pin!(silence);
        let error = loop {
            tokio::select! {
                biased;
                stream = connection.accept_uni() => match stream {
                    Ok(_) => {
                        self.0.meter.refused_substream(ProtocolViolation::REASON.text);
                        close(&connection, ProtocolViolation::REASON);
                    }
                    Err(error) => break error,
                },
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) => self.accept_stream(&conn, send, recv),
                    Err(error) => break error,
                },
                datagram = connection.read_datagram() => match datagram {
                    Ok(datagram) => self.datagram(conn.peer(), datagram),
                    Err(error) => break error,
                },
                () = &mut silence, if !conn.is_greeted() => {
                    // It may have spoken since this began to wait. A second connection of a peer that
                    // speaks on another one may stay silent.
                    if conn.is_greeted() || self.speaks_elsewhere(&conn) {
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

    fn accept_stream(&self, conn: &Arc<Conn>, mut send: SendStream, recv: RecvStream) {
        let Some(permit) = conn.share().substream() else {
            let reason = TooManyConnections::REASON;
            self.0.meter.refused_substream(reason.text);
            let answer = Answer::Refused(reason).encode();
            // Said where it can be at once; there is no room to wait in. The streams end here.
            let _ = send.write_chunk(answer).now_or_never();
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
    async fn substream(self, link: LinkUse, send: SendStream, mut recv: RecvStream) {
        let patience = self.0.limits.handshake_timeout;
        let header = timeout(patience, self.header(&link, &mut recv)).await;
        let late = Err(Unserved::Refused(HandshakeTimeout::REASON));
        match header.unwrap_or(late) {
            Ok((header, place)) => {
                let Some(server) = self.server(header.protocol) else {
                    return;
                };
                server(Incoming {
                    peer: link.peer(),
                    resource: header.resource,
                    greeting: header.greeting,
                    send,
                    recv,
                    link,
                    patience,
                    _place: place,
                })
                .await;
            }
            Err(Unserved::Refused(reason)) => {
                self.0.meter.refused_substream(reason.text);
                refuse(send, recv, reason, patience).await;
            }
            Err(Unserved::Ended) => {}
        }
    }

    /// Reads a header. Its greeting is read when there is a place for the sub-stream among those
    /// of its protocol that are not answered yet.
    async fn header(
        &self,
        link: &LinkUse,
        recv: &mut RecvStream,
    ) -> Result<(Header, OwnedSemaphorePermit), Unserved> {
        let max = self.0.limits.greeting_bytes;
        let (mut header, greeting) = Header::read_start(recv, max).await?;
        if header.network != self.0.network_id {
            return Err(Unserved::Refused(DifferentNetwork::REASON));
        }
        link.conn().set_greeted();
        let place = link.conn().share().unanswered(header.protocol).await;
        header.greeting = read_exact(recv, greeting).await?;
        Ok((header, place))
    }
}
