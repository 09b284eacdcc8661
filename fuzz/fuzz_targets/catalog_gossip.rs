//! Any bytes into the decoder `catalog_gossip`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mosaik_fuzz::run("catalog_gossip", bytes));
