//! Serves the process' metrics over HTTP, in Prometheus' text format.
//!
//! Metrics are the process': there is one recorder, which the first network that serves them
//! installs and which stays. It does nothing by itself. What runs is each network's: a listener at
//! its address, which ends with the network.
//!
//! Not here: anything of HTTP that a scraper does not need. Each connection is for one request.

use {
    crate::network::tasks::Tasks,
    core::time::Duration,
    metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle},
    mosaik_primitives::{Digest, ShortFmtExt},
    parking_lot::Mutex,
    std::{io, net::SocketAddr, sync::Arc},
    tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::{OwnedSemaphorePermit, Semaphore},
    },
};

/// Scrapers served at one time; others wait.
const CONNECTIONS: usize = 16;
/// What a request may take, from its first byte to the last one of the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request line and its headers, bytes.
const HEAD_BYTES: usize = 16 << 10;
/// How often what histograms have recorded is summed up, scraped or not.
const UPKEEP: Duration = Duration::from_secs(5);
/// Pause when no connection can be accepted, for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the process' recorder shows, once there is one.
static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// An address at which the process' metrics are going to be served.
#[derive(Debug)]
pub(crate) struct Exporter {
    listener: TcpListener,
    metrics: PrometheusHandle,
}

impl Exporter {
    /// Binds the address, and installs the process' recorder if there is none.
    pub(crate) async fn bind(address: SocketAddr, network_id: &Digest) -> Result<Self, String> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("{address}: {error}"))?;
        let metrics = recorder(network_id)?;
        Ok(Self { listener, metrics })
    }

    /// Serves until the network closes.
    pub(crate) fn serve(self, tasks: &Tasks) {
        let answering = tasks.clone();
        tasks.spawn(async move { self.run(&answering).await });
    }

    async fn run(self, tasks: &Tasks) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                _ = upkeep.tick() => self.metrics.run_upkeep(),
                accepted = self.accept(&places) => match accepted {
                    Ok((stream, place)) => {
                        let answer = answer(stream, self.metrics.clone());
                        tasks.spawn(async move {
                            match tokio::time::timeout(PATIENCE, answer).await {
                                Ok(Ok(())) => {}
                                Ok(Err(error)) => tracing::debug!(%error, "scraper not answered"),
                                Err(_) => tracing::debug!("scraper is too slow"),
                            }
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no scraper can connect");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await;
        let place = place.expect("is never closed");
        Ok((self.listener.accept().await?.0, place))
    }
}

/// The process' recorder, which is installed where there is none.
fn recorder(network_id: &Digest) -> Result<PrometheusHandle, String> {
    let mut known = RECORDER.lock();
    if let Some(handle) = &*known {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .add_global_label("network", network_id.short().to_string())
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    Ok(known.insert(handle).clone())
}

/// Answers one request.
async fn answer(mut stream: TcpStream, metrics: PrometheusHandle) -> io::Result<()> {
    let head = read_head(&mut stream).await?;
    let (status, body) = match wanted(&head) {
        Wanted::Metrics => {
            let rendering = tokio::task::spawn_blocking(move || metrics.render());
            ("200 OK", rendering.await.map_err(io::Error::other)?)
        }
        Wanted::Health => ("200 OK", "OK".to_owned()),
        Wanted::Other => ("405 Method Not Allowed", String::new()),
        Wanted::Nothing => ("400 Bad Request", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads a request up to the empty line at its head's end, or to where the scraper stops or says
/// too much.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < HEAD_BYTES && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(&part[..read]);
    }
    Ok(head)
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Metrics,
    Health,
    /// Something that is not for the asking.
    Other,
    /// No request at all, or one that is too long.
    Nothing,
}

fn wanted(head: &[u8]) -> Wanted {
    if !head.windows(4).any(|end| end == b"\r\n\r\n") {
        return Wanted::Nothing;
    }
    let line = head.split(|byte| *byte == b'\r').next();
    let mut words = line
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b' '));
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/health")) => Wanted::Health,
        (Some(b"GET"), Some(path)) if path.starts_with(b"/") => Wanted::Metrics,
        (Some(_), Some(path)) if path.starts_with(b"/") => Wanted::Other,
        _ => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use {super::*, proptest::prelude::*};

    #[test]
    fn what_a_scraper_asks_for_is_told_from_what_is_no_request() {
        let asked = |line: &str| wanted(format!("{line}\r\nhost: here\r\n\r\n").as_bytes());
        assert_eq!(asked("GET /metrics HTTP/1.1"), Wanted::Metrics);
        assert_eq!(asked("GET /health HTTP/1.1"), Wanted::Health);
        assert_eq!(asked("POST /metrics HTTP/1.1"), Wanted::Other);
        assert_eq!(asked("junk"), Wanted::Nothing);
        assert_eq!(wanted(b"GET /metrics HTTP/1.1\r\n"), Wanted::Nothing);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = wanted(&bytes);
        }
    }
}
