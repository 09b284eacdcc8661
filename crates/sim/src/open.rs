//! What is known not to be noticed.

/// Planted faults that no simulated run notices, and why.
pub const UNNOTICED: &[(&str, &str)] = &[];
