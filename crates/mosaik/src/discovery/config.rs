//! [`Config`]: every knob of discovery, its default and what values can work.

use {
    crate::{network::PeerId, primitives::IntoIterOrSingle},
    iroh::EndpointAddr,
    mosaik_primitives::Tag,
    serde::{Deserialize, Serialize},
    std::time::Duration,
};

/// How discovery behaves; the defaults suit any network that a person would watch.
///
/// Nodes of one network may differ in all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Events that a slow receiver of [`Discovery::events`](super::Discovery::events) may lag
    /// behind before it misses some. 100.
    pub events_backlog: usize,
    /// Peers to contact at start. Empty.
    pub bootstrap_peers: Vec<EndpointAddr>,
    /// Labels the local peer puts on itself. Empty.
    pub tags: Vec<Tag>,
    /// A peer whose last sign of life is older is dropped, whatever else is known of it. 5 min.
    /// A peer that announces itself less often than this leaves the catalog in between, and is
    /// discovered again each time.
    pub purge_after: Duration,
    /// Entries dated further ahead of the local clock are refused. 50 s.
    pub max_time_drift: Duration,
    /// Mean time between signs of life of the local peer. 45 s.
    pub announce_interval: Duration,
    /// By how much of itself the announce interval varies, 0 to 1. 0.5.
    pub announce_jitter: f32,
    /// Whether the DHT is left out when looking for first peers. `false`.
    pub no_dht_bootstrap: bool,
    /// Mean time between round-trip measurements of a peer; each waits between half and one and
    /// a half of it. 30 s.
    pub rtt_probe_interval: Duration,
    /// Peers further away than this are not used by producers, consumers and callers, though the
    /// catalog still holds them. A peer that was not measured yet is not further away. None.
    pub max_rtt: Option<Duration>,
    /// How long closing waits for the farewell to reach the neighbours. 500 ms.
    pub graceful_departure_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            events_backlog: 100,
            bootstrap_peers: Vec::new(),
            tags: Vec::new(),
            purge_after: Duration::from_mins(5),
            max_time_drift: Duration::from_secs(50),
            announce_interval: Duration::from_secs(45),
            announce_jitter: 0.5,
            no_dht_bootstrap: false,
            rtt_probe_interval: Duration::from_secs(30),
            max_rtt: None,
            graceful_departure_window: Duration::from_millis(500),
        }
    }
}

impl Config {
    /// The defaults, to be changed.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The ids of [`Config::bootstrap_peers`].
    pub fn bootstrap_peers_ids(&self) -> Vec<PeerId> {
        self.bootstrap_peers
            .iter()
            .map(|address| address.id)
            .collect()
    }

    fn validate(&self) -> Result<(), ConfigBuilderError> {
        let reject = |problem: String| Err(ConfigBuilderError::ValidationError(problem));
        if self.events_backlog == 0 || self.events_backlog > MAX_EVENTS_BACKLOG {
            return reject(format!(
                "events_backlog must be 1 to {MAX_EVENTS_BACKLOG}, is {}",
                self.events_backlog
            ));
        }
        for (name, value) in [
            ("purge_after", self.purge_after),
            ("announce_interval", self.announce_interval),
            ("rtt_probe_interval", self.rtt_probe_interval),
            ("max_rtt", self.max_rtt.unwrap_or(Duration::MAX)),
        ] {
            if value < Duration::from_millis(1) {
                return reject(format!(
                    "{name} must be at least one millisecond, is {value:?}"
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.announce_jitter) {
            return reject(format!(
                "announce_jitter must be 0 to 1, is {}",
                self.announce_jitter
            ));
        }
        Ok(())
    }
}

/// Events are whole entries; more than this is memory, not patience.
const MAX_EVENTS_BACKLOG: usize = 1 << 20;

/// Builds a [`Config`].
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// Sets [`Config::events_backlog`].
    #[must_use]
    pub fn with_events_backlog(mut self, value: usize) -> Self {
        self.0.events_backlog = value;
        self
    }

    /// Adds one peer, or any number, to [`Config::bootstrap_peers`].
    #[must_use]
    pub fn with_bootstrap<V>(mut self, peers: impl IntoIterOrSingle<EndpointAddr, V>) -> Self {
        self.0.bootstrap_peers.extend(peers.iterator());
        self
    }

    /// Adds one tag, or any number, to [`Config::tags`].
    #[must_use]
    pub fn with_tags<V>(mut self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        self.0.tags.extend(tags.iterator());
        self
    }

    /// Sets [`Config::purge_after`].
    #[must_use]
    pub fn with_purge_after(mut self, value: Duration) -> Self {
        self.0.purge_after = value;
        self
    }

    /// Sets [`Config::max_time_drift`].
    #[must_use]
    pub fn with_max_time_drift(mut self, value: Duration) -> Self {
        self.0.max_time_drift = value;
        self
    }

    /// Sets [`Config::announce_interval`].
    #[must_use]
    pub fn with_announce_interval(mut self, value: Duration) -> Self {
        self.0.announce_interval = value;
        self
    }

    /// Sets [`Config::announce_jitter`].
    #[must_use]
    pub fn with_announce_jitter(mut self, value: f32) -> Self {
        self.0.announce_jitter = value;
        self
    }

    /// Sets [`Config::no_dht_bootstrap`].
    #[must_use]
    pub fn with_no_dht_bootstrap(mut self, value: bool) -> Self {
        self.0.no_dht_bootstrap = value;
        self
    }

    /// Leaves the DHT out.
    #[must_use]
    pub const fn no_dht_bootstrap(mut self) -> Self {
        self.0.no_dht_bootstrap = true;
        self
    }

    /// Sets [`Config::rtt_probe_interval`].
    #[must_use]
    pub fn with_rtt_probe_interval(mut self, value: Duration) -> Self {
        self.0.rtt_probe_interval = value;
        self
    }

    /// Sets [`Config::max_rtt`].
    #[must_use]
    pub const fn with_max_rtt(mut self, max: Duration) -> Self {
        self.0.max_rtt = Some(max);
        self
    }

    /// The configuration, if it can work.
    pub fn build(self) -> Result<Config, ConfigBuilderError> {
        self.0.into_config()
    }
}

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigBuilderError {
    /// A value that has no default was not given.
    #[error("`{0}` must be initialized")]
    UninitializedField(&'static str),
    /// A value that cannot work, and why.
    #[error("{0}")]
    ValidationError(String),
}

impl From<String> for ConfigBuilderError {
    fn from(problem: String) -> Self {
        Self::ValidationError(problem)
    }
}

/// A configuration, or what builds one.
#[doc(hidden)]
pub trait IntoConfig {
    /// The configuration, if it can work.
    fn into_config(self) -> Result<Config, ConfigBuilderError>;
}

impl IntoConfig for Config {
    fn into_config(self) -> Result<Config, ConfigBuilderError> {
        self.validate()?;
        Ok(self)
    }
}

impl IntoConfig for ConfigBuilder {
    fn into_config(self) -> Result<Config, ConfigBuilderError> {
        self.build()
    }
}

#[cfg(test)]
mod tests {
    use {super::*, iroh::SecretKey};

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = Config::builder().build().unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.events_backlog, 100);
        assert_eq!(config.purge_after, Duration::from_mins(5));
        assert_eq!(config.max_time_drift, Duration::from_secs(50));
        assert_eq!(config.announce_interval, Duration::from_secs(45));
        assert!((config.announce_jitter - 0.5).abs() < f32::EPSILON);
        assert!(!config.no_dht_bootstrap);
        assert_eq!(config.rtt_probe_interval, Duration::from_secs(30));
        assert_eq!(config.max_rtt, None);
        assert_eq!(config.graceful_departure_window, Duration::from_millis(500));
    }

    #[test]
    fn bootstrap_peers_and_tags_add_up() {
        let peer = |n: u8| SecretKey::from_bytes(&[n; 32]).public();
        let config = Config::builder()
            .with_bootstrap(peer(1))
            .with_bootstrap([peer(2), peer(3)])
            .with_tags("one")
            .with_tags(["two", "three"])
            .build()
            .unwrap();
        assert_eq!(config.bootstrap_peers_ids(), [peer(1), peer(2), peer(3)]);
        assert_eq!(config.tags, ["one", "two", "three"].map(Tag::from));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let zero = Duration::ZERO;
        for (builder, name) in [
            (Config::builder().with_events_backlog(0), "events_backlog"),
            (
                Config::builder().with_events_backlog(usize::MAX),
                "events_backlog",
            ),
            (Config::builder().with_purge_after(zero), "purge_after"),
            (
                Config::builder().with_announce_interval(zero),
                "announce_interval",
            ),
            (
                Config::builder().with_rtt_probe_interval(zero),
                "rtt_probe_interval",
            ),
            (Config::builder().with_max_rtt(zero), "max_rtt"),
            (
                Config::builder().with_announce_jitter(1.1),
                "announce_jitter",
            ),
            (
                Config::builder().with_announce_jitter(-0.1),
                "announce_jitter",
            ),
            (
                Config::builder().with_announce_jitter(f32::NAN),
                "announce_jitter",
            ),
        ] {
            let problem = builder.build().unwrap_err().to_string();
            assert!(problem.starts_with(name), "{problem}");
        }
    }

    #[test]
    fn it_survives_encoding() {
        let config = Config::builder()
            .with_tags("x")
            .no_dht_bootstrap()
            .build()
            .unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
}
