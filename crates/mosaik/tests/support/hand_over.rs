//! A state synchronisation that hands the whole state over in one message, so that logs can be
//! cut.

#![allow(unreachable_pub, reason = "a module of test binaries")]

use {
    core::{
        marker::PhantomData,
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    },
    mosaik::{
        PeerId, UniqueId,
        groups::{
            Cursor, Index, StateMachine, StateSync, StateSyncProvider, StateSyncSession,
            SyncContext, SyncProviderContext, SyncSessionContext, Term,
        },
    },
    serde::{Deserialize, Serialize, de::DeserializeOwned},
    tokio::time::{Sleep, sleep},
};

/// A machine whose state can be handed over.
pub trait Whole: StateMachine {
    type State: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    fn state(&self) -> Self::State;

    fn become_like(&mut self, state: Self::State);

    /// A session begins, which will have the machine become like another.
    fn note_session(&self) {}
}

/// Hands the state over.
pub struct HandOver<M>(PhantomData<fn() -> M>);

impl<M> Default for HandOver<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub enum Say<S> {
    Please,
    Here(Cursor, S),
}

pub struct Giver<M>(PhantomData<fn() -> M>);

/// Asks everyone until somebody has enough.
pub struct Taker<M: Whole> {
    target: Cursor,
    got: Option<(Cursor, M::State)>,
    ask_at: Pin<Box<Sleep>>,
}

impl<M: Whole> StateSync for HandOver<M> {
    type Machine = M;
    type Message = Say<M::State>;
    type Provider = Giver<M>;
    type Session = Taker<M>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("test.hand-over")
    }

    fn create_provider(&self, _: &dyn SyncContext<Self>) -> Giver<M> {
        Giver(PhantomData)
    }

    fn create_session(
        &self,
        cx: &mut dyn SyncSessionContext<Self>,
        target: Cursor,
        _: Index,
        _: Vec<(M::Command, Term)>,
    ) -> Taker<M> {
        cx.state_machine().note_session();
        Taker {
            target,
            got: None,
            ask_at: Box::pin(sleep(Duration::ZERO)),
        }
    }
}

impl<M: Whole> StateSyncProvider for Giver<M> {
    type Owner = HandOver<M>;

    fn receive(
        &mut self,
        message: Say<M::State>,
        sender: PeerId,
        cx: &mut dyn SyncProviderContext<HandOver<M>>,
    ) -> Result<(), Say<M::State>> {
        let Say::Please = message else {
            return Err(message);
        };
        let here = Say::Here(cx.committed(), cx.state_machine().state());
        cx.send_to(sender, here).expect("it encodes");
        Ok(())
    }

    fn safe_to_prune_prefix(&self, cx: &mut dyn SyncProviderContext<HandOver<M>>) -> Option<Index> {
        Some(cx.committed().index())
    }
}

impl<M: Whole> StateSyncSession for Taker<M> {
    type Owner = HandOver<M>;

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        driver: &mut dyn SyncSessionContext<HandOver<M>>,
    ) -> Poll<Cursor> {
        if let Some((at, state)) = self.got.take() {
            driver.state_machine_mut().become_like(state);
            driver.set_committed(at);
            return Poll::Ready(at);
        }
        while self.ask_at.as_mut().poll(cx).is_ready() {
            driver.broadcast(Say::Please).expect("it encodes");
            self.ask_at.set(sleep(Duration::from_millis(200)));
        }
        Poll::Pending
    }

    fn receive(
        &mut self,
        said: Say<M::State>,
        _: PeerId,
        _: &mut dyn SyncSessionContext<HandOver<M>>,
    ) {
        if let Say::Here(at, state) = said
            && at.index() >= self.target.index()
        {
            self.got = Some((at, state));
        }
    }

    fn buffer(
        &mut self,
        _: Cursor,
        _: Vec<(M::Command, Term)>,
        _: &mut dyn SyncSessionContext<HandOver<M>>,
    ) {
    }
}
