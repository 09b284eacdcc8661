//! Any bytes into the decoder `codec`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mosaik_fuzz::run("codec", bytes));
