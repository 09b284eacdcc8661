//! Metrics: their descriptions, and how they are served.

mod metrics;
#[cfg(feature = "prometheus")]
mod prometheus;

pub(crate) use metrics::describe;
#[cfg(feature = "prometheus")]
pub(crate) use prometheus::Exporter;
