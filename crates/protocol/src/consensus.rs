//! The consensus core.
