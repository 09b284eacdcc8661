//! Any bytes into the decoder `consensus_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mosaik_fuzz::run("consensus_message", bytes));
