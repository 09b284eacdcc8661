//! Any bytes into the decoder `consensus_entry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mosaik_fuzz::run("consensus_entry", bytes));
