//! Bytes to standard output, on a thread of its own, so that a slow reader of it stalls nothing
//! but the stream it reads.

use {
    bytes::Bytes,
    std::{
        io::{self, BufWriter, Write},
        thread::JoinHandle,
    },
    tokio::sync::mpsc,
};

/// Batches that wait for the writer.
const BATCHES: usize = 2;

/// A writer that takes batches of items.
pub(crate) struct Output {
    batches: mpsc::Sender<Vec<Bytes>>,
    thread: JoinHandle<io::Result<()>>,
}

impl Output {
    /// Starts the thread.
    pub(crate) fn to(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (batches, receiver) = mpsc::channel(BATCHES);
        let thread = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write(writer, receiver))?;
        Ok(Self { batches, thread })
    }

    /// Hands a batch on when there is room; `false` when nothing can be written any more.
    pub(crate) async fn put(&self, batch: Vec<Bytes>) -> bool {
        self.batches.send(batch).await.is_ok()
    }

    /// Resolves when nothing can be written any more.
    pub(crate) async fn failed(&self) {
        self.batches.closed().await;
    }

    /// Resolves when all is written. `false` when the reader of the output has gone, which is no
    /// failure.
    pub(crate) async fn finish(self) -> io::Result<bool> {
        drop(self.batches);
        let thread = self.thread;
        let written = tokio::task::spawn_blocking(move || thread.join())
            .await
            .map_err(io::Error::other)?
            .map_err(|_| io::Error::other("the writing thread panicked"))?;
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }
}

fn write(writer: impl Write, mut batches: mpsc::Receiver<Vec<Bytes>>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(64 << 10, writer);
    while let Some(batch) = batches.blocking_recv() {
        for item in batch {
            writer.write_all(&item)?;
        }
        // What has arrived is shown before the next wait.
        if batches.is_empty() {
            writer.flush()?;
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use {super::*, parking_lot::Mutex, std::sync::Arc};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn all_is_written_when_it_finishes() {
        let written = Shared::default();
        let output = Output::to(written.clone()).expect("a thread");
        for batch in 0..100u8 {
            assert!(
                output
                    .put(vec![Bytes::from(vec![batch; 10]), Bytes::new()])
                    .await
            );
        }
        assert!(output.finish().await.expect("written"));
        let expected: Vec<u8> = (0..100).flat_map(|batch| [batch; 10]).collect();
        assert_eq!(*written.0.lock(), expected);
    }

    #[tokio::test]
    async fn a_reader_that_left_is_noticed_and_no_failure() {
        let output = Output::to(Gone).expect("a thread");
        assert!(output.put(vec![Bytes::from(vec![0; 100_000])]).await);
        output.failed().await;
        assert!(!output.put(Vec::new()).await);
        assert!(!output.finish().await.expect("no failure"));
    }
}
