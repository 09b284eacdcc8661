//! Finds silent peers and unused connections.
//!
//! A killed process sends no reset over UDP: only silence tells. Every connection in use is
//! asked for a sign of life (a one-byte datagram, which the peer's transport acknowledges)
//! when nothing arrived for [`ASK_AFTER`], and is lost after [`SILENCE`]. Time during which this
//! process itself did not run does not count, and one that runs late is more patient, so a paused
//! or starved process does not take its peers for dead.

use {
    super::{
        conn::Conn,
        table::{DatagramKind, Links, close},
    },
    crate::network::close::{Success, UnexpectedClose},
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::{lag::Lag, time as clock},
    std::{collections::HashMap, sync::Arc},
    tokio::time::{Instant, MissedTickBehavior},
};

/// How often connections are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Silence after which the peer is asked for a sign of life.
const ASK_AFTER: Duration = Duration::from_millis(450);
/// Silence after which the peer is lost.
pub(super) const SILENCE: Duration = Duration::from_millis(1_700);
/// A connection that nothing uses is closed after this long.
const IDLE: Duration = Duration::from_secs(30);
/// The connection that lost a dial race is closed when unused for this long.
const SECOND_IDLE: Duration = Duration::from_secs(2);

/// What is known of one connection's silence.
struct Watched {
    received: u64,
    /// Silence so far, counted in time during which this process ran.
    silent: Duration,
}

/// Looks at all connections until the network closes.
pub(super) async fn watch(links: Links) {
    let mut watched: HashMap<usize, Watched> = HashMap::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    let mut last = start;
    let mut lag = Lag::default();
    loop {
        let now = ticks.tick().await;
        // A late tick means that we did not run; at most one tick's time counts as silence.
        let ran = now.saturating_duration_since(last).min(TICK);
        let on_clock = |at: Instant| clock::Instant::ZERO + at.duration_since(start);
        lag.woke(on_clock(last + TICK), on_clock(now));
        let patience = SILENCE + lag.grace(on_clock(now));
        last = now;
        let conns = links.connections();
        let mut next = HashMap::with_capacity(watched.len());
        for conn in &conns {
            links.0.meter.bytes(conn);
            if conn.in_use() {
                let id = conn.connection.stable_id();
                match look(conn, watched.remove(&id), ran, patience) {
                    Some(state) => drop(next.insert(id, state)),
                    None => links.0.meter.lost.increment(1),
                }
            } else {
                close_if_unused(&links, conn, now);
            }
        }
        watched = next;
    }
}

/// Looks at one connection in use; `None` when it is lost.
fn look(
    conn: &Arc<Conn>,
    before: Option<Watched>,
    ran: Duration,
    patience: Duration,
) -> Option<Watched> {
    let received = conn.connection.stats().udp_rx.datagrams;
    let silent = match before {
        Some(before) if before.received == received => before.silent + ran,
        _ => Duration::ZERO,
    };
    if silent >= patience {
        tracing::debug!(peer = %conn.peer().fmt_short(), "peer is silent, link lost");
        conn.set_lost();
        close(&conn.connection, UnexpectedClose::REASON);
        return None;
    }
    if silent >= ASK_AFTER {
        let ping = Bytes::from_static(&[DatagramKind::Ping as u8]);
        // A full datagram buffer means that packets are under way, which serves as well.
        let _ = conn.connection.send_datagram(ping);
    }
    Some(Watched { received, silent })
}

fn close_if_unused(links: &Links, conn: &Arc<Conn>, now: Instant) {
    let second = links.connections_with(&conn.peer()) > 1
        && links
            .best(&conn.peer())
            .is_some_and(|best| !Arc::ptr_eq(&best, conn));
    let patience = if second { SECOND_IDLE } else { IDLE };
    if now.saturating_duration_since(conn.idle_since()) >= patience {
        close(&conn.connection, Success::REASON);
    }
}
