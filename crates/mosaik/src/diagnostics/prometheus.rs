//! Serves the process' metrics in Prometheus' text format.

use {
    metrics_exporter_prometheus::PrometheusBuilder,
    mosaik_primitives::{Digest, ShortFmtExt},
    std::net::SocketAddr,
};

/// Installs the process' recorder and serves it at `address`.
pub(crate) fn serve(address: SocketAddr, network_id: &Digest) -> Result<(), String> {
    PrometheusBuilder::new()
        .with_http_listener(address)
        .add_global_label("network", network_id.short().to_string())
        .install()
        .map_err(|error| error.to_string())
}
