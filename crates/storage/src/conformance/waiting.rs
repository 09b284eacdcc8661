//! Waiting for completions through the waker, with a deadline.

use {
    core::{task::Waker, time::Duration},
    mosaik_protocol::store::{Completion, LogStore, Token},
    std::{
        env,
        sync::Arc,
        task::Wake,
        thread::{self, Thread},
        time::Instant,
    },
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What a store gets to complete what was submitted: 30 s times the variable `TIME_FACTOR`.
fn patience() -> Duration {
    let factor = env::var("TIME_FACTOR")
        .ok()
        .and_then(|factor| factor.parse().ok());
    Duration::from_secs(30).mul_f64(factor.unwrap_or(1.0))
}

/// The completions that arrive until that of `last` is among them, in their order.
pub(super) fn wait_for(store: &mut impl LogStore, last: Token) -> Vec<Completion> {
    let deadline = Instant::now() + patience();
    let mut completions = Vec::new();
    store.wake_on_completion(&Waker::from(Arc::new(Unpark(thread::current()))));
    loop {
        store.completed(&mut completions);
        if completions
            .iter()
            .any(|completion| completion.token == last)
        {
            return completions;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "a submitted batch completes and wakes who waits"
        );
        thread::park_timeout(left);
    }
}
