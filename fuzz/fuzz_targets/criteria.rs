//! Any bytes into the decoder `criteria`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mosaik_fuzz::run("criteria", bytes));
