//! [`Home`]: a runtime of its own for a node that is to be killed.

use {
    super::super::failure::Failure,
    core::future::Future,
    std::{
        io,
        sync::{Mutex, PoisonError},
    },
    tokio::{
        runtime::{Builder, Handle, Runtime},
        task::JoinHandle,
    },
};

/// Where a node lives apart from the others, so that it can end as a process does that is
/// killed: in the middle of whatever it was doing, without a word to anyone.
pub(crate) struct Home {
    handle: Handle,
    /// Taken by whoever ends it.
    runtime: Mutex<Option<Runtime>>,
}

impl Home {
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Runs `future` here, and everything that it starts.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// The result of `future`, run here.
    pub(crate) async fn run<F>(&self, future: F) -> Result<F::Output, Failure>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = self.spawn(future);
        task.await.map_err(|error| Failure::new(error.to_string()))
    }

    /// Ends everything that runs here, wherever it is.
    pub(crate) fn kill(&self) {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A runtime may not be dropped where others run.
        self.kill();
    }
}
