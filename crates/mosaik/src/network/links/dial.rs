//! Dialling: one attempt a peer at a time, shared by all who wait for it.

use {
    super::{
        conn::{Conn, LinkUse},
        error::LinkError,
        table::Links,
    },
    crate::{PeerId, network},
    futures::{FutureExt, future::Shared},
    iroh::EndpointAddr,
    parking_lot::Mutex,
    std::{collections::HashMap, sync::Arc},
    tokio::sync::oneshot,
};

type Outcome = Result<Arc<Conn>, LinkError>;

/// The dials under way.
#[derive(Default)]
pub(super) struct Dials(Mutex<HashMap<PeerId, Shared<oneshot::Receiver<Outcome>>>>);

impl Links {
    /// Dials `addr`, or joins the dial to the same peer that is under way.
    ///
    /// The dial goes on when its caller stops waiting: another may have joined it.
    pub(super) async fn dial(&self, addr: EndpointAddr) -> Result<LinkUse, LinkError> {
        if addr.id == self.local_id() {
            return Err(LinkError::OwnId);
        }
        if self.0.tasks.is_cancelled() {
            return Err(LinkError::Shutdown);
        }
        let peer = addr.id;
        let dial = {
            let mut dials = self.0.dials.0.lock();
            if let Some(dial) = dials.get(&peer) {
                dial.clone()
            } else {
                let (done, dial) = oneshot::channel();
                let dial = dial.shared();
                dials.insert(peer, dial.clone());
                let links = self.clone();
                self.0.tasks.spawn_to_end(async move {
                    let outcome = tokio::select! {
                        biased;
                        () = links.0.tasks.cancelled() => Err(LinkError::Shutdown),
                        outcome = links.attempt(addr) => outcome,
                    };
                    links.0.dials.0.lock().remove(&peer);
                    // Nobody may be waiting any more.
                    let _ = done.send(outcome);
                });
                dial
            }
        };
        dial.await
            .unwrap_or(Err(LinkError::Shutdown))
            .map(LinkUse::new)
    }

    async fn attempt(&self, addr: EndpointAddr) -> Outcome {
        let peer = addr.id;
        let endpoint = self.endpoint().ok_or(LinkError::Shutdown)?;
        let connecting = endpoint.connect(addr, network::ALPN);
        let outcome = tokio::time::timeout(self.0.limits.handshake_timeout, connecting).await;
        // The peer may have dialled us meanwhile; any link serves.
        if let Some(conn) = self.best(&peer) {
            if let Ok(Ok(connection)) = outcome {
                self.adopt(connection, true);
            }
            return Ok(self.best(&peer).unwrap_or(conn));
        }
        match outcome {
            Ok(Ok(connection)) => self
                .adopt(connection, true)
                .ok_or_else(|| LinkError::Dial("too many links".into())),
            Ok(Err(error)) => Err(LinkError::Dial(error.to_string().into())),
            Err(_) => Err(LinkError::Timeout),
        }
    }
}
