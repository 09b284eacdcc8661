//! The transport under the links: the endpoint's settings for each preset.

use {
    super::{
        ALPN, address_book::AddressBook, builder::NetworkConfig, error::Error, preset::Preset,
    },
    core::time::Duration,
    iroh::{
        Endpoint, RelayMode,
        endpoint::{
            IdleTimeout, MtuDiscoveryConfig, PortmapperConfig, QuicTransportConfig, VarInt, presets,
        },
    },
    mosaik_primitives::Limits,
};

/// Bytes written to a connection and not yet acknowledged, all sub-streams together.
const SEND_WINDOW_BYTES: u64 = 16 << 20;
/// Bytes received on a connection that nobody has read, but for what the sub-streams of a link
/// make room for that this side has opened or accepted: what a stranger can make us hold.
pub(super) const UNREAD_BYTES: u64 = 4 << 20;
/// Sub-streams of protocols that keep a connection of their own (gossip); a link on which one is
/// opened is closed.
const UNI_STREAMS: u32 = 256;
/// A connection that hears nothing at all ends by then, used or not.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Round trip assumed before one was measured: what a lost first packet waits for, and how long
/// closing waits for a peer that is gone (some three times this, three times).
const fn initial_rtt(preset: Preset) -> Duration {
    Duration::from_millis(match preset {
        Preset::Isolated | Preset::Local => 30,
        Preset::Lan => 60,
        // RFC 9002, section 6.2.2.
        Preset::Internet => 333,
    })
}

/// Binds the endpoint.
pub(super) async fn bind(config: &NetworkConfig) -> Result<Endpoint, Error> {
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(config.secret_key.clone())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(relay_mode(config))
        .portmapper_config(portmapper(config.preset))
        .transport_config(quic(&config.limits, config.preset))
        .address_lookup(AddressBook);
    if !config.addresses.is_empty() {
        builder = builder.clear_ip_transports();
        for address in &config.addresses {
            builder = builder.bind_addr(*address)?;
        }
    } else if config.preset.is_loopback() {
        builder = builder.clear_ip_transports().bind_addr("127.0.0.1:0")?;
    }
    Ok(builder.bind().await?)
}

/// Relays are used by the Internet preset only, unless the configuration says otherwise.
fn relay_mode(config: &NetworkConfig) -> RelayMode {
    match (&config.relay_mode, config.preset) {
        (Some(mode), _) => mode.clone(),
        (None, Preset::Internet) => RelayMode::Default,
        (None, _) => RelayMode::Disabled,
    }
}

fn portmapper(preset: Preset) -> PortmapperConfig {
    match preset {
        Preset::Internet => PortmapperConfig::default(),
        _ => PortmapperConfig::Disabled,
    }
}

/// Looks for packets as large as the transport takes in: fewer packets for the same bytes.
fn mtu_discovery() -> MtuDiscoveryConfig {
    let mut config = MtuDiscoveryConfig::default();
    config.upper_bound(1472);
    config
}

/// Every bound that QUIC itself enforces on what a peer can make us hold.
///
/// Not set is how often peers acknowledge, though fewer acknowledgements make every answer faster:
/// noq 1.4.0 writes the frame that asks for it without looking whether its packet has room, and
/// panics where it has none.
fn quic(limits: &Limits, preset: Preset) -> QuicTransportConfig {
    let window = VarInt::from_u32(limits.substream_window_bytes);
    QuicTransportConfig::builder()
        .stream_receive_window(window)
        // Links add the window of every sub-stream that this side has opened or accepted, so that
        // one which stands still slows no other. It bounds all else: sub-streams that wait to be
        // accepted, and those that nobody looks at.
        .receive_window(VarInt::from_u64(UNREAD_BYTES).unwrap_or(VarInt::MAX))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.substreams_per_peer))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .initial_rtt(initial_rtt(preset))
        .mtu_discovery_config(Some(mtu_discovery()))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .build()
}
