//! Any bytes into the decoder `consensus_state`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mosaik_fuzz::run("consensus_state", bytes));
