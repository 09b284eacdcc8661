//! Declaring streams.
