//! Any bytes into the store's decoder `record`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik_storage::fuzzing::record(bytes);
});
