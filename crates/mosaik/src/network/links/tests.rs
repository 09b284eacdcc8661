//! The table of links and what is told of it.

use {
    super::{LinkEvent, Links},
    crate::{
        NetworkId,
        network::{ALPN, tasks::Tasks},
    },
    core::{
        future::Future,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll},
    },
    iroh::{
        Endpoint, RelayMode,
        endpoint::{ConnectionError, presets},
    },
    mosaik_primitives::Limits,
    std::{sync::Arc, task::Wake},
    tokio::sync::broadcast,
};

async fn endpoint() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![ALPN.to_vec()])
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap()
}

/// Is woken, in the midst of it, by whoever tells of a change.
struct Listener {
    links: Links,
    told_under_lock: AtomicUsize,
}

impl Wake for Listener {
    fn wake(self: Arc<Self>) {
        let locked = self.links.0.table.try_lock().is_none();
        self.told_under_lock
            .fetch_add(usize::from(locked), Ordering::Relaxed);
    }
}

/// What happens to the table while somebody waits for news of it, and the news.
fn told(
    listener: &Arc<Listener>,
    events: &mut broadcast::Receiver<LinkEvent>,
    change: impl FnOnce(),
) -> LinkEvent {
    let waker = Arc::clone(listener).into();
    let mut context = Context::from_waker(&waker);
    let mut next = pin!(events.recv());
    assert!(next.as_mut().poll(&mut context).is_pending());
    change();
    match next.poll(&mut context) {
        Poll::Ready(event) => event.unwrap(),
        Poll::Pending => panic!("nothing was told"),
    }
}

/// Were the table free while a change is told, the end of a peer's last connection could be told
/// after the beginning of its next one, and discovery would believe in that end for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_never_told_after_the_beginning_that_followed_it() {
    let tasks = Tasks::default();
    let network = NetworkId::from("links");
    let links = Links::start(endpoint().await, network, Limits::DEFAULT, &tasks);
    let (here, there) = (endpoint().await, endpoint().await);
    let connecting = here.connect(there.addr(), ALPN);
    let (connection, _accepted) = tokio::join!(connecting, async {
        there.accept().await.unwrap().await.unwrap()
    });
    let (connection, peer) = (connection.unwrap(), there.id());
    let mut events = links.events();
    let listener = Arc::new(Listener {
        links: links.clone(),
        told_under_lock: AtomicUsize::new(0),
    });
    let mut held = None;
    let up = told(&listener, &mut events, || {
        held = links.add(connection, true);
    });
    assert_eq!(up, LinkEvent::Up(peer));
    let closed = told(&listener, &mut events, || {
        links.remove(&held.unwrap(), &ConnectionError::LocallyClosed);
    });
    assert_eq!(closed, LinkEvent::Closed(peer));
    assert_eq!(listener.told_under_lock.load(Ordering::Relaxed), 2);
    links.close();
    tasks.cancel();
    tasks.wait().await;
}
